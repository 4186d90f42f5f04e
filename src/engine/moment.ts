// One instant of the whole stack: for each component the point that it begins with, and how far its log is replayed.

import { isDeepStrictEqual } from 'node:util';
import type { Replay, ReplayTarget } from '../core/component.ts';
import { Failure, messageOf } from '../core/errors.ts';
import type { Journal } from '../core/journal.ts';
import type { Clock, Context } from '../core/model.ts';
import { mapBounded } from '../core/parallel.ts';
import type { CapturedComponent, RecoveryPoint } from '../core/point.ts';
import { inTime } from '../core/times.ts';
import { heldIn, type NamedStore, PARALLEL_DEFAULT } from './model.ts';
import { replayOf } from './replay.ts';
import { aheadOf, edgeOf, type PointOf, type Reach, type Recoverable, reachOf, recoverable } from './windows.ts';

/** How many points a failure names. */
const IDS_MAX = 5;
const TO_THE_END = 'all that is there comes back with lifeboat restore latest --until latest';

/** Where one component comes from. */
export interface Origin {
  readonly point: RecoveryPoint;
  readonly captured: CapturedComponent;
  /** Null: exactly the cut. */
  readonly replay: Replay | null;
  readonly aim: Aim | null;
  /** A later point, at the place of whose cut the replay ends: what comes back is what that counted. */
  readonly against?: Pick<PointOf, 'point' | 'captured'>;
}
/** How near it comes to what was asked for. */
export interface Aim {
  /** What was asked for, by our clock; null where that is no time. */
  readonly at: string | null;
  /** How long before that its point was cut; null where the log is replayed up to it, or nobody can tell. */
  readonly beforeMs: number | null;
  /** The source's clock about then, where it was measured. */
  readonly clock: Clock | null;
  /** Where another log goes on from the one that is replayed, by our clock: what that one says after it is left out. */
  readonly forkMs: number | null;
}
export interface Moment {
  /** A time by our clock, or the words of --until. */
  readonly wanted: string;
  readonly origins: ReadonlyMap<string, Origin>;
  /** What has no point before it, or none at all, with the reason. */
  readonly lacking: ReadonlyMap<string, string>;
}

/** Of a moment, or of one point: then whole and at its cut. */
export function originIn(
  { point, moment }: { readonly point: RecoveryPoint; readonly moment?: Moment | undefined },
  name: string,
): Origin | undefined {
  if (moment) return moment.origins.get(name);
  const captured = heldIn(point, name);
  return captured && { point, captured, replay: null, aim: null };
}

/** The moment that it brings back, by our clock; null where only the driver can tell. */
export function momentIn({ captured: { cut }, replay, aim, against }: Origin): number | null {
  if (against && aim?.at != null) return Date.parse(aim.at);
  const target = replay?.target.kind ?? 'immediate';
  if (target === 'immediate') return cut && Date.parse(cut.at);
  if (target === 'time') return aim?.at == null ? null : Date.parse(aim.at);
  return target === 'latest' && replay ? edgeOf(replay.end, aim?.clock ?? null).ms : null;
}

export interface MomentRequest {
  readonly from: NamedStore;
  /** Of one stack. */
  readonly points: readonly RecoveryPoint[];
  readonly components: readonly string[];
  /** The components were named one by one: what has nothing then is refused. */
  readonly named: boolean;
}

/** RFC 3339, where a replay ends in the words of a driver, or the point that it is to make out of an earlier one. */
export type Wanted =
  | { readonly at: Date }
  | { readonly cutOf: string; readonly words: string }
  | { readonly until: Exclude<ReplayTarget, { kind: 'time' }>; readonly words: string; readonly base: string | null };

/**
 * Reads the journals and no more. A component without a log comes from its newest point before. 'missing' for those
 * that have one which does not reach the moment, all of them at once.
 */
export async function momentOf(ctx: Context, request: MomentRequest, wanted: Wanted): Promise<Moment> {
  const { from, points, components, named } = request;
  const [failed, lacking] = [new Map<string, Failure>(), new Map<string, Failure>()];
  const origins = new Map<string, Origin>();
  await mapBounded(components, PARALLEL_DEFAULT, async (name) => {
    try {
      const known = await recoverable(ctx, from.store, name, points);
      const found = await originOf(ctx, from.store.journal(name), known, wanted);
      if (found instanceof Failure) lacking.set(name, found);
      else origins.set(name, found);
    } catch (error) {
      if (!(error instanceof Failure) || ctx.signal.aborted) throw error;
      failed.set(name, error);
    }
  });
  refuse(inOrderOf(components, failed));
  if (named || origins.size === 0) refuse(inOrderOf(components, lacking));
  return {
    wanted: 'at' in wanted ? wanted.at.toISOString() : wanted.words,
    origins: inOrderOf(components, origins),
    lacking: new Map([...lacking].map(([name, { message }]) => [name, message])),
  };
}

function inOrderOf<T>(names: readonly string[], found: ReadonlyMap<string, T>): ReadonlyMap<string, T> {
  return new Map([...found].toSorted(([a], [b]) => names.indexOf(a) - names.indexOf(b)));
}

function refuse(failed: ReadonlyMap<string, Failure>): void {
  const [first] = failed.values();
  if (!first) return;
  if (failed.size === 1) throw first;
  const hints = [...failed].flatMap(([name, { hint }]) => (hint === undefined ? [] : [`${name}: ${hint}`]));
  throw new Failure(first.code, [...failed.values()].map(messageOf).join('; '), {
    cause: first,
    hint: `${hints.join('; ')}; or leave out what can not with --only`,
  });
}

/** A failure where there is nothing as old as that; what can't be recovered for another reason is thrown. */
async function originOf(ctx: Context, journal: Journal, known: Recoverable, wanted: Wanted): Promise<Origin | Failure> {
  if ('at' in wanted) return await originAt(ctx, journal, known, wanted.at);
  if ('cutOf' in wanted) return await originBefore(ctx, journal, known, wanted.cutOf);
  const { until, base, words } = wanted;
  const newest = base === null ? known.points.at(-1) : known.points.find(({ point }) => point.id === base);
  if (!newest) return nothingOf(known, base === null ? '' : ` in point ${base}`);
  const reach = base === null ? furthest(known) : reachOf(known, base);
  const aim = { at: null, beforeMs: null, clock: reach?.to.clock ?? null, forkMs: null };
  const isPlain = base === null && (until.kind === 'latest' || until.kind === 'immediate');
  if (isPlain && !(reach && newest.ms <= reach.to.ms)) return { ...newest, replay: null, aim };
  const { point, captured } = reach?.base ?? newest;
  if (!captured.journal) throw joinsNone(known, point.id, words);
  return { point, captured, replay: await replayOf(ctx, journal, captured.journal, until), aim };
}

/** From the newest point whose log leads to where this one was cut, if that is one place: what it counted was there. */
async function originBefore(ctx: Context, journal: Journal, known: Recoverable, id: string): Promise<Origin | Failure> {
  const against = known.points.find(({ point }) => point.id === id);
  if (!against) return nothingOf(known, ` in point ${id}`);
  const { source, from: position, to } = against.captured.journal ?? {};
  if (position === undefined || position !== to) {
    const what = `point ${id} was not taken at one place of a log of ${known.component}: nothing can be compared with it`;
    return new Failure('missing', what, { hint: 'drill the point itself' });
  }
  const leads = ({ base, legs }: Reach): boolean =>
    base.ms < against.ms &&
    legs.some((leg) => {
      return isDeepStrictEqual(leg.lineage.source, source) && leg.from <= position && position <= leg.to;
    });
  const reach = known.reaches
    .filter(leads)
    .toSorted((a, b) => a.base.ms - b.base.ms)
    .at(-1);
  if (!reach?.base.captured.journal) {
    return new Failure('missing', `no earlier point of ${known.component} leads to point ${id} by its log`);
  }
  const { point, captured } = reach.base;
  const replay = await replayOf(ctx, journal, reach.base.captured.journal, { kind: 'position', value: position });
  const at = new Date(against.ms).toISOString();
  return { point, captured, replay, aim: { at, beforeMs: null, clock: reach.to.clock, forkMs: null }, against };
}

/** Of the ways that go furthest, that of the newest point. */
export function furthest({ reaches }: Recoverable): Reach | undefined {
  return reaches.toSorted((a, b) => a.to.ms - b.to.ms || a.base.ms - b.base.ms).at(-1);
}

async function originAt(ctx: Context, journal: Journal, known: Recoverable, at: Date): Promise<Origin | Failure> {
  const ms = at.getTime();
  if (ms > ctx.now().getTime()) throw unreached(known, at, 'it lies in the future');
  const reach = reachAt(known, ms);
  if (reach) return await replayed(ctx, journal, { known, reach }, at);
  const before = known.points.findLast((each) => each.ms <= ms);
  const window = known.windows.findLast(({ to }) => to.ms < ms);
  if (window && known.windows.some(({ from }) => from.ms > ms)) {
    throw unreached(known, at, `it lies in a gap${whyGap(known, ms)}`);
  }
  // What was followed once is a component of points again as soon as there is a newer one.
  if (window && !(before && before.ms > window.to.ms)) {
    throw unreached(known, at, `it lies after what the store has of its log${whyGap(known, ms)}`, TO_THE_END);
  }
  if (!before) return known.points.length === 0 ? nothingOf(known, '') : unreached(known, at, 'nothing is as old');
  const { point, captured } = before;
  return {
    point,
    captured,
    replay: null,
    aim: { at: at.toISOString(), beforeMs: ms - before.ms, clock: null, forkMs: null },
  };
}

async function replayed(
  ctx: Context,
  journal: Journal,
  { known, reach }: { readonly known: Recoverable; readonly reach: Reach },
  at: Date,
): Promise<Origin> {
  const { point, captured } = reach.base;
  if (!captured.journal) throw new Error(`${point.id} reaches what it does not join`);
  const clock = (await clockAt(ctx, journal, reach, at)) ?? reach.to.clock;
  // Clocks at the ends may differ by a little from that in between.
  const [first, last] = [reach.from.cut.at, reach.to.cut.at].map(Date.parse) as [number, number];
  const wantedMs = Math.min(last, Math.max(first, at.getTime() + aheadOf(clock)));
  const target = { kind: 'time', at: new Date(wantedMs).toISOString() } as const;
  const replay = await replayOf(ctx, journal, captured.journal, target, captured.cut);
  const own = new Set(reach.legs.map(({ lineage }) => lineage.id));
  const fork = known.forks.find((each) => {
    const [from = '', other = ''] = each.lineages;
    return own.has(from) && !own.has(other) && each.ms >= reach.from.ms && each.ms < at.getTime();
  });
  const aim = { at: at.toISOString(), beforeMs: null, clock, forkMs: fork?.ms ?? null };
  return { point, captured, replay, aim };
}

/** From the newest point; of its ways the one with the fewest turns, which is that of its own log. */
function reachAt({ reaches }: Recoverable, ms: number): Reach | undefined {
  const fitting = reaches.filter(({ from, to }) => from.ms <= ms && ms <= to.ms);
  return fitting.toSorted((a, b) => b.base.ms - a.base.ms || a.legs.length - b.legs.length)[0];
}

/** As it was measured next after that moment. */
async function clockAt(ctx: Context, journal: Journal, { legs }: Reach, at: Date): Promise<Clock | null> {
  const leg = legs.findLast(({ lineage }) => Date.parse(lineage.begunAt) <= at.getTime()) ?? legs[0];
  const range = leg && (await journal.arrived(ctx, leg.lineage.id, at));
  return range?.clock ?? null;
}

function whyGap({ gaps }: Recoverable, ms: number): string {
  const gap = gaps.find(({ fromMs, toMs }) => fromMs <= ms && ms <= (toMs ?? Infinity));
  return gap ? `: ${gap.reasons.join('; ')}` : '';
}

function nothingOf({ component }: Recoverable, where: string): Failure {
  return new Failure('missing', `there is nothing of ${component}${where}`, { hint: 'run lifeboat list' });
}

/** With the nearest moments that can be recovered, to be copied from here. */
function unreached({ component, windows, points }: Recoverable, at: Date, why: string, ...more: string[]): Failure {
  const all = [...windows.flatMap(({ from, to }) => [from.ms, to.ms]), ...points.map(({ ms }) => ms)];
  const before = all.filter((each) => each <= at.getTime());
  const after = all.filter((each) => each > at.getTime());
  const nearest = [
    ...(before.length > 0 ? [`the nearest before is ${inTime(Math.max(...before))}`] : []),
    ...(after.length > 0 ? [`the nearest after is ${inTime(Math.min(...after))}`] : []),
    ...(all.length > 0
      ? [`the first of all is ${inTime(Math.min(...all))}, the last ${inTime(Math.max(...all))}`]
      : []),
    ...more,
  ];
  const what = `${component} can not be brought to ${inTime(at.getTime())}: ${why}`;
  return new Failure('missing', what, nearest.length > 0 ? { hint: nearest.join('; ') } : {});
}

function joinsNone({ component, reaches }: Recoverable, point: string, words: string): Failure {
  const ids = [...new Set(reaches.map(({ base }) => base.point.id))];
  const what = `point ${point} joins no log of ${component} in this store: nothing can be replayed on it until ${words}`;
  return new Failure('missing', what, {
    hint: ids.length === 0 ? 'no point does: run lifeboat follow' : `points that do: ${ids.slice(-IDS_MAX).join(', ')}`,
  });
}
