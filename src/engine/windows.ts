// Which moments of a component can be recovered, told from what is in a store alone: points, and the log that goes on
// from those that join it.

import type { Journal, JournalStretch, Lineage } from '../core/journal.ts';
import type { Clock, Context, Cut } from '../core/model.ts';
import { mapBounded } from '../core/parallel.ts';
import type { CapturedComponent, RecoveryPoint } from '../core/point.ts';
import type { Store } from '../core/storage.ts';
import { heldIn, PARALLEL_DEFAULT, SAFETY_PLAN } from './model.ts';
import { type Leg, type Path, pathsFrom } from './replay.ts';

/** A moment by both clocks. */
export interface Edge {
  /** By ours, as people name it. */
  readonly ms: number;
  /** By the source's. */
  readonly cut: Cut;
  /** Null where nobody measured it: both are then taken for one. */
  readonly clock: Clock | null;
}
/** A point, and one way through the log that it joins. */
export interface Reach {
  readonly base: PointOf;
  readonly legs: Path['legs'];
  readonly from: Edge;
  readonly to: Edge;
}
/** A point that holds the component. */
export interface PointOf {
  readonly point: RecoveryPoint;
  readonly captured: CapturedComponent;
  /** Its cut. */
  readonly ms: number;
}
/** Every moment from `from` to `to` can be recovered. */
export interface Window {
  readonly from: Edge;
  readonly to: Edge;
  /** Ids of the points that it is replayed on, oldest first. */
  readonly bases: readonly string[];
  readonly ranges: number;
}
/** Between windows; `toMs` is null where nothing after it can be recovered yet. */
export interface WindowGap {
  readonly fromMs: number;
  readonly toMs: number | null;
  readonly reasons: readonly string[];
}
/** The log goes on in two ways from here: what another server wrote there is in a window of its own. */
export interface Fork {
  readonly ms: number;
  readonly lineages: readonly string[];
}
export interface Recoverable {
  readonly component: string;
  /** Whether the store has a log of it, whatever can be done with that. */
  readonly followed: boolean;
  /** Oldest cut first; those that a restore took of what it replaced are left out. */
  readonly points: readonly PointOf[];
  readonly reaches: readonly Reach[];
  readonly windows: readonly Window[];
  readonly gaps: readonly WindowGap[];
  readonly forks: readonly Fork[];
  /** Where the log in the store ends; null without one. */
  readonly end: { readonly lineage: Lineage; readonly edge: Edge } | null;
}

/** From and to by our clock. */
export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}
/** What holds for several components at once. */
export interface StackMoments {
  /** To any moment in these, or to the newest point before it; nothing where none has a log. */
  readonly spans: readonly Span[];
  /** Those that come from their newest point before. */
  readonly byPoints: readonly string[];
  /** Those that nothing is there of. */
  readonly without: readonly string[];
}

/** `points` are those of one stack in this store. Of a store without a journal the points are all there is. */
export async function recoverable(
  ctx: Context,
  store: Store,
  component: string,
  points: readonly RecoveryPoint[],
): Promise<Recoverable> {
  return recoverableBy(await logOf(ctx, store.journal(component)), component, points);
}

function recoverableBy(log: Log, component: string, points: readonly RecoveryPoint[]): Recoverable {
  const own = pointsOf(points, component, anyClock(log));
  const reaches = own.flatMap((base) => [...reachesOf(log, base)]);
  const windows = windowsOf(log, reaches);
  return {
    component,
    followed: log.lineages.length > 0,
    points: own,
    reaches,
    windows,
    gaps: gapsOf(log, windows),
    forks: forksOf(log),
    end: endOf(log),
  };
}

/** The same of all components that have points or a journal there, in order of name. */
export async function recoverables(
  ctx: Context,
  store: Store,
  points: readonly RecoveryPoint[],
): Promise<readonly Recoverable[]> {
  const logged = await Array.fromAsync(store.journals(ctx));
  const names = new Set([...logged, ...points.flatMap((point) => Object.keys(point.components))]);
  return await mapBounded([...names].toSorted(), PARALLEL_DEFAULT, async (name) =>
    // Names in points are whatever somebody wrote there: not all of them could have a journal.
    logged.includes(name) ? await recoverable(ctx, store, name, points) : recoverableBy(NO_LOG, name, points),
  );
}

/** The moments that all of them have. */
export function stackMoments(all: readonly Recoverable[]): StackMoments {
  const logged = all.filter(({ windows }) => windows.length > 0);
  const pointed = all.filter(({ windows, points }) => windows.length === 0 && points.length > 0);
  const firstMs = Math.max(...pointed.map(({ points }) => points[0]?.ms ?? 0));
  let spans: readonly Span[] = logged.length === 0 ? [] : [{ fromMs: firstMs, toMs: Infinity }];
  for (const { windows } of logged) {
    spans = spans.flatMap(({ fromMs, toMs }) =>
      windows
        .map(({ from, to }) => ({ fromMs: Math.max(fromMs, from.ms), toMs: Math.min(toMs, to.ms) }))
        .filter((span) => span.fromMs <= span.toMs),
    );
  }
  const nameOf = ({ component }: Recoverable): string => component;
  const without = all.filter((each) => !logged.includes(each) && !pointed.includes(each)).map(nameOf);
  return { spans, byPoints: pointed.map(nameOf), without };
}

/** By our clock. */
export function edgeOf(cut: Cut, clock: Clock | null): Edge {
  return { ms: Date.parse(cut.at) - aheadOf(clock), cut, clock };
}

/**
 * By how much a source's clock is taken to be ahead of ours, in milliseconds. One that may be right is taken for right:
 * on a busy machine a measurement errs by more than clocks do.
 */
export function aheadOf(clock: Clock | null): number {
  return clock && Math.abs(clock.aheadMs) > clock.errorMs ? Math.round(clock.aheadMs) : 0;
}

/** Undefined for a point that joins no log. */
export function reachOf({ reaches }: Recoverable, point: string): Reach | undefined {
  return reaches.find(({ base }) => base.point.id === point);
}

function pointsOf(points: readonly RecoveryPoint[], component: string, clock: Clock | null): readonly PointOf[] {
  return points
    .filter(({ plan }) => plan !== SAFETY_PLAN)
    .flatMap((point) => {
      const captured = heldIn(point, component);
      return captured?.cut ? [{ point, captured, ms: edgeOf(captured.cut, clock).ms }] : [];
    })
    .toSorted((a, b) => a.ms - b.ms);
}

interface Log {
  readonly lineages: readonly Lineage[];
  /** By lineage, in order; gaps among them. */
  readonly stretches: ReadonlyMap<string, readonly JournalStretch[]>;
}

const NO_LOG: Log = { lineages: [], stretches: new Map() };

async function logOf(ctx: Context, journal: Journal): Promise<Log> {
  const lineages = await Array.fromAsync(journal.lineages(ctx));
  const all = lineages.length === 0 ? [] : await Array.fromAsync(journal.stretches(ctx));
  return { lineages, stretches: Map.groupBy(all, ({ lineage }) => lineage.id) };
}

/** As it was measured last, for points that lie in no stretch. */
function anyClock({ stretches }: Log): Clock | null {
  const clocks = [...stretches.values()].flat().flatMap(({ clocks: { from, to } }) => to ?? from ?? []);
  return clocks.at(-1) ?? null;
}

/** One for each way on from the point; nothing where it joins no log, or nothing was logged since. */
function reachesOf(log: Log, base: PointOf): readonly Reach[] {
  const { journal, cut } = base.captured;
  if (!journal || !cut) return [];
  return pathsFrom(log.lineages, [...log.stretches.values()].flat(), journal).flatMap(({ legs, end }) => {
    const [first, last] = [legs[0], legs.at(-1)];
    const from = edgeOf(cut, first ? clockAt(log, first.lineage, first.from) : null);
    const to = edgeOf(end, last ? clockAt(log, last.lineage, end.position) : null);
    return to.ms > from.ms ? [{ base: { ...base, ms: from.ms }, legs, from, to }] : [];
  });
}

/** As it was measured at the end of the stretch that is nearer. */
function clockAt({ stretches }: Log, { id }: Lineage, position: string): Clock | null {
  const found = stretches.get(id)?.find(({ gap, to }) => gap === null && position <= to.position);
  if (!found) return null;
  const { from, to } = found.clocks;
  return position < found.to.position ? (from ?? to) : (to ?? from);
}

function windowsOf(log: Log, reaches: readonly Reach[]): readonly Window[] {
  const windows: (Window & { legs: readonly Leg[] })[] = [];
  for (const { base, from, to, legs } of reaches.toSorted((a, b) => a.from.ms - b.from.ms)) {
    const last = windows.at(-1);
    if (!last || from.ms > last.to.ms) {
      windows.push({ from, to, bases: [base.point.id], legs, ranges: 0 });
      continue;
    }
    const bases = [...new Set([...last.bases, base.point.id])];
    const end = to.ms > last.to.ms ? to : last.to;
    windows.splice(-1, 1, { ...last, to: end, bases, legs: [...last.legs, ...legs] });
  }
  return windows.map(({ legs, ...window }) => ({ ...window, ranges: rangesOf(log, legs) }));
}

/** Of the stretches that these go through. */
function rangesOf({ stretches }: Log, legs: readonly Leg[]): number {
  const found = new Set<JournalStretch>();
  for (const { lineage, from, to } of legs) {
    for (const each of stretches.get(lineage.id) ?? []) {
      if (each.from.position < to && from < each.to.position) found.add(each);
    }
  }
  return [...found].reduce((sum, { ranges }) => sum + ranges, 0);
}

function gapsOf(log: Log, windows: readonly Window[]): readonly WindowGap[] {
  const first = windows[0];
  const end = endOf(log);
  if (!first) {
    if (!end) return [];
    const begin = edgeOf(end.lineage.from, end.edge.clock).ms;
    return [{ fromMs: begin, toMs: null, reasons: ['no point joins the log'] }];
  }
  return windows.flatMap(({ to }, at): WindowGap[] => {
    const next = windows[at + 1];
    if (!next && (!end || end.edge.ms <= to.ms)) return [];
    const toMs = next ? next.from.ms : null;
    return [{ fromMs: to.ms, toMs, reasons: reasonsOf(log, to.ms, toMs ?? Infinity) }];
  });
}

function reasonsOf(log: Log, fromMs: number, toMs: number): readonly string[] {
  const isIn = (ms: number): boolean => ms >= fromMs && ms <= toMs;
  const noted = [...lossesIn(log)].flatMap(({ from, to, why }) => (to.ms < fromMs || from.ms > toMs ? [] : [why]));
  if (noted.length > 0) return [...new Set(noted)];
  // A log is noted a moment after its first point, with which the gap has ended.
  const begun = log.lineages.filter((lineage) => isIn(Date.parse(lineage.begunAt)) || isIn(beginMs(log, lineage)));
  return begun.length > 0 ? [...new Set(begun.map(({ why }) => why))] : ['nothing was followed'];
}

function beginMs(log: Log, lineage: Lineage): number {
  return edgeOf(lineage.from, clockAt(log, lineage, lineage.from.position)).ms;
}

/** Nobody measures the clock while nothing comes: that of what came before is as good. */
function* lossesIn({ stretches }: Log): Generator<{ readonly from: Edge; readonly to: Edge; readonly why: string }> {
  for (const each of stretches.values()) {
    let clock: Clock | null = null;
    for (const { gap, from, to, clocks } of each) {
      if (gap !== null) yield { from: edgeOf(from, clock), to: edgeOf(to, clock), why: gap };
      clock = clocks.to ?? clocks.from ?? clock;
    }
  }
}

function forksOf({ lineages, stretches }: Log): readonly Fork[] {
  return lineages.flatMap(({ id, parent, from }) => {
    const before = parent && stretches.get(parent.lineage)?.findLast(({ gap }) => gap === null);
    if (!before || before.to.position <= parent.position) return [];
    return [{ ms: edgeOf(from, before.clocks.to).ms, lineages: [parent.lineage, id] }];
  });
}

/** Of the newest lineage. */
function endOf({ lineages, stretches }: Log): Recoverable['end'] {
  const lineage = lineages.at(-1);
  if (!lineage) return null;
  const last = stretches.get(lineage.id)?.at(-1);
  const edge = last ? edgeOf(last.to, last.clocks.to ?? last.clocks.from) : edgeOf(lineage.from, null);
  return { lineage, edge };
}
