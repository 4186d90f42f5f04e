// More lines at one nanosecond than a Loki gives at once.

import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { groupsOf } from './groups.ts';
import type { Labels, Line } from './lines.ts';
import { narrowed, pageOf, type Reading, seriesOf } from './query.ts';
import type { Span } from './slices.ts';

/** What a regular expression may repeat. */
const REPEAT_MAX = 1000;
const CODE_POINT_MAX = 0x10ffff;
/** Streams that are asked for together. */
const GROUP = { streams: 100, chars: 8 * 1024 };

/** All of them: some streams at a time, then stream by stream, and within one by what the lines begin with. */
export async function* linesAt(ctx: Context, reading: Reading, at: bigint, selector: string): AsyncGenerator<Line[]> {
  const span = { from: at, to: at + 1n };
  const ofIt = { ...reading.settings, selector };
  const series = await seriesOf(ctx, { ...reading, settings: ofIt }, span);
  const names = new Set<string>();
  for (const labels of series) for (const name of Object.keys(labels)) names.add(name);
  for (const { streams, matcher } of groupsOf(series, GROUP)) {
    const { lines, full } = await pageOf(ctx, reading, narrowed(selector, [matcher]), span);
    if (full) yield* linesOfEach(ctx, reading, { streams, names, selector, span });
    else if (lines.length > 0) yield lines;
  }
}

interface Some {
  readonly streams: readonly Labels[];
  /** Of all labels that they have. */
  readonly names: ReadonlySet<string>;
  readonly selector: string;
  readonly span: Span;
}

async function* linesOfEach(
  ctx: Context,
  reading: Reading,
  { streams, names, selector, span }: Some,
): AsyncGenerator<Line[]> {
  for (const labels of streams) {
    // Those that the selector leaves out may have labels that none of these has, and be alike in all others.
    const query = narrowed(
      selector,
      Array.from(names, (name) => `${name}=${JSON.stringify(labels[name] ?? '')}`),
    );
    const { lines, full } = await pageOf(ctx, reading, query, span);
    if (full) yield* linesByText(ctx, reading, { query, span, seen: lines, at: 0, low: 0, high: CODE_POINT_MAX });
    else if (lines.length > 0) yield lines;
  }
}

interface Share {
  readonly query: string;
  readonly span: Span;
  /** Some of what matches. */
  readonly seen: readonly Line[];
  /** Lines whose character at this place lies between these two. */
  readonly at: number;
  readonly low: number;
  readonly high: number;
}

async function* linesByText(ctx: Context, reading: Reading, share: Share): AsyncGenerator<Line[]> {
  const { query, span, seen, at, low, high } = share;
  if (at > REPEAT_MAX) throw tooMany(reading, span, 'begin alike');
  if (low === 0 && high === CODE_POINT_MAX) {
    const ended = await pageOf(ctx, reading, `${query} |~ \`(?s)^.{${at}}$\``, span);
    if (ended.full) throw tooMany(reading, span, 'are the same');
    if (ended.lines.length > 0) yield ended.lines;
  }
  const middle = Math.max(low, Math.min(middleOf(seen, at, low), high - 1));
  for (const [from, to] of [
    [low, middle],
    [middle + 1, high],
  ] as const) {
    const filter = ` |~ \`(?s)^.{${at}}[\\x{${from.toString(16)}}-\\x{${to.toString(16)}}]\``;
    const { lines, full } = await pageOf(ctx, reading, query + filter, span);
    if (!full) {
      if (lines.length > 0) yield lines;
    } else if (from < to) yield* linesByText(ctx, reading, { ...share, seen: lines, low: from, high: to });
    else {
      const deeper = { at: at + 1, low: 0, high: CODE_POINT_MAX };
      yield* linesByText(ctx, reading, { ...share, ...deeper, query: query + filter, seen: lines });
    }
  }
}

/** Half of the lines that were seen have no larger character at this place. */
function middleOf(seen: readonly Line[], at: number, low: number): number {
  const points = seen.map(({ line }) => [...line.slice(0, 2 * at + 2)][at]?.codePointAt(0) ?? low);
  return points.sort((a, b) => a - b)[points.length >> 1] ?? low;
}

function tooMany({ limit }: Reading, { from }: Span, how: string): Failure {
  return new Failure('value-too-large', `more than ${limit} lines of one stream at ${from} ${how}`, {
    hint: 'raise max_entries_limit_per_query of that Loki',
  });
}
