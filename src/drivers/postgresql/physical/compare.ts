// What equal means for a data directory: the same files, byte for byte.

import { z } from 'zod';
import { inventoryWith, judge, type LinePair, paired } from '../../../core/inventory.ts';
import type { Context, Finding, InventoryReader } from '../../../core/model.ts';
import { MAP_FILE, SIGNAL_FILES } from './names.ts';

/** Of files that are not the same; the others are counted. */
const NAMED_MAX = 100;

const mapDetail = z.object({ tablespaces: z.array(z.string()), linked: z.boolean().optional() });

export async function* compareFiles(
  ctx: Context,
  expected: InventoryReader,
  actual: InventoryReader,
): AsyncIterable<Finding> {
  const files = (inventory: InventoryReader): InventoryReader =>
    inventoryWith(inventory, ({ kind }) => kind === 'file');
  let [same, unlike] = [0, 0];
  for await (const pair of paired(ctx, files(expected), files(actual))) {
    const finding = judged(pair);
    if (finding.verdict === 'pass') same += 1;
    else if (++unlike <= NAMED_MAX) yield finding;
  }
  if (unlike > NAMED_MAX) {
    yield { check: 'files are the same', verdict: 'fail', detail: `and ${unlike - NAMED_MAX} more are not` };
  }
  if (same > 0) yield { check: 'files are the same', verdict: 'pass', detail: `${same} files, equal digests` };
}

function judged(pair: LinePair): Finding {
  const name = pair.expected?.name ?? pair.actual?.name ?? '';
  const finding = judge(pair, name);
  if (finding.verdict === 'pass') return finding;
  if (!pair.actual && SIGNAL_FILES.has(name)) return { ...finding, verdict: 'pass', detail: 'left out on purpose' };
  if (name === MAP_FILE && isMapped(pair)) return { ...finding, verdict: 'pass', detail: 'names the places here' };
  return finding;
}

/** The same tablespaces, wherever they are now. */
function isMapped({ expected, actual }: LinePair): boolean {
  const [before, now] = [expected, actual].map((line) => mapDetail.safeParse(line?.detail).data);
  if (!before || !now?.linked) return false;
  return before.tablespaces.toSorted().join() === now.tablespaces.toSorted().join();
}
