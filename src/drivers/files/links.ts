// Files with several names: stored once, under the first of them.

import type { BigIntStats } from 'node:fs';
import type { Entry } from './entries.ts';

/** Half a kilobyte each. Of files that have names elsewhere, the last is never met. */
const FILES_MAX = 100_000;

export interface Links {
  /** The entry of the first name of this file; `store` is called for that name alone. */
  entryOf(stat: BigIntStats, store: () => Promise<Entry | null>): Promise<{ entry: Entry | null; first: boolean }>;
  /** How many files are remembered. */
  count(): number;
  /** Names that could not be told from files of their own, because too many were remembered already. */
  unknown(): number;
}

/** To be asked in the order of names, so that the first one is the same whenever the same files are walked. */
export function linkTable(filesMax = FILES_MAX): Links {
  const known = new Map<string, { entry: Promise<Entry | null>; namesLeft: bigint }>();
  let unknown = 0;
  return {
    count: () => known.size,
    unknown: () => unknown,
    async entryOf(stat, store) {
      const key = `${stat.dev}:${stat.ino}`;
      const found = known.get(key);
      if (found) {
        found.namesLeft -= 1n;
        if (found.namesLeft === 0n) known.delete(key);
        return { entry: await found.entry, first: false };
      }
      const entry = store();
      if (known.size < filesMax) known.set(key, { entry, namesLeft: stat.nlink - 1n });
      else unknown += 1;
      return { entry: await entry, first: true };
    },
  };
}
