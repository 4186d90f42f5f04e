// Lines on their way into a Loki: pushed as agents push them, some together.

import type { Context } from '../../core/model.ts';
import { type Answer, ask, PUSH, refusal } from './http.ts';
import type { Limits } from './limits.ts';
import { emptySum, type Line, type Sum, streamName, undivided } from './lines.ts';
import type { Wanted } from './select.ts';
import type { Settings } from './settings.ts';

/** Of one push, about: up to three times as many bytes, of which a server takes 4 MiB by default. */
const BATCH_CHARS = 1024 * 1024;
/** What a push has around the values of a stream. */
const STREAM_CHARS = 25;
const REASONS_MAX = 10;

export interface Job {
  readonly settings: Settings;
  readonly limits: Limits;
  readonly wanted: Wanted;
  /** Older lines are refused. */
  readonly oldest: bigint;
  readonly seen: Seen;
}

export interface Seen {
  bytes: number;
  lines: number;
  tooOld: number;
  /** How many lines, by what the server said. */
  readonly refused: Map<string, number>;
  /** Lines that were sent, by day. */
  readonly days: Map<string, number>;
}

/** Takes lines in their order, with the JSON of each. Lines that are not wanted, or too old, are left out. */
export interface Pusher {
  add(line: Line, stream: Stream, day: string, lineJson: string): Promise<void>;
  /** All of them were taken. */
  end(): Promise<void>;
}

export function pusherOf(ctx: Context, job: Job): Pusher {
  const { wanted, seen, oldest } = job;
  const pushes = oneBehind((body: Batch) => push(ctx, job, body));
  let batch = emptyBatch();
  return {
    async add(line, stream, day, lineJson) {
      if (!wanted.line(line)) return;
      if (BigInt(line.ts) < oldest) {
        seen.tooOld += 1;
        return;
      }
      addTo(batch, stream, line, lineJson);
      seen.days.set(day, (seen.days.get(day) ?? 0) + 1);
      if (batch.chars < BATCH_CHARS) return;
      await pushes.next(batch);
      batch = emptyBatch();
    },
    async end() {
      await pushes.next(batch);
      await pushes.end();
    },
  };
}

/** Labels as they lie in the part; what the server has added may tell several of one name apart. */
export interface Stream {
  readonly name: string;
  readonly json: string;
  readonly sum: Sum;
}

export function streamOf(streams: Map<string, Stream>, { labels }: Line): Stream {
  const json = JSON.stringify(undivided(labels));
  const found = streams.get(json);
  if (found) return found;
  const stream = { name: streamName(labels), json, sum: emptySum() };
  streams.set(json, stream);
  return stream;
}

/** Calls follow one another; the caller makes the next ready meanwhile. */
function oneBehind<T>(work: (of: T) => Promise<void>): { next(of: T): Promise<void>; end(): Promise<void> } {
  let running: Promise<void> = Promise.resolve();
  return {
    async next(of) {
      await running;
      running = work(of);
      running.catch(() => undefined); // thrown where it is awaited
    },
    end: () => running,
  };
}

interface Batch {
  /** Values of a push, by the JSON of the labels. */
  readonly streams: Map<string, string[]>;
  chars: number;
  lines: number;
}
function emptyBatch(): Batch {
  return { streams: new Map(), chars: 0, lines: 0 };
}

function addTo(batch: Batch, { json }: Stream, { ts, metadata }: Line, lineJson: string): void {
  const held = batch.streams.get(json);
  const more = Object.keys(metadata).length === 0 ? '' : `,${JSON.stringify(metadata)}`;
  const value = `["${ts}",${lineJson}${more}]`;
  if (held) held.push(value);
  else batch.streams.set(json, [value]);
  batch.chars += value.length + (held ? 1 : json.length + STREAM_CHARS);
  batch.lines += 1;
}

async function push(ctx: Context, { settings, seen }: Job, { streams, chars, lines }: Batch): Promise<void> {
  if (lines === 0) return;
  const each = Array.from(streams, ([json, values]) => `{"stream":${json},"values":[${values.join()}]}`);
  const answer = await ask(ctx, settings, PUSH, { body: `{"streams":[${each.join()}]}`, isFinal });
  seen.lines += lines;
  seen.bytes += chars;
  ctx.progress({ task: 'loki', phase: 'restore', items: seen.lines, bytes: seen.bytes });
  if (answer.status >= 200 && answer.status < 300) return;
  if (answer.status !== 400 && !isFinal(answer)) throw refusal(settings, PUSH, answer);
  // It has taken the others of the batch.
  const reason = answer.text.trim().replace(/\s+/g, ' ').slice(0, 300);
  const [, ignored] = /total ignored: (\d+)/.exec(reason) ?? [];
  const rest = seen.refused.has(reason) || seen.refused.size < REASONS_MAX ? reason : 'other reasons';
  seen.refused.set(rest, (seen.refused.get(rest) ?? 0) + Number(ignored ?? 1));
}

/** More streams than it takes: no later push of the same would be taken. */
function isFinal({ status, text }: Answer): boolean {
  return status === 429 && /stream limit/i.test(text);
}
