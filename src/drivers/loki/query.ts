// All lines of a time range, each once: a Loki gives so many at most per query, and there may be more at one
// nanosecond.

import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { askJson, whereOf } from './http.ts';
import { byTime, isLabels, type Labels, type Line } from './lines.ts';
import type { Settings } from './settings.ts';
import { DAY_NS, earlier, later, MS_NS, type Span } from './slices.ts';

/** What every Loki allows unless told otherwise. */
export const LIMIT_DEFAULT = 5000;
/** Several pages are held at a time. */
const PAGE_BYTES_MAX = 16 * 1024 * 1024;
/** Where one was too large: three quarters of what a Loki hands on by default, and what it needs beside a text. */
const PAGE_BYTES_SAFE = 3 * 1024 * 1024;
const LINE_BYTES = 100;
/** Of a line that nobody has seen yet. */
const LINE_CHARS = 200;
/** A page that was larger is asked for again with so many times fewer lines; by a part of it they grow again. */
const SMALLER = 4;
/** With one line alone none would know whether there are more. */
export const LIMIT_MIN = 2;
/** Of a query that is not made shorter any more. */
const LENGTH_NS_MIN = MS_NS;
/** What a server says of a query that is of too long a time, and of one where too much lies. */
const TOO_LONG = /exceeds the limit \(query length/;
const TOO_MUCH = /too many bytes|too large to execute/;
/** Told labels of the stream and structured metadata apart. */
const APART = { 'x-loki-response-encoding-flags': 'categorize-labels' };

const seriesSchema = z.object({ data: z.array(z.record(z.string(), z.string())).nullish() });
const answerSchema = z.object({
  data: z.object({
    resultType: z.literal('streams'),
    encodingFlags: z.array(z.string()).nullish(),
    result: z.array(z.object({ stream: z.record(z.string(), z.string()), values: z.array(z.unknown()) })),
  }),
});
const countSchema = z.object({
  data: z.object({ result: z.array(z.object({ value: z.tuple([z.number(), z.string()]) })) }),
});

export interface Reading {
  readonly settings: Settings;
  /** How many lines are asked for: what the server gives at most, and fewer for a while once they were too large. */
  limit: number;
  limitMax: number;
  /** How long a time one query is of: shorter once the server has refused one, for a while where too much lay there. */
  length: bigint;
  lengthMax: bigint;
  /** A page was too large: the next are kept smaller, since a Loki takes many seconds to say so. */
  refused: boolean;
  /** Of the lines that came last, on average. */
  lineChars: number;
  /** For the report. */
  readonly told: {
    /** The server does not count, so that nobody knows whether it gives all. */
    uncounted: boolean;
    /** Lines that it counts and gives to nobody. */
    hidden: number;
  };
}

export function readingOf(settings: Settings, limit = LIMIT_DEFAULT): Reading {
  const most = Math.max(LIMIT_MIN, limit);
  return {
    ...{ settings, limit: most, limitMax: most, length: DAY_NS, lengthMax: DAY_NS },
    ...{ refused: false, lineChars: LINE_CHARS, told: { uncounted: false, hidden: 0 } },
  };
}
export interface Page {
  /** In order of time. */
  readonly lines: Line[];
  /** There may be more. */
  readonly full: boolean;
}

/** Labels that agents and servers give; a new stream has one of them or of those that were there before. */
const COMMON_LABELS = ['service_name', 'job', 'app', 'container', 'namespace', 'filename', 'instance', 'host'];

/**
 * The streams that have lines in the span. Some more may be named: the index is coarse. A server keeps the answer for
 * an old day and would not tell of streams that came late, so that no two questions are alike.
 */
export async function seriesOf(ctx: Context, reading: Reading, span: Span): Promise<Labels[]> {
  const found = new Map<string, Labels>();
  for await (const series of inPieces(reading, span, (piece) => seriesIn(ctx, reading.settings, piece))) {
    for (const labels of series) found.set(JSON.stringify(Object.entries(labels).sort(byName)), labels);
  }
  return [...found.values()];
}

/** What `work` gives for each piece that the server allows a query to be of. */
async function* inPieces<T>(reading: Reading, { from, to }: Span, work: (piece: Span) => Promise<T>): AsyncIterable<T> {
  for (let at = from; at < to; ) {
    const end = earlier(at + reading.length, to);
    let result: { readonly of: T };
    try {
      result = { of: await work({ from: at, to: end }) };
    } catch (error) {
      shorten(reading, end - at, error);
      continue;
    }
    yield result.of;
    lengthen(reading);
    at = end;
  }
}

/** Throws what is no refusal of a query as too long. */
export function shorten(reading: Reading, length: bigint, error: unknown): void {
  const refused = isFailure(error, 'query-failed') ? error.message : '';
  const tooLong = TOO_LONG.test(refused);
  if (length <= LENGTH_NS_MIN || (!tooLong && !TOO_MUCH.test(refused))) throw error;
  const half = length / 2n;
  const shorter = later(LENGTH_NS_MIN, half - (half % MS_NS));
  reading.length = earlier(reading.length, shorter);
  if (tooLong) reading.lengthMax = earlier(reading.lengthMax, shorter);
}

/** One dense time does not make all later queries short. */
export function lengthen(reading: Reading): void {
  reading.length = earlier(reading.length * 2n, reading.lengthMax);
}

async function seriesIn(ctx: Context, settings: Settings, span: Span): Promise<Labels[]> {
  const fresh = `lifeboat_${randomBytes(8).toString('hex')}=""`;
  if (settings.selector !== null) {
    return await askSeries(ctx, settings, span, [narrowed(settings.selector, [fresh])]);
  }
  const names = new Set([...coverOf(await askSeries(ctx, settings, span, [])), ...COMMON_LABELS]);
  const any = [...names].map((name) => `{${name}=~".+", ${fresh}}`);
  return await askSeries(ctx, settings, span, any);
}

async function askSeries(
  ctx: Context,
  settings: Settings,
  { from, to }: Span,
  match: readonly string[],
): Promise<Labels[]> {
  const query = { 'match[]': match, start: `${from}`, end: `${to}` };
  const { data } = parsed(seriesSchema, await askJson(ctx, settings, '/loki/api/v1/series', { query }));
  return data ?? [];
}

/** The same streams, as far as these are true of them as well. */
export function narrowed(selector: string, matchers: readonly string[]): string {
  return `${selector.replace(/,?\s*\}\s*$/, '')}, ${matchers.join(', ')}}`;
}

/** Some of the streams, by a selector that has new ones of their kind, too. */
export interface Chosen {
  readonly selector: string;
  readonly series: readonly Labels[];
}

/** Each of the streams is in one: every query must name a label that is there. */
export function chosenFrom(settings: Settings, series: readonly Labels[]): Chosen[] {
  if (settings.selector !== null) return series.length > 0 ? [{ selector: settings.selector, series }] : [];
  const names = coverOf(series);
  return names.map((name, i) => {
    const before = names.slice(0, i);
    const matchers = [`${name}=~".+"`, ...before.map((each) => `${each}=""`)];
    const those = series.filter((labels) => name in labels && !before.some((each) => each in labels));
    return { selector: `{${matchers.join(', ')}}`, series: those };
  });
}

/** Names of labels, few of them, such that each of the streams has one. */
function coverOf(series: readonly Labels[]): string[] {
  const names: string[] = [];
  for (let left = series; left.length > 0; ) {
    const counts = new Map<string, number>();
    for (const labels of left) for (const name of Object.keys(labels)) counts.set(name, (counts.get(name) ?? 0) + 1);
    const [most] = [...counts].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
    if (!most) break; // a stream without labels can't be
    names.push(most[0]);
    left = left.filter((labels) => !(most[0] in labels));
  }
  return names;
}

export async function countIn(ctx: Context, reading: Reading, selector: string, span: Span): Promise<number> {
  let count = 0;
  for await (const some of inPieces(reading, span, (piece) => countOf(ctx, reading.settings, selector, piece))) {
    count += some;
  }
  return count;
}

/** As the server itself counts; the span is of whole milliseconds. Null where it does not. */
export async function countWhere(ctx: Context, reading: Reading, selector: string, span: Span): Promise<number | null> {
  try {
    return await countIn(ctx, reading, selector, span);
  } catch (error) {
    if (!isFailure(error, 'query-failed') && !isFailure(error, 'value-too-large')) throw error;
    reading.told.uncounted = true;
    return null;
  }
}

async function countOf(ctx: Context, settings: Settings, selector: string, { from, to }: Span): Promise<number> {
  // A range ends with its last nanosecond and begins behind its first.
  const range = `${(to - from) / 1_000_000n}ms`;
  const query = { query: `sum(count_over_time(${selector}[${range}]))`, time: `${to - 1n}` };
  const { data } = parsed(countSchema, await askJson(ctx, settings, '/loki/api/v1/query', { query }));
  return Number(data.result[0]?.value[1] ?? 0);
}

function byName([a]: readonly [string, string], [b]: readonly [string, string]): number {
  return a < b ? -1 : 1;
}

/** The lines that come are taken to be like those that came. */
function grown({ limit, limitMax, refused }: Reading, lines: readonly Line[]): number {
  const more = Math.min(limitMax, limit + Math.ceil(limit / SMALLER));
  if (!refused || lines.length === 0) return more;
  let bytes = 0;
  for (const { line } of lines) bytes += line.length + LINE_BYTES;
  return Math.max(LIMIT_MIN, Math.min(more, Math.floor((PAGE_BYTES_SAFE * lines.length) / bytes)));
}

/** Lines of the span, as many as are given at once. */
export async function pageOf(ctx: Context, reading: Reading, query: string, span: Span): Promise<Page> {
  for (;;) {
    const { limit } = reading;
    try {
      const lines = await linesOf(ctx, { ...reading, limit }, query, span);
      reading.limit = grown(reading, lines);
      return { lines, full: lines.length >= limit };
    } catch (error) {
      if (!isFailure(error, 'value-too-large') || limit <= LIMIT_MIN) throw error;
      reading.refused = true;
      // Another page may have been first.
      reading.limit = Math.min(reading.limit, Math.max(LIMIT_MIN, Math.ceil(limit / SMALLER)));
      if (/max entries limit/.test(error.message)) reading.limitMax = Math.min(reading.limitMax, reading.limit);
    }
  }
}

/**
 * A query that begins with the millisecond of a chunk's last line is not given that line: it begins a nanosecond
 * before, and what lies there is left out again.
 */
async function linesOf(ctx: Context, reading: Reading, query: string, span: Span): Promise<Line[]> {
  const early = await linesFrom(ctx, reading, query, { from: later(0n, span.from - 1n), to: span.to });
  const first = early.findIndex(({ ts }) => BigInt(ts) >= span.from);
  if (first === 0) return early;
  // Where those before took the room of others, it is asked as it stands; lines are counted in any case.
  if (early.length >= reading.limit) return await linesFrom(ctx, reading, query, span);
  return first < 0 ? [] : early.slice(first);
}

async function linesFrom(
  ctx: Context,
  { settings, limit }: Reading,
  query: string,
  { from, to }: Span,
): Promise<Line[]> {
  const answer = await askJson(ctx, settings, '/loki/api/v1/query_range', {
    query: { query, start: `${from}`, end: `${to}`, limit: `${limit}`, direction: 'forward' },
    headers: APART,
    bytesMax: PAGE_BYTES_MAX,
  });
  const { data } = parsed(answerSchema, answer);
  const lines: Line[] = [];
  for (const { stream, values } of data.result) {
    for (const value of values) lines.push(shaped(stream, value));
  }
  if (lines.length > 0 && !data.encodingFlags?.includes('categorize-labels')) throw notApart(settings);
  return lines.sort(byTime);
}

function notApart(settings: Settings): Failure {
  const what = `${whereOf(settings)} does not tell structured metadata from the labels of streams`;
  const hint = 'that takes Loki 3, and a proxy before it that passes the header X-Loki-Response-Encoding-Flags';
  return new Failure('version-mismatch', what, { hint });
}

function shaped(labels: Labels, value: unknown): Line {
  const [ts, line, more]: unknown[] = Array.isArray(value) ? value : [];
  if (typeof ts !== 'string' || !/^\d{1,19}$/.test(ts) || typeof line !== 'string') {
    throw new Failure('malformed', 'an answer of a Loki has a line that is none');
  }
  const metadata: unknown =
    typeof more === 'object' && more !== null && 'structuredMetadata' in more ? more.structuredMetadata : {};
  return { ts, labels, line, metadata: isLabels(metadata) ? metadata : {} };
}

function parsed<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new Failure('malformed', 'an answer of a Loki is not of the form that is documented', { cause: result.error });
}
