// A capture: the records up to the last stable offset of each partition at one moment, and what belongs to them.

import { readAll } from '../../core/bytes.ts';
import { interruption } from '../../core/context.ts';
import { isFailure } from '../../core/errors.ts';
import { putInventory } from '../../core/inventory.ts';
import { keepAll } from '../../core/many-parts.ts';
import type { Capture, Context, KeptPart, Sink, Source } from '../../core/model.ts';
import { joinsAt } from '../../core/moments.ts';
import { mapBounded } from '../../core/parallel.ts';
import { batchesIn } from './batches.ts';
import { type Cluster, connect, type PartitionName } from './cluster.ts';
import { type Described, type DescribedTopic, describe } from './describe.ts';
import { type ClusterFacts, putFacts } from './facts.ts';
import { sourceOf } from './journal/state.ts';
import { linesOf } from './lines.ts';
import { writePieces } from './pieces.ts';
import { type Earlier, earlierOf, type Kept, keptRanges, NOTHING_KEPT } from './plan.ts';
import { positionsIn } from './positions.ts';
import { partitionKey, putRanges, type Range, type RangeList, rangeList } from './ranges.ts';
import type { Settings } from './settings.ts';
import { type CommittedOffsets, committedIn, factsFrom, type PartitionState, sumOf } from './state.ts';
import { batchesOf, type Ends } from './topics.ts';

const PARTITIONS_AT_ONCE = 4;
const KEPT_AT_ONCE = 1_000;

interface Work {
  readonly cluster: Cluster;
  readonly settings: Settings;
  readonly sink: Sink;
  readonly earlier: Earlier | null;
  readonly ranges: RangeList;
  readonly described: Described;
  readonly warnings: string[];
  readonly gone: Set<string>;
  readonly committed: CommittedOffsets;
  readonly onRecords: (records: number) => void;
}
interface PartitionWork {
  readonly topic: DescribedTopic;
  readonly partition: number;
  readonly ends: Ends;
  readonly kept: Kept;
}

export async function capture(ctx: Context, settings: Settings, sink: Sink, previous?: Source): Promise<Capture> {
  await using cluster = await connect(ctx, settings);
  await using earlier = await earlierOf(ctx, previous);
  await using ranges = rangeList(ctx);
  const described = await describe(ctx, cluster, settings);
  let items = 0;
  const onRecords = (more: number): void => {
    items += more;
    ctx.progress({ task: 'kafka', phase: 'capture', items });
  };
  const seen = { warnings: [...described.warnings], gone: new Set<string>() };
  const committed = committedIn(described);
  const work = { cluster, settings, sink, earlier, ranges, described, committed, onRecords, ...seen };
  const plan = await planOf(ctx, work);
  const done = await mapBounded(plan, PARTITIONS_AT_ONCE, (each) => capturePartition(ctx, work, each));
  if (ctx.signal.aborted) throw interruption(ctx.signal);
  const there = described.topics.filter(({ name }) => !work.gone.has(name));
  const states = done.filter(({ topic }) => !work.gone.has(topic));
  const facts = factsFrom({ ...described, topics: there }, states);
  await putFacts(ctx, sink, facts);
  await putRanges(ctx, sink, ranges, states);
  await putInventory(ctx, sink, linesOf(facts, states, new Set()));
  const records = states.reduce((sum, state) => sum + state.records, 0);
  return {
    cut: { position: positionOf(facts), at: described.at.toISOString() },
    method: 'fetch',
    serverVersion: described.version,
    identity: described.clusterId,
    inventoryLevel: settings.inventory,
    totals: {
      topics: there.length,
      partitions: states.length,
      records,
      groups: facts.groups.length,
      acls: facts.acls.length,
    },
    warnings: work.warnings,
    journal: joinsAt(sourceOf(described.clusterId), described.at.getTime()),
  };
}

/** What is kept is so when this resolves. */
async function planOf(ctx: Context, work: Work): Promise<PartitionWork[]> {
  const { cluster, settings, sink, earlier, described } = work;
  const all = described.topics.flatMap((topic) => topic.ends.map((ends, partition) => ({ topic, ends, partition })));
  let waiting: KeptPart[] = [];
  const keep = async (): Promise<void> => {
    const parts = waiting;
    waiting = [];
    for (const batch of batchesOf(parts, KEPT_AT_ONCE)) await keepAll(ctx, sink, batch);
  };
  const plan = await mapBounded(all, PARTITIONS_AT_ONCE * 2, async ({ topic, ends, partition }) => {
    const options = { partition, ends, level: settings.inventory };
    const { kept, ranges } = await keptRanges(ctx, cluster, earlier, topic, options).catch((error: unknown) => {
      if (isFailure(error, 'missing')) return { kept: NOTHING_KEPT, ranges: [] }; // its capture says it
      throw error;
    });
    for (const range of ranges) waiting.push(keptPart(work, range));
    if (waiting.length >= KEPT_AT_ONCE) await keep();
    return { topic, partition, ends, kept };
  });
  await keep();
  return plan;
}

function keptPart({ earlier }: Work, { part, bytes }: Range): KeptPart {
  const { point = '', component = '' } = earlier?.source ?? {};
  return { name: part, from: { name: part, bytes, point, component } };
}

async function capturePartition(ctx: Context, work: Work, each: PartitionWork): Promise<PartitionState> {
  const { topic, partition, ends } = each;
  const { cluster, settings, sink, earlier, committed, warnings, gone } = work;
  const log = { topic: topic.name, topicId: topic.id, partition };
  const what = partitionKey(log);
  const counter = positionsIn(committed.get(what) ?? [], ends, what);
  const onGone = (from: number, start: number): void => {
    warnings.push(`${what}: offsets ${from} to ${start - 1} were deleted before they were read`);
  };
  const options = { level: settings.inventory, onGone, onBatch: counter.add };
  const kept = (await earlier?.ranges.of(log))?.slice(each.kept.from, each.kept.to) ?? [];
  const [oldest] = kept;
  const ranges: Range[] = [];
  try {
    if (gone.has(topic.name)) return emptyState(log);
    // What retention has left of a range, or all of it when nothing was kept.
    const before = { ...options, from: ends.start, to: oldest?.first ?? ends.stable };
    ranges.push(...(await writePieces(ctx, cluster, sink, log, before)), ...kept);
    for (const range of kept) await countKept(ctx, work, range, counter);
    const newest = kept.at(-1);
    if (newest) {
      const after = { ...options, from: newest.last + 1, to: ends.stable };
      ranges.push(...(await writePieces(ctx, cluster, sink, log, after)));
    }
  } catch (error) {
    if (!isFailure(error, 'missing') || cluster.layout().topics.get(topic.name)?.id === topic.id) throw error;
    if (!gone.has(topic.name)) warnings.push(`topic ${topic.name} was deleted while it was read: it is not captured`);
    gone.add(topic.name);
    return emptyState(log);
  }
  await work.ranges.add(log, ranges);
  const sum = sumOf(ranges);
  work.onRecords(sum.records);
  return { topic: topic.name, partition, ...sum, positions: counter.positions() };
}

/** Where a group stands within it, it must be known which records come before. */
async function countKept(
  ctx: Context,
  { earlier }: Work,
  range: Range,
  counter: ReturnType<typeof positionsIn>,
): Promise<void> {
  if (counter.addWhole(range) || !earlier) return;
  const bytes = await readAll(earlier.source.get(ctx, range.part), 2 ** 31 - 1);
  for (const batch of batchesIn(bytes, range.part)) counter.add(batch);
}

function emptyState({ topic, partition }: PartitionName): PartitionState {
  return { topic, partition, ...sumOf([]), positions: new Map() };
}

/** The offset of each partition would be long: they lie in cluster.json. */
function positionOf({ topics }: ClusterFacts): string {
  const partitions = topics.flatMap(({ partitions: all }) => all);
  const end = partitions.reduce((sum, each) => sum + each.end, 0);
  return `${topics.length} topics, ${partitions.length} partitions, offsets up to ${end} in all`;
}
