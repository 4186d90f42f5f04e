// One moment among those of all stores: which store comes nearest, and what each component then comes from.

import { Failure, isFailure } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import type { RecoveryPoint } from '../core/point.ts';
import type { NamedStore } from '../engine/model.ts';
import { type Moment, momentIn, momentOf, type Wanted } from '../engine/moment.ts';
import { byBeginning, type PointView } from '../engine/points.ts';
import { type ChosenIn, chooseEverywhere, type Listing, notFound } from './across.ts';
import { CUT, isOfOne, parseTime, parseUntil } from './times.ts';

/** What was named on the command line. */
export interface MomentWords {
  readonly point: string | undefined;
  readonly at: string | undefined;
  readonly until: string | undefined;
}
export interface MomentWish {
  readonly stack: string;
  readonly components: readonly string[];
  /** One by one: what has nothing then is refused. */
  readonly named: boolean;
}
export interface MomentIn extends Pick<ChosenIn, 'store' | 'unreadable'> {
  readonly moment: Moment;
  /** The newest of those that something comes from. */
  readonly point: RecoveryPoint;
}

/** Undefined where a point is meant, exactly as it is. */
export function wantedMoment(
  { now }: Context,
  listing: Listing,
  { point, at, until }: MomentWords,
  { stack, components }: MomentWish,
): Wanted | undefined {
  if (at !== undefined && (point !== undefined || until !== undefined)) {
    throw new Failure('usage', `either ${point === undefined ? '--until' : 'a point'} or --at`);
  }
  if (at !== undefined) return { at: parseTime(at, now()) };
  if (until === undefined) return undefined;
  const [, cut] = CUT.exec(until) ?? [];
  if (cut !== undefined) {
    if (point !== undefined && point !== 'latest') throw new Failure('usage', `either a point or --until ${until}`);
    const { id } = chooseEverywhere(listing, stack, { word: cut, components }).chosen.point;
    return { cutOf: id, words: `cut=${id}` };
  }
  const target = parseUntil(until);
  if (isOfOne(target) && components.length !== 1) {
    throw new Failure('usage', `--until ${until} is in the words of one component`, { hint: 'name it with --only' });
  }
  const isAny = point === undefined || point === 'latest';
  const base = isAny ? null : chooseEverywhere(listing, stack, { word: point, components }).chosen.point.id;
  return { until: target, words: until, base };
}

/** In the store in which most is there, then least is lost; of equal ones the first. */
export async function momentEverywhere(
  ctx: Context,
  { stores, unreadable }: Listing,
  { stack, components, named }: MomentWish,
  wanted: Wanted,
): Promise<MomentIn> {
  const found: MomentIn[] = [];
  let failed: { readonly error: unknown } | undefined;
  for (const { store, views } of stores) {
    const points = views.map(({ point }: PointView) => point).filter((point) => point.stack === stack);
    try {
      const moment = await momentOf(ctx, { from: store, points, components, named }, wanted);
      found.push({ store, unreadable, moment, point: newestIn(moment) });
    } catch (error) {
      if (ctx.signal.aborted || !isFailure(error)) throw error;
      failed ??= { error };
    }
  }
  const [best] = found.toSorted((a, b) => distance(a.moment, b.moment));
  if (best) return best;
  throw notFound(failed?.error, unreadable);
}

function newestIn({ origins }: Moment): RecoveryPoint {
  const points = [...origins.values()].map(({ point }) => point);
  const newest = points.toSorted(byBeginning).at(-1);
  if (!newest) throw new Error('a moment without a point was chosen');
  return newest;
}

/** Below zero where the first is better. */
function distance(a: Moment, b: Moment): number {
  const [one, other] = [rank(a), rank(b)];
  return one.map((each, at) => each - (other[at] ?? 0)).find((difference) => difference !== 0) ?? 0;
}

function rank({ origins, lacking }: Moment): readonly number[] {
  let lostMs = 0;
  for (const origin of origins.values()) {
    // Of a time nothing is lost where it is reached; else the later the better.
    const { at = null, beforeMs = null } = origin.aim ?? {};
    lostMs += at === null ? -(momentIn(origin) ?? 0) : (beforeMs ?? 0);
  }
  return [lacking.size, lostMs];
}

/** The same moment for another command, however long ago it was said: '15m ago' is not the same one later. */
export function momentWords(wanted: Wanted, store: NamedStore): string {
  const when =
    'at' in wanted
      ? `--at ${wanted.at.toISOString()}`
      : `${('base' in wanted && wanted.base) || 'latest'} --until ${wanted.words}`;
  return `${when} --store ${store.name}`;
}
