// Frees what no point needs. What is found unreferenced is noted first, and deleted when it is still unreferenced after
// the grace: a writer that nobody saw, or a listing that was old, does no harm in between. Rules 5 to 8 of
// docs/format.md.

import { randomUUID } from 'node:crypto';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Reclaimed, ReclaimOptions } from '../../core/storage.ts';
import { headOf } from './documents.ts';
import { draftReceipts, removeDraft, unfinishedDrafts } from './drafts.ts';
import type { BlobIndex } from './index.ts';
import { type PackList, putIndexes } from './index-files.ts';
import type { Lock } from './locks.ts';
import { packKey } from './pack.ts';
import { pointIdOf } from './points.ts';
import { repack } from './repack.ts';
import type { Repository } from './repository.ts';
import { treeOfReceipt } from './sink.ts';
import type { Snapshot } from './snapshots.ts';
import {
  damagedPacks,
  missingPacks,
  type Pending,
  packSizes,
  pendingDeletions,
  putPending,
  unmarkDamaged,
} from './unfit.ts';
import { walkTrees } from './walk.ts';

const SKEW_MS_MAX = 5 * 60_000;
/** A draft that nobody goes on with for so long is given up. */
const DRAFT_KEPT_MS = 7 * 24 * 3_600_000;
/** A pack with more rubbish than this share is rewritten. */
const RUBBISH_MAX = 0.25;
/** More small index files than this are merged: each costs a request whenever the store is opened. */
const SMALL_INDEXES_MAX = 16;
const SMALL_INDEX_PACKS = 64;
/** Each so manieth tree that is looked at is told. */
const TREES_TOLD = 100;
/** What stock restic calls a pack while it writes it; its own prune does not see these. */
const UNFINISHED_PACK = /^data\/[0-9a-f]{2}\/[0-9a-f]{64}-tmp-[^/]*$/;

export async function reclaimRepository(
  ctx: Context,
  repository: Repository,
  { apply, graceMs }: ReclaimOptions,
): Promise<Reclaimed> {
  if (!apply) {
    const found = await look(ctx, repository, ctx.now());
    return figuresOf(found, dueOf(ctx, found, ctx.now(), graceMs));
  }
  await using lock = await repository.locks.acquire(ctx, 'exclusive');
  if (Math.abs(lock.skewMs) > SKEW_MS_MAX) {
    throw new Failure('clock-skew', `${repository.url}: its clock and ours differ by ${lock.skewMs} ms`, {
      hint: 'set the clock of this machine; nothing was deleted',
    });
  }
  await clearDrafts(ctx, repository, lock);
  const found = await look(ctx, repository, lock.takenAt);
  const due = dueOf(ctx, found, lock.takenAt, graceMs);
  await note(ctx, repository, found);
  await retire(ctx, repository, found);
  await rewriteIndexes(ctx, repository, lock, found, due);
  await deletePacks(ctx, repository, lock, found, due);
  return figuresOf(found, due);
}

interface Found {
  readonly snapshots: readonly Snapshot[];
  readonly pending: readonly Pending[];
  /** Listed packs and their bytes. */
  readonly sizes: Map<string, number>;
  /** By entry of the index. */
  readonly needed: Uint8Array;
  /** Listed packs that nothing needs. */
  readonly rubbish: Set<string>;
  /** Indexed packs that are not there, and that nothing needs. */
  readonly gone: readonly string[];
  /** Partly needed packs that hold too much rubbish. */
  readonly mixed: readonly string[];
  /** What a stock restic that was killed left of packs. */
  readonly strays: readonly string[];
}

/** Reads everything that says what is needed, and stops at the first doubt: nothing was changed by then. */
async function look(ctx: Context, repository: Repository, now: Date): Promise<Found> {
  const { vault, indexes } = repository;
  const pending = await pendingDeletions(ctx, vault);
  const snapshots = await trustedSnapshots(ctx, repository, pending);
  await indexes.refresh(ctx);
  for (const pack of pending.flatMap(({ packs }) => packs)) indexes.blobs.forget(pack);
  for (const pack of await damagedPacks(ctx, vault)) indexes.blobs.forget(pack);
  const sizes = await packSizes(ctx, vault);
  const gone = await missingPacks(ctx, repository, sizes);
  for (const pack of gone) indexes.blobs.forget(pack); // another pack may have the same blobs by now
  const needed = await findNeeded(ctx, repository, snapshots);
  const isNeeded = (pack: string): boolean => [...indexes.blobs.entriesOf(pack)].some((entry) => needed[entry]);
  const lost = gone.find(isNeeded);
  if (lost) throw lostFailure(repository, `pack ${lost}`);
  const rubbish = new Set([...sizes.keys()].filter((pack) => !isNeeded(pack)));
  const mixed = [...sizes.keys()].filter(
    (pack) => !rubbish.has(pack) && rubbishShare(indexes.blobs, pack, needed) > RUBBISH_MAX,
  );
  return { snapshots, pending, sizes, needed, rubbish, gone, mixed, strays: await strayObjects(ctx, repository, now) };
}

/** Every snapshot there is, or none at all: an unreadable or unlisted one would make its data look unneeded. */
async function trustedSnapshots(
  ctx: Context,
  repository: Repository,
  pending: readonly Pending[],
): Promise<readonly Snapshot[]> {
  const { readable, unreadable } = await repository.snapshots.load(ctx);
  for (const [id, cause] of unreadable) {
    throw new Failure('checksum', `snapshot ${id} can't be read, so nobody knows what it needs`, {
      cause,
      hint: `delete snapshots/${id} if it is given up; nothing was deleted`,
    });
  }
  const listed = new Set(readable.map(({ id }) => id));
  for (const id of new Set(pending.flatMap(({ snapshots }) => snapshots))) {
    if (listed.has(id) || !(await headOf(ctx, repository.vault, `snapshots/${id}`))) continue;
    throw new Failure('unreachable', `${repository.url}: the listing lacks snapshot ${id}, which is there`, {
      hint: 'the listing is out of date; try again later; nothing was deleted',
    });
  }
  return readable;
}

async function findNeeded(ctx: Context, repository: Repository, snapshots: readonly Snapshot[]): Promise<Uint8Array> {
  const { blobs } = repository.indexes;
  const needed = new Uint8Array(blobs.size);
  let trees = 0;
  const mark = (id: Buffer, tree: boolean): void => {
    if (tree && trees++ % TREES_TOLD === 0) ctx.progress({ task: repository.url, phase: 'look', items: trees });
    const entry = blobs.entryOf(id, tree);
    if (entry < 0) throw lostFailure(repository, `blob ${id.toString('hex')}`);
    needed[entry] = 1;
  };
  const roots = snapshots.map(({ tree }) => tree);
  await walkTrees(ctx, repository, roots, { blob: mark });
  for await (const { id } of unfinishedDrafts(ctx, repository)) {
    for (const receipt of await draftReceipts(ctx, repository, id)) {
      try {
        await walkTrees(ctx, repository, [treeOfReceipt(receipt)], { blob: mark });
      } catch (error) {
        if (!isFailure(error, 'missing') && !isFailure(error, 'checksum')) throw error;
        ctx.log.warn('a draft has lost its data and can not be resumed', { draft: id, component: receipt.component });
      }
    }
  }
  return needed;
}

/** Copies what is needed out of mixed packs; these are rubbish from now on, whatever was noted of them before. */
async function retire(ctx: Context, repository: Repository, found: Found): Promise<void> {
  if (found.mixed.length === 0) return;
  const packs = await repack(ctx, repository, found.mixed, (entry) => found.needed[entry] === 1);
  for (const pack of packs) {
    repository.indexes.blobs.forget(pack);
    found.rubbish.add(pack);
  }
  await putNote(ctx, repository, found, packs);
}

/** Rubbish that was noted long enough ago, by the bucket's clock and by ours. */
function dueOf(ctx: Context, { pending, rubbish }: Found, bucketNow: Date, graceMs: number): Set<string> {
  const due = new Set<string>();
  for (const { at, writtenAt, packs } of pending) {
    const waitedMs = Math.min(bucketNow.getTime() - writtenAt.getTime(), ctx.now().getTime() - at.getTime());
    if (waitedMs >= graceMs) for (const pack of packs) if (rubbish.has(pack)) due.add(pack);
  }
  return due;
}

/** Notes new rubbish, and takes out of older notes what is needed again: what they noted beside it waits anew. */
async function note(ctx: Context, repository: Repository, found: Found): Promise<void> {
  const noted = new Set<string>();
  for (const { key, packs } of found.pending) {
    const still = packs.filter((pack) => found.rubbish.has(pack));
    for (const pack of still) noted.add(pack);
    const isNeededAgain = packs.some((pack) => found.sizes.has(pack) && !found.rubbish.has(pack));
    if (still.length > 0 && !isNeededAgain) continue;
    await putNote(ctx, repository, found, still);
    await repository.vault.bucket.delete(ctx, key);
  }
  const fresh = [...found.rubbish].filter((pack) => !noted.has(pack));
  await putNote(ctx, repository, found, fresh);
}

async function putNote(
  ctx: Context,
  { vault }: Repository,
  { snapshots }: Found,
  packs: readonly string[],
): Promise<void> {
  if (packs.length === 0) return;
  await putPending(ctx, vault, randomUUID(), { packs, snapshots: snapshots.map(({ id }) => id) });
}

/** An index without the packs that go is stored before the old one is deleted, and that before any pack. */
async function rewriteIndexes(
  ctx: Context,
  repository: Repository,
  lock: Lock,
  found: Found,
  due: ReadonlySet<string>,
): Promise<void> {
  const { vault, indexes } = repository;
  await indexes.save(ctx); // what was read from packs, when an index was unreadable
  const leaving = new Set([...due, ...found.gone]);
  const files = [...indexes.files()];
  const small = files.filter(([, packs]) => packs.length < SMALL_INDEX_PACKS);
  const stale = new Map(files.filter(([, packs]) => packs.some((pack) => leaving.has(pack))));
  if (small.length > SMALL_INDEXES_MAX) for (const [file, packs] of small) stale.set(file, packs);
  const kept = new Set([...stale.values()].flat().filter((pack) => !leaving.has(pack)));
  await putIndexes(ctx, vault, packLists(indexes.blobs, kept));
  await lock.assertHeld(ctx);
  for (const file of [...stale.keys(), ...indexes.setAside().keys()]) await vault.bucket.delete(ctx, `index/${file}`);
}

async function deletePacks(
  ctx: Context,
  repository: Repository,
  lock: Lock,
  found: Found,
  due: ReadonlySet<string>,
): Promise<void> {
  const { vault } = repository;
  await lock.assertHeld(ctx);
  ctx.progress({ task: repository.url, phase: 'delete', itemsTotal: due.size });
  const failed = await vault.bucket.deleteAll(ctx, [...[...due].map(packKey), ...found.strays]);
  const [first] = failed;
  if (first) {
    throw new Failure('denied', `${repository.url}: ${failed.length} packs could not be deleted: ${first.reason}`, {
      hint: 'nothing is lost; the next run tries again',
    });
  }
  for (const { key, packs } of found.pending) {
    if (packs.every((pack) => due.has(pack) || !found.sizes.has(pack))) await vault.bucket.delete(ctx, key);
  }
  for (const pack of await damagedPacks(ctx, vault)) {
    if (due.has(pack) || !found.sizes.has(pack)) await unmarkDamaged(ctx, vault, pack);
  }
  await repository.indexes.refresh(ctx);
}

/** Drafts that became points, or that nobody has gone on with for long. */
async function clearDrafts(ctx: Context, repository: Repository, lock: Lock): Promise<void> {
  const { readable } = await repository.snapshots.load(ctx);
  const points = new Set(readable.map(pointIdOf));
  for await (const { id, touchedAt } of unfinishedDrafts(ctx, repository)) {
    const isOld = lock.takenAt.getTime() - touchedAt.getTime() > DRAFT_KEPT_MS;
    if (points.has(id) || isOld) await removeDraft(ctx, repository, id);
  }
}

async function strayObjects(ctx: Context, { vault }: Repository, now: Date): Promise<string[]> {
  const strays: string[] = [];
  for await (const { key, modifiedAt } of vault.bucket.list(ctx, 'data/')) {
    if (UNFINISHED_PACK.test(key) && now.getTime() - modifiedAt.getTime() > DRAFT_KEPT_MS) strays.push(key);
  }
  return strays;
}

function lostFailure({ url }: Repository, what: string): Failure {
  return new Failure('missing', `${url} has lost ${what}, which points need`, {
    hint: 'nothing was deleted; run lifeboat verify --all: its hints say what may heal it, else what to restic forget',
  });
}

function rubbishShare(blobs: BlobIndex, pack: string, needed: Uint8Array): number {
  let all = 0;
  let rubbish = 0;
  for (const entry of blobs.entriesOf(pack)) {
    const { length } = blobs.placeAt(entry);
    all += length;
    if (!needed[entry]) rubbish += length;
  }
  return all === 0 ? 0 : rubbish / all;
}

function* packLists(blobs: BlobIndex, packs: Iterable<string>): Iterable<PackList> {
  for (const id of packs) {
    const entries = [...blobs.entriesOf(id)];
    yield { id, blobs: entries.map((entry) => ({ ...blobs.placeAt(entry), id: blobs.idAt(entry) })) };
  }
}

function figuresOf({ rubbish, sizes }: Found, due: ReadonlySet<string>): Reclaimed {
  const sum = (packs: readonly string[]): number => packs.reduce((bytes, pack) => bytes + (sizes.get(pack) ?? 0), 0);
  const waiting = [...rubbish].filter((pack) => !due.has(pack));
  return { bytes: sum([...due]), objects: due.size, pendingBytes: sum(waiting), pendingObjects: waiting.length };
}
