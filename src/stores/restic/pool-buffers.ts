/** Buffers that are used again: fresh memory costs more than what is done to it. */
export interface Buffers {
  /** At least so large; what it holds means nothing. */
  take(bytes: number): ArrayBuffer;
  give(buffer: ArrayBuffer): void;
}

/** All are of `size` but for those that have to be larger, which are not kept; nor are more than `keptMax`. */
export function buffers(size: number, keptMax: number): Buffers {
  const kept: ArrayBuffer[] = [];
  return {
    take: (bytes) => (bytes <= size ? kept.pop() : undefined) ?? new ArrayBuffer(Math.max(bytes, size)),
    give(buffer) {
      if (buffer.byteLength === size && kept.length < keptMax) kept.push(buffer);
      else release(buffer);
    },
  };
}

/** Frees the memory now; the collector would take its time. */
export function release(buffer: ArrayBuffer): void {
  buffer.transfer(0);
}
