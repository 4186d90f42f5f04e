// What equal means for PostgreSQL; docs/drivers/postgresql.md has the rules in words.

import { z } from 'zod';
import { inventoryWith, judge, type LinePair, paired } from '../../core/inventory.ts';
import type { Context, Finding, InventoryLine, InventoryReader } from '../../core/model.ts';
import { compareFiles } from './physical/compare.ts';
import { isOfFiles } from './physical/inventory.ts';

const databaseDetail = z.object({
  tables: z.number(),
  encoding: z.string(),
  locale: z.record(z.string(), z.string().nullable()),
  major: z.number(),
});
const sequenceDetail = z.object({ last: z.coerce.bigint(), called: z.boolean(), increment: z.coerce.bigint() });
const ownershipDetail = z.object({ any_superuser: z.string().optional() });
const roleDetail = z.object({ own: z.boolean().optional() });
const tableDetail = z.object({ sampled: z.string().nullable().optional() });

/** A point of both methods is compared by what the other side is: the files of a directory, or the rows of a server. */
export async function* compareInventories(
  ctx: Context,
  expected: InventoryReader,
  actual: InventoryReader,
): AsyncIterable<Finding> {
  // A directory is read to tell its first line, and is not read twice.
  const lines = actual.lines(ctx)[Symbol.asyncIterator]();
  try {
    const first = await lines.next();
    const ofFiles = first.done ? await isAny(ctx, expected, isOfFiles) : isOfFiles(first.value);
    const before = inventoryWith(expected, (line) => isOfFiles(line) === ofFiles);
    if (!first.done && !(await isAny(ctx, before, () => true))) yield notComparable(ofFiles);
    else if (ofFiles) yield* compareFiles(ctx, before, { lines: () => resumed(first, lines) });
    else yield* compareRows(ctx, before, actual);
  } finally {
    await lines.return?.();
  }
}

function notComparable(ofFiles: boolean): Finding {
  const [held, asked] = ofFiles ? ['rows', 'files'] : ['files', 'rows'];
  const detail = `the point tells of ${held}, and ${asked} are here: they can not be compared`;
  return { check: 'it is what it was at the cut', verdict: 'unknown', detail, uncompared: true };
}

async function* resumed(
  first: IteratorResult<InventoryLine>,
  rest: AsyncIterator<InventoryLine>,
): AsyncIterable<InventoryLine> {
  for (let next = first; !next.done; next = await rest.next()) yield next.value;
}

async function isAny(
  ctx: Context,
  inventory: InventoryReader,
  wanted: (line: InventoryLine) => boolean,
): Promise<boolean> {
  for await (const line of inventory.lines(ctx)) if (wanted(line)) return true;
  return false;
}

/**
 * One database may have come back under another name: with exactly one on each side, names are compared without it.
 * Databases are the first lines, so that is known before the others come.
 */
async function* compareRows(ctx: Context, expected: InventoryReader, actual: InventoryReader): AsyncIterable<Finding> {
  const [left, right] = [await onlyDatabase(ctx, expected), await onlyDatabase(ctx, actual)];
  const renamed = left !== null && right !== null && left !== right;
  const from = renamed ? named(actual, right, left) : actual;
  const majors = new Set<number>();
  let definitions = 0;
  for await (const pair of paired(ctx, expected, from)) {
    const { kind } = pair.expected ?? pair.actual ?? { kind: '' };
    if (kind === 'database') for (const line of [pair.expected, pair.actual]) if (line) majors.add(majorOf(line));
    if (kind !== 'definition' && kind !== 'ownership') {
      yield* findingsOn(kind, pair);
      continue;
    }
    // There are many, and one that is well is no news.
    const finding = definitionFinding(pair, majors.size > 1);
    if (finding.verdict === 'pass') definitions += 1;
    else yield finding;
  }
  if (definitions > 0) {
    yield { check: 'definitions are the same', verdict: 'pass', detail: `${definitions}, equal digests` };
  }
}

function findingsOn(kind: string, pair: LinePair): Finding[] {
  const name = pair.expected?.name ?? pair.actual?.name ?? '';
  if (kind === 'role') return roleFindings(pair, name);
  if (kind === 'database') return [databaseFinding(pair, name)];
  if (kind === 'sequence') return [sequenceFinding(pair, name)];
  if (kind === 'table') return [tableFinding(pair, name)];
  if (kind === 'large-objects') return [judgeRows(pair, `large objects of ${name}`)];
  return [judge(pair, `${kind} ${name}`)];
}

/** Roles belong to the whole server: others may be there, and those that were there are never changed by a restore. */
function roleFindings(pair: LinePair, name: string): Finding[] {
  if (!pair.expected) return [];
  const finding = judge(pair, `role ${name}`);
  if (finding.verdict !== 'fail') return [finding];
  const unknown = (detail: string): Finding[] => [{ ...finding, verdict: 'unknown', detail }];
  if (pair.actual && roleDetail.parse(pair.actual.detail ?? {}).own) {
    return [{ ...finding, verdict: 'pass', detail: 'it is whom this server is run by, and stays as it is here' }];
  }
  if (pair.actual) return unknown('it is there with other attributes; restores change no role that is there');
  return pair.expected.digest === null ? unknown('it changed during the capture, and is not there') : [finding];
}

function databaseFinding(pair: LinePair, name: string): Finding {
  const finding = judge(pair, `database ${name}`);
  if (!pair.expected || !pair.actual) return finding;
  const before = databaseDetail.parse(pair.expected.detail);
  const now = databaseDetail.parse(pair.actual.detail);
  if (before.tables !== now.tables)
    return { ...finding, verdict: 'fail', detail: `${before.tables} tables at the cut, ${now.tables} now` };
  if (finding.verdict === 'fail') return finding;
  if (before.encoding !== now.encoding) {
    return { ...finding, verdict: 'unknown', detail: `encoding ${before.encoding} at the cut, ${now.encoding} now` };
  }
  if (localeText(before.locale) !== localeText(now.locale)) {
    return { ...finding, verdict: 'unknown', detail: 'its locale is another one: texts may sort in another order' };
  }
  return finding;
}

function localeText(locale: Readonly<Record<string, string | null>>): string {
  return ['provider', 'collate', 'ctype', 'locale'].map((key) => locale[key] ?? '').join('|');
}

/** Sequences move outside of transactions: one that is ahead of what was read before the dump is well. */
function sequenceFinding(pair: LinePair, name: string): Finding {
  const check = `sequence ${name} is not behind`;
  if (!pair.expected || !pair.actual) return judge(pair, `sequence ${name}`);
  const before = sequenceDetail.parse(pair.expected.detail);
  const now = sequenceDetail.parse(pair.actual.detail);
  const same = before.last === now.last && before.called === now.called;
  const ahead = now.called && (before.increment > 0n ? now.last >= before.last : now.last <= before.last);
  const words = (each: typeof now): string => `${each.last}${each.called ? '' : ', not called yet'}`;
  if (same || ahead)
    return { check, verdict: 'pass', detail: same ? words(now) : `${words(before)} at the cut, ${words(now)} now` };
  return { check, verdict: 'fail', detail: `${words(before)} at the cut, ${words(now)} now` };
}

function tableFinding(pair: LinePair, name: string): Finding {
  const finding = judgeRows(pair, `table ${name}`);
  if (finding.verdict !== 'unknown' || !pair.expected || !pair.actual) return finding;
  const [before, now] = [pair.expected, pair.actual].map((line) => tableDetail.parse(line.detail ?? {}).sampled);
  if (!before || !now || methodOf(before) !== methodOf(now)) return finding;
  if (before !== now) return { ...finding, verdict: 'fail', detail: 'the digests of a sample of rows differ' };
  return { ...finding, detail: 'counted; a sample of its rows is equal' };
}

/** Digests that were made by different methods prove nothing, neither way. */
function judgeRows(pair: LinePair, what: string): Finding {
  const [before, now] = [pair.expected?.digest ?? null, pair.actual?.digest ?? null];
  if (!pair.expected || before === null || now === null || methodOf(before) === methodOf(now)) return judge(pair, what);
  const finding = judge({ ...pair, expected: { ...pair.expected, digest: null } }, what);
  const detail = 'counted; the databases digest rows in different ways';
  return finding.verdict === 'unknown' ? { ...finding, detail } : finding;
}

/** The digest without its last part, the sum. */
function methodOf(digest: string): string {
  return digest.slice(0, digest.lastIndexOf(':') + 1);
}

/** Majors render definitions and default privileges each in its own way: there a difference proves nothing. */
function definitionFinding(pair: LinePair, acrossMajors: boolean): Finding {
  const name = pair.expected?.name ?? pair.actual?.name ?? '';
  const whose = (pair.expected ?? pair.actual)?.kind === 'ownership' ? 'owner and privileges of ' : '';
  const finding = judge(pair, `${whose}${name}`);
  if (finding.verdict === 'fail' && isOtherSuperusers(pair)) {
    return { check: finding.check, verdict: 'pass', detail: 'the same but for the names of superusers' };
  }
  if (!acrossMajors || finding.verdict !== 'fail' || !pair.expected || !pair.actual) return finding;
  return { ...finding, verdict: 'unknown', detail: 'rendered by servers of different majors' };
}

/** SQL text gives nothing to a superuser by name, and each can do what another can. */
function isOtherSuperusers({ expected, actual }: LinePair): boolean {
  const [before, now] = [expected, actual].map((line) => ownershipDetail.parse(line?.detail ?? {}).any_superuser);
  return before !== undefined && before === now;
}

function majorOf(line: InventoryLine): number {
  return databaseDetail.parse(line.detail).major;
}

/** The name of the only database; null when there are several or none. */
async function onlyDatabase(ctx: Context, inventory: InventoryReader): Promise<string | null> {
  let only: string | null = null;
  for await (const { kind, name } of inventory.lines(ctx)) {
    if (kind !== 'database') break;
    if (only !== null) return null;
    only = name;
  }
  return only;
}

/** The lines of the database `from` as if it were called `to`. One prefix for all of them keeps their order. */
function named(inventory: InventoryReader, from: string, to: string): InventoryReader {
  const renamed = ({ name, ...line }: InventoryLine): InventoryLine => {
    const own = line.kind !== 'role' && name.startsWith(from);
    return { ...line, name: own ? to + name.slice(from.length) : name };
  };
  return {
    async *lines(ctx) {
      for await (const line of inventory.lines(ctx)) yield renamed(line);
    },
  };
}
