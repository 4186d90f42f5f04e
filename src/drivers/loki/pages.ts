// Lines of a span, page after page: a Loki gives so many at most per query, of so long a time at most.

import type { Context } from '../../core/model.ts';
import type { Line } from './lines.ts';
import { linesAt } from './moment.ts';
import { lengthen, type Page, pageOf, type Reading, shorten } from './query.ts';
import { earlier, type Span } from './slices.ts';

/** In order of time, a page at a time. Nobody looks whether the server gives all. */
export async function* pagesIn(
  ctx: Context,
  reading: Reading,
  selector: string,
  { from, to }: Span,
): AsyncGenerator<Line[]> {
  for (let at = from; at < to; ) {
    const { lines, full, end } = await pageFrom(ctx, reading, selector, { from: at, to });
    const last = BigInt(lines.at(-1)?.ts ?? 0);
    // Of the last nanosecond there may be more: it comes again.
    const whole = full ? lines.filter(({ ts }) => BigInt(ts) < last) : lines;
    if (whole.length > 0) yield whole;
    at = full ? last : end;
    if (!full || whole.length > 0) continue;
    yield* linesAt(ctx, reading, last, selector);
    at = last + 1n;
  }
}

/** The first page of as much of the span as may be asked for at once: that to `end`. */
export async function pageFrom(
  ctx: Context,
  reading: Reading,
  selector: string,
  { from, to }: Span,
): Promise<Page & { readonly end: bigint }> {
  for (;;) {
    const end = earlier(from + reading.length, to);
    try {
      const page = await pageOf(ctx, reading, selector, { from, to: end });
      lengthen(reading);
      return { ...page, end };
    } catch (error) {
      shorten(reading, end - from, error);
    }
  }
}
