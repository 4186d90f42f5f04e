// Packs that new points must not lean on: missing, of another size, known to be damaged, or soon to be deleted.

import { z } from 'zod';
import { ERRORS, Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { getOwn, headOf, isId, putOwn, shaped, type Vault } from './documents.ts';
import type { BlobIndex } from './index.ts';
import { packOfKey } from './index-files.ts';
import { HEADER_ENTRY_BYTES, PACK_FRAME_BYTES, packKey } from './pack.ts';
import type { Repository } from './repository.ts';

const PENDING = 'lifeboat/pending-delete/';
const DAMAGED = 'lifeboat/damaged/';
const LOADS_MAX = 8;
/** The entry of a blob that is not compressed has no second length. */
const STORED_ENTRY_SAVES = 4;

const pendingSchema = z.object({
  at: z.iso.datetime({ offset: true }),
  packs: z.array(z.string().refine(isId)),
  /** Of all snapshots at that time: one that a later listing lacks is asked for by name. */
  snapshots: z.array(z.string().refine(isId)),
});

/** Packs that were found unreferenced together. */
export interface Pending {
  readonly key: string;
  readonly at: Date;
  /** When it was written, by the bucket's clock. */
  readonly writtenAt: Date;
  readonly packs: readonly string[];
  readonly snapshots: readonly string[];
}

/** Makes the index forget what new points must not use. */
export async function forgetUnfit(ctx: Context, repository: Repository): Promise<void> {
  const { vault, indexes } = repository;
  const { blobs } = indexes;
  const [sizes, damaged, pending] = await Promise.all([
    packSizes(ctx, vault),
    damagedPacks(ctx, vault),
    pendingDeletions(ctx, vault),
  ]);
  for (const pack of damaged) blobs.forget(pack);
  for (const { packs } of pending) for (const pack of packs) blobs.forget(pack);
  await missingPacks(ctx, repository, sizes);
  for (const pack of indexes.packs()) if (sizes.get(pack) !== indexedBytes(blobs, pack)) blobs.forget(pack);
}

/** Indexed packs that are not there. A listing may be old: what it lacks is asked for by name, and entered. */
export async function missingPacks(
  ctx: Context,
  { vault, indexes }: Repository,
  sizes: Map<string, number>,
): Promise<readonly string[]> {
  const missing: string[] = [];
  for (const pack of indexes.packs()) {
    if (sizes.has(pack)) continue;
    const object = await headOf(ctx, vault, packKey(pack));
    if (object) sizes.set(pack, object.bytes);
    else missing.push(pack);
  }
  return missing;
}

/** Bytes of each pack that is listed. */
export async function packSizes(ctx: Context, { bucket }: Vault): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  for await (const { key, bytes } of bucket.list(ctx, 'data/')) {
    const pack = packOfKey(key);
    if (pack) sizes.set(pack, bytes);
  }
  return sizes;
}

/** The size that a pack has if it holds what the index says. */
export function indexedBytes(index: BlobIndex, pack: string): number {
  const { blobs, compressed, bytes } = index.sumsOf(pack);
  return PACK_FRAME_BYTES + bytes + blobs * HEADER_ENTRY_BYTES - (blobs - compressed) * STORED_ENTRY_SAVES;
}

export async function damagedPacks(ctx: Context, { bucket }: Vault): Promise<string[]> {
  const packs: string[] = [];
  for await (const { key } of bucket.list(ctx, DAMAGED)) {
    const pack = key.slice(DAMAGED.length).replace(/\.json$/, '');
    if (isId(pack)) packs.push(pack);
  }
  return packs;
}
export async function markDamaged(ctx: Context, vault: Vault, pack: string): Promise<void> {
  await putOwn(ctx, vault, `${DAMAGED}${pack}.json`, { seen_at: ctx.now().toISOString() });
}
export async function unmarkDamaged(ctx: Context, { bucket }: Vault, pack: string): Promise<void> {
  await bucket.delete(ctx, `${DAMAGED}${pack}.json`);
}

/** One that can't be read names nothing: nothing is deleted for it, and what it named will be noted anew. */
export async function pendingDeletions(ctx: Context, vault: Vault): Promise<Pending[]> {
  const objects = await Array.fromAsync(vault.bucket.list(ctx, PENDING));
  return await mapBounded(objects, LOADS_MAX, async ({ key, modifiedAt }) => {
    try {
      const { at, packs, snapshots } = shaped(pendingSchema, await getOwn(ctx, vault, key), key);
      return { key, at: new Date(at), writtenAt: modifiedAt, packs, snapshots };
    } catch (error) {
      if (!(error instanceof Failure) || !ERRORS[error.code].lost) throw error;
      ctx.log.warn('a note of pending deletions can not be read', { key, error: error.message });
      return { key, at: modifiedAt, writtenAt: modifiedAt, packs: [], snapshots: [] };
    }
  });
}
export async function putPending(
  ctx: Context,
  vault: Vault,
  name: string,
  { packs, snapshots }: { packs: readonly string[]; snapshots: readonly string[] },
): Promise<void> {
  await putOwn(ctx, vault, `${PENDING}${name}.json`, { at: ctx.now().toISOString(), packs, snapshots });
}
