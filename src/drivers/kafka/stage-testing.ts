// Where tests of one cluster begin: topics, records and transactions on a broker that had nothing else.

import { isDeepStrictEqual } from 'node:util';
import { createAPI, Writer } from '@platformatic/kafka';
import type { KafkaName } from '../../../test/servers/kafka.ts';
import { until } from '../../../test/servers/processes.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Context, InventoryLine, RestoreOptions, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import type { Cluster } from './cluster.ts';
import { kafkaDriver } from './driver.ts';
import { refuse } from './refusals.ts';
import {
  type BinaryMessage,
  onCluster,
  removeEverything,
  type SharedServers,
  withAdmin,
  withProducer,
} from './testing.ts';
import { configsOf, endsOf } from './topics.ts';

/** An empty broker, and what tests do with it. */
export interface Stage {
  readonly ctx: Context;
  readonly brokers: string;
  create(topic: string, configs?: Readonly<Record<string, string>>, partitions?: number): Promise<void>;
  send(all: readonly BinaryMessage[]): Promise<void>;
  inTransaction(all: readonly BinaryMessage[], end: 'commit' | 'abort' | 'leave open'): Promise<void>;
  /** Of all topics that match. */
  capture(topics: string): Promise<{ source: Source; warnings: readonly string[]; lines: InventoryLine[] }>;
}

export async function stage(servers: SharedServers, name: KafkaName = 'kafka-4'): Promise<Stage> {
  const { brokers } = await servers.server(name);
  const ctx = liveContext();
  await removeEverything(brokers);
  return {
    ctx,
    brokers,
    async create(topic, configs = {}, partitions = 1) {
      const entries = Object.entries(configs).map(([name, value]) => ({ name, value }));
      await withAdmin(brokers, (admin) =>
        admin.createTopics({ topics: [topic], partitions, replicas: 1, configs: entries }),
      );
      await isThere(ctx, brokers, topic, { configs, partitions });
    },
    async send(all) {
      await withProducer(brokers, (producer) => producer.send({ messages: [...all] }));
    },
    async inTransaction(all, end) {
      const id = `test-${crypto.randomUUID()}`;
      await withProducer(
        brokers,
        async (producer) => {
          const transaction = await begun(() => producer.beginTransaction());
          await transaction.send({ messages: [...all] });
          if (end === 'commit') await transaction.commit();
          if (end === 'abort') await transaction.abort();
        },
        id,
      );
      if (end !== 'leave open') await ended(ctx, brokers, all[0]?.topic ?? '');
    },
    async capture(topics) {
      const { sink, source } = memoryParts();
      const { warnings } = await kafkaDriver.open({ brokers, topics: [topics] }).capture(ctx, sink);
      return { source, warnings, lines: await Array.fromAsync(inventoryOf(source).lines(ctx)) };
    },
  };
}

/** The first one of a cluster has to wait for its coordinator. */
async function begun<T>(begin: () => Promise<T>): Promise<T> {
  let transaction: T | undefined;
  await until('transactions', 30_000, async () => {
    transaction = await begin().catch(() => undefined);
    return transaction !== undefined;
  });
  return transaction as T;
}

/** Brokers learn of it after the answer of the controller. */
async function isThere(
  ctx: Context,
  brokers: string,
  topic: string,
  { configs, partitions }: { configs: object; partitions: number },
): Promise<void> {
  await onCluster(ctx, { brokers }, async (cluster) => {
    await until(`topic ${topic}`, 30_000, async () => {
      const made = (await cluster.refresh(ctx)).topics.get(topic)?.partitions ?? [];
      if (made.length < partitions || made.some(({ leader }) => leader < 0)) return false;
      return isDeepStrictEqual((await configsOf(ctx, cluster, [topic])).get(topic), configs);
    });
  });
}

/** The mark of its end is written after the answer. */
async function ended(ctx: Context, brokers: string, topic: string): Promise<void> {
  await onCluster(ctx, { brokers, topics: [topic] }, async (cluster) => {
    const { topics } = cluster.layout();
    await until('the mark of a transaction’s end', 30_000, async () => {
      const ends = await endsOf(
        ctx,
        cluster,
        [...topics.values()].filter(({ name }) => name === topic),
      );
      return ends.get(topic)?.every(({ stable, high }) => stable === high) ?? false;
    });
  });
}

export async function inventory(ctx: Context, brokers: string, topics: string): Promise<InventoryLine[]> {
  const reader = await kafkaDriver.open({ brokers, topics: [topics] }).inventory(ctx);
  return await Array.fromAsync(reader.lines(ctx));
}

export function partition(lines: readonly InventoryLine[], name: string): readonly unknown[] {
  const { count, digest } = lines.find((line) => line.kind === 'partition' && line.name === name) ?? {};
  return [count, digest];
}

/** Beside the topics, under names with -back. */
export async function restoreBeside(
  { ctx, brokers }: Stage,
  source: Source,
  names: readonly string[],
  options: RestoreOptions = {},
) {
  const rename = Object.fromEntries(names.map((name) => [name, `${name}-back`]));
  return await kafkaDriver.open({ brokers }).restore(ctx, { base: source }, { ...options, rename });
}

const STREAMS_HEARTBEAT = 88;
const JOINS = 0;
const LEAVES = -1;

const streamsHeartbeat = createAPI<[group: string, topic: string, epoch: number], number>(
  STREAMS_HEARTBEAT,
  0,
  (group, topic, epoch) => {
    const writer = Writer.create()
      .appendString(group)
      .appendString('a member')
      .appendInt32(epoch)
      .appendInt32(0) // epoch of endpoints
      .appendString(null) // instance
      .appendString(null) // rack
      .appendInt32(epoch === JOINS ? 10_000 : -1); // time to rebalance
    if (epoch === JOINS) appendTopology(writer.appendInt8(1), topic);
    else writer.appendInt8(-1);
    const none = epoch === JOINS ? [] : null;
    for (let n = 0; n < 3; n++) writer.appendArray(none, () => undefined); // tasks
    writer.appendString(epoch === JOINS ? 'a process' : null).appendInt8(-1); // no endpoint
    writer.appendArray(none, () => undefined); // tags
    return writer
      .appendArray(null, () => undefined)
      .appendArray(null, () => undefined)
      .appendBoolean(false)
      .appendTaggedFields();
  },
  (_correlation, _key, _version, reader) => {
    reader.readInt32(); // throttled for so long
    return reader.readInt16();
  },
);

/** Of one part, which reads one topic. */
function appendTopology(writer: Writer, topic: string): void {
  writer.appendInt32(0).appendArray([topic], (part) => {
    part.appendString('0').appendArray([topic], (each) => each.appendString(topic), true, false);
    for (let n = 0; n < 5; n++) part.appendArray([], () => undefined);
  });
  writer.appendTaggedFields();
}

/** A group of an application of Kafka Streams with the protocol of its own, which has been and gone. */
export async function streamsGroup(ctx: Context, cluster: Cluster, group: string, topic: string): Promise<void> {
  for (const epoch of [JOINS, LEAVES]) {
    await cluster.onCoordinator(ctx, group, 'StreamsGroupHeartbeat', async (connection) =>
      refuse(await streamsHeartbeat.async(connection, group, topic, epoch)),
    );
  }
}
