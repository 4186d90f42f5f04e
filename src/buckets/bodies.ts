// What checks of buckets put.

import type { Failure } from '../core/errors.ts';
import type { Bytes } from '../core/model.ts';

export const GENERATED_CHUNK_BYTES = 300_000;

export async function* pieces(...texts: string[]): Bytes {
  for (const each of texts) yield Buffer.from(each);
}
export async function* broken(bytes: number, cause: Failure): Bytes {
  yield* generated(bytes);
  throw cause;
}

/** The same bytes at each call, in one chunk that is used again: chunks are borrowed. */
export async function* generated(bytes: number): Bytes {
  const chunk = Buffer.alloc(GENERATED_CHUNK_BYTES);
  for (let at = 0; at < bytes; at += chunk.length) yield fill(chunk, at).subarray(0, bytes - at);
}
export function generatedRange(offset: number, length: number): Buffer {
  const first = Math.floor(offset / GENERATED_CHUNK_BYTES) * GENERATED_CHUNK_BYTES;
  const chunks: Buffer[] = [];
  for (let at = first; at < offset + length; at += GENERATED_CHUNK_BYTES) {
    chunks.push(fill(Buffer.alloc(GENERATED_CHUNK_BYTES), at));
  }
  return Buffer.concat(chunks).subarray(offset - first, offset - first + length);
}
function fill(chunk: Buffer, at: number): Buffer {
  for (let i = 0; i < chunk.length; i += 4) chunk.writeUInt32LE(Math.imul(at + i + 1, 2_654_435_761) >>> 0, i);
  return chunk;
}
