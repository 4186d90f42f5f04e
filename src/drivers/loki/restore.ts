// A restore: lines are pushed in order of time, as agents push them.

import { lineBatchesOf } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import { inventoryOf, shapedLine } from '../../core/inventory.ts';
import type { Chain, Context, Restored, RestoreOptions, Source } from '../../core/model.ts';
import { countNow, dayOfPart, rangeIn } from './capture.ts';
import { ask, refusal, whereOf } from './http.ts';
import { type Limits, limitsOf } from './limits.ts';
import { addLine, digestOf, emptySum, type Line, lineFrom, type Sum, streamName } from './lines.ts';
import { daysText } from './probe.ts';
import { type Span, seriesOf } from './query.ts';
import { type Wanted, wantedOf } from './select.ts';
import type { Settings } from './settings.ts';
import { later, msOf, nsOf, spanOfDay } from './slices.ts';

const PUSH = '/loki/api/v1/push';
/** Of one push, about; a server takes 4 MiB by default. */
const BATCH_CHARS = 1024 * 1024;
const REASONS_MAX = 10;
/** How long lines are waited for that were told to go to the store. */
const SEEN_MS_MAX = 60_000;
const SEEN_POLL_MS = 500;

interface Job {
  readonly settings: Settings;
  readonly limits: Limits;
  readonly wanted: Wanted;
  /** Older lines are refused. */
  readonly oldest: bigint;
  readonly seen: Seen;
}

interface Seen {
  bytes: number;
  lines: number;
  tooOld: number;
  /** How many lines, by what the server said. */
  readonly refused: Map<string, number>;
  /** Lines that were sent, by day. */
  readonly days: Map<string, number>;
}

/** Resolves with the span that lines were restored in, so that the inventory that follows is of it. */
export async function restore(
  ctx: Context,
  settings: Settings,
  { base: source }: Chain,
  options: RestoreOptions = {},
): Promise<Restored & { readonly span: Span }> {
  const wanted = wantedOf(options);
  const span = await spanOf(ctx, source);
  const limits = await limitsOf(ctx, settings);
  if (!options.replace && !options.delta) await refuseHeld(ctx, settings, span);
  const oldest = limits.ageMaxMs === null ? 0n : nsOf(ctx.now().getTime() - limits.ageMaxMs);
  const seen: Seen = { bytes: 0, lines: 0, tooOld: 0, refused: new Map(), days: new Map() };
  const job: Job = { settings, limits, wanted, oldest, seen };
  const sums = await sumsOf(ctx, source);
  for await (const { name } of source.parts(ctx, 'lines/')) {
    const day = dayOfPart(name);
    const whole = day === null ? null : spanOfDay(day);
    if (day === null || !whole || whole.to <= wanted.from || whole.from >= wanted.to) continue;
    await putDay(ctx, job, { source, name, day, expected: sums.get(day) ?? new Map() });
  }
  const warnings = [...(await seenWarnings(ctx, job, span)), ...replaceWarnings(options)];
  return { bytes: job.seen.bytes, method: 'push', warnings, missing: missingOf(job), span };
}

/** What would be refused or deleted by age. */
export async function ageing(
  ctx: Context,
  settings: Settings,
  { base: source }: Chain,
  options: RestoreOptions = {},
): Promise<string[]> {
  const { from } = await spanOf(ctx, source);
  const wanted = wantedOf(options);
  const begin = later(wanted.from, from);
  const limits = await limitsOf(ctx, settings);
  const age = ctx.now().getTime() - msOf(begin);
  const found: string[] = [];
  const where = whereOf(settings);
  if (limits.ageMaxMs !== null && age > limits.ageMaxMs) {
    const rule = limits.told ? '' : ' by default, and does not show its configuration';
    found.push(
      `${where} refuses lines older than ${daysText(limits.ageMaxMs)}${rule}: set reject_old_samples: false there`,
    );
  }
  if (limits.retentionMs !== null && age > limits.retentionMs) {
    found.push(`${where} deletes lines after ${daysText(limits.retentionMs)}: raise retention_period there`);
  }
  return found;
}

async function spanOf(ctx: Context, source: Source): Promise<Span> {
  for await (const line of inventoryOf(source).lines(ctx)) {
    const range = rangeIn(line);
    if (range) return range;
  }
  throw new Failure('malformed', `${source.point}/${source.component} does not say what time it is of`);
}

/** What each stream of each day holds, as the inventory tells. */
async function sumsOf(ctx: Context, source: Source): Promise<Map<string, Map<string, string>>> {
  const days = new Map<string, Map<string, string>>();
  for await (const { kind, name, count, digest } of inventoryOf(source).lines(ctx)) {
    if (kind !== 'stream') continue;
    const day = name.slice(0, 'yyyy-mm-dd'.length);
    const streams = days.get(day) ?? new Map<string, string>();
    days.set(day, streams.set(name.slice(day.length + 1), `${count} ${digest}`));
  }
  return days;
}

async function refuseHeld(ctx: Context, settings: Settings, span: Span): Promise<void> {
  const series = await seriesOf(ctx, settings, span);
  if (series.length === 0) return;
  throw new Failure('target-not-empty', `${whereOf(settings)} holds data: ${series.length} streams of that time`, {
    hint: 'restore into another Loki or tenant (--to), or what is missing there: --delta',
  });
}

interface Day {
  readonly source: Source;
  readonly name: string;
  readonly day: string;
  readonly expected: ReadonlyMap<string, string>;
}

async function putDay(ctx: Context, job: Job, { source, name, day, expected }: Day): Promise<void> {
  const { wanted, seen } = job;
  const what = `${source.point}/${source.component}/${name}`;
  const sums = new Map<string, Sum>();
  let batch = emptyBatch();
  for await (const texts of lineBatchesOf(source.get(ctx, name))) {
    for (const text of texts) {
      if (text === '') continue;
      const line = shapedLine(text, lineFrom, what);
      const stream = streamName(line.labels);
      const sum = sums.get(stream) ?? emptySum();
      sums.set(stream, sum);
      addLine(sum, line);
      if (!wanted.line(line)) continue;
      if (BigInt(line.ts) < job.oldest) {
        seen.tooOld += 1;
        continue;
      }
      addTo(batch, line);
      seen.days.set(day, (seen.days.get(day) ?? 0) + 1);
      if (batch.chars < BATCH_CHARS) continue;
      await push(ctx, job, batch);
      batch = emptyBatch();
    }
  }
  await push(ctx, job, batch);
  const changed = [...sums].some(([stream, sum]) => expected.get(stream) !== `${sum.count} ${digestOf(sum)}`);
  if (!changed && sums.size === expected.size) return;
  throw new Failure('checksum', `${what} is not what was captured on ${day}`, { hint: 'run lifeboat verify --all' });
}

interface Batch {
  readonly streams: Map<string, { stream: Line['labels']; values: unknown[] }>;
  chars: number;
  lines: number;
}
function emptyBatch(): Batch {
  return { streams: new Map(), chars: 0, lines: 0 };
}

function addTo(batch: Batch, { ts, labels, line, metadata }: Line): void {
  const key = JSON.stringify(labels);
  const held = batch.streams.get(key) ?? { stream: labels, values: [] };
  batch.streams.set(key, held);
  held.values.push(Object.keys(metadata).length === 0 ? [ts, line] : [ts, line, metadata]);
  batch.chars += line.length + 100;
  batch.lines += 1;
}

async function push(ctx: Context, { settings, seen }: Job, { streams, chars, lines }: Batch): Promise<void> {
  if (lines === 0) return;
  const answer = await ask(ctx, settings, PUSH, { body: JSON.stringify({ streams: [...streams.values()] }) });
  seen.lines += lines;
  seen.bytes += chars;
  ctx.progress({ task: 'loki', phase: 'restore', items: seen.lines, bytes: seen.bytes });
  if (answer.status >= 200 && answer.status < 300) return;
  if (answer.status !== 400) throw refusal(settings, PUSH, answer);
  // It has taken the others of the batch.
  const reason = answer.text.trim().replace(/\s+/g, ' ').slice(0, 300);
  const [, ignored] = /total ignored: (\d+)/.exec(reason) ?? [];
  const rest = seen.refused.has(reason) || seen.refused.size < REASONS_MAX ? reason : 'other reasons';
  seen.refused.set(rest, (seen.refused.get(rest) ?? 0) + Number(ignored ?? 1));
}

function missingOf({ seen, limits }: Job): string[] {
  const missing = [...seen.refused].map(([reason, lines]) => `at least ${lines} lines were refused: ${reason}`);
  if (seen.tooOld > 0 && limits.ageMaxMs !== null) {
    const age = `older than ${daysText(limits.ageMaxMs)} (reject_old_samples_max_age)`;
    missing.push(`${seen.tooOld} lines are ${age} and were not sent: the server refuses them`);
  }
  return missing;
}

function replaceWarnings({ replace, delta }: RestoreOptions): string[] {
  if (!replace && !delta) return [];
  return ['lines that were there stay: a Loki takes none away at once, and gives a line that comes twice only once'];
}

/** Those that queries do not see yet are written to the store, if that may be asked for, and waited for a while. */
async function seenWarnings(ctx: Context, { settings, limits, seen }: Job, { from }: Span): Promise<string[]> {
  if (limits.unseenMs === null || seen.lines === 0) return [];
  if (msOf(from) > ctx.now().getTime() - limits.unseenMs) return [];
  const { status } = await ask(ctx, settings, '/flush', { body: '', attempts: 1 });
  if (status < 300 && (await areSeen(ctx, settings, seen))) return [];
  const age = daysText(limits.unseenMs);
  return [`queries see lines older than ${age} once they are in the store, which takes up to two hours`];
}

/** Those of the first day stand for all. A server that has it all is believed to have the rest. */
async function areSeen(ctx: Context, settings: Settings, { days }: Seen): Promise<boolean> {
  const [[day = '', lines = 0] = []] = [...days].sort(([a], [b]) => (a < b ? -1 : 1));
  const span = spanOfDay(day);
  const deadline = ctx.monotonicMs() + SEEN_MS_MAX;
  while (span && ctx.monotonicMs() < deadline) {
    if ((await countNow(ctx, { ...settings, selector: null }, span)) >= lines) return true;
    await ctx.sleep(SEEN_POLL_MS);
  }
  return false;
}
