// The log that brings a point to a target: from where the point joins the journal, through the lineages that follow one
// another, without a gap.

import { isDeepStrictEqual } from 'node:util';
import type { Replay, ReplayRange, ReplayTarget } from '../core/component.ts';
import { Failure } from '../core/errors.ts';
import type { Journal, JournalPlace, JournalStretch, Lineage } from '../core/journal.ts';
import type { Context, Cut, JournalPoint } from '../core/model.ts';
import { inTime } from '../core/times.ts';

/** A piece of one lineage, up to where the next one goes on or to where there is no more. */
export interface Leg {
  readonly lineage: Lineage;
  readonly from: string;
  readonly to: string;
}
export interface Path {
  readonly legs: readonly Leg[];
  /** Of what can be replayed without a break. */
  readonly end: Cut;
  /** What is missing there, although more was stored behind it. */
  readonly gap: JournalStretch | null;
}

/**
 * 'missing' when the point joins no log, or the target lies before its cut, in a gap or behind the end: then with the
 * nearest moments that can be recovered. A time is looked for in the point's own lineage first, and in those that go on
 * from it when it lies behind that. Everything else goes the way of the newest.
 */
export async function replayOf(
  ctx: Context,
  journal: Journal,
  base: JournalPoint,
  target: ReplayTarget,
  cut: Cut | null = null,
): Promise<Replay> {
  const stretches = await Array.fromAsync(journal.stretches(ctx));
  const lineages = await Array.fromAsync(journal.lineages(ctx));
  const paths = pathsFrom(lineages, stretches, base);
  const path = target.kind === 'time' ? pathToTime(paths, stretches, target.at) : newest(paths);
  if (!path) throw joinsNothing(base);
  if (target.kind === 'time' && cut && Date.parse(target.at) < Date.parse(cut.at))
    throw beforePoint(target.at, cut, path);
  if (target.kind === 'latest' && path.gap) throw lastBeforeGap(path, path.gap);
  // A moment that is there lies before whatever gap there is.
  const way = target.kind === 'time' ? { ...path, gap: null } : path;
  return { target, end: path.end, lineages, ranges: (c, from = base.from) => rangesOf(c, journal, way, from) };
}

async function* rangesOf(ctx: Context, journal: Journal, { legs, end, gap }: Path, from: string) {
  for (const [at, { lineage, from: begin, to }] of legs.entries()) {
    if (from >= to) continue;
    const isLast = at === legs.length - 1;
    const place = { lineage: lineage.id, position: from > begin ? from : begin };
    for await (const range of journal.read(ctx, place, to)) {
      const cut = !isLast && range.to.position > to ? { until: to } : {};
      yield { ...range, ...cut, lineage } satisfies ReplayRange;
    }
  }
  if (gap) throw inGap(gap, end);
}

/** Every way on from the base, each as far as it goes. The fewer lineages, the earlier; of equally many, the newest. */
export function pathsFrom(
  lineages: readonly Lineage[],
  stretches: readonly JournalStretch[],
  base: JournalPoint,
): Path[] {
  const own = (id: string): readonly JournalStretch[] => stretches.filter(({ lineage }) => lineage.id === id);
  const paths: Path[] = [];
  const follow = (before: readonly Leg[], lineage: Lineage, from: string): void => {
    const reached = reach(own(lineage.id), from);
    if (!reached) return;
    const legTo = (to: string): readonly Leg[] => [...before, { lineage, from, to }];
    paths.push({ legs: legTo(reached.end.position), end: reached.end, gap: reached.gap });
    for (const child of lineages) {
      const { parent } = child;
      if (parent?.lineage !== lineage.id || child.id <= lineage.id) continue;
      // What the base holds itself is of its own lineage.
      if (parent.position < (before.length === 0 ? base.to : from) || parent.position > reached.end.position) continue;
      follow(legTo(parent.position), child, parent.position);
    }
  };
  for (const lineage of lineages) if (isDeepStrictEqual(lineage.source, base.source)) follow([], lineage, base.from);
  const whole = paths.filter(({ end }) => end.position >= base.to);
  return whole.toSorted((a, b) => a.legs.length - b.legs.length || (lastId(a) < lastId(b) ? 1 : -1));
}

/** Whether one of these points can be brought to where a lineage ends, without a gap. */
export async function canReach(
  ctx: Context,
  journal: Journal,
  end: JournalPlace,
  bases: readonly JournalPoint[],
): Promise<boolean> {
  const lineages = await Array.fromAsync(journal.lineages(ctx));
  const { lineage: id, position } = lastStored(lineages, end);
  const source = lineages.find((each) => each.id === id)?.source;
  if (bases.some((base) => base.to === position && isDeepStrictEqual(base.source, source))) return true;
  const stretches = await Array.fromAsync(journal.stretches(ctx));
  const paths = bases.flatMap((base) => pathsFrom(lineages, stretches, base));
  return paths.some((path) => lastId(path) === id && path.end.position >= position);
}

/** A lineage in which nothing is stored yet stands where the one before was left. */
function lastStored(lineages: readonly Lineage[], end: JournalPlace): JournalPlace {
  const { parent = null, from } = lineages.find(({ id }) => id === end.lineage) ?? {};
  return parent && end.position === from?.position ? lastStored(lineages, parent) : end;
}

function lastId({ legs }: Path): string {
  return legs.at(-1)?.lineage.id ?? '';
}

/** How far a lineage goes from a position without a gap; null when it does not hold that. */
function reach(own: readonly JournalStretch[], from: string): Pick<Path, 'end' | 'gap'> | null {
  let end: Cut | null = null;
  for (const stretch of own) {
    const isNext = end ? stretch.from.position === end.position : stretch.from.position <= from;
    if (end && (stretch.gap !== null || !isNext)) return { end, gap: stretch };
    if (stretch.gap === null && isNext && from <= stretch.to.position) end = stretch.to;
  }
  return end && { end, gap: null };
}

function newest(paths: readonly Path[]): Path | undefined {
  return paths.toSorted((a, b) => (lastId(a) < lastId(b) ? 1 : -1))[0];
}

function pathToTime(paths: readonly Path[], stretches: readonly JournalStretch[], at: string): Path | undefined {
  const wanted = Date.parse(at);
  const reaching = paths.find(({ end }) => wanted <= Date.parse(end.at));
  if (reaching || paths.length === 0) return reaching;
  const furthest = paths.reduce((best, path) => (Date.parse(path.end.at) > Date.parse(best.end.at) ? path : best));
  const gap = stretches.find(
    ({ gap: why, from, to }) => why !== null && Date.parse(from.at) <= wanted && wanted < Date.parse(to.at),
  );
  if (gap) throw inGap(gap, furthest.end);
  const later = stretches.find(({ gap: why, to }) => why === null && wanted <= Date.parse(to.at));
  const what = `${inTime(at)} lies behind what is stored without a break from this point on: the latest moment is`;
  throw new Failure('missing', `${what} ${inTime(furthest.end.at)}`, {
    hint: later ? 'choose a newer point: the log goes on behind it' : 'choose a moment up to then',
  });
}

function beforePoint(at: string, cut: Cut, { end }: Path): Failure {
  const what = `${inTime(at)} lies before the point, from which the earliest moment is`;
  return new Failure('missing', `${what} ${inTime(cut.at)}`, {
    hint: `choose an older point, or a moment up to ${inTime(end.at)}`,
  });
}

function inGap({ from, to, gap }: JournalStretch, end: Cut): Failure {
  const why = gap === null ? '' : `: ${gap}`;
  return new Failure('missing', `the journal has a gap from ${inTime(from.at)} to ${inTime(to.at)}${why}`, {
    hint: `choose a moment up to ${inTime(end.at)}, or a point that was taken after the gap`,
  });
}

function lastBeforeGap({ end }: Path, gap: JournalStretch): Failure {
  const { message } = inGap(gap, end);
  return new Failure('missing', `${message}; from this point on nothing behind it can be replayed`, {
    hint: `choose a newer point, or ask for the moment before the gap: ${inTime(end.at)}`,
  });
}

function joinsNothing({ from, to }: JournalPoint): Failure {
  return new Failure('missing', `no journal of this log reaches from ${from} to ${to}, where the point joins it`, {
    hint: 'restore the point as it is, or choose one that was taken while the service was followed',
  });
}
