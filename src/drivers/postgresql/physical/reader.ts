// The bytes of a stream by their number, whatever chunks they come in.

import type { Bytes } from '../../../core/model.ts';

/** What it gives is borrowed until the next call. */
export interface ByteReader {
  /** Exactly so many in one piece: copied only where they lie in several chunks. Null where the stream has ended. */
  exactly(bytes: number): Promise<Buffer | null>;
  /** As many as lie in one piece, `bytesMax` at most. Null where the stream has ended. */
  some(bytesMax: number): Promise<Buffer | null>;
}

/** `cut` is thrown where the stream ends in the middle of what is asked for. */
export function byteReader(body: Bytes, cut: () => Error): ByteReader {
  const chunks = body[Symbol.asyncIterator]();
  let chunk: Buffer = Buffer.alloc(0);
  let at = 0;

  async function isMore(): Promise<boolean> {
    while (at === chunk.length) {
      const next = await chunks.next();
      if (next.done) return false;
      const { buffer, byteOffset, length } = next.value;
      chunk = Buffer.from(buffer, byteOffset, length);
      at = 0;
    }
    return true;
  }
  function taken(bytes: number): Buffer {
    const piece = chunk.subarray(at, at + bytes);
    at += piece.length;
    return piece;
  }
  return {
    async exactly(bytes) {
      if (!(await isMore())) return null;
      if (chunk.length - at >= bytes) return taken(bytes);
      const joined = Buffer.allocUnsafe(bytes);
      for (let filled = 0; filled < bytes; ) {
        if (!(await isMore())) throw cut();
        filled += taken(bytes - filled).copy(joined, filled);
      }
      return joined;
    },
    some: async (bytesMax) => ((await isMore()) ? taken(bytesMax) : null),
  };
}
