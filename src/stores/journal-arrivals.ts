// Finds a range by when it arrived. Names tell positions only, so some ranges are opened.

import type { JournalRange } from '../core/journal.ts';
import type { Context } from '../core/model.ts';
import { floorOf, isDamage, loadLineage } from './journal-lineages.ts';
import type { Entry, JournalVault } from './journal-names.ts';
import { type Content, openRange, type Whose } from './journal-ranges.ts';
import { entriesIn, folderNames } from './journal-walk.ts';

/** Gaps and what is damaged are passed over. */
export async function arrivedIn(
  ctx: Context,
  vault: JournalVault,
  whose: Whose,
  at: Date,
): Promise<Omit<JournalRange, 'body'> | null> {
  const known = await loadLineage(ctx, vault, whose);
  if (!known) return null;
  const floor = floorOf(known).to.position;
  const folders = await folderNames(ctx, vault, whose, floor.length);
  const entriesOf = async (folder: string | undefined): Promise<Entry[]> => {
    const all = folder === undefined ? [] : await Array.fromAsync(entriesIn(ctx, vault, whose, folder));
    return all.filter(({ isGap, to }) => !isGap && to > floor);
  };
  const [folder, behind] = await firstAfter(at, folders.length, async (each) => {
    const [first] = await entriesOf(folders[each]);
    return await opened(ctx, vault, whose, first);
  });
  const entries = await entriesOf(folders[folder - 1]);
  const [, inside] = await firstAfter(at, entries.length, (each) => opened(ctx, vault, whose, entries[each]));
  const found = inside ?? behind;
  if (!found) return null;
  const { body: _, gap: __, ...told } = found;
  return told;
}

/** Of `count` in order of arrival, the first that came at or after `at`; those that are null are passed over. */
async function firstAfter(
  at: Date,
  count: number,
  read: (index: number) => Promise<Content | null>,
): Promise<readonly [number, Content | null]> {
  let [low, high, found]: [number, number, Content | null] = [0, count, null];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    let [next, content]: [number, Content | null] = [middle, null];
    while (next < high && content === null) content = await read(next++);
    if (content && Date.parse(content.at) < at.getTime()) {
      low = next;
      continue;
    }
    high = middle;
    found = content ?? found;
  }
  return [low, found];
}

async function opened(
  ctx: Context,
  vault: JournalVault,
  whose: Whose,
  entry: Entry | undefined,
): Promise<Content | null> {
  try {
    return entry ? await openRange(ctx, vault, whose, entry, null) : null;
  } catch (error) {
    if (isDamage(error)) return null;
    throw error;
  }
}
