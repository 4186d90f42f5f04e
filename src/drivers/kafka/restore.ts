// A restore: topics are made anew, their records sent in order, and the offsets of groups committed where they belong
// among the records as they are now numbered.

import type { Chain, Replay } from '../../core/component.ts';
import { outliving } from '../../core/context.ts';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { Context, InventoryReader, Restored, RestoreOptions, Source } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { budgetOf } from './budget.ts';
import { type Cluster, connect } from './cluster.ts';
import { type ClusterFacts, factsOf, isCompacted, isOfTopic } from './facts.ts';
import { groupsOf } from './groups.ts';
import { restoredInventory } from './inventory.ts';
import { foretold, replayRecords } from './journal/replay.ts';
import { nameOfAcl } from './lines.ts';
import { type Loaded, type LoadWork, loadPartition } from './load.ts';
import { createAcls, makeTopics, removeTopics, writerOf } from './making.ts';
import { partitionKey, type RangeList, rangesOf } from './ranges.ts';
import { restoreOffsets } from './resume.ts';
import { type Chosen, type ChosenTopic, chosenOf, listed, selectedOf } from './selection.ts';
import type { Settings } from './settings.ts';
import { noteOf, settle } from './suspended.ts';

const PARTITIONS_AT_ONCE = 4;
/** What was made and could not be filled is removed in this time. */
const LEAVE_MS_MAX = 300_000;
const SENT_BYTES_MAX = 8 * 1024 * 1024;
const IDLE = ['Empty', 'Dead', 'EMPTY', 'DEAD'];

interface Work {
  readonly cluster: Cluster;
  readonly source: Source;
  /** As the point says them. */
  readonly point: ClusterFacts;
  /** As they are to come back. */
  readonly facts: ClusterFacts;
  readonly replay: Replay | null;
  readonly ranges: RangeList;
  readonly chosen: Chosen;
  readonly jobs: number;
}

export async function restore(
  ctx: Context,
  settings: Settings,
  chain: Chain,
  options: RestoreOptions = {},
): Promise<Restored> {
  const { base: source } = chain;
  const point = await factsOf(ctx, source);
  const replay = chain.replay && chain.replay.target.kind !== 'immediate' ? chain.replay : null;
  const { facts, reached } = replay ? await foretold(ctx, point, replay) : { facts: point };
  const chosen = chosenOf(settings, facts, options);
  await using ranges = await rangesOf(ctx, source);
  await using cluster = await connect(ctx, settings);
  const jobs = options.jobs ?? PARTITIONS_AT_ONCE;
  const work = { cluster, source, point, facts, replay, ranges, chosen, jobs };
  await refuseInUse(ctx, work, settings, options.replace ?? false);
  const before = [...cluster.layout().topics.keys()];
  const clashing = chosen.topics.filter(({ target }) => before.includes(target)).map(({ target }) => target);
  await removeTopics(ctx, cluster, clashing);
  const names = chosen.topics.map(({ target }) => target);
  const made = new Set<string>();
  await options.suspending?.(noteOf(chosen.topics));
  try {
    const { warnings, missing } = await makeTopics(ctx, cluster, chosen.topics, made);
    const { loaded, bytes } = await load(ctx, work);
    missing.push(...(await restoreOffsets(ctx, { ...work, settings, loaded, counted: isCounted(work) })));
    if (settings.acls) missing.push(...(await restoreAcls(ctx, work)));
    warnings.push(...others(before, work, settings, options.replace ?? false));
    const settleAll = async (c: Context): Promise<void> => {
      await using again = await connect(c, settings);
      await settle(c, again, names);
    };
    const inventory = (c: Context): Promise<InventoryReader> => restoredInventory(c, settings, chosen.names, facts);
    const selected = options.select ? { selected: selectedOf(settings, facts, chosen) } : {};
    return {
      bytes,
      method: 'produce',
      warnings,
      missing,
      inventory,
      ...selected,
      ...(reached && { reached }),
      settle: settleAll,
    };
  } catch (error) {
    await leaveNothing(ctx, settings, { made: [...made], removed: clashing }, error);
    throw error;
  }
}

/** Which records came back is known only once they are sent. */
function isCounted({ chosen, replay }: Pick<Work, 'chosen' | 'replay'>): boolean {
  return chosen.window !== null || replay !== null;
}

/** Nothing is changed before this. */
async function refuseInUse(
  ctx: Context,
  { cluster, chosen, facts }: Work,
  settings: Settings,
  replace: boolean,
): Promise<void> {
  const { topics } = cluster.layout();
  const held = chosen.topics.filter(({ target }) => topics.has(target)).map(({ target }) => target);
  if (held.length > 0 && !replace) {
    throw new Failure('target-not-empty', `${cluster.where} has topics of these names: ${listed(held)}`, {
      hint: 'restore under other names (--rename), into another cluster, or in place: restore --in-place',
    });
  }
  const wanted = new Set(groupsIn(facts, chosen, settings).map(({ group }) => group));
  const busy = (await groupsOf(ctx, cluster)).filter(({ group, state }) => wanted.has(group) && !IDLE.includes(state));
  if (busy.length === 0) return;
  throw new Failure('blocked', `${cluster.where}: groups have members: ${listed(busy.map(({ group }) => group))}`, {
    hint: 'stop their consumers: offsets can be set for a group without members only',
  });
}

/** Those that stand somewhere in the chosen topics. */
function groupsIn({ groups }: ClusterFacts, { names }: Chosen, settings: Settings): ClusterFacts['groups'] {
  return groups.filter(
    ({ group, offsets }) => settings.coversGroup(group) && offsets.some(({ topic }) => names.has(topic)),
  );
}

async function load(ctx: Context, work: Work): Promise<{ loaded: Map<string, Loaded>; bytes: number }> {
  const { cluster, source, ranges, point, facts, replay, chosen, jobs } = work;
  const writer = await writerOf(ctx, cluster);
  let bytes = 0;
  const onBytes = (more: number): void => {
    bytes += more;
    ctx.progress({ task: 'kafka', phase: 'restore', bytes });
  };
  const loading: LoadWork = {
    cluster,
    source,
    writer,
    window: chosen.window,
    counting: isCounted(work),
    onBytes,
    sending: budgetOf(SENT_BYTES_MAX),
  };
  const offsets = facts.groups.flatMap((group) => group.offsets);
  const committed = Map.groupBy(offsets, partitionKey);
  const loaded = new Map<string, Loaded>();
  const captured = new Set(point.topics.map(({ id }) => id));
  const all = chosen.topics.flatMap(({ name, id, target, partitions }) =>
    partitions.map(({ partition }) => ({ name, id, target, partition, key: partitionKey({ topic: name, partition }) })),
  );
  await mapBounded(all, jobs, async ({ name, id, target, partition, key }) => {
    const positions = new Map((committed.get(key) ?? []).map(({ offset }) => [offset, 0]));
    const to = { topic: target, partition, end: 0, positions };
    loaded.set(key, to);
    // What the point has of one that was made anew since is not its own.
    if (captured.has(id)) await loadPartition(ctx, loading, await ranges.of({ topic: name, partition }), to);
  });
  if (replay) await replayRecords(ctx, { replay, point, topics: chosen.topics, loaded, loading, jobs });
  return { loaded, bytes };
}

async function restoreAcls(ctx: Context, { cluster, facts, chosen }: Work): Promise<string[]> {
  const own = facts.acls.flatMap((acl) => {
    const target = isOfTopic(acl) && chosen.names.get(acl.resource_name);
    if (target) return [{ ...acl, resource_name: target }];
    return chosen.isWhole ? [acl] : [];
  });
  const refused = await createAcls(ctx, cluster, own);
  return refused.flatMap((reason, at) => {
    const acl = own[at];
    return reason === null || !acl ? [] : [`access: ${nameOfAcl(acl)}: ${reason}`];
  });
}

/** What was there besides, and was not touched. */
function others(before: readonly string[], { chosen, cluster }: Work, settings: Settings, replace: boolean): string[] {
  if (!replace || !chosen.isWhole) return [];
  const back = new Set(chosen.topics.map(({ target }) => target));
  const internal = (name: string): boolean => cluster.layout().topics.get(name)?.isInternal ?? true;
  const left = before.filter((name) => settings.covers(name) && !back.has(name) && !internal(name));
  return left.length === 0 ? [] : [`topics that the point does not have were left as they are: ${listed(left)}`];
}

/** Half of the records look like all of them: topics that could not be filled are removed again. */
async function leaveNothing(
  ctx: Context,
  settings: Settings,
  { made, removed }: { made: readonly string[]; removed: readonly string[] },
  because: unknown,
): Promise<void> {
  try {
    const alive = outliving(ctx, LEAVE_MS_MAX); // also when it was stopped on request
    await using cluster = await connect(alive, settings);
    await removeTopics(alive, cluster, made);
  } catch (cause) {
    const code = isFailure(because) ? because.code : 'unreachable';
    throw new Failure(
      code,
      `${messageOf(because)}; topics that are half restored are still there (${messageOf(cause)})`,
      {
        cause: because,
        hint: `delete them before the next try: ${listed(made)}`,
      },
    );
  }
  if (removed.length === 0 || !isFailure(because)) return;
  throw new Failure(because.code, `${because.message}; the topics that were to be replaced are gone`, {
    cause: because,
    hint: `restore again: ${listed(removed)}`,
  });
}

/** What would delete or rewrite what comes back, in words. */
export async function ageing(
  ctx: Context,
  settings: Settings,
  { base: source }: Chain,
  options: RestoreOptions = {},
): Promise<string[]> {
  const facts = await factsOf(ctx, source);
  const chosen = chosenOf(settings, facts, options);
  const found = chosen.topics.flatMap(ageingOf);
  const plain = chosen.topics.filter(({ configs }) => configs['retention.ms'] === undefined).length;
  if (plain > 0)
    found.push(`${plain} topics keep records for as long as the brokers' own setting says: log.retention.ms`);
  return found;
}

function ageingOf({ target, configs }: ChosenTopic): string[] {
  const ms = configs['retention.ms'];
  const bytes = configs['retention.bytes'];
  return [
    ...(ms && ms !== '-1' ? [`topic ${target} deletes records after ${spanText(Number(ms))}: retention.ms`] : []),
    ...(bytes && bytes !== '-1' ? [`topic ${target} keeps ${bytes} bytes of each partition: retention.bytes`] : []),
    ...(isCompacted(configs) ? [`topic ${target} keeps the last record of each key: cleanup.policy`] : []),
    ...(configs['message.timestamp.type'] === 'LogAppendTime'
      ? [`topic ${target} gives records the time at which they come: message.timestamp.type`]
      : []),
  ];
}

/** '30 days'; what is no whole number of hours is told as it is. */
function spanText(ms: number): string {
  for (const [unit, unitMs] of [
    ['day', 86_400_000],
    ['hour', 3_600_000],
  ] as const) {
    if (ms >= unitMs && ms % unitMs === 0) return `${ms / unitMs} ${unit}${ms === unitMs ? '' : 's'}`;
  }
  return `${ms} ms`;
}
