// Consumer groups: which offsets they have committed, and to commit offsets for them.

import { describeGroupsV5, listGroupsV4, offsetCommitV8, offsetDeleteV0, offsetFetchV8 } from '@platformatic/kafka';
import type { Context } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import type { Cluster, PartitionName } from './cluster.ts';
import { nameOf, refuse, responseOf } from './refusals.ts';

const ASKING = 8;
/** Of those that are in no generation of a group. */
const NO_GENERATION = -1;
const NO_MEMBER = '';
const UNKNOWN_EPOCH = -1;

export interface Group {
  readonly group: string;
  readonly state: string;
  readonly protocol: string;
}
export interface Offset {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly metadata: string;
}

/** Every broker knows those that it coordinates. In order of name. */
export async function groupsOf(ctx: Context, cluster: Cluster): Promise<Group[]> {
  const brokers = [...cluster.layout().brokers.keys()];
  const all = await mapBounded(brokers, ASKING, (node) =>
    cluster.onBroker(ctx, node, 'ListGroups', async (connection) => {
      const said = await responseOf(listGroupsV4.api.async(connection, [], []));
      refuse(said.errorCode);
      return said.groups;
    }),
  );
  return all
    .flat()
    .map(({ groupId, groupState, protocolType }) => ({ group: groupId, state: groupState, protocol: protocolType }))
    .sort((a, b) => (a.group < b.group ? -1 : 1));
}

/** All but share groups may have committed offsets, whatever protocol of their own their members speak. */
export function mayHaveOffsets({ protocol }: Group): boolean {
  return protocol !== 'share';
}

/**
 * Those that we may not look at. Asked of any broker: who is not the one to ask says so to those only that may ask, and
 * to look for the one to ask makes the brokers' own topic of offsets where there is none.
 */
export async function hiddenGroups(ctx: Context, cluster: Cluster, groups: readonly string[]): Promise<string[]> {
  const said = await cluster.onAny(ctx, 'DescribeGroups', (connection) =>
    responseOf(describeGroupsV5.api.async(connection, [...groups], false)),
  );
  const hidden = said.groups.filter(({ errorCode }) => nameOf(errorCode) === 'GROUP_AUTHORIZATION_FAILED');
  return hidden.map(({ groupId }) => groupId).sort();
}

/** In order of topic and partition. */
export async function offsetsOfGroup(ctx: Context, cluster: Cluster, group: string): Promise<Offset[]> {
  return await cluster.onCoordinator(ctx, group, `OffsetFetch of group ${group}`, async (connection) => {
    const asked = [{ groupId: group, memberEpoch: NO_GENERATION, topics: null }];
    const said = await responseOf(offsetFetchV8.api.async(connection, asked, false));
    const [found] = said.groups;
    refuse(found?.errorCode ?? 0);
    const offsets = (found?.topics ?? []).flatMap(({ name, partitions }) =>
      partitions.map(({ partitionIndex, committedOffset, metadata, errorCode }) => {
        refuse(errorCode);
        return { topic: name, partition: partitionIndex, offset: Number(committedOffset), metadata: metadata ?? '' };
      }),
    );
    return offsets.filter(({ offset }) => offset >= 0).sort(byPlace);
  });
}

/** Each that was refused, with the reason. Whether the others were taken is for who reads them back. */
export async function commitOffsets(
  ctx: Context,
  cluster: Cluster,
  group: string,
  offsets: readonly Offset[],
): Promise<string[]> {
  const topics = [...Map.groupBy(offsets, ({ topic }) => topic)].map(([name, all]) => ({
    name,
    partitions: all.map(({ partition, offset, metadata }) => ({
      partitionIndex: partition,
      committedOffset: BigInt(offset),
      committedLeaderEpoch: UNKNOWN_EPOCH,
      committedMetadata: metadata,
    })),
  }));
  return await cluster.onCoordinator(ctx, group, `OffsetCommit of group ${group}`, async (connection) => {
    const said = await responseOf(offsetCommitV8.api.async(connection, group, NO_GENERATION, NO_MEMBER, null, topics));
    return said.topics.flatMap(({ name, partitions }) =>
      partitions
        .filter(({ errorCode }) => errorCode !== 0)
        .map(({ partitionIndex, errorCode }) => {
          if (isMoving(errorCode)) refuse(errorCode); // asked again
          return `${name}/${partitionIndex}: ${nameOf(errorCode)}`;
        }),
    );
  });
}

/** What is not there is no error. */
export async function deleteOffsets(
  ctx: Context,
  cluster: Cluster,
  group: string,
  places: readonly PartitionName[],
): Promise<void> {
  if (places.length === 0) return;
  const topics = [...Map.groupBy(places, ({ topic }) => topic)].map(([name, all]) => ({
    name,
    partitions: all.map(({ partition }) => ({ partitionIndex: partition })),
  }));
  await cluster.onCoordinator(ctx, group, `OffsetDelete of group ${group}`, async (connection) => {
    const said = await responseOf(offsetDeleteV0.api.async(connection, group, topics));
    if (nameOf(said.errorCode) !== 'GROUP_ID_NOT_FOUND') refuse(said.errorCode);
    for (const { errorCode } of said.topics.flatMap(({ partitions }) => partitions)) {
      if (nameOf(errorCode) !== 'UNKNOWN_TOPIC_OR_PARTITION') refuse(errorCode);
    }
  });
}

function isMoving(code: number): boolean {
  return ['NOT_COORDINATOR', 'COORDINATOR_NOT_AVAILABLE', 'COORDINATOR_LOAD_IN_PROGRESS'].includes(nameOf(code));
}

function byPlace(a: Offset, b: Offset): number {
  return a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.partition - b.partition;
}
