// A day of lines, read in parallel and given in order of time.

import type { Context } from '../../core/model.ts';
import type { Line } from './lines.ts';
import { linesAt } from './moment.ts';
import { type Page, pageOf, type Reading, selectorsFor, seriesOf, shorten } from './query.ts';
import { earlier, hoursOf, type Span } from './slices.ts';

/** So many hours are asked for ahead, a page of each. */
const AHEAD = 4;

/** In order of time. Lines come a page at a time. */
export async function* readLines(ctx: Context, reading: Reading, span: Span): AsyncGenerator<Line[]> {
  const selectors = selectorsFor(reading.settings, await seriesOf(ctx, reading, span));
  if (selectors.length === 0) return;
  const hours = hoursOf(span);
  const begun: Ahead[] = [];
  try {
    for (let next = 0; next < hours.length || begun.length > 0; ) {
      while (begun.length < AHEAD && next < hours.length) {
        begun.push(ahead(hourOf(ctx, reading, selectors, hours[next++] as Span)));
      }
      const hour = begun[0];
      for (let page = await hour?.next(); page; page = await hour?.next()) yield page;
      begun.shift();
    }
  } finally {
    await Promise.all(begun.map((each) => each.end()));
  }
}

async function* hourOf(
  ctx: Context,
  reading: Reading,
  selectors: readonly string[],
  span: Span,
): AsyncGenerator<Line[]> {
  const [only] = selectors;
  if (only !== undefined && selectors.length === 1) return yield* linesIn(ctx, reading, only, span);
  // Streams without a common label are rare: their lines are merged, a page of each at a time.
  const heads = selectors.map((selector) => ({ pages: linesIn(ctx, reading, selector, span), held: [] as Line[] }));
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
    yield out.sort((a, b) => (BigInt(a.ts) < BigInt(b.ts) ? -1 : BigInt(a.ts) > BigInt(b.ts) ? 1 : 0));
  }
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

/** In order of time, a page at a time. */
async function* linesIn(ctx: Context, reading: Reading, selector: string, { from, to }: Span): AsyncGenerator<Line[]> {
  for (let at = from; at < to; ) {
    const end = earlier(at + reading.length, to);
    let page: Page;
    try {
      page = await pageOf(ctx, reading, selector, { from: at, to: end });
    } catch (error) {
      shorten(reading, end - at, error);
      continue;
    }
    const { lines, full } = page;
    const last = lines.at(-1);
    if (!last || !full) {
      if (last) yield lines;
      at = end;
      continue;
    }
    // Of the last nanosecond there may be more: it comes again.
    const whole = lines.filter(({ ts }) => ts !== last.ts);
    if (whole.length > 0) {
      yield whole;
      at = BigInt(last.ts);
      continue;
    }
    yield* linesAt(ctx, reading, BigInt(last.ts), selector);
    at = BigInt(last.ts) + 1n;
  }
}
