// A restore: lines are pushed in order of time, as agents push them.

import { lineBatchesOf } from '../../core/bytes.ts';
import type { Chain } from '../../core/component.ts';
import { Failure } from '../../core/errors.ts';
import { inventoryOf, shapedLine } from '../../core/inventory.ts';
import type { Context, InventoryLine, InventoryReader, Restored, RestoreOptions, Source } from '../../core/model.ts';
import { countNow, dayOfLine, dayOfPart, liveInventory, rangeIn } from './capture.ts';
import { ask, whereOf } from './http.ts';
import { type Replaying, replayingOf, replayLines } from './journal/replay.ts';
import { limitsOf } from './limits.ts';
import { added, addLine, digestOf, lineFrom, type Sum } from './lines.ts';
import { daysText } from './probe.ts';
import { type Job, pusherOf, type Seen, type Stream, streamOf } from './pushing.ts';
import { readingOf, seriesOf } from './query.ts';
import { selectedOf, type Wanted, wantedOf } from './select.ts';
import type { Settings } from './settings.ts';
import { earlier, later, msOf, nsOf, type Span, spanOfDay } from './slices.ts';

/** How long lines are waited for that were told to go to the store. */
const SEEN_MS_MAX = 60_000;
const SEEN_POLL_MS = 500;

/** Resolves with the span that lines were restored in, so that the inventory that follows is of it. */
export async function restore(
  ctx: Context,
  settings: Settings,
  { base: source, replay }: Chain,
  options: RestoreOptions = {},
): Promise<Restored & { readonly span: Span }> {
  const wanted = wantedOf(options);
  const captured = await spanOf(ctx, source);
  const replaying = replay && replay.target.kind !== 'immediate' ? replayingOf(ctx, replay, captured) : null;
  const span = replaying?.span ?? captured;
  const limits = await limitsOf(ctx, settings);
  if (!options.replace && !options.delta) await refuseHeld(ctx, settings, span);
  const oldest = limits.ageMaxMs === null ? 0n : nsOf(ctx.now().getTime() - limits.ageMaxMs);
  const seen: Seen = { bytes: 0, lines: 0, tooOld: 0, refused: new Map(), days: new Map() };
  const job: Job = { settings, limits, wanted, oldest, seen };
  await using sums = sumsByDay(ctx, source);
  for await (const { name } of source.parts(ctx, 'lines/')) {
    const day = dayOfPart(name);
    const whole = day === null ? null : spanOfDay(day);
    if (day === null || !whole || whole.to <= wanted.from || whole.from >= wanted.to) continue;
    await putDay(ctx, job, { replaying, source, name, day, expected: await sums.of(day) });
  }
  const reached = replaying ? await replayLines(ctx, job, replaying) : undefined;
  if (options.select && seen.lines + seen.tooOld === 0) {
    throw new Failure('missing', `${source.point}/${source.component} has no lines of this selection`);
  }
  const warnings = [...(await seenWarnings(ctx, job, span)), ...replaceWarnings(options)];
  const alone = options.select ? partOf(settings, wanted, span) : {};
  return {
    bytes: job.seen.bytes,
    method: 'push',
    warnings,
    missing: missingOf(job),
    span,
    ...(reached && { reached }),
    ...alone,
  };
}

/** Nothing but what was chosen is read for the comparison. */
function partOf(settings: Settings, wanted: Wanted, span: Span): Pick<Restored, 'selected' | 'inventory'> {
  const part = { from: later(span.from, wanted.from), to: earlier(span.to, wanted.to) };
  const chosen = { ...settings, selector: settings.selector ?? wanted.selector };
  const inventory = async (): Promise<InventoryReader> => liveInventory(chosen, part);
  return { selected: selectedOf(wanted, span), inventory };
}

/** What would be refused, or deleted as soon as it is there: no restore can change that of a Loki. */
export async function cautions(
  ctx: Context,
  settings: Settings,
  { base: source }: Chain,
  options: RestoreOptions = {},
): Promise<string[]> {
  const { from } = await spanOf(ctx, source);
  const limits = await limitsOf(ctx, settings);
  const age = ctx.now().getTime() - msOf(later(wantedOf(options).from, from));
  const found: string[] = [];
  const where = whereOf(settings);
  const { ageMaxMs, retentionMs, lookbackMs, streamsMax } = limits;
  if (ageMaxMs !== null && age > ageMaxMs) {
    const rule = limits.told ? '' : ' by default, and does not show its configuration';
    found.push(`${where} refuses lines older than ${daysText(ageMaxMs)}${rule}: set reject_old_samples: false there`);
  }
  if (retentionMs !== null && age > retentionMs) {
    found.push(`${where} deletes lines after ${daysText(retentionMs)}: raise retention_period there`);
  }
  if (lookbackMs !== null && age > lookbackMs) {
    found.push(`${where} gives no lines older than ${daysText(lookbackMs)}: raise max_query_lookback there`);
  }
  const streams = streamsMax === null ? 0 : await streamsIn(ctx, source);
  if (streamsMax !== null && streams > streamsMax) {
    const may = `takes lines of ${streamsMax} streams at a time, a day of the point has ${streams}`;
    found.push(`${where} ${may}: raise max_global_streams_per_user there`);
  }
  return found;
}

/** The most that a day has. */
async function streamsIn(ctx: Context, source: Source): Promise<number> {
  let [most, count, day] = [0, 0, ''];
  for await (const line of inventoryOf(source).lines(ctx)) {
    const its = dayOfLine(line) ?? '';
    count = its === day ? count + 1 : 1;
    day = its;
    if (day !== '') most = Math.max(most, count);
  }
  return most;
}

async function spanOf(ctx: Context, source: Source): Promise<Span> {
  for await (const line of inventoryOf(source).lines(ctx)) {
    const range = rangeIn(line);
    if (range) return range;
  }
  throw new Failure('malformed', `${source.point}/${source.component} does not say what time it is of`);
}

interface Sums extends AsyncDisposable {
  /** What each stream of the day holds, as the inventory tells. Days are asked for in order. */
  of(day: string): Promise<ReadonlyMap<string, string>>;
}

function sumsByDay(ctx: Context, source: Source): Sums {
  const lines = inventoryOf(source).lines(ctx)[Symbol.asyncIterator]();
  let next: IteratorResult<InventoryLine> | undefined;
  return {
    async of(day) {
      const sums = new Map<string, string>();
      for (;;) {
        next ??= await lines.next();
        if (next.done) return sums;
        const { name, count, digest } = next.value;
        const its = dayOfLine(next.value);
        if (its !== null && its > day) return sums;
        if (its === day) sums.set(name.slice(day.length + 1), `${count} ${digest}`);
        next = undefined;
      }
    },
    async [Symbol.asyncDispose]() {
      await lines.return?.();
    },
  };
}

async function refuseHeld(ctx: Context, settings: Settings, span: Span): Promise<void> {
  const series = await seriesOf(ctx, readingOf(settings), span);
  if (series.length === 0) return;
  throw new Failure('target-not-empty', `${whereOf(settings)} holds data: ${series.length} streams of that time`, {
    hint: 'restore into another Loki or tenant (--to), or what is missing there: --delta',
  });
}

interface Day {
  readonly replaying: Replaying | null;
  readonly source: Source;
  readonly name: string;
  readonly day: string;
  readonly expected: ReadonlyMap<string, string>;
}

async function putDay(ctx: Context, job: Job, { replaying, source, name, day, expected }: Day): Promise<void> {
  const what = `${source.point}/${source.component}/${name}`;
  const streams = new Map<string, Stream>();
  const pusher = pusherOf(ctx, job);
  for await (const texts of lineBatchesOf(source.get(ctx, name))) {
    for (const text of texts) {
      if (text === '') continue;
      const line = shapedLine(text, lineFrom, what);
      const stream = streamOf(streams, line);
      const lineJson = JSON.stringify(line.line);
      addLine(stream.sum, line, lineJson);
      replaying?.captured(line);
      await pusher.add(line, stream, day, lineJson);
    }
  }
  await pusher.end();
  const sums = new Map<string, Sum>();
  for (const { name: its, sum } of streams.values()) sums.set(its, added(sums.get(its), sum));
  const changed = [...sums].some(([stream, sum]) => expected.get(stream) !== `${sum.count} ${digestOf(sum)}`);
  if (!changed && sums.size === expected.size) return;
  throw new Failure('checksum', `${what} is not what was captured on ${day}`, { hint: 'run lifeboat verify --all' });
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
  const { status } = await ask(ctx, settings, '/flush', { body: '', attempts: 4 });
  if (status < 300 && (await areSeen(ctx, settings, seen))) return [];
  const age = daysText(limits.unseenMs);
  return [`queries see lines older than ${age} once they are in the store, which takes up to two hours`];
}

/** Those of the first day stand for all. A server that has it all is believed to have the rest. */
async function areSeen(ctx: Context, settings: Settings, { days }: Seen): Promise<boolean> {
  const [[day = '', lines = 0] = []] = [...days].sort(([a], [b]) => (a < b ? -1 : 1));
  const span = spanOfDay(day);
  const deadline = ctx.monotonicMs() + SEEN_MS_MAX;
  const reading = readingOf({ ...settings, selector: null });
  while (span && ctx.monotonicMs() < deadline) {
    if (((await countNow(ctx, reading, span)) ?? 0) >= lines) return true;
    await ctx.sleep(SEEN_POLL_MS);
  }
  return false;
}
