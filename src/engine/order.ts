// The order in which components are restored: what another one needs comes first, the rest side by side.

import { Failure } from '../core/errors.ts';
import { gate } from '../core/parallel.ts';

export interface Ordered {
  readonly name: string;
  readonly restoreAfter: readonly string[];
}

/**
 * For each of `chosen` the others of `chosen` that come before it, also through components that were not chosen.
 * A circle is 'settings-invalid' and names its members; `what` is what goes round in it.
 */
export function dependencies(
  all: readonly Ordered[],
  chosen: readonly string[],
  what = 'restore_after goes',
): ReadonlyMap<string, Set<string>> {
  const direct = new Map(all.map(({ name, restoreAfter }) => [name, restoreAfter]));
  const before = new Map<string, Set<string>>();

  function visit(name: string, path: readonly string[]): Set<string> {
    const known = before.get(name);
    if (known) return known;
    if (path.includes(name)) {
      const circle = [...path.slice(path.indexOf(name)), name].join(' after ');
      throw new Failure('settings-invalid', `${what} in a circle: ${circle}`);
    }
    const found = new Set<string>();
    for (const each of direct.get(name) ?? []) {
      found.add(each);
      for (const further of visit(each, [...path, name])) found.add(further);
    }
    before.set(name, found);
    return found;
  }

  return new Map(chosen.map((name) => [name, new Set([...visit(name, [])].filter((each) => chosen.includes(each)))]));
}

/** Groups of names, each group needing only what the groups before it hold: for people to read. */
export function waves(before: ReadonlyMap<string, ReadonlySet<string>>): readonly (readonly string[])[] {
  const found: string[][] = [];
  const left = new Set(before.keys());
  while (left.size > 0) {
    const ready = [...left].filter((name) => ![...(before.get(name) ?? [])].some((each) => left.has(each)));
    for (const name of ready) left.delete(name);
    found.push(ready);
  }
  return found;
}

/**
 * Runs `work` for every name, each after all that come before it, at most `limit` at a time. `work` gets the results of
 * those before it and must not throw: what went wrong is a result too.
 */
export async function inOrder<R>(
  before: ReadonlyMap<string, ReadonlySet<string>>,
  limit: number,
  work: (name: string, earlier: ReadonlyMap<string, R>) => Promise<R>,
): Promise<ReadonlyMap<string, R>> {
  const running = new Map<string, Promise<R>>();
  const slots = gate(limit);
  async function run(name: string): Promise<R> {
    const earlier = new Map<string, R>();
    for (const each of before.get(name) ?? []) earlier.set(each, await (running.get(each) as Promise<R>));
    return await slots.run(() => work(name, earlier));
  }
  for (const name of waves(before).flat()) running.set(name, run(name));
  const results = new Map<string, R>();
  for (const name of before.keys()) results.set(name, await (running.get(name) as Promise<R>));
  return results;
}
