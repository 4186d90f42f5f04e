// Snapshots: each recovery point is one, and stock restic's lie beside them.

import { z } from 'zod';
import { type Failure, isFailure } from '../../core/errors.ts';
import { type ManifestJson, manifestJson, pointFrom } from '../../core/manifest.ts';
import type { Context } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import type { RecoveryPoint } from '../../core/point.ts';
import { getNamed, goTime, listNamed, putNamed, shaped, type Vault } from './documents.ts';

const LOADS_MAX = 16;
export const POINT_TAG = 'lifeboat';
/** A larger manifest lies in the tree only. */
const SUMMARY_BYTES_MAX = 64 * 1024;

const snapshotSchema = z.object({
  time: z.string(),
  tree: z.hex().length(64),
  paths: z.array(z.string()).nullish(),
  hostname: z.string().default(''),
  tags: z.array(z.string()).nullish(),
  lifeboat: z.unknown().optional(),
});

export interface Snapshot {
  readonly id: string;
  readonly timeMs: number;
  readonly tree: Buffer;
  readonly hostname: string;
  readonly paths: readonly string[];
  readonly tags: readonly string[];
  /** The copy of the manifest; null when there is none, as after stock restic has rewritten it. */
  readonly summary: RecoveryPoint | null;
}
export interface Snapshots {
  /** All that there are now, in order of time. */
  load(ctx: Context): Promise<{ readable: readonly Snapshot[]; unreadable: ReadonlyMap<string, Failure> }>;
  put(ctx: Context, point: RecoveryPoint, tree: Buffer): Promise<void>;
  delete(ctx: Context, id: string): Promise<void>;
}

export function snapshotFiles(vault: Vault): Snapshots {
  const known = new Map<string, Snapshot>();
  const unreadable = new Map<string, Failure>();

  async function read(ctx: Context, id: string): Promise<void> {
    try {
      known.set(id, snapshotOf(id, await getNamed(ctx, vault, 'snapshots', id)));
      unreadable.delete(id);
    } catch (error) {
      if (isFailure(error, 'missing')) return; // removed since it was listed
      if (!isFailure(error, 'checksum') && !isFailure(error, 'malformed')) throw error;
      unreadable.set(id, error);
    }
  }

  return {
    async load(ctx) {
      const listed = new Set<string>();
      for await (const id of listNamed(ctx, vault.bucket, 'snapshots')) listed.add(id);
      const fresh = [...listed].filter((id) => !known.has(id));
      await mapBounded(fresh, LOADS_MAX, (id) => read(ctx, id));
      for (const id of known.keys()) if (!listed.has(id)) known.delete(id);
      for (const id of unreadable.keys()) if (!listed.has(id)) unreadable.delete(id);
      return { readable: [...known.values()].sort(byTime), unreadable };
    },
    async put(ctx, point, tree) {
      await putNamed(ctx, vault, 'snapshots', snapshotJson(point, tree));
    },
    async delete(ctx, id) {
      await vault.bucket.delete(ctx, `snapshots/${id}`);
    },
  };
}

function snapshotJson(point: RecoveryPoint, tree: Buffer): unknown {
  const manifest: ManifestJson = manifestJson(point);
  return {
    time: goTime(point.startedAt),
    tree: tree.toString('hex'),
    paths: [`/${point.stack}`],
    hostname: point.stack,
    username: 'lifeboat',
    tags: [POINT_TAG, point.id],
    ...(JSON.stringify(manifest).length <= SUMMARY_BYTES_MAX ? { lifeboat: manifest } : {}),
  };
}

function snapshotOf(id: string, json: unknown): Snapshot {
  const { time, tree, paths, hostname, tags, lifeboat } = shaped(snapshotSchema, json, `snapshots/${id}`);
  return {
    id,
    timeMs: Date.parse(time),
    tree: Buffer.from(tree, 'hex'),
    hostname,
    paths: paths ?? [],
    tags: tags ?? [],
    summary: lifeboat === undefined ? null : pointFrom(lifeboat, `snapshots/${id}`),
  };
}

function byTime(a: Snapshot, b: Snapshot): number {
  return a.timeMs - b.timeMs || (a.id < b.id ? -1 : 1);
}
