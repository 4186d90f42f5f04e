import { createHash } from 'node:crypto';
import type { Bytes } from './model.ts';

export async function* bytesOf(data: string | Uint8Array): Bytes {
  yield typeof data === 'string' ? Buffer.from(data) : data;
}

/** Frees memory now, where the collector would let a hundred MiB of it lie. */
export function release(buffer: ArrayBufferLike): void {
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
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
export function measured(body: Bytes): { body: Bytes; sum(): { bytes: number; sha256: string } } {
  const hash = createHash('sha256');
  let bytes = 0;
  async function* tee(): Bytes {
    for await (const chunk of body) {
      hash.update(chunk);
      bytes += chunk.length;
      yield chunk;
    }
  }
  return { body: tee(), sum: () => ({ bytes, sha256: hash.digest('hex') }) };
}

/** The lines of a UTF-8 stream, without their ends. A line longer than `bytesMax` throws. */
export async function* linesOf(body: Bytes, bytesMax = 16 * 1024 * 1024): AsyncIterable<string> {
  let held: Buffer[] = []; // the beginning of a line, joined only once its end is there
  let bytes = 0;
  for await (const chunk of body) {
    let data = Buffer.from(chunk);
    for (let end = data.indexOf(10); end >= 0; end = data.indexOf(10)) {
      const line = data.subarray(0, end);
      yield (held.length === 0 ? line : Buffer.concat([...held, line])).toString('utf8');
      held = [];
      bytes = 0;
      data = data.subarray(end + 1);
    }
    if (data.length > 0) held.push(data);
    bytes += data.length;
    if (bytes > bytesMax) throw new RangeError(`a line is longer than ${bytesMax} bytes`);
  }
  if (bytes > 0) yield Buffer.concat(held).toString('utf8');
}

/** Joins small pieces into chunks of about `size` bytes, so that what follows is called less often. */
export async function* batched(pieces: AsyncIterable<string | Uint8Array>, size = 256 * 1024): Bytes {
  let held: Buffer[] = [];
  let bytes = 0;
  for await (const piece of pieces) {
    const data = Buffer.from(piece as string); // copies: pieces are borrowed
    held.push(data);
    bytes += data.length;
    if (bytes < size) continue;
    yield Buffer.concat(held, bytes);
    held = [];
    bytes = 0;
  }
  if (bytes > 0) yield Buffer.concat(held, bytes);
}
