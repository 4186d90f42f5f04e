// Journals of services that have no position in a log of their own: theirs are moments of a clock. What a service says
// or holds is looked at in rounds; a round may be several ranges, and only the last one brings the journal on in time.

import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { takeBase } from './bases.ts';
import type { ReplayTarget } from './component.ts';
import { interruption, withSignal } from './context.ts';
import { Failure } from './errors.ts';
import type { Feed } from './journal.ts';
import type { Clock, Context, Cut, JournalPoint, Json } from './model.ts';

const MS_DIGITS = 14;
const COUNT_DIGITS = 6;
/** Between when a point was asked for and when a clock on another host says so. What comes twice is known as such. */
const OVERLAP_MS = 10_000;
/** Looking may take this share of the time. */
const LOOKING_SHARE = 0.25;
/** A clock that was set back by more begins another lineage. */
const BACK_MS_MAX = 60_000;

/** A moment, and how many ranges of the round after it come before. */
interface Moment {
  readonly ms: number;
  readonly count: number;
}

function momentOf(position: string): Moment {
  assert(isMoment(position), `${position} is a moment`);
  return { ms: Number(position.slice(0, MS_DIGITS)), count: Number(position.slice(MS_DIGITS)) };
}

export function isMoment(position: string): boolean {
  return position.length === MS_DIGITS + COUNT_DIGITS && /^\d+$/.test(position);
}

export function msOf(position: string): number {
  return momentOf(position).ms;
}

export function positionAt(ms: number, count = 0): string {
  return `${String(ms).padStart(MS_DIGITS, '0')}${String(count).padStart(COUNT_DIGITS, '0')}`;
}

export function cutAt(ms: number, count = 0): Cut {
  return { position: positionAt(ms, count), at: new Date(ms).toISOString() };
}

/** In the range that ends at this position. */
export function justBefore(position: string): string {
  const { ms, count } = momentOf(position);
  return count > 0 ? positionAt(ms, count - 1) : positionAt(ms - 1, 10 ** COUNT_DIGITS - 1);
}

/** Up to which moment a replay goes. */
export function untilOf(target: ReplayTarget, kind: string): number {
  if (target.kind === 'latest') return Number.POSITIVE_INFINITY;
  if (target.kind === 'time') return Date.parse(target.at);
  if (target.kind === 'position' && isMoment(target.value)) return msOf(target.value);
  throw noSuchTarget(target, kind);
}

export function noSuchTarget(target: ReplayTarget, kind: string): Failure {
  const what = `${kind}: a journal has no ${target.kind} ${'value' in target ? target.value : ''}`;
  return new Failure('usage', what, { hint: 'choose a time, or a position as the journal tells it' });
}

/** Where a point joins whose content was asked for from `ms` on, up to `endMs`. */
export function joinsAt(source: Json, ms: number, endMs = ms): JournalPoint {
  return { source, from: positionAt(ms - OVERLAP_MS), to: positionAt(endMs) };
}

/** Writes ranges whose positions are moments. */
export interface Rounds {
  /** Up to when all is stored. */
  atMs(): number;
  /** Where the next range goes. */
  position(): string;
  /** There is something stored, it is of this service, and the clock has not gone back far since. */
  goesOn(source: Json, ms: number): boolean;
  begin(ctx: Context, source: Json, why: string, ms: number): Promise<void>;
  /** A range of a round that is not over. */
  more(ctx: Context, body: Uint8Array): Promise<void>;
  /** The last range of a round: now all is there up to `ms`. */
  upTo(ctx: Context, ms: number, body: Uint8Array, clock?: Clock): Promise<void>;
  gap(ctx: Context, ms: number, reason: string): Promise<void>;
}

export function roundsOf(feed: Feed): Rounds {
  const end = (): Cut => {
    const durable = feed.durable();
    assert(durable, 'a lineage is begun before anything is put into it');
    return durable;
  };
  const at = (): Moment => momentOf(end().position);
  /** The clock may have been set back: time goes on in the journal all the same. */
  const later = (ms: number): Cut => cutAt(Math.max(ms, at().ms + 1));
  async function append(ctx: Context, to: Cut, body: Uint8Array, clock?: Clock): Promise<void> {
    const range = { from: end(), to, at: ctx.now().toISOString(), body, clock };
    await feed.append(ctx, range);
  }
  return {
    atMs: () => at().ms,
    position: () => end().position,
    goesOn(source, ms) {
      const lineage = feed.lineage();
      if (!lineage || !isDeepStrictEqual(lineage.source, source)) return false;
      return end().position > lineage.from.position && at().ms - ms < BACK_MS_MAX;
    },
    async begin(ctx, source, why, ms) {
      const from = cutAt(ms - OVERLAP_MS);
      await feed.begin(ctx, { from, base: null, why, source, parent: null });
    },
    async more(ctx, body) {
      const { ms, count } = at();
      await append(ctx, cutAt(ms, count + 1), body);
    },
    upTo: (ctx, ms, body, clock) => append(ctx, later(ms), body, clock),
    async gap(ctx, ms, reason) {
      const gap = { from: end(), to: later(ms), at: ctx.now().toISOString(), reason };
      await feed.gap(ctx, gap);
    },
  };
}

/** What a round reads and stores of what it has found: no looking, so that nobody waits for more because of that. */
export type Moving = <T>(work: () => Promise<T>) => Promise<T>;

/** One round after another while `goesOn`, until the signal or a failure. Where looking takes long, less often. */
export async function eachRound(
  ctx: Context,
  everyMs: number,
  goesOn: () => boolean,
  round: (moving: Moving) => Promise<void>,
): Promise<void> {
  let movedMs = 0;
  const moving: Moving = async (work) => {
    const begunMs = ctx.monotonicMs();
    try {
      return await work();
    } finally {
      movedMs += ctx.monotonicMs() - begunMs;
    }
  };
  while (goesOn()) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    const begunMs = ctx.monotonicMs();
    movedMs = 0;
    await round(moving);
    const tookMs = ctx.monotonicMs() - begunMs;
    await ctx.sleep(Math.max(everyMs - tookMs, (tookMs - movedMs) * (1 / LOOKING_SHARE - 1)));
  }
}

/** Takes the points that a journal needs while it is fed. */
export interface Bases {
  /** Takes one in the background, unless there is one from which the journal can be replayed from `joins` on. */
  need(joins: string, why: string): void;
}

export async function withBases<T>(
  ctx: Context,
  feed: Pick<Feed, 'lineage' | 'bases' | 'base'>,
  work: (ctx: Context, bases: Bases) => Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const within = withSignal(ctx, over.signal);
  let wanted: { joins: string; why: string } | null = null;
  let taking: Promise<void> | null = null;
  async function takeAll(): Promise<void> {
    for (let next = wanted; next; next = wanted) {
      wanted = null;
      // What it joins by lies before it is asked for.
      await within.sleep(Math.max(0, momentOf(next.joins).ms + OVERLAP_MS - within.now().getTime()));
      const { joins, why } = next;
      await takeBase(within, feed, why, () => ({ source: feed.lineage()?.source, from: joins }));
    }
    taking = null;
  }
  const need = (joins: string, why: string): void => {
    wanted = { joins, why };
    taking ??= takeAll().catch((error: unknown) => over.abort(error));
  };
  try {
    return await work(within, { need });
  } catch (error) {
    throw over.signal.aborted && !ctx.signal.aborted ? over.signal.reason : error;
  } finally {
    if (!over.signal.aborted) over.abort(new Failure('interrupted', 'following has ended'));
    await taking;
  }
}
