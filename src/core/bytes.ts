import { createHash } from 'node:crypto';
import type { Bytes, Sum } from './model.ts';

/** A body that is there already, in one piece: who takes it so is spared a stream. */
interface WholeBody extends Bytes {
  readonly whole: Uint8Array;
}

export function bytesOf(data: string | Uint8Array): Bytes {
  const whole = typeof data === 'string' ? Buffer.from(data) : data;
  const body: WholeBody = {
    whole,
    async *[Symbol.asyncIterator]() {
      yield whole;
    },
  };
  return body;
}

/** All of the body, borrowed as chunks are, when `bytesOf` made it. */
export function wholeOf(body: Bytes): Uint8Array | undefined {
  return (body as Partial<WholeBody>).whole;
}

/** Compares texts as their UTF-8 bytes would: by code units, but surrogates stand for what comes last. */
export function byteOrder(a: string, b: string): number {
  const end = Math.min(a.length, b.length);
  for (let i = 0; i < end; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (x !== y) return x >= 0xd800 && y >= 0xd800 ? ((x + 0x2000) & 0xffff) - ((y + 0x2000) & 0xffff) : x - y;
  }
  return a.length - b.length;
}

/** Of the pages that processors and kernels deal in. */
const PAGE_BYTES = 4096;

/**
 * Memory to read files into. It begins in the middle of a page: where the target lies a few bytes behind the source
 * within their pages, as what is allocated in one piece does, AMD's processors copy at a third of their speed.
 */
export function readBuffer<T extends ArrayBufferLike>(bytes: number, Memory: new (bytes: number) => T): Uint8Array<T> {
  return new Uint8Array(new Memory(bytes + PAGE_BYTES), PAGE_BYTES / 2, bytes);
}

/** Frees memory now, where the collector would let a hundred MiB of it lie. */
export function release(buffer: ArrayBufferLike): void {
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/** As `release`, of what a library returned: small results may share their memory with others. */
export function releaseLarge({ buffer, length }: Buffer): void {
  if (buffer.byteLength > Buffer.poolSize || buffer.byteLength === length) release(buffer);
}

/** Memory for one content after another, each of which is gone when the next one is written. */
export interface ReusedMemory {
  /** At least so many bytes, of which the first `kept` are as they were. */
  room(bytes: number, kept?: number): Buffer;
}

/** What is larger than `bytesMax` is given back when less is asked for. */
export function reusedMemory(bytesMax: number): ReusedMemory {
  let memory: Buffer = Buffer.alloc(0);
  return {
    room(bytes, kept = 0) {
      if (bytes <= memory.length && (memory.length <= bytesMax || kept > 0)) return memory;
      const before = memory;
      memory = Buffer.allocUnsafeSlow(Math.max(bytes, Math.min(before.length * 2, bytesMax)));
      before.copy(memory, 0, 0, kept);
      release(before.buffer);
      return memory;
    },
  };
}

/** Collects a body that is known to be small; more than `bytesMax` is a bug or an attack and throws. */
export async function readAll(body: Bytes, bytesMax = 64 * 1024 * 1024): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new RangeError(`more than ${bytesMax} bytes where a small document was expected`);
    chunks.push(Buffer.from(chunk));
  }
  return Buffer.concat(chunks, bytes);
}

/** Passes `body` through; once it has ended, `sum()` says what went by. */
export function measured(body: Bytes): { body: Bytes; sum(): Sum } {
  const hash = createHash('sha256');
  let bytes = 0;
  let sum: Sum | undefined;
  async function* tee(): Bytes {
    for await (const chunk of body) {
      hash.update(chunk);
      bytes += chunk.length;
      yield chunk;
    }
  }
  return { body: tee(), sum: () => (sum ??= { bytes, sha256: hash.digest('hex') }) };
}

/** The lines of a UTF-8 stream, without their ends. A line longer than `bytesMax` throws. */
export async function* linesOf(body: Bytes, bytesMax?: number): AsyncIterable<string> {
  for await (const lines of lineBatchesOf(body, bytesMax)) yield* lines;
}

/** As `linesOf`, as many at a time as came together. */
export async function* lineBatchesOf(body: Bytes, bytesMax = 16 * 1024 * 1024): AsyncIterable<string[]> {
  let held: Uint8Array[] = []; // the beginning of a line, joined only once its end is there
  let bytes = 0;
  for await (const chunk of body) {
    const end = chunk.lastIndexOf(10) + 1;
    if (end > 0) {
      // Joined with what was held is the first line alone: large buffers would lie about until the collector comes.
      const first = chunk.indexOf(10);
      const lines = [Buffer.concat([...held, chunk.subarray(0, first)]).toString('utf8')];
      held = [];
      bytes = 0;
      if (first < end - 1) lines.push(...textOf(chunk.subarray(first + 1, end - 1)).split('\n'));
      yield lines;
    }
    if (end < chunk.length) held.push(Buffer.from(chunk.subarray(end))); // a copy: chunks are borrowed
    bytes += chunk.length - end;
    if (bytes > bytesMax) throw new RangeError(`a line is longer than ${bytesMax} bytes`);
  }
  if (bytes > 0) yield [Buffer.concat(held).toString('utf8')];
}

function textOf({ buffer, byteOffset, length }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, length).toString('utf8');
}

/** Joins small pieces into chunks of `size` bytes, so that what follows is called less often. */
export async function* batched(pieces: AsyncIterable<string | Uint8Array>, size = 256 * 1024): Bytes {
  const chunk = new Uint8Array(size); // always the same one: chunks are borrowed
  let filled = 0;
  for await (const piece of pieces) {
    const data = typeof piece === 'string' ? Buffer.from(piece) : piece;
    for (let from = 0; from < data.length; ) {
      const some = data.subarray(from, from + size - filled);
      chunk.set(some, filled);
      from += some.length;
      filled += some.length;
      if (filled < size) continue;
      yield chunk;
      filled = 0;
    }
  }
  if (filled > 0) yield chunk.subarray(0, filled);
}
