// What part of a component `--select` means.

import { Failure } from '../core/errors.ts';
import type { Selection } from '../core/model.ts';

/** What `--select` may name: fields that hold one value, and those that may be given several times. */
const SELECT_ONE = { database: 'database', streams: 'streams', since: 'since', until: 'until', as_of: 'asOf' } as const;
const SELECT_SEVERAL = {
  table: 'tables',
  keys: 'keys',
  path: 'paths',
  bucket: 'buckets',
  index: 'indices',
  topic: 'topics',
} as const;

export function selectionOf(pairs: readonly string[]): Selection {
  const found: Partial<Record<keyof Selection, string | string[]>> = {};
  for (const pair of pairs) {
    const at = pair.indexOf('=');
    const [what, name] = [pair.slice(0, Math.max(0, at)), pair.slice(at + 1)];
    if (isIn(SELECT_ONE, what)) found[SELECT_ONE[what]] = name;
    else if (isIn(SELECT_SEVERAL, what)) found[SELECT_SEVERAL[what]] = [...(found[SELECT_SEVERAL[what]] ?? []), name];
    else {
      const known = [...Object.keys(SELECT_ONE), ...Object.keys(SELECT_SEVERAL)].map((each) => `${each}=`).join(', ');
      throw new Failure('usage', `--select ${pair}: one of ${known} is meant`);
    }
  }
  return found as Selection;
}

function isIn<T extends object>(table: T, name: string): name is Extract<keyof T, string> {
  return Object.hasOwn(table, name);
}
