// How long a restore will take, told from how long the last ones took in drills; never guessed.

import { isFailure } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import type { Store } from '../core/storage.ts';
import { drillIds, readEvidence } from './evidence.ts';

/** How many drills are looked at, newest first. */
const DRILLS_READ_MAX = 10;

/** Milliseconds for `bytes` of the component; null when no drill has measured it. */
export type Estimator = (component: string, bytes: number) => number | null;

export async function estimator(ctx: Context, store: Store): Promise<Estimator> {
  const msPerByte = new Map<string, number>();
  for (const drill of (await drillIds(ctx, store)).slice(0, DRILLS_READ_MAX)) {
    try {
      for (const { name, bytes, phases, verdict } of (await readEvidence(ctx, store, drill)).components) {
        const spent = phases.fetch + phases.restore + phases.start + phases.verify;
        if (verdict === 'pass' && bytes > 0 && !msPerByte.has(name)) msPerByte.set(name, spent / bytes);
      }
    } catch (error) {
      // An estimate is a courtesy: evidence that is gone or can't be parsed leaves it unknown. `verify` reports it.
      if (!isFailure(error, 'malformed') && !isFailure(error, 'missing')) throw error;
    }
  }
  return (component, bytes) => {
    const rate = msPerByte.get(component);
    return rate === undefined ? null : Math.round(rate * bytes);
  };
}
