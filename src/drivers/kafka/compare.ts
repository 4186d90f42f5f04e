// What equal means: the same topics with the same configuration, the same records in the same order in each partition
// whatever their offsets, groups that have as many records behind them, the same access control.

import { judge, type LinePair, paired } from '../../core/inventory.ts';
import type { Context, Finding, InventoryLine, InventoryReader } from '../../core/model.ts';

export async function* compare(
  ctx: Context,
  expected: InventoryReader,
  actual: InventoryReader,
): AsyncIterable<Finding> {
  const compacted = new Map<string, boolean>();
  let authorizer: unknown = null;
  // 'acl' and 'facts' come before 'partition' and 'topic': what is said of topics is read beforehand.
  for await (const line of actual.lines(ctx)) {
    if (line.kind === 'topic') compacted.set(line.name, fieldOf(line, 'suspended') !== true);
    if (line.kind === 'facts') authorizer = fieldOf(line, 'authorizer');
  }
  const shrinking = new Set<string>();
  for await (const line of expected.lines(ctx)) {
    if (line.kind !== 'topic' || fieldOf(line, 'compacted') !== true) continue;
    if (compacted.get(line.name)) shrinking.add(line.name);
  }
  for await (const pair of paired(ctx, expected, actual)) {
    const { kind, name } = pair.expected ?? pair.actual ?? { kind: '', name: '' };
    if (kind === 'facts') yield* accessFinding(pair);
    else if (kind === 'acl' && pair.expected && authorizer !== 'readable') yield withoutAuthorizer(name, authorizer);
    else yield excused(pair, explained(pair, judge(pair, `${kind} ${name}`)), shrinking);
  }
}

function excused({ expected, actual }: LinePair, found: Finding, shrinking: ReadonlySet<string>): Finding {
  if (!expected) {
    const detail = 'it is there now and was not at the cut: it was left as it is';
    return { ...found, verdict: 'unknown', detail, hint: 'remove it if it should not be there' };
  }
  const topic = /^(?:.*\/)?([\w.-]+)\/\d+$/s.exec(expected.name)?.[1] ?? '';
  const less = (actual?.count ?? 0) <= (expected.count ?? 0);
  if (found.verdict === 'fail' && actual && less && shrinking.has(topic) && expected.kind !== 'topic') {
    const detail = `${found.detail}; compaction may have taken records meanwhile`;
    return { ...found, verdict: 'unknown', detail, hint: 'a drill compares where nothing is compacted' };
  }
  return found;
}

/** Which settings of a topic are others. */
function explained({ expected, actual }: LinePair, found: Finding): Finding {
  if (found.verdict !== 'fail' || expected?.kind !== 'topic' || !actual || expected.count !== actual.count)
    return found;
  const [before, now] = [expected, actual].map((line) => Object.entries(fieldOf(line, 'configs') ?? {}).map(String));
  const lost = before?.filter((each) => !now?.includes(each)).map((each) => each.replace(',', '='));
  const come = now?.filter((each) => !before?.includes(each)).map((each) => each.replace(',', '='));
  return { ...found, detail: `at the cut ${lost?.join(' ') || 'nothing'}, now ${come?.join(' ') || 'nothing'}` };
}

/** Nothing, unless it could not be looked at. */
function* accessFinding({ expected, actual }: LinePair): Iterable<Finding> {
  const [before, now] = [expected, actual].map((line) => (line ? fieldOf(line, 'authorizer') : null));
  if (before !== 'denied' && !(before === 'readable' && now === 'denied')) return;
  const hint = 'let the user Describe the cluster, or set acls: false';
  yield { check: 'access control is the same', verdict: 'unknown', detail: 'it can not be looked at', hint };
}

function withoutAuthorizer(name: string, authorizer: unknown): Finding {
  const detail = authorizer === 'none' ? 'this cluster has no access control' : 'it can not be looked at';
  return { check: `acl ${name} is the same`, verdict: 'unknown', detail };
}

function fieldOf({ detail }: InventoryLine, name: string): unknown {
  return typeof detail === 'object' && detail !== null && !Array.isArray(detail)
    ? (detail as Record<string, unknown>)[name]
    : undefined;
}
