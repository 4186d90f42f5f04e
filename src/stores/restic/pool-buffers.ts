// Memory that threads share. It is used again, as fresh memory costs more than what is done to it; and it is no
// thread's own, so that it passes between them without work for the collector. One thread has it at a time.

export interface Buffers {
  /** At least so large; what it holds means nothing. */
  take(bytes: number): SharedArrayBuffer;
  give(buffer: SharedArrayBuffer): void;
}

/** New ones are of `size`, or what is asked for when that is more. All are kept: as many as were in use at once. */
export function buffers(size: number): Buffers {
  const kept: SharedArrayBuffer[] = [];
  return {
    take(bytes) {
      const fit = kept.findLastIndex((buffer) => buffer.byteLength >= bytes);
      const [found] = fit < 0 ? [] : kept.splice(fit, 1);
      return found ?? new SharedArrayBuffer(Math.max(bytes, size));
    },
    give: (buffer) => void kept.push(buffer),
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

/**
 * Copies into memory that threads share, a third of the time that `set` takes: that one copies it byte by byte, so that
 * threads which look at the same byte see a whole one. Here nobody looks.
 */
export function copyInto(target: ArrayBufferLike, at: number, source: Uint8Array): void {
  if (source.length > 0) Buffer.from(target, at, source.length).fill(source);
}
