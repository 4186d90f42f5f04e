// Walks through the ranges of a lineage by their names, and finds what is missing.

import { Failure } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import { floorOf, type Known, prunedUpTo } from './journal-lineages.ts';
import { type Entry, entryOf, isPosition, type JournalVault, lineageFolder } from './journal-names.ts';
import type { Whose } from './journal-ranges.ts';

/** A range or a gap; `previous` is the SHA-256 of the one before it, null where nobody knows that one. */
interface Found {
  readonly entry: Entry;
  readonly previous: string | null;
}
/** 'missing' where nothing lies, 'different' where two lie at one position. */
interface Broken {
  readonly entry: null;
  readonly from: string;
  readonly to: string;
  readonly failure: Failure;
}
export type Step = Found | Broken;

/** In order, from the folder on that `since` lies in. */
export async function* stepsOf(
  ctx: Context,
  vault: JournalVault,
  whose: Whose,
  known: Known,
  since = '',
): AsyncIterable<Step> {
  const floor = floorOf(known);
  const folders = await folderNames(ctx, vault, whose, floor.to.position.length);
  const start = since > floor.to.position ? folders.findLastIndex((name) => name <= since) : 0;
  const skipped = start > 0 && (folders[start] ?? '') > floor.to.position ? folders[start] : undefined;
  let at = skipped ?? floor.to.position;
  let previous = skipped === undefined ? floor.sha256 : null;
  for (const name of folders.slice(Math.max(0, start))) {
    for await (const entry of entriesIn(ctx, vault, whose, name)) {
      // A prune that died has left it, or it is nobody's.
      if (entry.to <= floor.to.position || entry.from.length !== at.length) continue;
      if (entry.from !== at) {
        previous = null;
        if (entry.from < at) yield forked(vault, entry);
        else yield* lost(ctx, vault, whose, at, entry.from);
      }
      if (entry.from >= at) {
        yield { entry, previous };
        previous = entry.sha256;
      }
      if (entry.to > at) at = entry.to;
    }
  }
  const end = known.tip?.to.position ?? '';
  if (end > at) yield* lost(ctx, vault, whose, at, end);
}

/** Folders are called by the position that they begin at. */
export async function folderNames(
  ctx: Context,
  vault: JournalVault,
  { component, lineage }: Whose,
  width: number,
): Promise<string[]> {
  const names: string[] = [];
  for await (const folder of vault.bucket.folders(ctx, lineageFolder(vault, component, lineage))) {
    const name = folder.slice(0, -1);
    if (isPosition(name) && name.length === width) names.push(name);
  }
  return names;
}

export async function* entriesIn(
  ctx: Context,
  vault: JournalVault,
  { component, lineage }: Whose,
  name: string,
): AsyncIterable<Entry> {
  const folder = `${lineageFolder(vault, component, lineage)}${name}/`;
  for await (const { key, bytes } of vault.bucket.list(ctx, folder)) {
    const entry = entryOf(folder, key, bytes);
    if (entry) yield entry;
  }
}

/** Nothing where a prune runs beside this walk: what it took is no damage. */
async function* lost(ctx: Context, vault: JournalVault, whose: Whose, from: string, to: string): AsyncIterable<Broken> {
  if ((await prunedUpTo(ctx, vault, whose)) >= to) return;
  const what = `the journal of ${whose.component}, lineage ${whose.lineage}, has lost what lay from ${from} to ${to}`;
  yield { entry: null, from, to, failure: new Failure('missing', `${vault.bucket.url}: ${what}`) };
}

function forked({ bucket }: JournalVault, { key, from, to }: Entry): Broken {
  const what = `${key} lies where another range does: two have written this journal`;
  return { entry: null, from, to, failure: new Failure('different', `${bucket.url}: ${what}`) };
}
