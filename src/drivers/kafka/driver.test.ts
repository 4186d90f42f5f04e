// The suite of all drivers between two releases; what a capture sees of transactions, of what came since the last one,
// and of what goes while it is read; what older brokers bound.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { installed } from '../../../test/servers/install.ts';
import { kafkaNames } from '../../../test/servers/kafka.ts';
import { missing, needServer } from '../../../test/servers/need.ts';
import type { Sink } from '../../core/model.ts';
import { memoryParts } from '../../core/testing.ts';
import { driverSuite } from '../driver.suite.ts';
import { kafkaDriver } from './driver.ts';
import { commitOffsets } from './groups.ts';
import { inventory, partition, restoreBeside, stage } from './stage-testing.ts';
import { alterConfigs } from './suspended.ts';
import {
  type BinaryMessage,
  messages,
  onCluster,
  removeEverything,
  rigBetween,
  sharedServers,
  TIME,
  withAdmin,
} from './testing.ts';
import { configsOf } from './topics.ts';

const servers = sharedServers();
after(() => servers[Symbol.asyncDispose]());
const skip = await missing(...kafkaNames);
if (skip === false) process.env.KAFKA_HOME = await installed('kafka-4'); // what sandboxes run

driverSuite({ driver: kafkaDriver, skip, ...rigBetween(servers, 'kafka-3', 'kafka-4') });

test('small segments and a bound on times, as older brokers have it, do not keep records from coming back', {
  skip,
}, async () => {
  const at = await stage(servers, 'kafka-3');
  const { ctx, brokers } = at;
  const configs = { 'segment.bytes': '102400', 'message.timestamp.difference.max.ms': '3600000' };
  await at.create('bounded');
  for (const message of messages('bounded', 0, 12)) await at.send([{ ...message, value: Buffer.alloc(16_384, 'v') }]);
  await onCluster(ctx, { brokers }, (cluster) => alterConfigs(ctx, cluster, 'bounded', configs));
  const { source, lines } = await at.capture('bounded');
  const restored = await restoreBeside(at, source, ['bounded']);
  assert.deepEqual(restored.missing, []);
  assert.deepEqual(
    partition(await inventory(ctx, brokers, 'bounded-back'), 'bounded-back/0'),
    partition(lines, 'bounded/0'),
  );
  await restored.settle?.(ctx);
  await onCluster(ctx, { brokers }, async (cluster) => {
    assert.deepEqual((await configsOf(ctx, cluster, ['bounded-back'])).get('bounded-back'), configs);
  });
});

test('checks and references ask for records and for how far groups are behind', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage(servers);
  const { ctx, brokers } = at;
  await at.create('asked', {}, 2);
  await at.send(messages('asked', 0, 3));
  await at.inTransaction(messages('asked', 0, 2, 3), 'abort'); // offsets 3 and 4, and the mark 5
  await at.send([...messages('asked', 0, 1, 5), ...messages('asked', 1, 2)]);
  await onCluster(ctx, { brokers }, (cluster) =>
    commitOffsets(ctx, cluster, 'asking', [{ topic: 'asked', partition: 0, offset: 2, metadata: '' }]),
  );
  const component = kafkaDriver.open({ brokers });
  const names = await Array.fromAsync(component.names(ctx, 'asked'));
  assert.deepEqual(names.sort(), ['0/0', '0/1', '0/2', '0/6', '1/0', '1/1']);
  const asked = ['0/6', '0/3', '1/1', '1/2', '9/0', 'x'];
  assert.deepEqual(await component.holds(ctx, 'asked', asked), [true, false, true, false, false, false]);
  assert.deepEqual([await component.measure(ctx, 'records asked'), await component.measure(ctx, 'lag asking')], [6, 5]);
  await assert.rejects(component.measure(ctx, 'records nothing'), { code: 'missing' });
  await assert.rejects(component.measure(ctx, 'drop asked'), { code: 'query-failed' });
});

test('an open transaction is named and not captured, nor what came after its first record', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage(servers);
  await at.create('open');
  await at.send(messages('open', 0, 6));
  await at.inTransaction(messages('open', 0, 2, 6), 'leave open');
  await at.send(messages('open', 0, 2, 8));
  const { warnings, lines } = await at.capture('open');
  assert.equal(partition(lines, 'open/0')[0], 6);
  assert.match(warnings.join(), /open\/0: a transaction of producer \d+ is open from offset 6/);
});

test('the next capture keeps what is complete and reads only what came since', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage(servers);
  const { ctx, brokers } = at;
  await at.create('grows');
  const large = (n: number): BinaryMessage => {
    return { topic: 'grows', partition: 0, value: Buffer.alloc(900_000, `${n}`), timestamp: BigInt(TIME + n) };
  };
  for (let n = 0; n < 24; n++) await at.send([large(n)]);
  const component = kafkaDriver.open({ brokers, topics: ['grows'] });
  const first = memoryParts();
  await component.capture(ctx, first.sink);
  await at.send([large(24)]);
  const kept: string[] = [];
  const read: string[] = [];
  const second = memoryParts('it', '2026-01-02-000000');
  let earlier = first.source;
  const watching: Sink = {
    ...second.sink,
    keep: async (c, name, from, meta) => {
      kept.push(name);
      return await second.sink.put(c, name, earlier.get(c, from.name), meta);
    },
    put: async (c, name, body, meta) => {
      read.push(name);
      return await second.sink.put(c, name, body, meta);
    },
  };
  await component.capture(ctx, watching, first.source);
  assert.equal(kept.length, 2, kept.join());
  assert.equal(read.filter((name) => name.endsWith('.log')).length, 1, read.join());
  await restoreBeside(at, second.source, ['grows']);
  const lines = await inventory(ctx, brokers, 'grows*');
  assert.equal(partition(lines, 'grows/0')[0], 25);
  assert.deepEqual(partition(lines, 'grows-back/0'), partition(lines, 'grows/0'));
  // Retention takes the first records; of the range that it cut, what is left is read again.
  await withAdmin(brokers, (admin) =>
    admin.deleteRecords({ topics: [{ name: 'grows', partitions: [{ partition: 0, offset: 3n }] }] }),
  );
  earlier = second.source;
  kept.length = 0;
  await component.capture(ctx, watching, second.source);
  assert.deepEqual(kept.length, 2, kept.join());
  // Another topic of the same name has other records at the same offsets.
  await removeEverything(brokers);
  await at.create('grows');
  for (let n = 0; n < 30; n++) await at.send([large(n + 50)]);
  kept.length = 0;
  await component.capture(ctx, watching, second.source);
  assert.deepEqual(kept, []);
});

test('records that retention takes before they are read are named', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage(servers);
  await at.create('first', {}, 12);
  await at.send(Array.from({ length: 12 }, (_, n) => messages('first', n, 2)).flat());
  await at.create('then');
  await at.send(messages('then', 0, 10));
  await at.send(messages('then', 0, 10, 10));
  const { sink } = memoryParts();
  const partitions = [{ partition: 0, offset: 10n }];
  let taking: Promise<unknown> | null = null;
  const slow: Sink = {
    ...sink,
    async put(c, name, body, meta) {
      taking ??= withAdmin(at.brokers, (admin) => admin.deleteRecords({ topics: [{ name: 'then', partitions }] }));
      await taking;
      return await sink.put(c, name, body, meta);
    },
  };
  const { warnings, totals } = await kafkaDriver.open({ brokers: at.brokers }).capture(at.ctx, slow);
  assert.deepEqual(warnings, ['then/0: offsets 0 to 9 were deleted before they were read']);
  assert.equal(totals.records, 24 + 10);
});

test('a topic that is deleted while it is read is left out, and named', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const at = await stage(servers);
  await at.create('going', {}, 12);
  await at.send(Array.from({ length: 12 }, (_, n) => messages('going', n, 2)).flat());
  await at.create('staying');
  await at.send(messages('staying', 0, 2));
  const { sink, source } = memoryParts();
  let deleting: Promise<unknown> | null = null;
  const slow: Sink = {
    ...sink,
    async put(c, name, body, meta) {
      deleting ??= withAdmin(at.brokers, (admin) => admin.deleteTopics({ topics: ['going'] }));
      await deleting;
      return await sink.put(c, name, body, meta);
    },
  };
  const component = kafkaDriver.open({ brokers: at.brokers });
  const { warnings, totals } = await component.capture(at.ctx, slow);
  assert.deepEqual(warnings, ['topic going was deleted while it was read: it is not captured']);
  assert.deepEqual([totals.topics, totals.records], [1, 2]);
  const { missing } = await restoreBeside(at, source, ['staying']);
  assert.deepEqual(missing, []);
});
