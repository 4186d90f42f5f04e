import type { Verdict } from './model.ts';

const RANK: Readonly<Record<Verdict, number>> = { pass: 0, unknown: 1, fail: 2 };

/** The worst wins, and no verdict at all is unknown: what checked nothing has shown nothing. */
export function worst(verdicts: Iterable<Verdict>): Verdict {
  let found: Verdict | undefined;
  for (const each of verdicts) if (found === undefined || RANK[each] > RANK[found]) found = each;
  return found ?? 'unknown';
}
