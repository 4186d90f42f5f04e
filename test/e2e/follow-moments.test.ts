// A service without a log position of its own, followed and brought back to a moment by the command itself.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { test } from 'node:test';
import { messages, withAdmin, withProducer } from '../../src/drivers/kafka/testing.ts';
import { startKafka } from '../servers/kafka.ts';
import { needServer } from '../servers/need.ts';
import { until } from '../servers/processes.ts';
import { lifeboat } from './lifeboat.ts';
import { workspace } from './workspace.ts';

const { dir, store, configure, run } = workspace('follow-moments');

interface Told {
  readonly recoverable: readonly { readonly windows: readonly { readonly from: string; readonly to: string }[] }[];
}

/** Once the store says that it can be had. */
async function hasMoment(ms: number): Promise<void> {
  await until('the journal reaches the moment', 60_000, async () => {
    const { recoverable } = (await run(0, 'list', '--json')).json() as Told;
    const window = recoverable[0]?.windows.at(-1);
    return window !== undefined && Date.parse(window.to) >= ms;
  });
}

test('a followed Kafka comes back as it was at a moment between two points', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  await using source = await startKafka('kafka-4');
  await using target = await startKafka('kafka-4');
  const send = (count: number, from: number): Promise<unknown> =>
    withProducer(source.brokers, (producer) => {
      const timestamp = BigInt(Date.now());
      return producer.send({ messages: messages('orders', 0, count, from).map((each) => ({ ...each, timestamp })) });
    });
  await withAdmin(source.brokers, (admin) => admin.createTopics({ topics: ['orders'], partitions: 1, replicas: 1 }));
  await send(5, 0);
  configure(`stack: shop
stores: { main: ${store('main')} }
components:
  events: { kind: kafka, brokers: "${source.brokers}", follow: true, follow_every: 200ms }
plans:
  nightly: { keep: { last: 1 } }
`);
  await run(0, 'init');
  let child: ChildProcess | undefined;
  const following = lifeboat(['follow'], { cwd: dir, onStart: (started) => void (child = started) });
  await hasMoment(Date.now());
  await send(3, 5);
  await hasMoment(Date.now());
  const moment = new Date();
  await hasMoment(moment.getTime() + 1);
  await send(4, 8);
  await hasMoment(Date.now());
  child?.kill('SIGTERM');
  assert.equal((await following).code, 0);
  const to = `events=${target.brokers}`;
  const restored = await run(0, 'restore', '--at', moment.toISOString(), '--to', to, '--yes');
  assert.match(restored.stdout, /events: exact/);
  await withAdmin(target.brokers, async (admin) => {
    const [offsets] = await admin.listOffsets({
      topics: [{ name: 'orders', partitions: [{ partitionIndex: 0, timestamp: -1n }] }],
    });
    assert.equal(offsets?.partitions[0]?.offset, 8n);
  });
  await run(0, 'verify', '--all', '--read-data');
});
