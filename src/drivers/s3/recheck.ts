// Tags, ACLs and locks change without a trace in a listing. Of objects that are not read again they are asked for once
// in a while: of each within `recheck`, and not of all of them at once.

import type { Entry } from './entries.ts';

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
      const moment = (spread(entry.key) / 2 ** 32) * recheckMs;
      const turn = (ms: number): number => Math.floor((ms - moment) / recheckMs);
      return turn(nowMs) > turn(Date.parse(seenOf(entry)));
    },
    asOf: (entry) => ({ ...entry, seen: seenOf(entry) }),
  };
}

/** FNV-1a, of the code units: any number will do that differs from key to key, and there are millions of them. */
function spread(key: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}
