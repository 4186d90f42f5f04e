// Which moments can be recovered, for people and as JSON: per component and store, and for the stack.

import { isFailure } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import { clockJson } from '../engine/evidence.ts';
import { type Recoverable, recoverables, type StackMoments, stackMoments, type WindowGap } from '../engine/windows.ts';
import type { Listing } from './across.ts';
import { durationText, plural, table } from './terminal.ts';
import { setIn } from './views.ts';

const DAY_MS = 86_400_000;

/** What one store has of each component. */
export interface MomentsIn {
  readonly store: string;
  readonly all: readonly Recoverable[];
  /** Of those that are configured. */
  readonly stack: StackMoments;
}
export interface Found {
  readonly moments: readonly MomentsIn[];
  readonly unreadable: Listing['unreadable'];
}

/** Of every store whose journals can be read; the others count as unreadable. */
export async function momentsOf(
  ctx: Context,
  listing: Listing,
  stack: string,
  components: readonly string[],
): Promise<Found> {
  const moments: MomentsIn[] = [];
  const unreadable = [...listing.unreadable];
  for (const { store, views } of listing.stores) {
    try {
      const points = views.map(({ point }) => point).filter((point) => point.stack === stack);
      const all = await recoverables(ctx, store.store, points);
      const configured = all.filter(({ component }) => components.includes(component));
      moments.push({ store: store.name, all, stack: stackMoments(configured) });
    } catch (error) {
      if (ctx.signal.aborted || !isFailure(error)) throw error;
      unreadable.push({ name: store.name, error });
    }
  }
  return { moments, unreadable };
}

/** Nothing where no log is kept: points tell it all then. */
export function momentsText(moments: readonly MomentsIn[], now: Date): string[] {
  const logged = moments.filter(({ all }) => all.some(({ followed }) => followed));
  if (logged.length === 0) return [];
  const rows = logged.flatMap(({ store, all, stack }) => [
    ...all.map((each) => [each.component, store, windowsText(each, now), clockText(each)]),
    ...(all.length > 1 ? [['all of these', store, stackText(stack, now), '']] : []),
  ]);
  const titles = ['component', 'store', 'any moment of (UTC)', 'clock'];
  return [
    '',
    table(
      titles.map((title) => ({ title })),
      rows,
    ),
  ];
}

/** '2026-11-01 02:00:00 … now − 4 s, gap 13:02:00–13:07:00 (the slot was lost)' */
function windowsText({ windows, gaps, points, forks }: Recoverable, now: Date): string {
  const [first, last] = [windows[0], windows.at(-1)];
  const newest = points.at(-1);
  const told = first && last ? [spanText(first.from.ms, last.to.ms, now)] : [];
  if (!first && newest) told.push(`${plural(points.length, 'point')} alone, the newest of ${secondText(newest.ms)}`);
  if (!first && !newest) told.push('nothing');
  told.push(...gaps.map((gap) => gapText(gap)));
  told.push(...forks.map(({ ms }) => `forks at ${secondText(ms)}`));
  return told.join(', ');
}

function gapText({ fromMs, toMs, reasons }: WindowGap): string {
  const why = setIn(reasons.join('; '));
  const from = secondText(fromMs);
  if (toMs === null) return `broken since ${from} (${why})`;
  const to = secondText(toMs);
  const sameDay = from.slice(0, 10) === to.slice(0, 10);
  return `gap ${from}–${sameDay ? to.slice(11) : to} (${why})`;
}

function stackText({ spans, byPoints, without }: StackMoments, now: Date): string {
  const told = spans.map(({ fromMs, toMs }) => spanText(fromMs, toMs, now));
  if (told.length === 0) told.push('none that all have');
  if (byPoints.length > 0) told.push(`${byPoints.join(' and ')} from the nearest point before`);
  if (without.length > 0) told.push(`without ${without.join(' and ')}`);
  return told.join(', ');
}

function spanText(fromMs: number, toMs: number, now: Date): string {
  return `${secondText(fromMs)} … ${endText(toMs, now)}`;
}

function endText(ms: number, now: Date): string {
  const agoMs = now.getTime() - ms;
  return agoMs >= 0 && agoMs < DAY_MS ? `now − ${durationText(agoMs)}` : secondText(ms);
}

function secondText(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19).replace('T', ' ');
}

function clockText({ windows }: Recoverable): string {
  const last = windows.at(-1);
  if (!last) return '';
  return last.to.clock ? `± ${Math.ceil(last.to.clock.errorMs)} ms` : 'not measured';
}

export function momentsJson(moments: readonly MomentsIn[]): object {
  return {
    recoverable: moments.flatMap(({ store, all }) => all.map((each) => recoverableJson(store, each))),
    recoverable_stack: moments.map(({ store, stack }) => ({
      store,
      windows: stack.spans.map(({ fromMs, toMs }) => ({ from: iso(fromMs), to: iso(toMs) })),
      by_points: stack.byPoints,
      without: stack.without,
    })),
  };
}

function recoverableJson(store: string, { component, followed, windows, gaps, forks, points }: Recoverable): object {
  return {
    component,
    store,
    followed,
    windows: windows.map(({ from, to, bases, ranges }) => ({
      from: iso(from.ms),
      to: iso(to.ms),
      points: bases,
      ranges,
      clock: clockJson(to.clock ?? from.clock),
      source: { from: from.cut, to: to.cut },
    })),
    gaps: gaps.map(({ fromMs, toMs, reasons }) => ({
      from: iso(fromMs),
      to: toMs === null ? null : iso(toMs),
      reasons,
    })),
    forks: forks.map(({ ms, lineages }) => ({ at: iso(ms), lineages })),
    moments: points
      .filter(({ ms }) => !windows.some(({ from, to }) => from.ms <= ms && ms <= to.ms))
      .map(({ point, ms }) => ({ point: point.id, at: iso(ms) })),
  };
}

/** How far the log goes on from a point, where it joins one; by component. */
export function joinedOf(moments: readonly MomentsIn[], point: string): ReadonlyMap<string, readonly Joined[]> {
  const all = moments.flatMap(({ store, all: each }) =>
    each.flatMap((known) => {
      if (!known.followed || !known.points.some((held) => held.point.id === point)) return [];
      const ends = known.reaches.filter(({ base }) => base.point.id === point).map(({ to }) => to.ms);
      return [{ component: known.component, store, toMs: ends.length === 0 ? null : Math.max(...ends) }];
    }),
  );
  return Map.groupBy(all, ({ component }) => component);
}
interface Joined {
  readonly component: string;
  readonly store: string;
  /** Null where it joins none, or nothing was logged since. */
  readonly toMs: number | null;
}

/** Nothing where no store has a log of it. */
export function joinedText(joined: readonly Joined[] | undefined, now: Date): string {
  if (!joined) return '';
  const ends = joined.flatMap(({ toMs }) => toMs ?? []);
  return ends.length === 0 ? 'joins none' : `joined, to ${endText(Math.max(...ends), now)}`;
}

export function joinedJson(joined: ReturnType<typeof joinedOf>): object {
  const told = [...joined].map(([component, each]) => {
    return [component, each.map(({ store, toMs }) => ({ store, to: toMs === null ? null : iso(toMs) }))];
  });
  return { joined_logs: Object.fromEntries(told) };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
