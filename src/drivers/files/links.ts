// Files with several names: stored once, under the first of them.

import type { BigIntStats } from 'node:fs';
import type { Entry } from './entries.ts';

/** Half a kilobyte each. Of files that have names elsewhere, the last is never met. */
const FILES_MAX = 100_000;

/** A number is given to another file once its own is removed; the birth tells them apart. */
type Identity = Pick<BigIntStats, 'dev' | 'ino' | 'birthtimeNs' | 'nlink'>;

export interface Links {
  /**
   * The entry of the first name of this file that could be stored, which may be the one asked about; null when none
   * could yet. `store` is called unless a name before was stored.
   */
  entryOf(stat: Identity, store: () => Promise<Entry | null>): Promise<Entry | null>;
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
      const key = `${stat.dev}:${stat.ino}:${stat.birthtimeNs}`;
      const found = known.get(key);
      if (found) {
        found.entry = found.entry.then((entry) => entry ?? store());
        found.namesLeft -= 1n;
        if (found.namesLeft === 0n) known.delete(key);
        return await found.entry;
      }
      const entry = store();
      if (known.size < filesMax) known.set(key, { entry, namesLeft: stat.nlink - 1n });
      else unknown += 1;
      return await entry;
    },
  };
}
