// Files that S3 has moved to an archive, and which of them a point needs.

import { isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Archive, Bucket, ObjectInfo } from '../../core/storage.ts';
import { archivedOf } from '../archived.ts';
import type { PartIndex } from './index.ts';
import { indexKey } from './keys.ts';

export function plainArchive(
  bucket: Bucket,
  open: (ctx: Context, point: string, component: string) => Promise<PartIndex>,
): Archive | undefined {
  const { thaw } = bucket;
  if (!thaw) return undefined;
  async function* keys(ctx: Context, point: string, components: readonly string[]): AsyncIterable<string> {
    for (const component of components) {
      try {
        for await (const { key } of (await open(ctx, point, component)).entries(ctx)) yield key;
      } catch (error) {
        if (!isFailure(error, 'archived')) throw error;
        yield indexKey(point, component); // it names the files: they are known when it is back
      }
    }
  }
  return {
    thaw,
    async *needed(ctx, point, components): AsyncIterable<ObjectInfo> {
      if (await hasArchived(ctx, bucket)) yield* archivedOf(ctx, bucket, keys(ctx, point, components));
    },
  };
}

async function hasArchived(ctx: Context, bucket: Bucket): Promise<boolean> {
  for await (const { archived } of bucket.list(ctx, '')) if (archived) return true;
  return false;
}
