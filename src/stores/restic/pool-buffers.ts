// Memory that threads share. It is used again, as fresh memory costs more than what is done to it; and it is no
// thread's own, so that it passes between them without work for the collector. One thread has it at a time.

export interface Buffers {
  /** At least so large; what it holds means nothing. */
  take(bytes: number): SharedArrayBuffer;
  give(buffer: SharedArrayBuffer): void;
}

/** All are of `size` but for those that have to be larger, which are not kept. */
export function buffers(size: number): Buffers {
  const kept: SharedArrayBuffer[] = [];
  return {
    take: (bytes) => (bytes <= size ? kept.pop() : undefined) ?? new SharedArrayBuffer(Math.max(bytes, size)),
    give(buffer) {
      if (buffer.byteLength === size) kept.push(buffer);
    },
  };
}

/** Frees memory now, where the collector would let a hundred MiB of it lie. */
export function release(buffer: ArrayBufferLike): void {
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/** The same for what zlib returned. Small results share their memory with others. */
export function releaseLarge(data: Buffer): void {
  if (data.buffer.byteLength > Buffer.poolSize) release(data.buffer);
}
