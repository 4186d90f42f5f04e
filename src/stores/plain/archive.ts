// Files that S3 has moved to an archive, and which of them a point needs.

import { isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Archive, ArchivedObject, Bucket } from '../../core/storage.ts';
import { archivedOf, leading } from '../archived.ts';
import type { PartIndex } from './index.ts';
import { indexKey } from './keys.ts';

export function plainArchive(
  bucket: Bucket,
  open: (ctx: Context, point: string, component: string) => Promise<PartIndex>,
): Archive | undefined {
  const { thaw } = bucket;
  if (!thaw) return undefined;
  async function* files(ctx: Context, point: string, component: string): AsyncIterable<string> {
    for await (const { key } of (await open(ctx, point, component)).entries(ctx)) yield key;
  }
  async function* index(point: string, component: string): AsyncIterable<string> {
    yield indexKey(point, component);
  }
  return {
    thaw,
    async *needed(ctx, point, components): AsyncIterable<ArchivedObject> {
      if (!(await hasArchived(ctx, bucket))) return;
      for (const component of components) {
        try {
          yield* archivedOf(ctx, bucket, files(ctx, point, component));
        } catch (error) {
          if (!isFailure(error, 'archived')) throw error;
          yield* leading(archivedOf(ctx, bucket, index(point, component)));
        }
      }
    },
  };
}

async function hasArchived(ctx: Context, bucket: Bucket): Promise<boolean> {
  for await (const { archived } of bucket.list(ctx, '')) if (archived) return true;
  return false;
}
