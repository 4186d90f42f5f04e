// What equal means: the same lines with the same structured metadata in the same streams, day by day.

import { judge, type LinePair, paired } from '../../core/inventory.ts';
import type { Context, Finding, InventoryReader } from '../../core/model.ts';
import { rangeIn } from './capture.ts';
import { earlier, later, type Span, spanOfDay } from './slices.ts';

const NAMED_MAX = 100;

export async function* compare(
  ctx: Context,
  expected: InventoryReader,
  actual: InventoryReader,
): AsyncIterable<Finding> {
  let was: Span | null = null;
  let is: Span | null = null;
  let [same, unlike, unknown, lines] = [0, 0, 0, 0];
  for await (const pair of paired(ctx, expected, actual)) {
    was ??= pair.expected ? rangeIn(pair.expected) : null;
    is ??= pair.actual ? rangeIn(pair.actual) : null;
    if ((pair.expected ?? pair.actual)?.kind === 'facts') continue;
    const finding = judged(pair, was, is);
    if (finding === null) continue;
    if (finding.verdict === 'pass') {
      same += 1;
      lines += pair.expected?.count ?? 0;
    } else if (unlike + unknown < NAMED_MAX) yield finding;
    if (finding.verdict === 'fail') unlike += 1;
    if (finding.verdict === 'unknown') unknown += 1;
  }
  const check = 'the lines are the same';
  if (same > 0) yield { check, verdict: 'pass', detail: `${lines} lines of ${same} streams and days, equal digests` };
  if (same + unlike + unknown === 0 && was && is) yield { check, verdict: 'pass', detail: 'there are none, as then' };
  if (unlike + unknown > NAMED_MAX) {
    const detail = `${unlike} streams and days differ and ${unknown} were not compared; ${NAMED_MAX} are named`;
    yield { check, verdict: unlike > 0 ? 'fail' : 'unknown', detail };
  }
}

/** Null for a day that the point is not of. */
function judged(pair: LinePair, was: Span | null, is: Span | null): Finding | null {
  const name = pair.expected?.name ?? pair.actual?.name ?? '';
  const day = spanOfDay(name.slice(0, 'yyyy-mm-dd'.length));
  const check = `${name} is the same`;
  if (!was || !is || !day) return { check, verdict: 'unknown', detail: 'an inventory does not say of what time it is' };
  const begin = later(day.from, was.from);
  const end = earlier(day.to, was.to);
  if (begin >= end) return null;
  if (is.from > begin || is.to < end)
    return { check, verdict: 'unknown', detail: 'not all of that time was looked at' };
  const finding = judge(pair, name);
  const wentOn = (pair.actual?.count ?? 0) > (pair.expected?.count ?? 0) && is.to > end && end < day.to;
  if (finding.verdict !== 'fail' || !wentOn) return finding;
  return { check, verdict: 'unknown', detail: `${finding.detail}; the day went on after the cut` };
}
