// For staging services: emptied after a drill.

import type { Chain } from '../../core/component.ts';
import { isFailure, messageOf } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { bucketExists, readBuckets } from './buckets.ts';
import { type Client, openClient } from './client.ts';
import { listed } from './listing.ts';
import { isCovered } from './selection.ts';
import type { Settings } from './settings.ts';
import { allVersions, deleteAll } from './target.ts';

const REASONS_MAX = 10;

/**
 * The buckets of the point, with all versions of all objects: those that `filled` names, which were empty or not there
 * before, and those that the settings name, which a probe has looked into. In others nobody has.
 */
export async function clear(
  ctx: Context,
  settings: Settings,
  filled: ReadonlySet<string>,
  { base }: Chain,
): Promise<readonly string[]> {
  const { buckets } = await readBuckets(ctx, base);
  await using client = openClient(ctx, settings);
  const left: string[] = [];
  for (const captured of buckets) {
    const { name: bucket, prefix, exclude } = captured;
    if (!(await bucketExists(ctx, client, bucket))) continue;
    if (!filled.has(bucket) && !isCovered(captured, settings.scopes)) {
      left.push(`bucket ${bucket} stays: the settings do not name all that the point has of it`);
      continue;
    }
    const scope = { bucket, prefix, exclude };
    for await (const page of allVersions(ctx, client, scope))
      left.push(...(await deleteAll(ctx, client, bucket, page)));
    for await (const page of listed(ctx, client, { ...scope, versions: false })) {
      left.push(...(await deleteAll(ctx, client, bucket, page)));
    }
    if (prefix === '' && exclude.length === 0) left.push(...(await removeBucket(ctx, client, bucket)));
  }
  return left.slice(0, REASONS_MAX);
}

async function removeBucket(ctx: Context, client: Client, bucket: string): Promise<string[]> {
  try {
    await client.send(ctx, `removing the bucket ${bucket}`, { method: 'DELETE', bucket });
    return [];
  } catch (error) {
    if (isFailure(error, 'missing')) return [];
    if (!isFailure(error) || ['unreachable', 'timeout', 'interrupted'].includes(error.code)) throw error;
    return [`bucket ${bucket} stays: ${messageOf(error)}`];
  }
}
