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

/** From the component that was last, back through the last one that each had to wait for. */
export function criticalPhases(all: ReadonlyMap<string, Timed>): Phases {
  const sums: Record<keyof Phases, number> = { ...phasesFrom({}) };
  for (let at = last([...all.values()]); at; at = last(at.after.flatMap((name) => all.get(name) ?? []))) {
    for (const phase of PHASES) sums[phase] += at.phases[phase];
  }
  return sums;
}

function last(some: readonly Timed[]): Timed | undefined {
  return some.toSorted((a, b) => b.endedMs - a.endedMs)[0];
}
