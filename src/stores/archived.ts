// What of a store S3 has moved to an archive. Listings name the storage class; whether an object was thawed since, only
// a look at it tells with every server.

import type { Context } from '../core/model.ts';
import { mapOrdered } from '../core/parallel.ts';
import type { Bucket, ObjectInfo } from '../core/storage.ts';

const LOOKS_AT_ONCE = 16;

/** Those of `keys` that can't be read now. */
export async function* archivedOf(
  ctx: Context,
  bucket: Bucket,
  keys: AsyncIterable<string>,
): AsyncIterable<ObjectInfo> {
  for await (const info of mapOrdered(keys, LOOKS_AT_ONCE, (key) => bucket.head(ctx, key))) {
    if (info.archived) yield info;
  }
}
