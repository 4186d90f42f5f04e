// What equal means: the same keys with the same content, metadata and tags; the same versions in the same order where
// they were captured; the same settings of the buckets.

import { z } from 'zod';
import { judge, type LinePair, paired } from '../../core/inventory.ts';
import type { Context, Finding, InventoryLine, InventoryReader } from '../../core/model.ts';

/** Of those that are alike, the number says enough; of those that are not, this many are named. */
const NAMED_MAX = 1000;

const lockDetail = z.object({
  retention: z.object({ mode: z.string(), until: z.string() }).optional(),
  hold: z.boolean().optional(),
});
const factsDetail = z.object({ server: z.string() });

export async function* compare(
  ctx: Context,
  expected: InventoryReader,
  actual: InventoryReader,
): AsyncIterable<Finding> {
  let [objects, bytes, unlike] = [0, 0, 0];
  let otherServer = false;
  for await (const pair of paired(ctx, expected, actual)) {
    const { kind = '', count = null } = pair.expected ?? pair.actual ?? {};
    if (kind === 'facts') {
      otherServer = serverOf(pair.expected) !== serverOf(pair.actual);
      continue;
    }
    const found = kind === 'setting' ? settingFinding(pair, otherServer) : objectFinding(ctx, pair);
    if (found === null) continue;
    if (found.verdict === 'pass' && kind !== 'setting') {
      objects += 1;
      bytes += count ?? 0;
    } else if (found.verdict === 'pass' || ++unlike <= NAMED_MAX) yield found;
  }
  if (objects > 0) {
    const detail = `${objects} objects and versions, ${bytes} bytes, equal digests`;
    yield { check: 'objects are the same', verdict: 'pass', detail };
  }
  if (unlike > NAMED_MAX) {
    yield { check: 'objects are the same', verdict: 'fail', detail: `and ${unlike - NAMED_MAX} more are not` };
  }
}

function objectFinding(ctx: Context, pair: LinePair): Finding {
  const { expected, actual } = pair;
  const found = judge(pair, nameOf(expected ?? actual));
  if (found.verdict !== 'pass' || !expected || !actual) return found;
  const [was, is] = [lockOf(expected), lockOf(actual)];
  const over = was.retention === undefined || Date.parse(was.retention.until) <= ctx.now().getTime();
  const retained = over || (is.retention?.mode === was.retention?.mode && !isBefore(is.retention, was.retention));
  if (retained && was.hold === is.hold) return found;
  const detail = 'equal content, and it is not locked as it was';
  return { ...found, verdict: 'unknown', detail, hint: 'restore into a bucket that was made with object lock' };
}

/** Another server writes its settings in its own words. Null where it knows no such setting. */
function settingFinding(pair: LinePair, otherServer: boolean): Finding | null {
  const { expected, actual } = pair;
  const what = `the ${(expected ?? actual)?.name.replace(/^(.*)\/(.*)$/, '$2 of bucket $1')}`;
  const none = [expected, actual].every((line) => line === undefined || line.digest === 'none');
  if (none) return null;
  const found = judge({ expected, actual }, what);
  if (found.verdict !== 'fail' || !otherServer) return found;
  return { ...found, verdict: 'unknown', detail: `${found.detail}; the server is another one than was captured` };
}

function isBefore(a: { until: string } | undefined, b: { until: string } | undefined): boolean {
  return Date.parse(a?.until ?? '') < Date.parse(b?.until ?? '');
}

function lockOf(line: InventoryLine): z.output<typeof lockDetail> {
  return lockDetail.safeParse(line.detail).data ?? {};
}

function serverOf(line: InventoryLine | undefined): string {
  return factsDetail.safeParse(line?.detail).data?.server ?? '';
}

function nameOf(line: InventoryLine | undefined): string {
  const [place = '', ordinal] = (line?.name ?? '').split(/\0(?=\d{7}$)/);
  return ordinal === undefined ? place : `version ${Number(ordinal)} of ${place}`;
}
