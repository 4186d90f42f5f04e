// A drill's broker: started by the runner, as nobody of importance, with a point restored into it.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { installed } from '../../../test/servers/install.ts';
import { needServer } from '../../../test/servers/need.ts';
import { inventoryOf } from '../../core/inventory.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { processSandboxes } from '../../sandboxes/process/runner.ts';
import { kafkaDriver } from './driver.ts';
import { fill, sharedServers } from './testing.ts';

const servers = sharedServers();
after(() => servers[Symbol.asyncDispose]());

test('a point comes back in a sandbox of the release that it was captured from', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const { brokers } = await servers.server('kafka-4');
  const ctx = liveContext({ env: { ...process.env, KAFKA_HOME: await installed('kafka-4') } });
  await fill(ctx, brokers);
  const { sink, source } = memoryParts();
  const { serverVersion } = await kafkaDriver.open({ brokers }).capture(ctx, sink);
  await using sandbox = await processSandboxes({ readyMs: 120_000 }).start(ctx, kafkaDriver, serverVersion);
  const restored = await sandbox.component.restore(ctx, { base: source });
  assert.deepEqual(restored.missing, []);
  const actual = await sandbox.component.inventory(ctx);
  const findings = await Array.fromAsync(kafkaDriver.compare(ctx, inventoryOf(source), actual));
  assert.ok(findings.length > 5);
  assert.deepEqual(
    findings.filter(({ verdict }) => verdict !== 'pass'),
    [],
  );
  await restored.settle?.(ctx);
});

test('without a Kafka to run, a drill says so', async () => {
  const need = { version: '4.3', dir: '/nowhere', port: 1, password: 'x' };
  const ctx = liveContext({ env: { PATH: '' } });
  await assert.rejects(kafkaDriver.serverSpec(ctx, need), { code: 'program-missing', hint: /KAFKA_HOME/ });
});
