// The keys of a bucket, for checks that what one service names is there in another.

import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { bucketExists } from './buckets.ts';
import { type Client, openClient } from './client.ts';
import { listed } from './listing.ts';
import { isGone, look } from './looking.ts';
import type { Settings } from './settings.ts';

export async function* names(ctx: Context, settings: Settings, bucket: string): AsyncIterable<string> {
  await using client = openClient(ctx, settings);
  for await (const page of listed(ctx, client, { bucket, prefix: '', exclude: [], versions: false })) {
    for (const { key } of page) yield key;
  }
}

export async function holds(
  ctx: Context,
  settings: Settings,
  bucket: string,
  keys: readonly string[],
): Promise<readonly boolean[]> {
  await using client = openClient(ctx, settings);
  if (!(await bucketExists(ctx, client, bucket))) {
    throw new Failure('missing', `there is no bucket ${bucket} at ${client.where}`);
  }
  return await mapBounded(keys, settings.connections, (key) => isThere(ctx, client, bucket, key));
}

async function isThere(ctx: Context, client: Client, bucket: string, key: string): Promise<boolean> {
  try {
    await look(ctx, client, `looking for ${bucket}/${key}`, { bucket, key });
    return true;
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}
