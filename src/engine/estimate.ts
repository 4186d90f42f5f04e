// How long a restore will take, told from how long the last ones took in drills. Until there was one: as long as the
// capture, which moved the same bytes the other way.

import { isFailure } from '../core/errors.ts';
import type { CapturedComponent, Context } from '../core/model.ts';
import type { Store } from '../core/storage.ts';
import { drillIds, readEvidence } from './evidence.ts';

/** How many drills are looked at, newest first. */
const DRILLS_READ_MAX = 10;

export interface Estimate {
  readonly ms: number;
  /** What it rests on: a measured restore, or only the time that the capture took. */
  readonly from: 'drill' | 'capture';
}
/** Null when neither was measured. */
export type Estimator = (component: string, captured: CapturedComponent) => Estimate | null;

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
  return (component, { parts, durationMs }) => {
    const rate = msPerByte.get(component);
    if (rate !== undefined) return { ms: Math.round(rate * parts.bytes), from: 'drill' };
    return durationMs > 0 ? { ms: durationMs, from: 'capture' } : null;
  };
}
