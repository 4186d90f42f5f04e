// What equal means: the same keys with the same content, metadata and tags; the same versions in the same order where
// they were captured; the same settings of the buckets.

import { z } from 'zod';
import { judge, type LinePair, paired } from '../../core/inventory.ts';
import type { Context, Finding, InventoryLine, InventoryReader } from '../../core/model.ts';

/** Of those that are alike, the number says enough; of those that are not, this many are named. */
const NAMED_MAX = 1000;

const objectDetail = z.object({
  tags: z.string().optional(),
  retention: z.object({ mode: z.string(), until: z.string() }).optional(),
  hold: z.boolean().optional(),
  seen: z.string().optional(),
  unread: z.boolean().optional(),
});
type ObjectDetail = z.output<typeof objectDetail>;
const factsDetail = z.object({
  server: z.string(),
  tags: z.boolean(),
  rechecked: z.boolean(),
  left_out: z.array(z.string()).default([]),
});
const NO_FACTS: z.output<typeof factsDetail> = { server: '', tags: false, rechecked: true, left_out: [] };

/** What is known of a comparison while it goes on. */
interface Tally {
  objects: number;
  bytes: number;
  unlike: number;
  /** As a restore wrote them, and not read again. */
  unread: number;
  /** Objects whose tags, ACL and lock are older than the point, and the oldest of those times. */
  aged: number;
  oldest: string;
}

export async function* compare(
  ctx: Context,
  expected: InventoryReader,
  actual: InventoryReader,
): AsyncIterable<Finding> {
  const tally: Tally = { objects: 0, bytes: 0, unlike: 0, unread: 0, aged: 0, oldest: '' };
  let [was, is] = [NO_FACTS, NO_FACTS];
  for await (const pair of paired(ctx, expected, actual)) {
    if (isLeftOut(pair, is.left_out)) continue;
    const kind = (pair.expected ?? pair.actual)?.kind;
    if (kind === 'facts') {
      was = factsOf(pair.expected);
      is = factsOf(pair.actual);
      for (const name of is.left_out) yield leftFinding(name);
    } else if (kind === 'setting') {
      const found = settingFinding(pair, was.server !== is.server);
      if (found && (found.verdict === 'pass' || ++tally.unlike <= NAMED_MAX)) yield found;
    } else {
      const found = objectFinding(ctx, pair, was.tags && is.tags);
      if (found.verdict === 'pass') count(tally, pair);
      else if (++tally.unlike <= NAMED_MAX) yield found;
    }
  }
  yield* summary(tally, was.rechecked);
}

function leftFinding(name: string): Finding {
  const detail = 'it was left as it is: the settings do not name all that the point has of it';
  return { check: `bucket ${name} is the same`, verdict: 'unknown', detail, hint: 'name it under buckets' };
}

function isLeftOut({ expected, actual }: LinePair, names: readonly string[]): boolean {
  return names.length > 0 && !actual && names.some((name) => expected?.name.startsWith(`${name}/`));
}

function count(tally: Tally, { expected, actual }: LinePair): void {
  tally.objects += 1;
  tally.bytes += expected?.count ?? 0;
  if (detailOf(actual).unread) tally.unread += 1;
  const { seen } = detailOf(expected);
  if (seen === undefined) return;
  tally.aged += 1;
  if (tally.oldest === '' || seen < tally.oldest) tally.oldest = seen;
}

function* summary({ objects, bytes, unlike, unread, aged, oldest }: Tally, rechecked: boolean): Iterable<Finding> {
  if (objects > 0) {
    const detail = `${objects} objects and versions, ${bytes} bytes, equal digests`;
    const found = { check: 'objects are the same', verdict: 'pass' } as const;
    if (unread === 0) yield { ...found, detail };
    else yield { ...found, detail: `${detail}; ${unread} as written, not read again`, unread: true };
  }
  if (aged > 0) {
    const detail = `those of ${aged} objects were read for an earlier point, at ${oldest} or later`;
    const found = { check: 'tags and locks are the same', detail };
    if (rechecked) yield { ...found, verdict: 'pass' };
    else yield { ...found, verdict: 'unknown', hint: 'they change without a trace: set recheck, 7d or 0s' };
  }
  if (unlike > NAMED_MAX) {
    yield { check: 'objects are the same', verdict: 'fail', detail: `and ${unlike - NAMED_MAX} more are not` };
  }
}

function objectFinding(ctx: Context, pair: LinePair, withTags: boolean): Finding {
  const { expected, actual } = pair;
  const found = judge(pair, nameOf(expected ?? actual));
  if (found.verdict !== 'pass' || !expected || !actual) return found;
  const [was, is] = [detailOf(expected), detailOf(actual)];
  if (withTags && was.tags !== is.tags) return { ...found, verdict: 'fail', detail: 'equal content, and other tags' };
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

/** Most lines have none, and there are millions of them. */
function detailOf(line: InventoryLine | undefined): ObjectDetail {
  return line?.detail === undefined ? {} : (objectDetail.safeParse(line.detail).data ?? {});
}

function factsOf(line: InventoryLine | undefined): z.output<typeof factsDetail> {
  return factsDetail.safeParse(line?.detail).data ?? NO_FACTS;
}

function nameOf(line: InventoryLine | undefined): string {
  const [place = '', ordinal] = (line?.name ?? '').split(/\0(?=\d{7}$)/);
  return ordinal === undefined ? place : `version ${Number(ordinal)} of ${place}`;
}
