// What is in a live cluster now: its records are read once, and kept nowhere.

import { inventoryFrom } from '../../core/inventory.ts';
import type { Context, InventoryReader } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { type Cluster, connect } from './cluster.ts';
import { type DescribedTopic, describe } from './describe.ts';
import { type ClusterFacts, isOfTopic } from './facts.ts';
import { linesOf, nameOfAcl } from './lines.ts';
import { positionsIn } from './positions.ts';
import { readLog } from './reading.ts';
import type { Settings } from './settings.ts';
import { type CommittedOffsets, committedIn, factsFrom, type PartitionState } from './state.ts';
import { tallyOf } from './tally.ts';

const PARTITIONS_AT_ONCE = 4;

export async function liveInventory(ctx: Context, settings: Settings): Promise<InventoryReader> {
  const { facts, states, suspended } = await lookAtAll(ctx, settings);
  return inventoryFrom(linesOf(facts, states, suspended));
}

/** Of the topics that came back from the point, by their names there, and of what belongs to them. */
export async function restoredInventory(
  ctx: Context,
  settings: Settings,
  names: ReadonlyMap<string, string>,
  point: ClusterFacts,
): Promise<InventoryReader> {
  const before = new Map([...names].map(([name, target]) => [target, name]));
  const { facts, states, suspended } = await lookAtAll(ctx, {
    ...settings,
    named: [],
    covers: (name) => before.has(name),
  });
  const back = (name: string): string => before.get(name) ?? name;
  const groups = new Set(point.groups.map(({ group }) => group));
  const acls = new Set(point.acls.map(nameOfAcl));
  const renamed = {
    ...facts,
    topics: facts.topics.map((topic) => ({ ...topic, name: back(topic.name) })),
    groups: facts.groups
      .filter(({ group }) => groups.has(group))
      .map((group) => ({ ...group, offsets: group.offsets.map((each) => ({ ...each, topic: back(each.topic) })) })),
    acls: facts.acls
      .map((acl) => ({ ...acl, resource_name: isOfTopic(acl) ? back(acl.resource_name) : acl.resource_name }))
      .filter((acl) => acls.has(nameOfAcl(acl))),
  };
  const there = states.map((state) => ({ ...state, topic: back(state.topic) }));
  return inventoryFrom(linesOf(renamed, there, new Set([...suspended].map(back))));
}

async function lookAtAll(
  ctx: Context,
  settings: Settings,
): Promise<{ facts: ClusterFacts; states: PartitionState[]; suspended: ReadonlySet<string> }> {
  await using cluster = await connect(ctx, settings);
  const described = await describe(ctx, cluster, settings);
  const committed = committedIn(described);
  const all = described.topics.flatMap((topic) => topic.ends.map((_, partition) => ({ topic, partition })));
  const states = await mapBounded(all, PARTITIONS_AT_ONCE, ({ topic, partition }) =>
    look(ctx, { cluster, settings, committed }, topic, partition),
  );
  const suspended = described.topics.filter(({ isSuspended }) => isSuspended).map(({ name }) => name);
  return { facts: factsFrom(described, states), states, suspended: new Set(suspended) };
}

async function look(
  ctx: Context,
  { cluster, settings, committed }: { cluster: Cluster; settings: Settings; committed: CommittedOffsets },
  topic: DescribedTopic,
  partition: number,
): Promise<PartitionState> {
  const log = { topic: topic.name, topicId: topic.id, partition };
  const what = `${topic.name}/${partition}`;
  const { start = 0, stable = 0 } = topic.ends[partition] ?? {};
  const counter = positionsIn(committed.get(what) ?? [], { start }, what);
  const tally = tallyOf(settings.inventory, what);
  const onGone = (): void => undefined;
  for await (const batches of readLog(ctx, cluster, log, { from: start, to: stable, onGone })) {
    for (const batch of batches) {
      tally.add(batch, start);
      counter.add(batch);
    }
  }
  return { topic: topic.name, partition, records: tally.records, chain: tally.chain(), positions: counter.positions() };
}
