// How many records of a partition come before an offset that a group has committed: the one figure that stays true
// when the records get other offsets.

import type { Batch } from './batches.ts';
import { countBefore } from './tally.ts';

export interface Positions {
  /** Every batch once. */
  add(batch: Batch): void;
  /** False when only its batches can tell. */
  addWhole(range: { first: number; last: number; records: number }): boolean;
  /** By offset. */
  positions(): ReadonlyMap<number, number>;
}

export function positionsIn(offsets: readonly number[], { start }: { start: number }, what: string): Positions {
  const found = new Map(offsets.map((offset) => [offset, 0]));
  const all = [...found.keys()];
  return {
    add(batch) {
      for (const offset of all) {
        if (offset <= Math.max(start, batch.first)) continue;
        found.set(offset, (found.get(offset) ?? 0) + countBefore(batch, offset, start, what));
      }
    },
    addWhole({ first, last, records }) {
      const hasGaps = records !== last - first + 1;
      if (hasGaps && all.some((offset) => offset > first && offset <= last)) return false;
      for (const offset of all) {
        const before = offset > last ? records : Math.max(0, offset - first);
        found.set(offset, (found.get(offset) ?? 0) + before);
      }
      return true;
    },
    positions: () => found,
  };
}
