import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { installed } from '../../../test/servers/install.ts';
import { kafkaNames } from '../../../test/servers/kafka.ts';
import { missing } from '../../../test/servers/need.ts';
import { driverSuite } from '../driver.suite.ts';
import { kafkaDriver } from './driver.ts';
import { inventory, partition, restoreBeside, stage } from './stage-testing.ts';
import { alterConfigs } from './suspended.ts';
import { messages, onCluster, rigBetween, sharedServers } from './testing.ts';
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
