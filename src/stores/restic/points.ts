// Recovery points as the snapshots that they are.

import { Failure, messageOf } from '../../core/errors.ts';
import { isPointId, MANIFEST_BYTES_MAX, MANIFEST_PART, parseManifest } from '../../core/manifest.ts';
import type { Context } from '../../core/model.ts';
import type { RecoveryPoint } from '../../core/point.ts';
import { readSmall } from './documents.ts';
import type { Repository } from './repository.ts';
import { POINT_TAG, type Snapshot } from './snapshots.ts';
import { type TreeSource, treeSource } from './source.ts';

export interface StoredPoint {
  readonly point: RecoveryPoint;
  readonly snapshot: Snapshot;
}

/** In order of id. What can't be read is logged and left out: `check` reports it. */
export async function storedPoints(ctx: Context, repository: Repository): Promise<readonly StoredPoint[]> {
  const { readable, unreadable } = await repository.snapshots.load(ctx);
  for (const [id, failure] of unreadable) ctx.log.warn('a snapshot can not be read', { id, error: failure.message });
  const found = new Map<string, StoredPoint>();
  let refreshed = false;
  for (const snapshot of readable) {
    if (!isPoint(snapshot)) continue;
    if (!snapshot.summary && !refreshed) await repository.indexes.refresh(ctx);
    refreshed ||= !snapshot.summary;
    try {
      const point = snapshot.summary ?? (await readManifest(ctx, repository, snapshot));
      // Stock restic can copy a snapshot: the first one is the point.
      if (!found.has(point.id)) found.set(point.id, { point, snapshot });
    } catch (error) {
      if (!(error instanceof Failure) || error.code === 'interrupted') throw error;
      ctx.log.warn('the manifest of a point can not be read', { id: snapshot.id, error: messageOf(error) });
    }
  }
  return [...found.values()].sort((a, b) => (a.point.id < b.point.id ? -1 : 1));
}

export function isPoint(snapshot: Snapshot): boolean {
  return snapshot.summary !== null || snapshot.tags.includes(POINT_TAG);
}

/** The id that the point has if its manifest can't be asked; null for a snapshot of stock restic. */
export function pointIdOf(snapshot: Snapshot): string | null {
  return isPoint(snapshot) ? (snapshot.summary?.id ?? snapshot.tags.find(isPointId) ?? null) : null;
}

/** The truth about a point: the manifest in its tree. */
export async function readManifest(ctx: Context, repository: Repository, snapshot: Snapshot): Promise<RecoveryPoint> {
  const source = await snapshotSource(ctx, repository, snapshot, snapshot.id);
  const text = await readSmall(source.get(ctx, MANIFEST_PART), MANIFEST_BYTES_MAX, `the manifest of ${snapshot.id}`);
  return parseManifest(text.toString('utf8'), snapshot.id);
}

/** All files of a snapshot, ours or stock restic's. */
export async function snapshotSource(
  ctx: Context,
  repository: Repository,
  snapshot: Snapshot,
  point: string,
): Promise<TreeSource> {
  const reader = await repository.reader(ctx);
  const { trees, indexes } = repository;
  return treeSource({ point, component: '', tree: snapshot.tree, trees, reader, blobs: indexes.blobs });
}

/** 'missing' when the point or the component is not there. */
export async function componentSource(
  ctx: Context,
  repository: Repository,
  id: string,
  component: string,
): Promise<TreeSource> {
  const tree = await componentTree(ctx, repository, id, component);
  const reader = await repository.reader(ctx);
  return treeSource({ point: id, component, tree, trees: repository.trees, reader, blobs: repository.indexes.blobs });
}

/** The folder of a component, with the indexes refreshed. 'missing' when the point or the component is not there. */
export async function componentTree(
  ctx: Context,
  repository: Repository,
  id: string,
  component: string,
): Promise<Buffer> {
  // Snapshots first, then indexes: a point that is seen has its index written.
  const stored = (await storedPoints(ctx, repository)).find(({ point }) => point.id === id);
  if (!stored) throw new Failure('missing', `${repository.url} has no point ${id}`);
  const captured = Object.hasOwn(stored.point.components, component) ? stored.point.components[component] : undefined;
  if (captured?.error !== null) throw new Failure('missing', `point ${id} has no component ${component}`);
  await repository.indexes.refresh(ctx);
  const root = await repository.trees.load(ctx, stored.snapshot.tree);
  const tree = root.folder(component)?.subtree;
  if (!tree) throw new Failure('missing', `point ${id} has lost its component ${component}`);
  return tree;
}
