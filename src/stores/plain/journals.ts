// Journals in a plain store: the same ranges, compressed, for `zstd -d`.

import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { Bucket } from '../../core/storage.ts';
import { storeJournals } from '../journal.ts';
import { OWN } from './keys.ts';
import { getJson, putJson } from './objects.ts';

export function plainJournals(bucket: Bucket): ReturnType<typeof storeJournals> {
  return storeJournals({
    bucket,
    own: OWN,
    seal: (plain) => zstdCompressSync(plain),
    open: decompress,
    putDocument: (ctx, key, value, options) => putJson(ctx, bucket, key, value, options?.ifAbsent),
    getDocument: (ctx, key) => getJson(ctx, bucket, key, z.unknown()),
  });
}

function decompress(stored: Uint8Array, bytesMax: number): Buffer {
  try {
    return zstdDecompressSync(stored, { maxOutputLength: bytesMax });
  } catch (cause) {
    throw new Failure('checksum', 'a range of a journal can not be decompressed', { cause });
  }
}
