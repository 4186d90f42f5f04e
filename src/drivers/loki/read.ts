// A day of lines, read in parallel and given in order of time.

import type { Context } from '../../core/model.ts';
import type { Line } from './lines.ts';
import { linesIn, type Reading, type Span, selectorsFor, seriesOf } from './query.ts';
import { earlier, hoursOf } from './slices.ts';

/** So many hours are asked for ahead, a page of each. */
const AHEAD = 4;

/** In order of time. Lines come a page at a time. */
export async function* readLines(ctx: Context, reading: Reading, span: Span): AsyncGenerator<Line[]> {
  const selectors = selectorsFor(reading.settings, await seriesOf(ctx, reading.settings, span));
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
