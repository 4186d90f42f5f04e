// What is done with the objects of any bucket.

import { isFailure } from './errors.ts';
import type { Context } from './model.ts';
import { mapBounded } from './parallel.ts';
import type { Bucket, SmallObject } from './storage.ts';

const PARALLEL = 16;

/** Whether the bucket has a quicker way for many or not. */
export async function putObjects(ctx: Context, bucket: Bucket, objects: readonly SmallObject[]): Promise<void> {
  if (bucket.putAll) return await bucket.putAll(ctx, objects);
  await mapBounded(objects, PARALLEL, ({ key, body, sha256 }) =>
    bucket.put(ctx, key, body, sha256 === undefined ? {} : { sha256 }),
  );
}

export async function isThere(ctx: Context, bucket: Bucket, key: string): Promise<boolean> {
  try {
    await bucket.head(ctx, key);
    return true;
  } catch (error) {
    if (isFailure(error, 'missing')) return false;
    throw error;
  }
}
