// Tags, ACLs and locks change without a trace in a listing. Of objects that are not read again they are asked for once
// in a while: of each within `recheck`, and not of all of them at once.

import { type Entry, partOf } from './entries.ts';

export interface Recheck {
  isDue(entry: Entry): boolean;
  /** Of one that is not due: since when nobody has asked. */
  asOf(entry: Entry): Entry;
}

/** `cut` is that of the point that entries come from. */
export function recheckAt(nowMs: number, recheckMs: number | null, cut: string): Recheck {
  const seenOf = ({ seen = cut }: Entry): string => seen;
  return {
    isDue(entry) {
      if (recheckMs === null) return false;
      if (recheckMs === 0) return true;
      // Each has a moment of its own, which comes again after `recheck`.
      const moment = (Number.parseInt(partOf(entry).slice(-8), 16) / 2 ** 32) * recheckMs;
      const turn = (ms: number): number => Math.floor((ms - moment) / recheckMs);
      return turn(nowMs) > turn(Date.parse(seenOf(entry)));
    },
    asOf: (entry) => ({ ...entry, seen: seenOf(entry) }),
  };
}
