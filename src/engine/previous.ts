// The newest earlier capture of a component that all stores of the run hold: what did not change since is kept unread.

import type { Context, Source } from '../core/model.ts';
import type { RecoveryPoint } from '../core/point.ts';
import { alive, type Lane, onEach } from './fan-out.ts';
import { heldIn, type StackComponent } from './model.ts';
import { byBeginning } from './points.ts';

export interface Earlier {
  /** Newest first; held by every store of the run. */
  readonly points: readonly RecoveryPoint[];
}

export async function earlierPoints(ctx: Context, lanes: readonly Lane[], stack: string): Promise<Earlier> {
  const lists = await onEach(ctx, lanes, async ({ store }) => {
    const points = new Map<string, RecoveryPoint>();
    for await (const point of store.list(ctx)) if (point.stack === stack) points.set(point.id, point);
    return points;
  });
  const [own, ...others] = lists.values();
  const shared = [...(own?.values() ?? [])].filter(({ id }) => others.every((list) => list.has(id)));
  return { points: shared.toSorted((a, b) => byBeginning(b, a)) };
}

/** How much the component held then, to tell how far a capture is. */
export function earlierBytes(earlier: Earlier, { name, kind }: StackComponent): number | undefined {
  const captured = earlier.points.map((each) => heldIn(each, name)).find((each) => each?.kind === kind);
  return captured?.parts.bytes;
}

/** The sources of that capture by store; none when there is no such point, or when it can't be opened any more. */
export async function previousSources(
  ctx: Context,
  lanes: readonly Lane[],
  earlier: Earlier,
  { name, kind }: StackComponent,
): Promise<ReadonlyMap<Lane, Source>> {
  const live = alive(lanes);
  const point = earlier.points.find((each) => heldIn(each, name)?.kind === kind);
  if (!point) return new Map();
  try {
    const sources = await Promise.all(live.map(({ store }) => store.open(ctx, point.id, name)));
    return new Map(live.flatMap((lane, at) => (sources[at] ? [[lane, sources[at]] as const] : [])));
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    // The new point does not need the old one: without it everything is read.
    ctx.log.warn('earlier point can not be opened', { point: point.id, component: name, reason: String(error) });
    return new Map();
  }
}
