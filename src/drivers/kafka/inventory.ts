// What is in a live cluster now: its records are read once, and kept nowhere.

import { inventoryFrom } from '../../core/inventory.ts';
import type { Context, InventoryReader } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { type Cluster, connect } from './cluster.ts';
import { type Described, type DescribedTopic, describe } from './describe.ts';
import { linesOf } from './lines.ts';
import { positionsIn } from './positions.ts';
import { readLog } from './reading.ts';
import type { Settings } from './settings.ts';
import { committedIn, factsFrom, type PartitionState } from './state.ts';
import { tallyOf } from './tally.ts';

const PARTITIONS_AT_ONCE = 4;

export async function liveInventory(ctx: Context, settings: Settings): Promise<InventoryReader> {
  await using cluster = await connect(ctx, settings);
  const described = await describe(ctx, cluster, settings);
  const all = described.topics.flatMap((topic) => topic.ends.map((_, partition) => ({ topic, partition })));
  const states = await mapBounded(all, PARTITIONS_AT_ONCE, ({ topic, partition }) =>
    look(ctx, { cluster, settings, described }, topic, partition),
  );
  const suspended = described.topics.filter(({ isSuspended }) => isSuspended).map(({ name }) => name);
  return inventoryFrom(linesOf(factsFrom(described, states), states, new Set(suspended)));
}

async function look(
  ctx: Context,
  { cluster, settings, described }: { cluster: Cluster; settings: Settings; described: Described },
  topic: DescribedTopic,
  partition: number,
): Promise<PartitionState> {
  const log = { topic: topic.name, topicId: topic.id, partition };
  const what = `${topic.name}/${partition}`;
  const { start = 0, stable = 0 } = topic.ends[partition] ?? {};
  const counter = positionsIn(committedIn(described, log), { start }, what);
  const tally = tallyOf(settings.inventory, what);
  const onGone = (): void => undefined;
  for await (const batches of readLog(ctx, cluster, log, { from: start, to: stable, onGone })) {
    for (const batch of batches) {
      tally.add(batch, start);
      counter.add(batch);
    }
  }
  const { records } = tally;
  const seen = { topic: topic.name, partition, records, positions: counter.positions() };
  return { ...seen, ranges: [{ records, chain: tally.chain() }] };
}
