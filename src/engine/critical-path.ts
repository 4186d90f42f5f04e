// Which components the whole recovery waited for: their phases, one after the other, are where its time went.

import { PHASES, type Phases, phasesFrom } from './comeback.ts';

export interface Timed {
  readonly phases: Phases;
  /** Since the recovery began. */
  readonly startedMs: number;
  readonly endedMs: number;
  /** The components that had to be back before this one. */
  readonly after: readonly string[];
}

export interface CriticalPath {
  /** In the order in which they were restored. */
  readonly names: readonly string[];
  readonly phases: Phases;
}

/** From the component that was last, back through the last one that each had to wait for. */
export function criticalPath(all: ReadonlyMap<string, Timed>): CriticalPath {
  const sums: Record<keyof Phases, number> = { ...phasesFrom({}) };
  const names: string[] = [];
  for (let at = last(all, [...all.keys()]); at; at = last(all, at[1].after)) {
    const [name, { phases }] = at;
    for (const phase of PHASES) sums[phase] += phases[phase];
    names.unshift(name);
  }
  return { names, phases: sums };
}

function last(all: ReadonlyMap<string, Timed>, names: readonly string[]): [string, Timed] | undefined {
  const some = names.flatMap((name): [string, Timed][] => {
    const timed = all.get(name);
    return timed ? [[name, timed]] : [];
  });
  return some.toSorted(([, a], [, b]) => b.endedMs - a.endedMs)[0];
}
