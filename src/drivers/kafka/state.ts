// What was seen of a cluster's records, and the facts about it that follow from it.

import type { Described } from './describe.ts';
import type { ClusterFacts, Committed } from './facts.ts';
import { type Chain, EMPTY_CHAIN, joined } from './hash.ts';
import { partitionKey, type Range } from './ranges.ts';

/** What was seen of a partition's records. */
export interface PartitionState {
  readonly topic: string;
  readonly partition: number;
  readonly records: number;
  /** Null when some of it was only counted. */
  readonly chain: Chain | null;
  /** By committed offset. */
  readonly positions: ReadonlyMap<number, number>;
}

/** Of all of a partition, in order. */
export function sumOf(ranges: readonly Pick<Range, 'records' | 'chain'>[]): Pick<PartitionState, 'records' | 'chain'> {
  const isDigested = ranges.every(({ chain }) => chain !== null);
  return {
    records: ranges.reduce((sum, range) => sum + range.records, 0),
    chain: isDigested ? ranges.reduce((sum, { chain }) => joined(sum, chain ?? EMPTY_CHAIN), EMPTY_CHAIN) : null,
  };
}

/** By partition. */
export type CommittedOffsets = ReadonlyMap<string, readonly number[]>;

export function committedIn({ groups }: Described): CommittedOffsets {
  const byPartition = Map.groupBy(
    groups.flatMap(({ offsets }) => offsets),
    partitionKey,
  );
  return new Map([...byPartition].map(([key, all]) => [key, all.map(({ offset }) => offset)]));
}

/** As they are written to the point. */
export function factsFrom(described: Described, states: readonly PartitionState[]): ClusterFacts {
  const positions = new Map(states.map((state) => [partitionKey(state), state]));
  const topics = described.topics.map(({ name, id, partitions, configs, ends }) => ({
    name,
    id,
    replication_factor: Math.max(1, ...partitions.map(({ replicas }) => replicas)),
    configs,
    partitions: ends.map(({ start, stable }, partition) => ({ partition, start, end: stable })),
  }));
  const groups = described.groups.map(({ group, state, offsets }) => ({
    group,
    state,
    offsets: offsets.flatMap((each): Committed[] => {
      const at = positions.get(partitionKey(each));
      if (!at) return []; // of a topic that is gone
      const { topic, partition, offset, metadata } = each;
      return [{ topic, partition, offset, metadata, position: at.positions.get(offset) ?? 0 }];
    }),
  }));
  return {
    format: 1,
    cluster: described.clusterId,
    at: described.at.toISOString(),
    version: described.version,
    authorizer: described.authorizer,
    acls: [...described.acls],
    topics: topics as ClusterFacts['topics'],
    groups: groups.filter(({ offsets }) => offsets.length > 0),
  };
}
