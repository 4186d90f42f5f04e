// What part of a component `--select` means, and under which names `--rename` brings it back.

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

export const SELECTABLE = Object.keys({ ...SELECT_SEVERAL, ...SELECT_ONE })
  .map((each) => `${each}=`)
  .join(', ');

export function selectionOf(pairs: readonly string[]): Selection {
  const found: Partial<Record<keyof Selection, string | string[]>> = {};
  for (const pair of pairs) {
    const at = pair.indexOf('=');
    const [what, name] = [pair.slice(0, Math.max(0, at)), pair.slice(at + 1)];
    if (isIn(SELECT_ONE, what)) {
      if (found[SELECT_ONE[what]] !== undefined) throw new Failure('usage', `--select ${what}= is given twice`);
      found[SELECT_ONE[what]] = name;
    } else if (isIn(SELECT_SEVERAL, what)) found[SELECT_SEVERAL[what]] = [...(found[SELECT_SEVERAL[what]] ?? []), name];
    else throw new Failure('usage', `--select ${pair}: one of ${SELECTABLE} is meant`);
  }
  return found as Selection;
}

function isIn<T extends object>(table: T, name: string): name is Extract<keyof T, string> {
  return Object.hasOwn(table, name);
}

/** 'old=new' pairs. A name that holds '=' can't be given. */
export function renamesOf(pairs: readonly string[]): Readonly<Record<string, string>> {
  const renames = new Map<string, string>();
  for (const pair of pairs) {
    const [old = '', name = '', ...more] = pair.split('=');
    if (old === '' || name === '' || more.length > 0) {
      throw new Failure('usage', `--rename ${pair}: OLD=NEW is meant`, { hint: '--rename orders=orders-restored' });
    }
    if (renames.has(old)) throw new Failure('usage', `--rename: ${old} gets two names`);
    renames.set(old, name);
  }
  return Object.fromEntries(renames);
}
