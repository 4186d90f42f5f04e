// Which points there are, and whose a file is.

import { isFailure } from '../../core/errors.ts';
import { isPointId } from '../../core/manifest.ts';
import type { Context } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import type { Bucket } from '../../core/storage.ts';
import { MANIFESTS, mayShareStamps } from './keys.ts';
import { findPoint, type PlainPoint } from './manifest.ts';
import { keysBelow } from './objects.ts';
import type { Layout } from './settings.ts';

const MANIFESTS_AT_ONCE = 32;
const END = '.json';

interface Listed {
  readonly id: string;
  readonly plain: PlainPoint | null;
  readonly problem: unknown;
}

/** Every id that has a manifest of ours, in order; `plain` is null where it can't be read. */
export async function* points(ctx: Context, bucket: Bucket, layout: Layout): AsyncIterable<Listed> {
  const ids = await pointIds(ctx, bucket, layout);
  for (let at = 0; at < ids.length; at += MANIFESTS_AT_ONCE) {
    const batch = ids.slice(at, at + MANIFESTS_AT_ONCE);
    const found = await Promise.all(
      batch.map(async (id): Promise<Listed | null> => {
        try {
          const plain = await findPoint(ctx, bucket, layout, id);
          return plain && { id, plain, problem: undefined };
        } catch (problem) {
          if (!isDamage(problem)) throw problem;
          return { id, plain: null, problem };
        }
      }),
    );
    for (const each of found) if (each) yield each;
  }
}

async function pointIds(ctx: Context, bucket: Bucket, layout: Layout): Promise<readonly string[]> {
  const ids = new Set<string>();
  if (layout === 'dated') for await (const folder of bucket.folders(ctx, '')) ids.add(folder.slice(0, -1));
  for await (const key of keysBelow(ctx, bucket, MANIFESTS))
    if (key.endsWith(END)) ids.add(key.slice(MANIFESTS.length, -END.length));
  return [...ids].filter(isPointId).sort();
}

/**
 * Of the points whose files could be this one's as well: where the stamps in names are read in several zones, several
 * points may name one file. A point whose manifest is damaged owns none until that is mended.
 */
export async function filesOfOthers(
  ctx: Context,
  bucket: Bucket,
  layout: Layout,
  id: string,
): Promise<ReadonlySet<string>> {
  if (layout === 'dated') return new Set(); // the folder says whose they are
  const near = (await pointIds(ctx, bucket, layout)).filter((other) => mayShareStamps(id, other));
  const found = await mapBounded(near, MANIFESTS_AT_ONCE, (other) => readable(ctx, bucket, layout, other));
  return new Set(found.flatMap((each) => each?.files() ?? []).map(({ file }) => file));
}

async function readable(ctx: Context, bucket: Bucket, layout: Layout, id: string): Promise<PlainPoint | null> {
  try {
    return await findPoint(ctx, bucket, layout, id);
  } catch (error) {
    if (isDamage(error)) return null;
    throw error;
  }
}

export function isDamage(error: unknown): boolean {
  return isFailure(error, 'malformed') || isFailure(error, 'checksum');
}
