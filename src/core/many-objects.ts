// Many small objects at once, whether a bucket has a quicker way for that or not.

import type { Context } from './model.ts';
import { mapBounded } from './parallel.ts';
import type { Bucket, SmallObject } from './storage.ts';

const PARALLEL = 16;

export async function putObjects(ctx: Context, bucket: Bucket, objects: readonly SmallObject[]): Promise<void> {
  if (bucket.putAll) return await bucket.putAll(ctx, objects);
  await mapBounded(objects, PARALLEL, ({ key, body, sha256 }) =>
    bucket.put(ctx, key, body, sha256 === undefined ? {} : { sha256 }),
  );
}
