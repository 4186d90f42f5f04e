// How long a restore will take, told from how long the last ones took in drills. Until there was one: as long as the
// capture, which moved the same bytes the other way.

import { messageOf } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import type { CapturedComponent } from '../core/point.ts';
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
  const drills = (await ifReadable(ctx, store, drillIds(ctx, store))) ?? [];
  for (const drill of drills.slice(0, DRILLS_READ_MAX)) {
    const evidence = await ifReadable(ctx, store, readEvidence(ctx, store, drill));
    for (const { name, bytes, phases, verdict } of evidence?.components ?? []) {
      const spent = phases.fetch + phases.restore + phases.start + phases.verify;
      if (verdict === 'pass' && bytes > 0 && !msPerByte.has(name)) msPerByte.set(name, spent / bytes);
    }
  }
  return (component, { parts, durationMs }) => {
    const rate = msPerByte.get(component);
    if (rate !== undefined) return { ms: Math.round(rate * parts.bytes), from: 'drill' };
    return durationMs > 0 ? { ms: durationMs, from: 'capture' } : null;
  };
}

/** An estimate is a courtesy: evidence that can't be read, for whatever reason, leaves it unknown and stops nothing. */
async function ifReadable<T>(ctx: Context, store: Store, read: Promise<T>): Promise<T | null> {
  try {
    return await read;
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    ctx.log.debug('no estimate from evidence', { store: store.url, reason: messageOf(error) });
    return null;
  }
}
