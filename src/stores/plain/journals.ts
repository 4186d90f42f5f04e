// Journals in a plain store: the same ranges, compressed, for `zstd -d`.

import { type ZstdOptions, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { z } from 'zod';
import { releaseLarge } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { Bucket } from '../../core/storage.ts';
import { storeJournals } from '../journal.ts';
import { OWN } from './keys.ts';
import { getJson, putJson } from './objects.ts';

/** So that any result fits in one piece: Node's own are small, and many of them cost more than the work. */
const MORE_BYTES = 64 * 1024;

export function plainJournals(bucket: Bucket): ReturnType<typeof storeJournals> {
  return storeJournals({
    bucket,
    own: OWN,
    seal: (plain) => zstdCompressSync(plain, { chunkSize: plain.length + MORE_BYTES }),
    open: (stored, bytesMax) => decompress(stored, { maxOutputLength: bytesMax }),
    holds(stored, plain) {
      const options = { maxOutputLength: Math.max(1, plain.length), chunkSize: plain.length + MORE_BYTES };
      const opened = decompress(stored, options);
      const isSame = opened.equals(plain);
      releaseLarge(opened);
      return isSame;
    },
    putDocument: (ctx, key, value, options) => putJson(ctx, bucket, key, value, options?.ifAbsent),
    getDocument: (ctx, key) => getJson(ctx, bucket, key, z.unknown()),
  });
}

function decompress(stored: Uint8Array, options: ZstdOptions): Buffer {
  try {
    return zstdDecompressSync(stored, options);
  } catch (cause) {
    throw new Failure('checksum', 'a range of a journal can not be decompressed', { cause });
  }
}
