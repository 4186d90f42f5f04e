// What equal means: the same keys with the same logical values and expiries, by database, type and hour of expiry.

import { judge, type LinePair, paired } from '../../core/inventory.ts';
import type { Context, Finding, InventoryReader } from '../../core/model.ts';
import { timeOf } from './facts.ts';

const HOUR_MS = 3_600_000;

/**
 * A server that is not frozen drops keys when their time has come. Of an hour that had passed when the second
 * inventory was taken, keys may be missing; of the hour in which it was taken, some: that is then unknown.
 */
export async function* compare(
  ctx: Context,
  expected: InventoryReader,
  actual: InventoryReader,
): AsyncIterable<Finding> {
  let takenAt = Number.NaN;
  for await (const pair of paired(ctx, expected, actual)) {
    const { kind = '', name = '' } = pair.expected ?? pair.actual ?? {};
    if (kind === 'facts') {
      if (name === 'time' && pair.actual) takenAt = timeOf(pair.actual);
      continue;
    }
    const what = kind === 'functions' ? `library ${name}` : name;
    const verdict = judge(pair, what);
    yield verdict.verdict === 'fail' ? excused(pair, verdict, takenAt) : verdict;
  }
}

/** What a server does by itself is no difference. */
function excused({ expected, actual }: LinePair, found: Finding, takenAt: number): Finding {
  const [, end] = / until (\S+)$/.exec(expected?.name ?? '') ?? [];
  const passed = end === undefined ? Number.NaN : Date.parse(end);
  const left = actual?.count ?? 0;
  const before = expected?.count ?? 0;
  const fieldsToo = expected?.name.includes(' with fields until ') ?? false;
  if (left > before || (left === before && !fieldsToo)) return found;
  if (passed - HOUR_MS > takenAt || Number.isNaN(passed - takenAt)) return found;
  const gone = `${before - left} of ${before} are gone, whose time had come`;
  if (passed <= takenAt && !(fieldsToo && left > 0)) return { ...found, verdict: 'pass', detail: gone };
  return {
    ...found,
    verdict: 'unknown',
    detail: `${before - left} of ${before} are gone: their time came while it was compared`,
    hint: 'a drill compares in a server that drops nothing',
  };
}
