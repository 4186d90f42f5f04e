// Points go manifest first. What is left of them, and of drafts whose process died, is found here.

import { z } from 'zod';
import { isPointId } from '../../core/manifest.ts';
import type { Context } from '../../core/model.ts';
import type { Bucket, Reclaimed, ReclaimOptions } from '../../core/storage.ts';
import { announcedFiles, deleteDraft, deleteFolders } from './draft.ts';
import { DRAFTS, datedManifestKey, INDEXES, OWN, PARTS, PENDING, pendingKey } from './keys.ts';
import type { PlainPoint } from './manifest.ts';
import { deleteKeys, getJson, keysBelow, putJson } from './objects.ts';

const pendingSchema = z.object({ files: z.array(z.string()) });
const CLOCK_KEY = `${OWN}clock`;

/** The note of what is to go comes first: whoever dies in between has it finished by the next `reclaim`. */
export async function removePoint(ctx: Context, bucket: Bucket, plain: PlainPoint): Promise<void> {
  const { id, manifest } = plain.place;
  const files = plain.files().map(({ file }) => file);
  // An imported folder has the manifest of its maker, which describes nothing any more.
  if (manifest !== datedManifestKey(id) && files.some((file) => file.startsWith(`${id}/`)))
    files.push(datedManifestKey(id));
  await putJson(ctx, bucket, pendingKey(id), { files });
  await bucket.delete(ctx, manifest);
  await finishRemoval(ctx, bucket, id, files);
}

async function finishRemoval(ctx: Context, bucket: Bucket, id: string, files: readonly string[]): Promise<void> {
  await deleteKeys(ctx, bucket, files);
  await deleteFolders(ctx, bucket, id);
  await bucket.delete(ctx, pendingKey(id));
}

/** `isPoint` looks for the manifest itself: no listing is trusted for that. */
export async function reclaim(
  ctx: Context,
  bucket: Bucket,
  isPoint: (id: string) => Promise<boolean>,
  { apply, graceMs }: ReclaimOptions,
): Promise<Reclaimed> {
  const found = { bytes: 0, objects: 0, pendingBytes: 0, pendingObjects: 0 };
  const oldBefore = (await bucketTime(ctx, bucket, apply)) - graceMs;
  for (const id of await leftovers(ctx, bucket)) {
    const rubbish = await rubbishOf(ctx, bucket, id, await isPoint(id));
    if (rubbish.objects === 0) continue;
    const waits = rubbish.newest > oldBefore;
    found[waits ? 'pendingBytes' : 'bytes'] += rubbish.bytes;
    found[waits ? 'pendingObjects' : 'objects'] += rubbish.objects;
    if (waits || !apply) continue;
    if (await isPoint(id)) await deleteKeys(ctx, bucket, rubbish.keys);
    else await deleteLeftover(ctx, bucket, id);
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
 * Of a point: what is left of its draft, or of a removal that never reached its manifest. Of no point: all there is.
 */
async function rubbishOf(ctx: Context, bucket: Bucket, id: string, isPoint: boolean): Promise<Rubbish> {
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
  if (isPoint) return { bytes, objects, newest, keys };
  for (const file of await filesOf(ctx, bucket, id)) {
    for await (const each of bucket.list(ctx, file)) if (each.key === file) count(each.bytes, each.modifiedAt);
  }
  return { bytes, objects, newest, keys };
}

async function deleteLeftover(ctx: Context, bucket: Bucket, id: string): Promise<void> {
  await deleteDraft(ctx, bucket, id);
  await finishRemoval(ctx, bucket, id, await pendingFiles(ctx, bucket, id));
}

async function filesOf(ctx: Context, bucket: Bucket, id: string): Promise<readonly string[]> {
  return [...(await pendingFiles(ctx, bucket, id)), ...(await Array.fromAsync(announcedFiles(ctx, bucket, id)))];
}

async function pendingFiles(ctx: Context, bucket: Bucket, id: string): Promise<readonly string[]> {
  for await (const key of keysBelow(ctx, bucket, pendingKey(id))) {
    return (await getJson(ctx, bucket, key, pendingSchema)).files;
  }
  return [];
}

/** The bucket's own clock, so that ages are right whatever ours says. */
async function bucketTime(ctx: Context, bucket: Bucket, apply: boolean): Promise<number> {
  if (!apply) return ctx.now().getTime();
  await bucket.put(ctx, CLOCK_KEY, Buffer.from(`${ctx.now().toISOString()}\n`));
  const { modifiedAt } = await bucket.head(ctx, CLOCK_KEY);
  await bucket.delete(ctx, CLOCK_KEY);
  return modifiedAt.getTime();
}
