// Three brokers that keep three copies and want two, of which one dies or hands over in the middle.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { metadataV12 } from '@platformatic/kafka';
import { type KafkaCluster, startKafkaCluster } from '../../../test/servers/kafka.ts';
import { needServer } from '../../../test/servers/need.ts';
import { until } from '../../../test/servers/processes.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { InventoryReader, Sink, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { kafkaDriver } from './driver.ts';
import { commitOffsets } from './groups.ts';
import { responseOf } from './refusals.ts';
import { messages, onCluster, removeEverything, withAdmin, withProducer } from './testing.ts';
import { configsOf } from './topics.ts';

const PARTITIONS = 5;
const LAST = PARTITIONS - 1;
/** Nearly two pieces of each partition. */
const [BATCHES, RECORDS, RECORD_BYTES] = [8, 60, 30_000];
const READY_MS = 90_000;

const ctx = liveContext();
let starting: Promise<KafkaCluster> | undefined;
after(async () => await (await starting)?.[Symbol.asyncDispose]());

/** How a broker goes: at once, or after it has handed over what it leads. Either comes back. */
const WAYS: readonly (readonly [title: string, leave: (node: KafkaCluster['nodes'][number]) => Promise<void>])[] = [
  ['is killed and comes back', (node) => node.kill()],
  ['hands over what it leads and comes back', (node) => node.stop()],
];

/** Topic orders with more than is on its way at any time, and a group that has read some of it. */
async function filled(): Promise<KafkaCluster> {
  starting ??= startKafkaCluster('kafka-4');
  const cluster = await starting;
  const { brokers } = cluster;
  await isWhole(brokers);
  await removeEverything(brokers);
  const configs = [{ name: 'min.insync.replicas', value: '2' }];
  await withAdmin(brokers, (admin) =>
    admin.createTopics({ topics: ['orders'], partitions: PARTITIONS, replicas: 3, configs }),
  );
  await isWhole(brokers, 'orders');
  await withProducer(brokers, async (producer) => {
    for (let batch = 0; batch < BATCHES; batch++) {
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const some = messages('orders', partition, RECORDS, batch * RECORDS);
        await producer.send({
          messages: some.map((each, n) => ({ ...each, value: Buffer.alloc(RECORD_BYTES, `${batch} ${n} `) })),
        });
      }
    }
  });
  await onCluster(ctx, { brokers }, async (each) => {
    const offsets = [0, LAST].map((partition) => ({ topic: 'orders', partition, offset: 70, metadata: '' }));
    assert.deepEqual(await commitOffsets(ctx, each, 'billing', offsets), []);
  });
  return cluster;
}

/** All brokers are there, and have what they keep copies of: else one that goes would be one too many. */
async function isWhole(brokers: string, topic?: string): Promise<void> {
  await until('a cluster of three brokers in step', READY_MS, async () => {
    const told = await onCluster(ctx, { brokers }, (cluster) =>
      cluster.onAny(ctx, 'its replicas', (each) => responseOf(metadataV12.api.async(each, null, false, false))),
    ).catch(() => null);
    if (told?.brokers.length !== 3 || (topic !== undefined && !told.topics.some(({ name }) => name === topic))) {
      return false;
    }
    return told.topics.every(({ partitions }) => partitions.every(({ isrNodes }) => isrNodes.length === 3));
  });
}

async function leaderOf({ brokers, nodes }: KafkaCluster, topic: string): Promise<KafkaCluster['nodes'][number]> {
  const leader = await onCluster(ctx, { brokers }, async (cluster) => {
    return cluster.layout().topics.get(topic)?.partitions[LAST]?.leader ?? 0;
  });
  return nodes[leader - 1] ?? assert.fail(`${topic} has no leader`);
}

async function assertSame(source: Source, actual: InventoryReader): Promise<void> {
  const findings = await Array.fromAsync(kafkaDriver.compare(ctx, inventoryOf(source), actual));
  assert.deepEqual(
    findings.filter(({ verdict }) => verdict !== 'pass'),
    [],
  );
  // Its partitions, two places of a group and the topic.
  assert.equal(findings.length, PARTITIONS + 3);
}

for (const [title, leave] of WAYS) {
  test(`a capture loses nothing when one of three brokers ${title} in the middle`, async (t) => {
    if (!(await needServer(t, 'kafka-4'))) return;
    const cluster = await filled();
    const component = kafkaDriver.open({ brokers: cluster.brokers });
    const leader = await leaderOf(cluster, 'orders');
    const { sink, source } = memoryParts();
    let away: Promise<void> | undefined;
    const leaving: Sink = {
      ...sink,
      async put(c, name, body, meta) {
        if (name.startsWith('topics/')) {
          const leaves = away === undefined ? leave(leader) : null;
          away ??= leaves?.then(() => leader.start());
          await leaves;
        }
        return await sink.put(c, name, body, meta);
      },
    };
    const { totals, warnings } = await component.capture(ctx, leaving);
    assert.ok(away);
    await away;
    assert.deepEqual(warnings, []);
    assert.equal(totals.records, PARTITIONS * BATCHES * RECORDS);
    await isWhole(cluster.brokers);
    await assertSame(source, await component.inventory(ctx));
  });

  test(`a restore loses nothing and brings nothing twice when one of three brokers ${title} in the middle`, async (t) => {
    if (!(await needServer(t, 'kafka-4'))) return;
    const cluster = await filled();
    const { brokers } = cluster;
    const { sink, source } = memoryParts();
    await kafkaDriver.open({ brokers }).capture(ctx, sink);
    let parts = 0;
    let away: Promise<void> | undefined;
    const leaving: Source = {
      ...source,
      async *get(c, name, range) {
        // Some of it is on its way by then.
        if (name.startsWith('topics/') && ++parts === PARTITIONS) {
          const leader = await leaderOf(cluster, 'orders-back');
          const leaves = leave(leader);
          away = leaves.then(() => leader.start());
          await leaves;
        }
        yield* source.get(c, name, range);
      },
    };
    const options = { rename: { orders: 'orders-back' } };
    const restored = await kafkaDriver.open({ brokers }).restore(ctx, { base: leaving }, options);
    assert.ok(away);
    await away;
    assert.deepEqual([restored.warnings, restored.missing], [[], []]);
    await isWhole(brokers);
    await restored.settle?.(ctx);
    await assertSame(source, (await restored.inventory?.(ctx)) ?? assert.fail());
    await onCluster(ctx, { brokers }, async (each) => {
      const replicas = each
        .layout()
        .topics.get('orders-back')
        ?.partitions.map((partition) => partition.replicas);
      assert.deepEqual(replicas, Array(PARTITIONS).fill(3));
      const configs = (await configsOf(ctx, each, ['orders-back'])).get('orders-back');
      assert.deepEqual(configs, { 'min.insync.replicas': '2' });
    });
  });
}
