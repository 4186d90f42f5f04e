import { batched } from '../../core/bytes.ts';
import { interruption } from '../../core/context.ts';
import { byKindAndName, inventoryOf, putInventory } from '../../core/inventory.ts';
import { keepAll } from '../../core/many-parts.ts';
import type { Bytes, Capture, Context, InventoryLine, Rendition, Sink, Source } from '../../core/model.ts';
import { limitsOf } from './limits.ts';
import { addLine, digestOf, emptySum, type Line, lineText, type Sum, streamName } from './lines.ts';
import { identityOf, versionOf } from './probe.ts';
import { countIn, type Reading, type Span, selectorsFor, seriesOf } from './query.ts';
import { readLines } from './read.ts';
import type { Settings } from './settings.ts';
import { daysOf, msOf, nsOf, type Slice, spanBack } from './slices.ts';

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
  const linesMax = await pageLines(ctx, settings);
  const reading = { settings, limit: linesMax };
  const span = spanBack(ctx.now().getTime(), settings.sinceMs);
  const days = daysOf(span);
  const kept = previous ? await keptDays(ctx, settings, { previous, days }) : new Map<string, InventoryLine[]>();
  const totals = { lines: 0, bytes: 0, streams: 0, days: 0 };
  const inventory: InventoryLine[] = [];
  const streams = new Set<string>();
  for (const slice of days) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    const lines = kept.get(slice.day) ?? (await putDay(ctx, sink, reading, { slice, last: slice === days.at(-1) }));
    if (previous && kept.has(slice.day)) await keepDay(ctx, sink, previous, slice);
    for (const line of lines) {
      inventory.push(line);
      streams.add(line.name.slice(slice.day.length + 1));
      totals.lines += line.count ?? 0;
      totals.bytes += bytesIn(line);
    }
    totals.days += lines.length > 0 ? 1 : 0;
  }
  if (ctx.signal.aborted) throw interruption(ctx.signal);
  totals.streams = streams.size;
  await putInventory(ctx, sink, [...inventory, rangeLine(settings, span)].sort(byKindAndName));
  return {
    cut: { position: `${span.to}`, at: new Date(msOf(span.to)).toISOString() },
    method: 'query',
    serverVersion,
    identity: await identityOf(ctx, settings),
    inventoryLevel: 'full',
    totals,
    warnings: [],
  };
}

async function pageLines(ctx: Context, settings: Settings): Promise<number> {
  return Math.min(PAGE_LINES_MAX, (await limitsOf(ctx, settings)).linesMax);
}

/** Of the live service, over the span. */
export async function liveLines(ctx: Context, settings: Settings, span: Span): Promise<InventoryLine[]> {
  const linesMax = await pageLines(ctx, settings);
  const inventory: InventoryLine[] = [];
  for (const { day, ...slice } of daysOf(span)) {
    const sums = new Map<string, Sum>();
    for await (const _ of summed(readLines(ctx, { settings, limit: linesMax }, slice), sums))
      ctx.signal.throwIfAborted();
    inventory.push(...linesFor(day, sums));
  }
  return [...inventory, rangeLine(settings, span)];
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
  const lines = linesFor(slice.day, sums).sort(byKindAndName);
  await sink.put(ctx, streamsPart(slice.day), rendered(lines));
  return lines;
}

async function* rendered(lines: readonly InventoryLine[]): Bytes {
  for (const line of lines) yield Buffer.from(`${JSON.stringify(line)}\n`);
}

/** The lines as they are stored; `sums` are of those that have gone by. */
async function* summed(pages: AsyncIterable<readonly Line[]>, sums: Map<string, Sum>): AsyncGenerator<string> {
  for await (const page of pages) {
    let text = '';
    for (const line of page) {
      const name = streamName(line.labels);
      const sum = sums.get(name) ?? emptySum();
      sums.set(name, sum);
      addLine(sum, line);
      text += lineText(line);
    }
    yield text;
  }
}

function linesFor(day: string, sums: ReadonlyMap<string, Sum>): InventoryLine[] {
  return [...sums].map(([name, sum]) => ({
    kind: 'stream',
    name: `${day} ${name}`,
    count: sum.count,
    digest: digestOf(sum),
    detail: { bytes: sum.bytes },
  }));
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

/** The days that were over at the capture before, and hold as many lines now as then. */
async function keptDays(
  ctx: Context,
  settings: Settings,
  { previous, days }: { previous: Source; days: readonly Slice[] },
): Promise<Map<string, InventoryLine[]>> {
  const before = new Map<string, InventoryLine[]>();
  let range: ReturnType<typeof rangeIn> = null;
  for await (const line of inventoryOf(previous).lines(ctx)) {
    range ??= rangeIn(line);
    if (line.kind !== 'stream') continue;
    const day = line.name.slice(0, 'yyyy-mm-dd'.length);
    before.set(day, [...(before.get(day) ?? []), line]);
  }
  const kept = new Map<string, InventoryLine[]>();
  if (range === null || range.selector !== settings.selector) return kept;
  for (const slice of days) {
    const lines = before.get(slice.day);
    if (!lines || !slice.whole || range.from > slice.from || slice.to + nsOf(LATE_MS) > range.to) continue;
    const count = lines.reduce((sum, line) => sum + (line.count ?? 0), 0);
    if ((await countNow(ctx, settings, slice)) === count) kept.set(slice.day, lines);
  }
  return kept;
}

/** As the server itself counts. */
export async function countNow(ctx: Context, settings: Settings, span: Span): Promise<number> {
  let count = 0;
  for (const selector of selectorsFor(settings, await seriesOf(ctx, settings, span))) {
    count += await countIn(ctx, settings, selector, span);
  }
  return count;
}

async function keepDay(ctx: Context, sink: Sink, previous: Source, { day }: Slice): Promise<void> {
  const [lines, streams] = await Promise.all([
    previous.part(ctx, linesPart(day)),
    previous.part(ctx, streamsPart(day)),
  ]);
  await keepAll(ctx, sink, [
    { name: lines.name, from: lines, meta: { rendition: linesRendition(day) } },
    { name: streams.name, from: streams },
  ]);
}
