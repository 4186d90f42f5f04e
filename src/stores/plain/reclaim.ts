// Points go manifest first. What is left of them, and of drafts whose process died, is found here.

import { z } from 'zod';
import { Failure, isFailure } from '../../core/errors.ts';
import { isPointId } from '../../core/manifest.ts';
import type { Context } from '../../core/model.ts';
import { isThere } from '../../core/objects.ts';
import type { Bucket, Reclaimed, ReclaimOptions } from '../../core/storage.ts';
import type { PlainBucket } from './book.ts';
import { announcedFiles, deleteDraft, deleteFolders } from './draft.ts';
import {
  DRAFTS,
  datedDigestKey,
  datedManifestKey,
  draftKey,
  INDEXES,
  isFolder,
  mayBelong,
  OWN,
  ownDigestKey,
  PARTS,
  PENDING,
  pendingKey,
} from './keys.ts';
import { IMPORTED, type PlainPoint } from './manifest.ts';
import { deleteKeys, findNote, keysBelow, keysOf, putJson } from './objects.ts';
import { filesOfOthers } from './points.ts';

/** The files that are to go; `imported`, when other programs have named them. */
const pendingSchema = z.object({ files: z.array(z.string()), imported: z.boolean().default(false) });
type Pending = z.output<typeof pendingSchema>;
const NOTHING: Pending = { files: [], imported: false };
const CLOCK_KEY = `${OWN}clock`;

/**
 * Resolves to the bytes that went. The note of what is to go comes first: whoever dies in between has it finished by
 * the next `reclaim`.
 */
export async function removePoint(ctx: Context, store: PlainBucket, plain: PlainPoint): Promise<number> {
  const { bucket } = store;
  const { id, manifest } = plain.place;
  const files = plain.files().map(({ file }) => file);
  // An imported folder has the manifest of its maker, which describes nothing any more.
  if (manifest !== datedManifestKey(id) && files.some((file) => file.startsWith(`${id}/`)))
    files.push(datedManifestKey(id));
  const imported = Object.values(plain.point.components).some(({ method }) => method === IMPORTED);
  await putJson(ctx, bucket, pendingKey(id), { files, imported });
  await bucket.delete(ctx, manifest);
  const own = await ownFiles(ctx, store, id, { files, imported });
  const { bytes } = await rubbishOf(ctx, store, id, own);
  await finishRemoval(ctx, store, id, own);
  return bytes;
}

async function finishRemoval(
  ctx: Context,
  { bucket }: PlainBucket,
  id: string,
  files: readonly string[],
): Promise<void> {
  await deleteKeys(ctx, bucket, keysOf(ctx, bucket, files));
  await deleteFolders(ctx, bucket, id);
  await bucket.delete(ctx, pendingKey(id));
}

async function ownFiles(
  ctx: Context,
  { bucket, layout }: PlainBucket,
  id: string,
  { files, imported }: Pending,
): Promise<readonly string[]> {
  const others = files.length > 0 ? await filesOfOthers(ctx, bucket, layout, id) : new Set();
  return files.filter((file) => {
    const own = mayBelong(layout, id, file, imported) && !others.has(file);
    if (!own) ctx.log.warn('a removal names a file that is none of its point: left alone', { point: id, file });
    return own;
  });
}

/** `isPoint` looks for the manifest itself: no listing is trusted for that. */
export async function reclaim(
  ctx: Context,
  store: PlainBucket,
  isPoint: (id: string) => Promise<boolean>,
  { apply, graceMs }: ReclaimOptions,
): Promise<Reclaimed> {
  const { bucket } = store;
  const found = { bytes: 0, objects: 0, pendingBytes: 0, pendingObjects: 0 };
  const oldBefore = (await bucketTime(ctx, bucket, apply)) - graceMs;
  const ids = await leftovers(ctx, bucket);
  for (const [at, id] of ids.entries()) {
    ctx.progress({ task: bucket.url, phase: 'look', items: at, itemsTotal: ids.length });
    const rubbish = await rubbishOf(ctx, store, id, (await isPoint(id)) ? null : await filesOf(ctx, store, id));
    if (rubbish.objects === 0) continue;
    let goes = rubbish.newest <= oldBefore;
    if (goes && apply) {
      if (await isPoint(id)) await deleteKeys(ctx, bucket, rubbish.keys);
      else goes = await deleteLeftover(ctx, store, id, oldBefore);
    }
    found[goes ? 'bytes' : 'pendingBytes'] += rubbish.bytes;
    found[goes ? 'objects' : 'pendingObjects'] += rubbish.objects;
  }
  return found;
}

interface Rubbish {
  readonly bytes: number;
  readonly objects: number;
  readonly newest: number;
  /** Only of a committed point, which has little. */
  readonly keys: readonly string[];
}

/** Ids that something of ours lies under besides a manifest. */
async function leftovers(ctx: Context, bucket: Bucket): Promise<readonly string[]> {
  const ids = new Set<string>();
  for (const folder of [DRAFTS, INDEXES, PARTS]) {
    for await (const name of bucket.folders(ctx, folder)) ids.add(name.slice(0, -1));
  }
  for await (const key of keysBelow(ctx, bucket, PENDING)) ids.add(key.slice(PENDING.length, -'.json'.length));
  return [...ids].filter(isPointId).sort();
}

/**
 * Of a point, which has no files to lose: what is left of its draft, or of a removal that never reached its manifest.
 * Of no point: all there is.
 */
async function rubbishOf(
  ctx: Context,
  { bucket }: PlainBucket,
  id: string,
  files: readonly string[] | null,
): Promise<Rubbish> {
  const isPoint = files === null;
  const prefixes = [`${DRAFTS}${id}/`, pendingKey(id), ...(isPoint ? [] : [`${PARTS}${id}/`, `${INDEXES}${id}/`])];
  const keys: string[] = [];
  let [bytes, objects, newest] = [0, 0, 0];
  const count = (size: number, modifiedAt: Date): void => {
    bytes += size;
    objects += 1;
    newest = Math.max(newest, modifiedAt.getTime());
  };
  for (const prefix of prefixes) {
    for await (const each of bucket.list(ctx, prefix)) {
      count(each.bytes, each.modifiedAt);
      if (isPoint) keys.push(each.key);
    }
  }
  for (const file of files ?? []) {
    for await (const each of bucket.list(ctx, file))
      if (each.key === file || isFolder(file)) count(each.bytes, each.modifiedAt);
  }
  return { bytes, objects, newest, keys };
}

/** Asked once all is written but the manifest: 'lease-lost' when what lay there for long is being cleared away. */
export async function refuseCleared(ctx: Context, bucket: Bucket, id: string): Promise<void> {
  if (!(await isThere(ctx, bucket, pendingKey(id)))) return;
  throw new Failure('lease-lost', `${bucket.url}: ${id} was left alone for so long that it is being cleared away`);
}

/**
 * False when somebody has taken the draft up meanwhile. Who resumes or commits it writes first and then looks for the
 * note; here it is the other way round, so one of the two sees the other.
 */
async function deleteLeftover(ctx: Context, store: PlainBucket, id: string, oldBefore: number): Promise<boolean> {
  const { bucket } = store;
  const pending = await findNote(ctx, bucket, pendingKey(id), pendingSchema);
  if (!pending) {
    await putJson(ctx, bucket, pendingKey(id), NOTHING);
    if (await isInUse(ctx, bucket, id, oldBefore)) {
      await bucket.delete(ctx, pendingKey(id));
      return false;
    }
  }
  await deleteDraft(ctx, store, id);
  await finishRemoval(ctx, store, id, await ownFiles(ctx, store, id, pending ?? NOTHING));
  return true;
}

async function isInUse(ctx: Context, bucket: Bucket, id: string, oldBefore: number): Promise<boolean> {
  // What a resume or a commit has just written is asked for by its key: a listing may be stale.
  for (const key of [draftKey(id), datedDigestKey(id), ownDigestKey(id)]) {
    if ((await writtenAt(ctx, bucket, key)) > oldBefore) return true;
  }
  for (const prefix of [`${DRAFTS}${id}/`, `${INDEXES}${id}/`, `${PARTS}${id}/`]) {
    for await (const { modifiedAt } of bucket.list(ctx, prefix)) if (modifiedAt.getTime() > oldBefore) return true;
  }
  return false;
}

/** 0 when it is not there. */
async function writtenAt(ctx: Context, bucket: Bucket, key: string): Promise<number> {
  try {
    return (await bucket.head(ctx, key)).modifiedAt.getTime();
  } catch (error) {
    if (isFailure(error, 'missing')) return 0;
    throw error;
  }
}

async function filesOf(ctx: Context, store: PlainBucket, id: string): Promise<readonly string[]> {
  const pending = (await findNote(ctx, store.bucket, pendingKey(id), pendingSchema)) ?? NOTHING;
  return [...(await ownFiles(ctx, store, id, pending)), ...(await Array.fromAsync(announcedFiles(ctx, store, id)))];
}

/** The bucket's own clock, so that ages are right whatever ours says. */
async function bucketTime(ctx: Context, bucket: Bucket, apply: boolean): Promise<number> {
  if (!apply) return ctx.now().getTime();
  await bucket.put(ctx, CLOCK_KEY, Buffer.from(`${ctx.now().toISOString()}\n`));
  const { modifiedAt } = await bucket.head(ctx, CLOCK_KEY);
  await bucket.delete(ctx, CLOCK_KEY);
  return modifiedAt.getTime();
}
