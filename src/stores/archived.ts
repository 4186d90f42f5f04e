// What of a store S3 has moved to an archive. Listings name the storage class; whether an object was thawed since, only
// a look at it tells with every server.

import type { Context } from '../core/model.ts';
import { mapOrdered } from '../core/parallel.ts';
import type { ArchivedObject, Bucket } from '../core/storage.ts';

const LOOKS_AT_ONCE = 16;

/** Those of `keys` that can't be read now. */
export async function* archivedOf(
  ctx: Context,
  bucket: Bucket,
  keys: AsyncIterable<string>,
): AsyncIterable<ArchivedObject> {
  for await (const info of mapOrdered(keys, LOOKS_AT_ONCE, (key) => bucket.head(ctx, key))) {
    if (info.archived) yield info;
  }
}

/** What a store can't be opened without, when it was archived. It needs no store that is open. */
export function essentials(
  bucket: Bucket,
  isEssential: (key: string) => boolean,
): { needed(ctx: Context): AsyncIterable<ArchivedObject>; thaw: NonNullable<Bucket['thaw']> } | null {
  const { thaw } = bucket;
  if (!thaw) return null;
  async function* keys(ctx: Context): AsyncIterable<string> {
    for await (const { key, archived } of bucket.list(ctx, '')) if (archived && isEssential(key)) yield key;
  }
  return { thaw, needed: (ctx) => leading(archivedOf(ctx, bucket, keys(ctx))) };
}

/** Those that have to be back before others are known. */
export async function* leading(objects: AsyncIterable<ArchivedObject>): AsyncIterable<ArchivedObject> {
  for await (const object of objects) yield { ...object, leads: true };
}
