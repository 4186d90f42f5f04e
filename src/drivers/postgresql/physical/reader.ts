// The bytes of a stream by their number, whatever chunks they come in.

import type { Bytes } from '../../../core/model.ts';

/** What it gives is borrowed until the next call. */
export interface ByteReader {
  /** Exactly so many in one piece: copied only where they lie in several chunks. Null where the stream has ended. */
  exactly(bytes: number): Promise<Buffer | null>;
  /** As many as lie in one piece, `bytesMax` at most. Null where the stream has ended. */
  some(bytesMax: number): Promise<Buffer | null>;
  /** As `exactly`, of what stays to be given. */
  peek(bytes: number): Promise<Buffer | null>;
  /** What can be had now, `bytesMax` at most; nothing where the next chunk has to be waited for. */
  ready(bytesMax: number): Buffer;
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
  async function exactly(bytes: number): Promise<Buffer | null> {
    if (chunk.length - at < bytes && !(await isMore())) return null;
    if (chunk.length - at >= bytes) return taken(bytes);
    const joined = Buffer.allocUnsafe(bytes);
    for (let filled = 0; filled < bytes; ) {
      if (!(await isMore())) throw cut();
      filled += taken(bytes - filled).copy(joined, filled);
    }
    return joined;
  }
  return {
    exactly,
    async peek(bytes) {
      const piece = await exactly(bytes);
      if (piece && at >= bytes) at -= bytes;
      else if (piece) {
        chunk = Buffer.concat([piece, chunk.subarray(at)]);
        at = 0;
      }
      return piece;
    },
    ready: taken,
    some: async (bytesMax) => ((await isMore()) ? taken(bytesMax) : null),
  };
}
