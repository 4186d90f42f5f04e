// What equal means: the same keys with the same logical values and expiries, by database, type and hour of expiry.

import { judge, type LinePair, paired } from '../../core/inventory.ts';
import type { Context, Finding, InventoryReader } from '../../core/model.ts';
import { timeOf } from './facts.ts';

type Time = ReturnType<typeof timeOf>;

const WORDS: Readonly<Record<string, string>> = { functions: 'library', modules: 'data of module' };
const HOUR_MS = 3_600_000;

/**
 * A server that is not frozen drops keys when their time has come. Of an hour that had passed when the second
 * inventory was taken, keys may be missing; of the hour in which it was taken, some: that is then unknown. In one that
 * is frozen nothing passes away: what is missing there was lost, or could not be restored any more.
 */
export async function* compare(
  ctx: Context,
  expected: InventoryReader,
  actual: InventoryReader,
): AsyncIterable<Finding> {
  let time = { takenAt: Number.NaN, frozen: false };
  const hashes: { database: string; finding: Finding }[] = [];
  const passing = new Set<string>();
  for await (const pair of paired(ctx, expected, actual)) {
    const { kind = '', name = '' } = pair.expected ?? pair.actual ?? {};
    if (kind === 'facts') {
      if (name === 'time' && pair.actual) time = timeOf(pair.actual);
      continue;
    }
    const [, database] = /^(db\d+)\/hash\b/.exec(name) ?? [];
    if (database !== undefined && pair.expected && losesFields(name, time.takenAt)) passing.add(database);
    const found = excused(pair, judge(pair, kind === 'keys' ? name : `${WORDS[kind] ?? kind} ${name}`), time);
    if (database !== undefined && found.verdict === 'fail') hashes.push({ database, finding: found });
    else yield found;
  }
  for (const { database, finding } of hashes) yield passing.has(database) ? withPassedFields(finding) : finding;
}

/** What a server does by itself is no difference. */
function excused({ expected, actual }: LinePair, found: Finding, { takenAt, frozen }: Time): Finding {
  if ((expected ?? actual)?.kind === 'modules') {
    const both = expected && actual;
    const detail = both ? 'a module keeps it in a way of its own: it is there, and not compared' : found.detail;
    return { ...found, verdict: 'unknown', detail };
  }
  if (found.verdict === 'fail' && expected?.name.includes('/module ') && expected.count === actual?.count) {
    return {
      ...found,
      verdict: 'unknown',
      detail: `${found.detail}; a module may write the same value in another way`,
    };
  }
  const end = endOf(expected?.name ?? '');
  const left = actual?.count ?? 0;
  const before = expected?.count ?? 0;
  if (found.verdict !== 'fail' || left >= before || !(end - HOUR_MS <= takenAt)) return found;
  const gone = `${before - left} of ${before} are gone, whose time had come`;
  if (frozen) {
    const hint = 'a server that is restored by commands does not take keys whose time has come';
    return { ...found, verdict: 'unknown', detail: `${gone}, though this server drops nothing`, hint };
  }
  if (end <= takenAt) return { ...found, verdict: 'pass', detail: gone };
  return {
    ...found,
    verdict: 'unknown',
    detail: `${before - left} of ${before} are gone: their time came while it was compared`,
    hint: 'a drill compares in a server that drops nothing',
  };
}

/** A hash that has lost a field has another digest, and counts among those that stay or pass away later. */
function losesFields(name: string, takenAt: number): boolean {
  return name.includes(' with fields until ') && endOf(name) - HOUR_MS <= takenAt;
}

function withPassedFields(found: Finding): Finding {
  return {
    ...found,
    verdict: 'unknown',
    detail: `${found.detail}; some hashes of this database had fields whose time has come`,
    hint: 'a drill compares in a server that drops nothing',
  };
}

/** The end of the hour that a line is about; NaN when it is about what stays. */
function endOf(name: string): number {
  return Date.parse(/ until (\S+)$/.exec(name)?.[1] ?? '');
}
