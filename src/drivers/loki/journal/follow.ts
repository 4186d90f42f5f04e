// Follows a Loki: in rounds new lines are asked for by their time, and those that came late are looked for by counting.

import type { Standing } from '../../../core/component.ts';
import { ERRORS, isFailure } from '../../../core/errors.ts';
import type { Feed } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';
import {
  type Bases,
  cutAt,
  eachRound,
  type Moving,
  msOf,
  positionAt,
  type Rounds,
  roundsOf,
  withBases,
} from '../../../core/moments.ts';
import { countNow, pageLines } from '../capture.ts';
import { limitsOf } from '../limits.ts';
import { type Line, lineText } from '../lines.ts';
import { type Reading, readingOf } from '../query.ts';
import { readLines } from '../read.ts';
import type { Settings } from '../settings.ts';
import { MS_NS, nsOf, type Span } from '../slices.ts';
import { rangeBody, readRange, sourceOf } from './format.ts';
import { halvesOf, type Known, knownLines, LATE_MS, slicesIn } from './known.ts';

/** Of what is newer every line is asked for again. */
const FRESH_MS = 20_000;
const RANGE_CHARS = 4 * 1024 * 1024;
/** After so many rounds the journal says that nothing came. */
const IDLE_ROUNDS = 3;
const FIRST = 'the Loki is followed from here on';

interface Work {
  readonly settings: Settings;
  readonly rounds: Rounds;
  readonly bases: Bases;
  readonly known: Known;
  readonly reading: Reading;
}

export async function follow(ctx: Context, settings: Settings, feed: Feed): Promise<void> {
  const rounds = roundsOf(feed);
  const goesOn = (): boolean => rounds.goesOn(sourceOf(settings), ctx.now().getTime());
  await withBases(ctx, feed, async (within, bases) => {
    for (;;) {
      const limits = await limitsOf(within, settings);
      const reading = readingOf(settings, pageLines(limits));
      const work: Work = { settings, rounds, bases, reading, known: knownLines() };
      if (goesOn()) await readBack(within, feed, work);
      else await beginAnew(within, work);
      bases.need(feed.lineage()?.from.position ?? '', FIRST);
      const spans = [limits.retentionMs, limits.lookbackMs].filter((each) => each !== null);
      await noteLoss(within, work, Math.min(...spans));
      await eachRound(within, settings.followEveryMs, goesOn, (moving) => round(within, work, moving));
    }
  });
}

/** It is asked by our clock. */
export async function standing(ctx: Context, settings: Settings): Promise<Standing> {
  await limitsOf(ctx, settings);
  return { source: sourceOf(settings), end: cutAt(ctx.now().getTime()), clock: null };
}

async function beginAnew(ctx: Context, { settings, rounds }: Work): Promise<void> {
  const nowMs = ctx.now().getTime();
  await rounds.begin(ctx, sourceOf(settings), FIRST, nowMs);
  await rounds.upTo(ctx, nowMs, rangeBody({ format: 1, round: [rounds.atMs(), nowMs], lines: 0 }, []));
}

/** What can't be read any more is stored once more: a Loki takes the same line only once. */
async function readBack(ctx: Context, feed: Feed, { rounds, known }: Work): Promise<void> {
  const beginMs = msOf(feed.lineage()?.from.position ?? rounds.position());
  try {
    for await (const range of feed.read(ctx, positionAt(Math.max(rounds.atMs() - LATE_MS, beginMs)))) {
      for (const line of readRange(range).lines) known.add(line);
    }
  } catch (error) {
    if (!isFailure(error) || !ERRORS[error.code].lost) throw error;
    ctx.log.info('some lines are stored once more: what the journal has can not be read', { reason: error.message });
  }
}

/** Where nobody followed for longer than the Loki keeps lines. */
async function noteLoss(ctx: Context, { rounds, bases }: Work, keptMs: number): Promise<void> {
  const oldestMs = ctx.now().getTime() - keptMs;
  if (rounds.atMs() >= oldestMs) return;
  const reason = 'lines were deleted, or given to nobody any more, before they were read';
  await rounds.gap(ctx, oldestMs, reason);
  bases.need(rounds.position(), reason);
}

async function round(ctx: Context, work: Work, moving: Moving): Promise<void> {
  const { settings, rounds, known, reading } = work;
  const fromMs = rounds.atMs();
  const toMs = Math.max(ctx.now().getTime(), fromMs + 1);
  const freshMs = fromMs - FRESH_MS;
  known.keepFrom(freshMs - LATE_MS);
  const shipper = shipperOf(rounds, toMs);
  for await (const span of lateSpans(ctx, work, slicesIn(freshMs - LATE_MS, freshMs))) {
    await moving(() => ship(ctx, work, span, shipper));
  }
  const fresh = { from: slicesIn(freshMs, freshMs).to, to: nsOf(toMs) };
  await moving(() => ship(ctx, work, fresh, shipper));
  reading.told.hidden = 0; // of a point's warnings
  if (!shipper.isEmpty() || toMs - fromMs >= settings.followEveryMs * IDLE_ROUNDS) await moving(() => shipper.end(ctx));
}

/** Pieces of a time that is over in which there are more lines than are known. */
async function* lateSpans(ctx: Context, { reading, known }: Work, span: Span): AsyncIterable<Span> {
  if (span.from >= span.to) return;
  const count = await countNow(ctx, reading, span);
  if (count === null || count <= known.count(span)) return;
  const halves = halvesOf(span);
  if (!halves) return yield span;
  for (const half of halves) yield* lateSpans(ctx, { reading, known } as Work, half);
}

async function ship(ctx: Context, { reading, known }: Work, span: Span, shipper: Shipper): Promise<void> {
  for await (const page of readLines(ctx, reading, span)) {
    for (const line of page) if (known.add(line)) await shipper.add(ctx, line);
    const lastMs = Number(BigInt(page.at(-1)?.ts ?? 0) / MS_NS);
    known.keepFrom(lastMs - 2 * LATE_MS); // nobody may have followed for days
  }
}

interface Shipper {
  add(ctx: Context, line: Line): Promise<void>;
  end(ctx: Context): Promise<void>;
  isEmpty(): boolean;
}

function shipperOf(rounds: Rounds, toMs: number): Shipper {
  const fromMs = rounds.atMs();
  let texts: string[] = [];
  let chars = 0;
  let stored = 0;
  const body = (): Buffer => rangeBody({ format: 1, round: [fromMs, toMs], lines: texts.length }, texts);
  return {
    async add(ctx, line) {
      const text = lineText(line, JSON.stringify(line.labels), JSON.stringify(line.line));
      if (texts.length > 0 && chars + text.length > RANGE_CHARS) {
        await rounds.more(ctx, body());
        stored += texts.length;
        texts = [];
        chars = 0;
      }
      texts.push(text);
      chars += text.length;
    },
    end: (ctx) => rounds.upTo(ctx, toMs, body()),
    isEmpty: () => stored + texts.length === 0,
  };
}
