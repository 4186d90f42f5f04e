// What part of a component is meant: each driver reads its own fields, and says which they are when it gets others.

import { Failure } from './errors.ts';
import type { Selection } from './model.ts';

/** 'usage' for a field that this kind does not have; `hint` says what it is chosen by. */
export function refuseForeign(kind: string, select: Selection, own: readonly (keyof Selection)[], hint: string): void {
  for (const [field, value] of Object.entries(select)) {
    if (value === undefined || own.some((each) => each === field)) continue;
    throw new Failure('usage', `${kind} has no ${field} to choose by`, { hint });
  }
}

/** Whether a name fits one of these: 'shop.*' and 'order?', where '*' and '?' stand for anything. */
export function matcher(patterns: readonly string[]): (name: string) => boolean {
  const tests = patterns.map((pattern) => {
    const source = pattern
      .replace(/[.+^${}()|[\]\\]/g, '\\$&')
      .replaceAll('*', '.*')
      .replaceAll('?', '.');
    return new RegExp(`^${source}$`, 's');
  });
  return (name) => tests.some((test) => test.test(name));
}
