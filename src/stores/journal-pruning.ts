// Removes what no kept point needs. What is about to go is noted first, so that nobody takes it for lost.

import { Failure } from '../core/errors.ts';
import type { JournalPlace, PrunedJournal } from '../core/journal.ts';
import type { Context } from '../core/model.ts';
import { acquireLease } from './journal-lease.ts';
import {
  ALL,
  describingKeys,
  floorOf,
  isDamage,
  type Known,
  loadLineage,
  type Mark,
  prunedKey,
  putPruned,
} from './journal-lineages.ts';
import {
  assertPositions,
  type Entry,
  type JournalVault,
  leaseFolder,
  lineageFolder,
  lineageIds,
} from './journal-names.ts';
import { openRange, type Whose } from './journal-ranges.ts';
import { entriesIn, folderNames } from './journal-walk.ts';

const KEYS_PER_DELETION = 1000;
const NOTHING: PrunedJournal = { bytes: 0, objects: 0 };

interface Going {
  readonly key: string;
  readonly bytes: number;
}

export async function pruneJournal(
  ctx: Context,
  vault: JournalVault,
  component: string,
  kept: readonly JournalPlace[],
  { apply }: { readonly apply: boolean },
): Promise<PrunedJournal> {
  await using lease = apply ? await acquireLease(ctx, vault, leaseFolder(vault, 'journal-prune', component)) : null;
  const ids = await lineageIds(ctx, vault, component);
  const floors = new Map<string, string>();
  let sum = NOTHING;
  for (const lineage of ids) {
    await lease?.touch(ctx);
    const whose = { component, lineage };
    const known = await knownOf(ctx, vault, whose);
    // What can't be read, and what goes on from it, may be needed.
    const floor = known === 'unreadable' ? '' : known ? neededFrom(known, kept, floors, lineage === ids.at(-1)) : ALL;
    floors.set(lineage, floor);
    if (known === 'unreadable') continue;
    if (!apply) sum = await counted(goingOf(ctx, vault, whose, known, floor), sum);
    else if (floor !== ALL) sum = added(sum, known ? await cut(ctx, vault, whose, known, floor) : NOTHING);
    else {
      if (known) await putPruned(ctx, vault, whose, floorOf(known), true);
      sum = added(sum, await clear(ctx, vault, whose));
    }
  }
  return sum;
}

export async function forgetJournal(ctx: Context, vault: JournalVault, component: string): Promise<PrunedJournal> {
  await using _writing = await acquireLease(ctx, vault, leaseFolder(vault, 'journal', component));
  await using _pruning = await acquireLease(ctx, vault, leaseFolder(vault, 'journal-prune', component));
  let sum = NOTHING;
  for (const lineage of await lineageIds(ctx, vault, component)) {
    const whose = { component, lineage };
    const known = await knownOf(ctx, vault, whose);
    // What can't be read has no end that anybody knows, and needs none.
    const end = known && known !== 'unreadable' ? floorOf(known) : endless(ctx);
    await putPruned(ctx, vault, whose, end, true);
    sum = added(sum, await clear(ctx, vault, whose));
    await vault.bucket.delete(ctx, prunedKey(vault, whose));
  }
  return sum;
}

function endless(ctx: Context): Mark {
  return { to: { position: '0', at: ctx.now().toISOString() }, sha256: '0'.repeat(64) };
}

/** Null for one of which nothing is left but that it was pruned. */
async function knownOf(ctx: Context, vault: JournalVault, whose: Whose): Promise<Known | null | 'unreadable'> {
  try {
    return await loadLineage(ctx, vault, whose);
  } catch (error) {
    if (!isDamage(error)) throw error;
    ctx.log.warn('a lineage of a journal can not be read', { ...whose, reason: error.message });
    return 'unreadable';
  }
}

/** A point is needed with all that follows it: the rest of its lineage, and what goes on from there. */
function neededFrom(
  { lineage: { id, parent, from } }: Known,
  kept: readonly JournalPlace[],
  floors: ReadonlyMap<string, string>,
  isNewest: boolean,
): string {
  if (parent && (floors.get(parent.lineage) ?? ALL) <= parent.position) return '';
  const own = kept.filter(({ lineage }) => lineage === id).map(({ position }) => position);
  assertPositions(from.position.length, ...own);
  return own.toSorted()[0] ?? (isNewest ? '' : ALL);
}

/** Removes what ends at `floor` or before. */
async function cut(
  ctx: Context,
  vault: JournalVault,
  whose: Whose,
  known: Known,
  floor: string,
): Promise<PrunedJournal> {
  const { position, at } = floorOf(known).to;
  let last: Entry | null = null;
  for await (const entry of entriesBefore(ctx, vault, whose, known, floor)) if (entry.to > position) last = entry;
  if (last) await putPruned(ctx, vault, whose, await markOf(ctx, vault, whose, last, at), false);
  const end = last?.to ?? known.pruned?.to.position; // a prune that died has noted what it did not delete
  if (end === undefined) return NOTHING;
  return await deleted(ctx, vault, entriesBefore(ctx, vault, whose, known, end));
}

async function markOf(ctx: Context, vault: JournalVault, whose: Whose, entry: Entry, at: string): Promise<Mark> {
  try {
    return { to: (await openRange(ctx, vault, whose, entry, null)).to, sha256: entry.sha256 };
  } catch (error) {
    if (!isDamage(error)) throw error;
    return { to: { position: entry.to, at }, sha256: entry.sha256 };
  }
}

async function* entriesBefore(
  ctx: Context,
  vault: JournalVault,
  whose: Whose,
  { lineage }: Known,
  floor: string,
): AsyncIterable<Entry> {
  for (const name of await folderNames(ctx, vault, whose, lineage.from.position.length)) {
    if (name >= floor) return;
    for await (const entry of entriesIn(ctx, vault, whose, name)) {
      if (entry.from >= floor) return;
      if (entry.to <= floor) yield entry;
    }
  }
}

/** Everything but the note that says so. */
async function clear(ctx: Context, vault: JournalVault, whose: Whose): Promise<PrunedJournal> {
  const last = new Set<string>();
  const freed = await deleted(ctx, vault, rangesIn(ctx, vault, whose, last));
  for (const key of last) await vault.bucket.delete(ctx, key);
  return freed;
}

/** What lies there but what describes the lineage, whose keys go into `describing`. */
async function* rangesIn(
  ctx: Context,
  vault: JournalVault,
  whose: Whose,
  describing: Set<string>,
): AsyncIterable<Going> {
  const [about, note] = [describingKeys(vault, whose), prunedKey(vault, whose)];
  for await (const object of vault.bucket.list(ctx, lineageFolder(vault, whose.component, whose.lineage))) {
    if (about.includes(object.key)) describing.add(object.key);
    else if (object.key !== note) yield object;
  }
}

/** What a prune would delete. */
async function* goingOf(
  ctx: Context,
  vault: JournalVault,
  whose: Whose,
  known: Known | null,
  floor: string,
): AsyncIterable<Going> {
  if (floor === ALL) yield* rangesIn(ctx, vault, whose, new Set());
  else if (known) yield* entriesBefore(ctx, vault, whose, known, floor);
}

async function counted(objects: AsyncIterable<Going>, before: PrunedJournal): Promise<PrunedJournal> {
  let sum = before;
  for await (const { bytes } of objects) sum = added(sum, { bytes, objects: 1 });
  return sum;
}

async function deleted(ctx: Context, { bucket }: JournalVault, objects: AsyncIterable<Going>): Promise<PrunedJournal> {
  let sum = NOTHING;
  let batch: string[] = [];
  const flush = async (): Promise<void> => {
    const [failed] = await bucket.deleteAll(ctx, batch);
    if (failed) throw new Failure('denied', `${bucket.url}: ${failed.key} could not be deleted: ${failed.reason}`);
    batch = [];
  };
  for await (const { key, bytes } of objects) {
    batch.push(key);
    sum = added(sum, { bytes, objects: 1 });
    if (batch.length >= KEYS_PER_DELETION) await flush();
  }
  if (batch.length > 0) await flush();
  return sum;
}

function added(a: PrunedJournal, b: PrunedJournal): PrunedJournal {
  return { bytes: a.bytes + b.bytes, objects: a.objects + b.objects };
}
