// Lines of a span where a server counts more than it gives, or does not count: page by page.

import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { MESSAGE_HINT, whereOf } from './http.ts';
import { byTime, type Line } from './lines.ts';
import { pageFrom, pagesIn } from './pages.ts';
import { type Chosen, countWhere, LIMIT_MIN, pageOf, type Reading } from './query.ts';
import type { Settings } from './settings.ts';
import { earlier, MS_NS, type Span } from './slices.ts';

/** So many lines of the largest that a Loki takes by default are handed on together. */
const LARGE_LINES = 16;
/** A Loki may split queries so often, or at every whole hour. */
const SPLIT_NS = 900_000n * MS_NS;

/** A page at a time, each compared with what the server counts there. */
export async function* carefully(
  ctx: Context,
  reading: Reading,
  chosen: readonly Chosen[],
  span: Span,
): AsyncGenerator<Line[]> {
  const [only] = chosen;
  if (only && chosen.length === 1) return yield* linesIn(ctx, reading, only.selector, span);
  // Streams without a common label are rare: their lines are merged, a page of each at a time.
  const heads = chosen.map(({ selector }) => ({ pages: linesIn(ctx, reading, selector, span), held: [] as Line[] }));
  for (;;) {
    for (const head of heads) {
      if (head.held.length === 0) head.held = (await head.pages.next()).value ?? [];
    }
    const filled = heads.filter(({ held }) => held.length > 0);
    if (filled.length === 0) return;
    // Up to where all that are not at their end have told their lines.
    const until = filled.map(({ held }) => BigInt(held.at(-1)?.ts ?? 0)).reduce(earlier);
    const out = filled.flatMap((head) => {
      const at = head.held.findIndex(({ ts }) => BigInt(ts) > until);
      return head.held.splice(0, at < 0 ? head.held.length : at);
    });
    yield out.sort(byTime);
  }
}

async function* linesIn(ctx: Context, reading: Reading, selector: string, { from, to }: Span): AsyncGenerator<Line[]> {
  for (let at = from; at < to; ) {
    const page = await pageFrom(ctx, reading, selector, { from: at, to });
    const last = BigInt(page.lines.at(-1)?.ts ?? 0);
    // Of the last millisecond there may be more: it comes again, since counts are of whole ones.
    const until = page.full ? last - (last % MS_NS) : page.end;
    if (until > at) {
      const lines = page.full ? page.lines.filter(({ ts }) => BigInt(ts) < until) : page.lines;
      yield* allOf(ctx, reading, { selector, span: { from: at, to: until }, lines });
      at = until;
    } else {
      const span = { from: at, to: earlier(at + MS_NS, to) };
      yield* linesOfMoment(ctx, reading, selector, span);
      at = span.to;
    }
  }
}

interface Given {
  readonly selector: string;
  readonly span: Span;
  readonly lines: Line[];
}

/** What was given, or more when that is not all. */
async function* allOf(ctx: Context, reading: Reading, { selector, span, lines }: Given): AsyncGenerator<Line[]> {
  const count = await countWhere(ctx, reading, selector, span);
  if (count === null || lines.length >= count) {
    if (lines.length > 0) yield lines;
    return;
  }
  const again = await pageOf(ctx, reading, selector, span);
  const hidden = again.full ? 0 : await hiddenIn(ctx, reading, { selector, span, lines: again.lines });
  if (!again.full && again.lines.length + hidden >= count) {
    reading.told.hidden += Math.max(0, count - again.lines.length); // the others came in meanwhile
    return yield again.lines;
  }
  if (reading.limitMax <= LIMIT_MIN) throw lost(reading.settings, span);
  const limit = Math.max(LIMIT_MIN, Math.min(LARGE_LINES, Math.ceil(reading.limitMax / LARGE_LINES)));
  yield* linesIn(ctx, { ...reading, limit, limitMax: limit }, selector, span);
}

/**
 * Lines that are counted and never given: a Loki splits queries at whole hours (split_queries_by_interval, at quarters
 * of them for some), and a piece that begins with the millisecond of a stored chunk's last line is not given that line.
 */
async function hiddenIn(ctx: Context, reading: Reading, { selector, span, lines }: Given): Promise<number> {
  let hidden = 0;
  for (let at = span.from + splitAfter(span.from); at < span.to; at += SPLIT_NS) {
    const moment = { from: at, to: at + MS_NS };
    const given = lines.filter(({ ts }) => BigInt(ts) >= moment.from && BigInt(ts) < moment.to).length;
    hidden += Math.max(0, ((await countWhere(ctx, reading, selector, moment)) ?? 0) - given);
  }
  return hidden;
}

/** How long it is until queries may be split. */
function splitAfter(at: bigint): bigint {
  return (SPLIT_NS - (at % SPLIT_NS)) % SPLIT_NS;
}

/** More lines within a millisecond than a page has. */
async function* linesOfMoment(ctx: Context, reading: Reading, selector: string, span: Span): AsyncGenerator<Line[]> {
  const count = await countWhere(ctx, reading, selector, span);
  let given = 0;
  for await (const lines of pagesIn(ctx, reading, selector, span)) {
    given += lines.length;
    yield lines;
  }
  if (count === null || given >= count) return;
  if (splitAfter(span.from) !== 0n) throw lost(reading.settings, span);
  reading.told.hidden += count - given;
}

function lost(settings: Settings, { from, to }: Span): Failure {
  const what = `${whereOf(settings)} gives fewer lines than it counts from ${from} to ${to}`;
  return new Failure('value-too-large', `${what}: they are larger than its parts hand to one another`, {
    hint: MESSAGE_HINT,
  });
}
