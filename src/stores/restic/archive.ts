// Packs that S3 has moved to an archive, and which of them a point needs.

import { isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Archive, ArchivedObject } from '../../core/storage.ts';
import { archivedOf, leading } from '../archived.ts';
import { packKey } from './pack.ts';
import { componentTree } from './points.ts';
import type { Repository } from './repository.ts';
import { walkTrees } from './walk.ts';

export function repositoryArchive(repository: Repository): Archive | undefined {
  const { thaw } = repository.vault.bucket;
  if (!thaw) return undefined;
  return { thaw, needed: (ctx, point, components) => neededPacks(ctx, repository, point, components) };
}

async function* neededPacks(
  ctx: Context,
  repository: Repository,
  point: string,
  components: readonly string[],
): AsyncIterable<ArchivedObject> {
  const { bucket } = repository.vault;
  const archived = new Set<string>();
  for await (const { key, archived: isArchived } of bucket.list(ctx, 'data/')) if (isArchived) archived.add(key);
  if (archived.size === 0) return;
  async function* keys(packs: Iterable<string>): AsyncIterable<string> {
    for (const pack of packs) if (archived.has(packKey(pack))) yield packKey(pack);
  }
  const packs = await packsOf(ctx, repository, point, components);
  if (packs) return yield* archivedOf(ctx, bucket, keys(packs));
  // It is not known which folders are needed next, so that all are asked for at once.
  yield* leading(archivedOf(ctx, bucket, keys(treePacks(repository))));
}

/** Null when folders can't be read. */
async function packsOf(
  ctx: Context,
  repository: Repository,
  point: string,
  components: readonly string[],
): Promise<Iterable<string> | null> {
  const packs = new Set<string>();
  try {
    const roots: Buffer[] = [];
    for (const component of components) roots.push(await componentTree(ctx, repository, point, component));
    await walkTrees(ctx, repository, roots, {
      blob(id, tree) {
        const place = repository.indexes.blobs.find(id, tree);
        if (place) packs.add(place.pack);
      },
    });
    return packs;
  } catch (error) {
    if (!isFailure(error, 'archived')) throw error;
    return null;
  }
}

function* treePacks({ indexes }: Repository): Iterable<string> {
  for (const pack of indexes.packs()) {
    for (const entry of indexes.blobs.entriesOf(pack)) {
      if (!indexes.blobs.placeAt(entry).tree) continue;
      yield pack;
      break;
    }
  }
}
