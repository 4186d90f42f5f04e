// Files that S3 has moved to an archive, and which of them a point needs.

import { isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Archive, ArchivedObject, Bucket } from '../../core/storage.ts';
import { archivedOf, leading } from '../archived.ts';
import type { PartIndex } from './index.ts';
import { indexKey, mayBelong, OWN } from './keys.ts';
import type { Layout } from './settings.ts';

export function plainArchive(
  bucket: Bucket,
  layout: Layout,
  open: (ctx: Context, point: string, component: string) => Promise<PartIndex>,
): Archive | undefined {
  const { thaw } = bucket;
  if (!thaw) return undefined;
  /** Only what the listing calls archived is worth a look. */
  async function* files(
    ctx: Context,
    point: string,
    component: string,
    archived: ReadonlySet<string>,
  ): AsyncIterable<string> {
    let before = '';
    for await (const { key } of (await open(ctx, point, component)).entries(ctx)) {
      if (archived.has(key) && key !== before) yield key;
      before = key; // parts that share a file follow one another
    }
  }
  async function* index(point: string, component: string): AsyncIterable<string> {
    yield indexKey(point, component);
  }
  return {
    thaw,
    async *needed(ctx, point, components): AsyncIterable<ArchivedObject> {
      const archived = await archivedKeys(ctx, bucket, layout, point);
      if (archived.size === 0) return;
      for (const component of components) {
        try {
          yield* archivedOf(ctx, bucket, files(ctx, point, component, archived));
        } catch (error) {
          if (!isFailure(error, 'archived')) throw error;
          yield* leading(archivedOf(ctx, bucket, index(point, component)));
        }
      }
    },
  };
}

/** Those that may be of this point: a folder of objects may have a million of each day. */
async function archivedKeys(ctx: Context, bucket: Bucket, layout: Layout, point: string): Promise<ReadonlySet<string>> {
  const keys = new Set<string>();
  for await (const { key, archived } of bucket.list(ctx, '')) {
    if (!archived) continue;
    const [folder = '', file = ''] = key.split('/', 2);
    const isOwn = key.startsWith(OWN)
      ? key.includes(`/${point}/`)
      : mayBelong(layout, point, `${folder}/${file}`, true);
    if (isOwn) keys.add(key);
  }
  return keys;
}
