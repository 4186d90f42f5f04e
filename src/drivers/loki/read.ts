// A day of lines, read in parallel and given in order of time, each span as soon as it is known to be whole.

import type { Context } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { carefully } from './careful.ts';
import { sharesOf } from './groups.ts';
import { byTime, type Line } from './lines.ts';
import { pagesIn } from './pages.ts';
import { type Chosen, chosenFrom, countWhere, type Reading, seriesOf } from './query.ts';
import { divided, hoursOf, MS_NS, type Span } from './slices.ts';

/** So many hours are asked for ahead, each with so many queries at a time. */
const AHEAD = 2;
const QUERIES = 2;
/** What is held until it is known to be all, of each of these hours. */
const HELD_LINES_MAX = 50_000;
const HELD_CHARS_MAX = 16 * 1024 * 1024;
/** A share of the streams that is expected to have so much of a page is likely to fit one. */
const PAGE_SHARE = 0.8;
const SHARES_MAX = 32;
const GIVEN_LINES = 5000;

/** In order of time. Lines come some thousands at a time. */
export async function* readLines(ctx: Context, reading: Reading, span: Span): AsyncGenerator<Line[]> {
  const chosen = chosenFrom(reading.settings, await seriesOf(ctx, reading, span));
  if (chosen.length === 0) return;
  const hours = hoursOf(span);
  const begun: Ahead[] = [];
  try {
    for (let next = 0; next < hours.length || begun.length > 0; ) {
      while (begun.length < AHEAD && next < hours.length) {
        begun.push(ahead(linesIn(ctx, reading, chosen, hours[next++] as Span)));
      }
      const hour = begun[0];
      for (let page = await hour?.next(); page; page = await hour?.next()) yield page;
      begun.shift();
    }
  } finally {
    await Promise.all(begun.map((each) => each.end()));
  }
}

/**
 * The server is asked first how many lines there are: when its parts can't hand on so large lines, it says nothing of
 * it and leaves them out. Where it gives fewer, or does not count, each page is looked at.
 */
async function* linesIn(ctx: Context, reading: Reading, chosen: readonly Chosen[], span: Span): AsyncGenerator<Line[]> {
  const counts = await mapBounded(chosen, QUERIES, ({ selector }) => countWhere(ctx, reading, selector, span));
  const count = counts.reduce<number | null>((sum, each) => (sum === null || each === null ? null : sum + each), 0);
  const most = Math.min(HELD_LINES_MAX, HELD_CHARS_MAX / reading.lineChars);
  if (count !== null && count > most && span.to - span.from > MS_NS) {
    for (const piece of divided(span, Math.ceil(count / most))) yield* linesIn(ctx, reading, chosen, piece);
    return;
  }
  const lines = count === null || count > most ? null : await allIn(ctx, reading, chosen, { ...span, count });
  if (lines === null || lines.length < (count ?? 0)) return yield* carefully(ctx, reading, chosen, span);
  for (let at = 0; at < lines.length; at += GIVEN_LINES) yield lines.slice(at, at + GIVEN_LINES);
}

/** Null when they are more than may be held. */
async function allIn(
  ctx: Context,
  reading: Reading,
  chosen: readonly Chosen[],
  { count, ...span }: Span & { readonly count: number },
): Promise<Line[] | null> {
  const pages = Math.min(SHARES_MAX, Math.ceil(count / (reading.limit * PAGE_SHARE)));
  const selectors = chosen.flatMap((each) => sharesOf(each, pages));
  const all: Line[] = [];
  let chars = 0;
  await mapBounded(selectors, QUERIES, async (selector) => {
    for await (const page of pagesIn(ctx, reading, selector, span)) {
      for (const line of page) {
        all.push(line);
        chars += line.line.length;
      }
      if (chars > 2 * HELD_CHARS_MAX || all.length > 2 * HELD_LINES_MAX) return;
    }
  });
  if (all.length > 0) reading.lineChars = Math.max(1, chars / all.length);
  if (chars > 2 * HELD_CHARS_MAX || all.length > 2 * HELD_LINES_MAX) return null;
  return all.sort(byTime);
}

interface Ahead {
  next(): Promise<Line[] | undefined>;
  end(): Promise<void>;
}

/** The next page is asked for while the one before is used. */
function ahead(pages: AsyncGenerator<Line[]>): Ahead {
  const take = (): Promise<IteratorResult<Line[]>> => {
    const taking = pages.next();
    taking.catch(() => {}); // thrown when its turn comes
    return taking;
  };
  let coming = take();
  return {
    async next() {
      const page = await coming;
      if (page.done) return undefined;
      coming = take();
      return page.value;
    },
    async end() {
      await coming.catch(() => {});
      await pages.return(undefined);
    },
  };
}
