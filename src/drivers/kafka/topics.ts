// What a cluster says of its topics: configuration, access control, first and last offsets, open transactions.

import {
  ConfigResourceTypes,
  ConfigSources,
  type Connection,
  describeAclsV3,
  describeConfigsV4,
  describeProducersV0,
  listOffsetsV7,
  offsetForLeaderEpochV4,
} from '@platformatic/kafka';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import type { Cluster, PartitionName, Topic } from './cluster.ts';
import type { Acl, Authorizer } from './facts.ts';
import { mayNot, nameOf, refuse, responseOf } from './refusals.ts';
import type { Settings } from './settings.ts';

const TOPICS_AT_ONCE = 200;
const PARTITIONS_AT_ONCE = 500;
const ASKING = 8;
const CONSUMER = -1;
const READ_UNCOMMITTED = 0;
const READ_COMMITTED = 1;
const LATEST = -1n;
const EARLIEST = -2n;
const ANY = 1;
/** The broker's own topics that it does not say so of. */
const BROKERS_OWN = /^__(remote_log_metadata|share_group_state|cluster_metadata)$/;

/** In order of name. A topic that the settings name and that is not there is 'missing'. */
export function coveredTopics(cluster: Cluster, settings: Settings): Topic[] {
  const { topics } = cluster.layout();
  const absent = settings.named.filter((name) => settings.covers(name) && !topics.has(name));
  if (absent.length > 0) {
    throw new Failure('missing', `${cluster.where} has no topic ${absent.join(', ')}, or does not show it to us`, {
      hint: 'the user needs Describe and Read on it; or take it from topics',
    });
  }
  return [...topics.values()]
    .filter(({ name, isInternal }) => !isInternal && !BROKERS_OWN.test(name) && settings.covers(name))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

export type Configs = Record<string, string | null>;

/** Only what was set for the topic itself. */
export async function configsOf(
  ctx: Context,
  cluster: Cluster,
  topics: readonly string[],
): Promise<Map<string, Configs>> {
  const found = new Map<string, Configs>();
  for (const batch of batchesOf(topics, TOPICS_AT_ONCE)) {
    const resources = batch.map((resourceName) => ({ resourceType: ConfigResourceTypes.TOPIC, resourceName }));
    const said = await cluster.onAny(ctx, 'DescribeConfigs of topics', async (connection) => {
      const answer = await responseOf(describeConfigsV4.api.async(connection, resources, false, false));
      for (const { errorCode, errorMessage, resourceName } of answer.results) {
        if (nameOf(errorCode) === 'UNKNOWN_TOPIC_OR_PARTITION') throw goneTopic(cluster, resourceName);
        refuse(errorCode, errorMessage);
      }
      return answer.results;
    });
    for (const { resourceName, configs } of said) {
      const own = configs.filter(({ configSource }) => configSource === ConfigSources.DYNAMIC_TOPIC_CONFIG);
      const sorted = own.map(({ name, value }): [string, string | null] => [name, value ?? null]).sort();
      found.set(resourceName, Object.fromEntries(sorted));
    }
  }
  return found;
}

export interface Ends {
  readonly start: number;
  /** Before it, all transactions have ended. */
  readonly stable: number;
  /** Of everything that was written. */
  readonly high: number;
}

/** By topic and partition; of all of them at one moment, as far as several brokers have one. */
export async function endsOf(ctx: Context, cluster: Cluster, topics: readonly Topic[]): Promise<Map<string, Ends[]>> {
  const start = await offsetsOf(ctx, cluster, topics, { at: EARLIEST, isolation: READ_UNCOMMITTED });
  const stable = await offsetsOf(ctx, cluster, topics, { at: LATEST, isolation: READ_COMMITTED });
  const high = await offsetsOf(ctx, cluster, topics, { at: LATEST, isolation: READ_UNCOMMITTED });
  return new Map(
    topics.map(({ name, partitions }) => {
      const of = (found: Map<string, number>, each: number): number => found.get(`${name}/${each}`) ?? 0;
      const ends = partitions.map(({ partition }) => {
        const first = of(start, partition);
        const last = Math.max(first, of(stable, partition));
        return { start: first, stable: last, high: Math.max(last, of(high, partition)) };
      });
      return [name, ends];
    }),
  );
}

async function offsetsOf(
  ctx: Context,
  cluster: Cluster,
  topics: readonly Topic[],
  { at, isolation }: { at: bigint; isolation: number },
): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  let missing = topics.flatMap(({ name, partitions }) => partitions.map(({ partition }) => ({ name, partition })));
  const begun = ctx.monotonicMs();
  let refused = 0;
  while (missing.length > 0) {
    const byLeader = Map.groupBy(missing, ({ name, partition }) => {
      return cluster.layout().topics.get(name)?.partitions[partition]?.leader ?? -1;
    });
    const asks = [...byLeader].flatMap(([leader, all]) =>
      [...batchesOf(all, PARTITIONS_AT_ONCE)].map((some) => ({ leader, some })),
    );
    await mapBounded(asks, ASKING, async ({ leader, some }) => {
      if (leader < 0) return;
      const asked = [...Map.groupBy(some, ({ name }) => name)].map(([name, each]) => ({
        name,
        partitions: each.map(({ partition }) => ({ partitionIndex: partition, currentLeaderEpoch: -1, timestamp: at })),
      }));
      const said = await cluster.onBroker(ctx, leader, 'ListOffsets', (connection) =>
        responseOf(listOffsetsV7.api.async(connection, CONSUMER, isolation, asked)),
      );
      for (const { name, partitions } of said.topics) {
        for (const { partitionIndex, errorCode, offset } of partitions) {
          if (errorCode === 0) found.set(`${name}/${partitionIndex}`, Number(offset));
          else refused = errorCode;
        }
      }
    });
    missing = missing.filter(({ name, partition }) => !found.has(`${name}/${partition}`));
    if (missing.length > 0) await waitForLeaders(ctx, cluster, missing, { begun, refused });
  }
  return found;
}

/** The first offset that is there now. */
export async function startOf(ctx: Context, cluster: Cluster, at: PartitionName): Promise<number> {
  return await cluster.onLeader(ctx, at, `ListOffsets of ${at.topic}`, (connection) =>
    offsetAt(connection, at, EARLIEST),
  );
}

/** The offset that the next record gets, as the leader at the other end says. */
export async function endOf(connection: Connection, at: PartitionName): Promise<number> {
  return await offsetAt(connection, at, LATEST);
}

async function offsetAt(connection: Connection, { topic, partition }: PartitionName, at: bigint): Promise<number> {
  const partitions = [{ partitionIndex: partition, currentLeaderEpoch: -1, timestamp: at }];
  const said = await listOffsetsV7.api.async(connection, CONSUMER, READ_UNCOMMITTED, [{ name: topic, partitions }]);
  return Number(said.topics[0]?.partitions[0]?.offset ?? -1n);
}

/** Leaders move, and new topics have none for a moment. */
async function waitForLeaders(
  ctx: Context,
  cluster: Cluster,
  missing: readonly { name: string; partition: number }[],
  { begun, refused }: { begun: number; refused: number },
): Promise<void> {
  const [first] = missing;
  const { topics } = await cluster.refresh(ctx);
  const gone = missing.find(({ name }) => !topics.has(name));
  if (gone) throw goneTopic(cluster, gone.name);
  if (nameOf(refused).endsWith('AUTHORIZATION_FAILED')) {
    throw mayNot(cluster, `Describe topic ${first?.name}`);
  }
  if (ctx.monotonicMs() - begun > cluster.timeoutMs) {
    const why = refused === 0 ? 'no leader' : nameOf(refused);
    throw new Failure('unreachable', `${cluster.where}: ${first?.name}/${first?.partition}: ${why}`);
  }
  await ctx.sleep(100);
}

function goneTopic(cluster: Cluster, name: string): Failure {
  return new Failure('missing', `${cluster.where}: topic ${name} was deleted while it was read`);
}

export interface OpenTransaction {
  readonly producerId: string;
  readonly topic: string;
  readonly partition: number;
  readonly from: number;
}

/** Where the end that is stable lies before the end. Nothing where we may not ask. */
export async function openTransactions(
  ctx: Context,
  cluster: Cluster,
  waiting: readonly PartitionName[],
): Promise<OpenTransaction[]> {
  const all = await mapBounded(waiting, ASKING, async (at) => {
    const said = await cluster.onLeader(ctx, at, `DescribeProducers of ${at.topic}`, (connection) =>
      responseOf(describeProducersV0.api.async(connection, [{ name: at.topic, partitionIndexes: [at.partition] }])),
    );
    const producers = said.topics.flatMap(({ partitions }) =>
      partitions.flatMap(({ activeProducers }) => activeProducers),
    );
    return producers
      .filter(({ currentTxnStartOffset }) => currentTxnStartOffset >= 0n)
      .map(({ producerId, currentTxnStartOffset }) => {
        return { ...at, producerId: String(producerId), from: Number(currentTxnStartOffset) };
      });
  });
  return all.flat();
}

/** Whether what the leader of `epoch` wrote up to before `end` is still in the log: a lesser leader may have cut it. */
export async function stillHas(
  ctx: Context,
  cluster: Cluster,
  at: PartitionName,
  { epoch, end }: { epoch: number; end: number },
): Promise<boolean> {
  const said = await cluster.onLeader(ctx, at, `OffsetForLeaderEpoch of ${at.topic}`, async (connection) => {
    const partitions = [{ partitionIndex: at.partition, currentLeaderEpoch: -1, leaderEpoch: epoch }];
    const answer = await offsetForLeaderEpochV4.api.async(connection, CONSUMER, [{ name: at.topic, partitions }]);
    return answer.topics[0]?.partitions[0];
  });
  return said !== undefined && said.leaderEpoch === epoch && Number(said.endOffset) >= end;
}

export async function aclsOf(ctx: Context, cluster: Cluster): Promise<{ authorizer: Authorizer; acls: Acl[] }> {
  const any = { resourceType: ANY, resourcePatternType: ANY, operation: ANY, permissionType: ANY } as const;
  const said = await cluster.onAny(ctx, 'DescribeAcls', async (connection) => {
    const filter = { ...any, resourceName: null, principal: null, host: null };
    const answer = await responseOf(describeAclsV3.api.async(connection, filter));
    const { errorCode, errorMessage } = answer;
    if (!['SECURITY_DISABLED', 'CLUSTER_AUTHORIZATION_FAILED'].includes(nameOf(errorCode)))
      refuse(errorCode, errorMessage ?? null);
    return answer;
  });
  const code = nameOf(said.errorCode);
  if (code === 'SECURITY_DISABLED') return { authorizer: 'none', acls: [] };
  if (code === 'CLUSTER_AUTHORIZATION_FAILED') return { authorizer: 'denied', acls: [] };
  const acls = said.resources.flatMap(({ resourceType, resourceName, resourcePatternType, acls: each }) =>
    each.map(({ principal, host, operation, permissionType }) => ({
      resource_type: resourceType,
      resource_name: resourceName,
      pattern_type: resourcePatternType,
      principal,
      host,
      operation,
      permission: permissionType,
    })),
  );
  return { authorizer: 'readable', acls };
}

export function* batchesOf<T>(items: readonly T[], size: number): Iterable<T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
}
