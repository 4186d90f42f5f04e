import { createCipheriv, createHash } from 'node:crypto';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { readAll } from '../../core/bytes.ts';
import type { ByteRange, Bytes, Context } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import { freshKey, type MasterKey } from './crypto.ts';
import { type BlobIndex, blobIndex } from './index.ts';
import { openReader } from './reader.ts';
import { openWriter, type Writer } from './writer.ts';
import type { StoredPack } from './writer-packing.ts';

/** The hot half of a repository in memory: what writers and readers need, and nothing else. */
export interface Rig {
  readonly ctx: Context;
  readonly bucket: Bucket;
  readonly key: MasterKey;
  readonly index: BlobIndex;
  readonly packs: StoredPack[];
  writer(overrides?: { bucket?: Bucket; ctx?: Context; compressionLevel?: number }): Promise<Writer>;
  /** All of a stream, by a reader of its own. */
  read(ids: Uint8Array, range?: ByteRange): Promise<Buffer>;
}

export function rig(inner: Partial<Pick<Rig, 'bucket' | 'key' | 'index'>> = {}): Rig {
  const { bucket = memoryBucket(), key = freshKey(), index = blobIndex() } = inner;
  const ctx = testContext();
  const packs: StoredPack[] = [];
  return {
    ctx,
    bucket,
    key,
    index,
    packs,
    writer: ({ ctx: own = ctx, compressionLevel = 1, ...overrides } = {}) =>
      openWriter(own, {
        bucket,
        key,
        index,
        compressionLevel,
        chunkerSeed: 'seed',
        onPack: (pack) => void packs.push(pack),
        ...overrides,
      }),
    async read(ids, range) {
      await using reader = await openReader(ctx, { bucket, key, index });
      return await readAll(reader.stream(ctx, ids, range), 1024 ** 3);
    },
  };
}

/** Bytes that do not compress, the same for the same seed. */
export function noise(bytes: number, seed = ''): Buffer {
  const secret = createHash('sha512').update(seed).digest();
  return createCipheriv('aes-256-ctr', secret.subarray(0, 32), secret.subarray(32, 48)).update(Buffer.alloc(bytes));
}

/** A body in pieces of one buffer that is overwritten each time, as borrowed chunks may be. */
export async function* inPieces(data: Uint8Array, bytes: number): Bytes {
  const piece = Buffer.alloc(bytes);
  for (let at = 0; at < data.length; at += bytes) {
    const length = Math.min(bytes, data.length - at);
    piece.set(data.subarray(at, at + length));
    yield piece.subarray(0, length);
  }
}
