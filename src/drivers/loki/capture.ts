// A day (UTC) is a part: what it held at the cut, and a count and a digest for each of its streams.

import { batched, bytesOf } from '../../core/bytes.ts';
import { interruption } from '../../core/context.ts';
import { isFailure } from '../../core/errors.ts';
import { byKindAndName, INVENTORY_PART, inventoryOf, inventoryText } from '../../core/inventory.ts';
import { keepAll } from '../../core/many-parts.ts';
import type { Capture, Context, InventoryLine, InventoryReader, Rendition, Sink, Source } from '../../core/model.ts';
import { joinsAt } from '../../core/moments.ts';
import { spool } from '../../core/spool.ts';
import { sourceOf } from './journal/format.ts';
import { type Limits, limitsOf } from './limits.ts';
import { addLine, digestOf, emptySum, type Line, lineText, type Sum, streamWords } from './lines.ts';
import { daysText, identityOf, versionOf } from './probe.ts';
import { chosenFrom, countIn, type Reading, readingOf, seriesOf } from './query.ts';
import { readLines } from './read.ts';
import type { Settings } from './settings.ts';
import { daysOf, msOf, nsOf, type Slice, type Span, spanBack } from './slices.ts';

/** Lines may come this late: a day is finished when it was over for so long at the capture before. */
const LATE_MS = 2 * 3_600_000;
/** Some servers would give more; this much is held of several hours at a time. */
const PAGE_LINES_MAX = 10_000;
const PROGRESS_LINES = 50_000;

function linesPart(day: string): string {
  return `lines/${day}.json`;
}
function streamsPart(day: string): string {
  return `streams/${day}.ndjson`;
}

export function dayOfPart(name: string): string | null {
  return /^lines\/(\d{4}-\d{2}-\d{2})\.json$/.exec(name)?.[1] ?? null;
}

/** A part is JSON, a line for each log line, as it is; in a plain store all days are one file. */
export function linesRendition(day: string): Rendition {
  const name = linesPart(day);
  return { name, word: 'loki', item: null, alone: true, suffix: '.json', gzip: true, joined: true };
}

export async function capture(ctx: Context, settings: Settings, sink: Sink, previous?: Source): Promise<Capture> {
  const serverVersion = await versionOf(ctx, settings);
  const limits = await limitsOf(ctx, settings);
  const reading = readingOf(settings, pageLines(limits));
  const span = spanBack(ctx.now().getTime(), settings.sinceMs);
  const days = daysOf(span);
  const finished = previous ? await finishedDays(ctx, settings, previous) : () => null;
  const totals = { lines: 0, bytes: 0, streams: 0, days: 0 };
  const streams = new Set<string>();
  await using inventory = spool(ctx.scratch, 'the inventory');
  await inventory.add(inventoryText(rangeLine(settings, span)));
  for (const slice of days) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    const count = finished(slice);
    const kept = previous && count !== null && (await countNow(ctx, reading, slice)) === count ? previous : null;
    const lines = kept
      ? await keepDay(ctx, sink, kept, slice)
      : await putDay(ctx, sink, reading, { slice, last: slice === days.at(-1) });
    await inventory.add(lines.map(inventoryText).join(''));
    for (const line of lines) {
      streams.add(line.name.slice(slice.day.length + 1));
      totals.lines += line.count ?? 0;
      totals.bytes += bytesIn(line);
    }
    totals.days += lines.length > 0 ? 1 : 0;
  }
  if (ctx.signal.aborted) throw interruption(ctx.signal);
  totals.streams = streams.size;
  await sink.put(ctx, INVENTORY_PART, inventory.body());
  return {
    cut: { position: `${span.to}`, at: new Date(msOf(span.to)).toISOString() },
    method: 'query',
    serverVersion,
    identity: await identityOf(ctx, settings),
    inventoryLevel: 'full',
    totals,
    warnings: warningsOf(settings, limits, reading),
    journal: joinsAt(sourceOf(settings), msOf(span.to)),
  };
}

export function pageLines({ linesMax }: Limits): number {
  return Math.min(PAGE_LINES_MAX, linesMax);
}

function warningsOf({ sinceMs }: Settings, { lookbackMs }: Limits, { told: { uncounted, hidden } }: Reading): string[] {
  const warnings: string[] = [];
  if (lookbackMs !== null && lookbackMs < sinceMs) {
    const what = `lines older than ${daysText(lookbackMs)} are given to nobody there (max_query_lookback)`;
    warnings.push(`${what}: they are left out`);
  }
  if (hidden > 0) {
    const why = 'it begins its own pieces of a query there, and skips a stored chunk that ends with it';
    warnings.push(
      `${hidden} lines at the first moment of an hour are missing: the server gives them to nobody (${why})`,
    );
  }
  if (uncounted) warnings.push('the server refused to count lines, so that nobody knows whether it gave all of them');
  return warnings;
}

/** Of the live service, over the span; read as it is asked for, a day at a time. */
export function liveInventory(settings: Settings, span: Span): InventoryReader {
  return {
    async *lines(ctx) {
      const reading = readingOf(settings, pageLines(await limitsOf(ctx, settings)));
      yield rangeLine(settings, span);
      for (const { day, ...slice } of daysOf(span)) {
        const sums = new Map<string, Sum>();
        for await (const _ of summed(readLines(ctx, reading, slice), sums)) ctx.signal.throwIfAborted();
        yield* linesFor(day, sums);
      }
    },
  };
}

interface Day {
  readonly slice: Slice;
  /** There is a part of it also when it has no lines, so that a point always has one. */
  readonly last: boolean;
}

async function putDay(ctx: Context, sink: Sink, reading: Reading, { slice, last }: Day): Promise<InventoryLine[]> {
  const sums = new Map<string, Sum>();
  const texts = summed(readLines(ctx, reading, slice), sums);
  const first = await texts.next();
  if (first.done && !last) return [];
  async function* body(): AsyncIterable<string> {
    let lines = 0;
    for (let next = first; !next.done; next = await texts.next()) {
      yield next.value;
      if (++lines % PROGRESS_LINES === 0) ctx.progress({ task: 'loki', phase: 'capture', items: lines });
    }
  }
  try {
    await sink.put(ctx, linesPart(slice.day), batched(body()), { rendition: linesRendition(slice.day) });
  } finally {
    await texts.return(undefined);
  }
  const lines = linesFor(slice.day, sums);
  await sink.put(ctx, streamsPart(slice.day), bytesOf(lines.map(inventoryText).join('')));
  return lines;
}

/** The lines as they are stored; `sums` are of those that have gone by. */
async function* summed(pages: AsyncIterable<readonly Line[]>, sums: Map<string, Sum>): AsyncGenerator<string> {
  const wordsOf = streamWords();
  for await (const page of pages) {
    let text = '';
    for (const line of page) {
      const { name, json } = wordsOf(line.labels);
      const sum = sums.get(name) ?? emptySum();
      if (sum.count === 0) sums.set(name, sum);
      const lineJson = JSON.stringify(line.line);
      addLine(sum, line, lineJson);
      text += lineText(line, json, lineJson);
    }
    yield text;
  }
}

/** In the order of an inventory. */
function linesFor(day: string, sums: ReadonlyMap<string, Sum>): InventoryLine[] {
  return Array.from(sums, ([name, sum]) => ({
    kind: 'stream',
    name: `${day} ${name}`,
    count: sum.count,
    digest: digestOf(sum),
    detail: { bytes: sum.bytes },
  })).sort(byKindAndName);
}

const RANGE = 'range';

/** What the inventory is of: a line for all streams. */
function rangeLine({ selector }: Settings, { from, to }: Span): InventoryLine {
  const detail = { from: `${from}`, to: `${to}`, selector };
  return { kind: 'facts', name: RANGE, count: null, digest: null, detail };
}

/** Null for any other line. */
export function rangeIn({ kind, name, detail }: InventoryLine): (Span & { selector: string | null }) | null {
  if (kind !== 'facts' || name !== RANGE || typeof detail !== 'object' || detail === null) return null;
  const { from, to, selector }: Record<string, unknown> = { ...detail };
  if (typeof from !== 'string' || typeof to !== 'string' || !/^\d{1,19}$/.test(from) || !/^\d{1,19}$/.test(to))
    return null;
  return { from: BigInt(from), to: BigInt(to), selector: typeof selector === 'string' ? selector : null };
}

function bytesIn({ detail }: InventoryLine): number {
  const bytes = typeof detail === 'object' && detail !== null && 'bytes' in detail ? detail.bytes : 0;
  return typeof bytes === 'number' ? bytes : 0;
}

/** Tells how many lines a day had that was over at the capture before; null where that says nothing of now. */
async function finishedDays(
  ctx: Context,
  settings: Settings,
  previous: Source,
): Promise<(slice: Slice) => number | null> {
  const counts = new Map<string, number>();
  let range: ReturnType<typeof rangeIn> = null;
  for await (const line of inventoryOf(previous).lines(ctx)) {
    range ??= rangeIn(line);
    const day = dayOfLine(line);
    if (day !== null) counts.set(day, (counts.get(day) ?? 0) + (line.count ?? 0));
  }
  return ({ day, whole, from, to }) => {
    if (range === null || range.selector !== settings.selector || !whole) return null;
    return range.from <= from && to + nsOf(LATE_MS) <= range.to ? (counts.get(day) ?? null) : null;
  };
}

/** Null for a line that is of no stream. */
export function dayOfLine({ kind, name }: InventoryLine): string | null {
  return kind === 'stream' ? name.slice(0, 'yyyy-mm-dd'.length) : null;
}

/** As the server itself counts; null where it does not. */
export async function countNow(ctx: Context, reading: Reading, span: Span): Promise<number | null> {
  let count = 0;
  try {
    for (const { selector } of chosenFrom(reading.settings, await seriesOf(ctx, reading, span))) {
      count += await countIn(ctx, reading, selector, span);
    }
    return count;
  } catch (error) {
    if (isFailure(error, 'query-failed')) return null; // too far back, or too much for it
    throw error;
  }
}

async function keepDay(ctx: Context, sink: Sink, previous: Source, { day }: Slice): Promise<InventoryLine[]> {
  const [lines, streams] = await Promise.all([
    previous.part(ctx, linesPart(day)),
    previous.part(ctx, streamsPart(day)),
  ]);
  await keepAll(ctx, sink, [
    { name: lines.name, from: lines, meta: { rendition: linesRendition(day) } },
    { name: streams.name, from: streams },
  ]);
  const ofDay = inventoryOf({ ...previous, get: (getCtx) => previous.get(getCtx, streams.name) });
  return await Array.fromAsync(ofDay.lines(ctx));
}
