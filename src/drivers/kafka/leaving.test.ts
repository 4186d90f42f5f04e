// The way back without Lifeboat: the page's own script, and Kafka's own tools, on what was captured.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { runTool } from '../../../test/servers/kafka.ts';
import { needServer } from '../../../test/servers/need.ts';
import { readAll } from '../../core/bytes.ts';
import type { Context, InventoryLine, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { kafkaDriver } from './driver.ts';
import { fill, removeEverything, sharedServers, withAdmin } from './testing.ts';

const servers = sharedServers();
const dir = mkdtempSync(join(tmpdir(), 'lifeboat-kafka-'));
after(async () => {
  await servers[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true });
});

test('what was captured comes back without Lifeboat, and Kafka’s own tools read it', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const { brokers, lib } = await servers.server('kafka-4');
  const ctx = liveContext();
  await removeEverything(brokers);
  await fill(ctx, brokers);
  const { sink, source } = memoryParts();
  const component = kafkaDriver.open({ brokers });
  await component.capture(ctx, sink);
  const files = await unpack(ctx, source);
  const anyTime = { name: 'message.timestamp.after.max.ms', value: '9223372036854775807' };
  const forEver = [{ name: 'retention.ms', value: '-1' }, anyTime];
  await withAdmin(brokers, async (admin) => {
    await admin.createTopics({ topics: ['orders-back'], partitions: 3, replicas: 1, configs: forEver });
    await admin.createTopics({ topics: ['odd-back'], partitions: 1, replicas: 1, configs: forEver });
  });
  for (const topic of ['orders', 'odd']) await runScript([brokers, join(dir, 'topics', topic), `${topic}-back`]);
  const lines = await Array.fromAsync((await component.inventory(ctx)).lines(ctx));
  for (const name of ['orders/0', 'orders/1', 'odd/0']) {
    assert.deepEqual(partition(lines, name.replace('/', '-back/')), partition(lines, name), name);
  }
  const piece = files.find((file) => file.includes('/orders/0/')) ?? '';
  const dumped = await runTool(lib, 'dump-log', ['--print-data-log', '--files', piece]);
  assert.equal(dumped.match(/ payload: value \d+ of orders/g)?.length, 120);
});

function partition(lines: readonly InventoryLine[], name: string): unknown {
  const { count, digest } = lines.find((line) => line.kind === 'partition' && line.name === name) ?? {};
  assert.ok(count);
  return [count, digest];
}

async function unpack(ctx: Context, source: Source): Promise<string[]> {
  const files: string[] = [];
  for await (const { name } of source.parts(ctx)) {
    const file = join(dir, name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, await readAll(source.get(ctx, name)));
    files.push(file);
  }
  return files;
}

async function runScript(args: readonly string[]): Promise<void> {
  const page = readFileSync('docs/drivers/kafka.md', 'utf8');
  const [, script = ''] = /```js\n(.*?)```/s.exec(page) ?? [];
  assert.notEqual(script, '');
  const options = ['--input-type=module', '-e', script, '--'];
  await promisify(execFile)(process.execPath, [...options, ...args]);
}
