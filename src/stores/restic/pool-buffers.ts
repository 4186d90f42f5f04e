// Memory that threads share. It is used again, as fresh memory costs more than what is done to it; and it is no
// thread's own, so that it passes between them without work for the collector. One thread has it at a time.

import { release } from '../../core/bytes.ts';

const MARK_BYTES = 4;

export interface Buffers {
  /** At least so large; what it holds means nothing. */
  take(bytes: number): SharedArrayBuffer;
  give(buffer: SharedArrayBuffer): void;
}

/** New ones are of `size`, and of that doubled as often as it takes. All are kept: as many as were in use at once. */
export function buffers(size: number): Buffers {
  const kept = new Map<number, SharedArrayBuffer[]>();
  return {
    take(bytes) {
      const fit = size * 2 ** Math.max(0, Math.ceil(Math.log2(bytes / size)));
      return kept.get(fit)?.pop() ?? new SharedArrayBuffer(fit);
    },
    give(buffer) {
      const same = kept.get(buffer.byteLength);
      if (same) same.push(buffer);
      else kept.set(buffer.byteLength, [buffer]);
    },
  };
}

/** Of those that nobody has: with fewer, what is taken anew lies about until the collector comes. */
const FREE_MAX = 2;

/** What one thread fills and lends to another one. */
export interface LentBuffers {
  readonly bytes: number;
  /** `bytes` and a mark. Lent from now on; what it holds means nothing. */
  take(): SharedArrayBuffer;
}

/** The lender looks at the mark when it needs memory, so that giving back is no message. */
export function lentBuffers(bytes: number): LentBuffers {
  let kept: SharedArrayBuffer[] = [];
  return {
    bytes,
    take() {
      const free = kept.filter((each) => Atomics.load(markOf(each), 0) === 0);
      const buffer = free[0] ?? new SharedArrayBuffer(bytes + MARK_BYTES);
      kept = [buffer, ...kept.filter((each) => !free.includes(each)), ...free.slice(1, FREE_MAX)];
      Atomics.store(markOf(buffer), 0, 1);
      return buffer;
    },
  };
}

/** Of what was taken there, or was sent as the receiver's own: nobody may look at it any more. */
export function giveBack(buffer: ArrayBufferLike): void {
  if (buffer instanceof ArrayBuffer) release(buffer);
  else Atomics.store(markOf(buffer), 0, 0);
}

function markOf(buffer: SharedArrayBuffer): Int32Array<SharedArrayBuffer> {
  return new Int32Array(buffer, buffer.byteLength - MARK_BYTES, 1);
}

/**
 * Copies into memory that threads share, a third of the time that `set` takes: that one copies it byte by byte, so that
 * threads which look at the same byte see a whole one. Here nobody looks.
 */
export function copyInto(target: ArrayBufferLike, at: number, source: Uint8Array): void {
  if (source.length > 0) Buffer.from(target, at, source.length).fill(source);
}
