// What equal means: the same znodes with the same data and the same rights, and counters that are not behind.

import { judge, type LinePair, paired } from '../../core/inventory.ts';
import type { Context, Finding, InventoryReader } from '../../core/model.ts';
import { pathIn } from './entries.ts';

const NAMED_MAX = 100;

export async function* compare(
  ctx: Context,
  expected: InventoryReader,
  actual: InventoryReader,
): AsyncIterable<Finding> {
  let [same, unlike, unknown, leftOut] = [0, 0, 0, 0];
  for await (const pair of paired(ctx, expected, actual)) {
    if (isLeftOut(pair.actual?.detail)) {
      leftOut += 1;
      continue;
    }
    const finding = judged(pair);
    if (finding.verdict === 'pass') same += 1;
    else if (unlike + unknown < NAMED_MAX) yield finding;
    if (finding.verdict === 'fail') unlike += 1;
    if (finding.verdict === 'unknown') unknown += 1;
  }
  const check = 'the znodes are the same';
  if (same > 0) yield { check, verdict: 'pass', detail: `${same} znodes, equal digests` };
  if (leftOut > 0) {
    const detail = `${leftOut} znodes of the point were not restored, as was asked for`;
    yield { check: 'the znodes that were left out', verdict: 'unknown', detail };
  }
  if (unlike + unknown > NAMED_MAX) {
    const detail = `${unlike} znodes differ and ${unknown} were not compared; ${NAMED_MAX} are named`;
    yield { check, verdict: unlike > 0 ? 'fail' : 'unknown', detail };
  }
}

function judged(pair: LinePair): Finding {
  const finding = judge(pair, pathIn((pair.expected ?? pair.actual)?.name ?? '/'));
  if (finding.verdict !== 'pass') return finding;
  const [was, is] = [counterIn(pair.expected?.detail), counterIn(pair.actual?.detail)];
  if (is >= was) return finding;
  return { check: finding.check, verdict: 'fail', detail: `its sequence counter was ${was} and is ${is}` };
}

/** Another root was chosen for some of them, and none for these. */
function isLeftOut(detail: unknown): boolean {
  return typeof detail === 'object' && detail !== null && 'left_out' in detail;
}

function counterIn(detail: unknown): number {
  const counter = typeof detail === 'object' && detail !== null && 'counter' in detail ? detail.counter : 0;
  return typeof counter === 'number' ? counter : 0;
}
