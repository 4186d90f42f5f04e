// Reads journals: ranges one after another, each proved, and what stretches there are.

import { Failure } from '../core/errors.ts';
import type { JournalEntry, JournalPlace, JournalRange, JournalStretch } from '../core/journal.ts';
import type { Clock, Context, Cut } from '../core/model.ts';
import { mapOrdered } from '../core/parallel.ts';
import { floorOf, isDamage, type Known, loadLineage, prunedUpTo, readableLineages } from './journal-lineages.ts';
import { assertPositions, type Entry, type JournalVault } from './journal-names.ts';
import { type Content, openRange, type Whose } from './journal-ranges.ts';
import { type Step, stepsOf } from './journal-walk.ts';

/** Ranges in memory while one is replayed. */
const READ_AHEAD = 3;
const UNREADABLE = 'what was stored can not be read; run lifeboat verify --all --read-data';
const HINT_STRETCHES = 'choose a moment that the journal reaches without a gap, or a newer point';

export async function* readRanges(
  ctx: Context,
  vault: JournalVault,
  component: string,
  { lineage, position }: JournalPlace,
  to: string | null,
): AsyncIterable<JournalRange> {
  const whose = { component, lineage };
  const known = await loadLineage(ctx, vault, whose);
  if (!known) throw new Failure('missing', `${vault.bucket.url}: lineage ${lineage} of ${component} was pruned`);
  const floor = floorOf(known).to.position;
  assertPositions(floor.length, position, to ?? position);
  if (position < floor) throw outside(vault, whose, position, `begins at ${floor}`);
  let reached = floor;
  async function* wanted(steps: AsyncIterable<Step>): AsyncIterable<Step> {
    for await (const step of steps) {
      const { from, to: end } = step.entry ?? step;
      reached = to !== null && from >= to ? from : end;
      if (reached === from) return;
      if (end > position) yield step;
    }
  }
  const steps = wanted(stepsOf(ctx, vault, whose, known, position));
  // What is broken is thrown in its turn, after the ranges before it were given.
  yield* mapOrdered(steps, READ_AHEAD, (step) => openStep(ctx, vault, whose, step));
  if (reached < (to ?? position)) throw outside(vault, whose, to ?? position, `ends at ${reached}`);
}

async function openStep(ctx: Context, vault: JournalVault, whose: Whose, step: Step): Promise<JournalRange> {
  if (!step.entry) throw step.failure;
  const { gap, ...range } = await openRange(ctx, vault, whose, step.entry, step.previous);
  if (gap === null) return range;
  const between = `from ${range.from.position} (${range.from.at}) to ${range.to.position} (${range.to.at})`;
  const what = `the journal of ${whose.component} has a gap ${between}: ${gap}`;
  throw new Failure('missing', `${vault.bucket.url}: ${what}`, { hint: HINT_STRETCHES });
}

function outside({ bucket }: JournalVault, { component, lineage }: Whose, position: string, why: string): Failure {
  const what = `the journal of ${component}, lineage ${lineage}, has no ${position}: it ${why}`;
  return new Failure('missing', `${bucket.url}: ${what}`, { hint: HINT_STRETCHES });
}

export async function* entriesOf(
  ctx: Context,
  vault: JournalVault,
  component: string,
  { lineage, position }: JournalPlace,
): AsyncIterable<JournalEntry> {
  const whose = { component, lineage };
  const known = await loadLineage(ctx, vault, whose);
  if (!known) return;
  let edge = floorOf(known).to; // up to where all was told
  for await (const step of stepsOf(ctx, vault, whose, known, position)) {
    const { from, to } = step.entry ?? step;
    if (to <= position || to <= edge.position) continue;
    const found = await entryAt(ctx, vault, whose, step);
    if (found === 'pruned') continue;
    // Nobody knows when what is lost was: it counts from what is known on.
    const begin = from < edge.position ? edge : { position: from, at: edge.at };
    const lost = { from: begin, to: { position: to, at: edge.at }, at: ctx.now().toISOString() };
    const entry = typeof found === 'string' ? { ...lost, reason: found } : found;
    yield entry;
    edge = entry.to;
  }
}

/** Why it can't be read, in words. */
async function entryAt(
  ctx: Context,
  vault: JournalVault,
  whose: Whose,
  step: Step,
): Promise<JournalEntry | 'pruned' | string> {
  if (!step.entry) return step.failure.message;
  try {
    const { gap, ...range } = await openRange(ctx, vault, whose, step.entry, step.previous);
    return gap === null ? range : { from: range.from, to: range.to, at: range.at, reason: gap };
  } catch (error) {
    if (!isDamage(error)) throw error;
    const isPruned = error.code === 'missing' && (await prunedUpTo(ctx, vault, whose)) >= step.entry.to;
    return isPruned ? 'pruned' : error.message;
  }
}

export async function* stretchesOf(
  ctx: Context,
  vault: JournalVault,
  component: string,
): AsyncIterable<JournalStretch> {
  for await (const known of readableLineages(ctx, vault, component)) {
    yield* lineageStretches(ctx, vault, { component, lineage: known.lineage.id }, known);
  }
}

const NO_CLOCKS = { from: null, to: null };

/** A stretch that the walk has not come to the end of. */
interface Open {
  readonly from: Cut;
  readonly clock: Clock | null;
  ranges: number;
  bytes: number;
  last: Entry;
}

async function* lineageStretches(
  ctx: Context,
  vault: JournalVault,
  whose: Whose,
  known: Known,
): AsyncIterable<JournalStretch> {
  const { lineage } = known;
  let edge = floorOf(known).to; // up to where all was told
  let open: Open | null = null;
  let why: string | null = null; // what lies behind the edge is missing
  const gapTo = (to: Cut, gap: string): JournalStretch => {
    const from = edge;
    edge = to;
    return { lineage, from, to, clocks: NO_CLOCKS, ranges: 0, bytes: 0, gap };
  };
  for await (const step of stepsOf(ctx, vault, whose, known)) {
    const { entry } = step;
    if (entry && !entry.isGap && open) {
      open.ranges += 1;
      open.bytes += entry.bytes;
      open.last = entry;
      continue;
    }
    if (open) {
      const closed = await close(ctx, vault, whose, lineage, open);
      yield closed;
      edge = closed.to;
      why = edge.position < open.last.to ? UNREADABLE : null;
      open = null;
    }
    const content = entry && (await readable(ctx, vault, whose, entry));
    if (!entry || !content) {
      why ??= entry ? UNREADABLE : step.failure.message;
      continue;
    }
    if (edge.position < content.from.position) yield gapTo(content.from, why ?? UNREADABLE);
    why = null;
    if (content.gap !== null) yield gapTo(content.to, content.gap);
    else open = { from: content.from, clock: content.clock ?? null, ranges: 1, bytes: entry.bytes, last: entry };
  }
  if (open) {
    const closed = await close(ctx, vault, whose, lineage, open);
    yield closed;
    edge = closed.to;
  }
  if (known.tip && edge.position < known.tip.to.position) yield gapTo(known.tip.to, why ?? UNREADABLE);
}

/** Up to where its last range begins when that one can't be read. */
async function close(
  ctx: Context,
  vault: JournalVault,
  whose: Whose,
  lineage: JournalStretch['lineage'],
  { from, clock, ranges, bytes, last }: Open,
): Promise<JournalStretch> {
  const content = await readable(ctx, vault, whose, last);
  const clocks = { from: clock, to: content?.clock ?? null };
  if (content) return { lineage, from, to: content.to, clocks, ranges, bytes, gap: null };
  const to = { position: last.from, at: from.at };
  return { lineage, from, to, clocks, ranges: ranges - 1, bytes: bytes - last.bytes, gap: null };
}

async function readable(ctx: Context, vault: JournalVault, whose: Whose, entry: Entry): Promise<Content | null> {
  try {
    return await openRange(ctx, vault, whose, entry, null);
  } catch (error) {
    if (isDamage(error)) return null;
    throw error;
  }
}
