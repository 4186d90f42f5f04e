// What takes its time: the other direction between the releases, a drill's broker, brokers that are killed, and the way
// back without Lifeboat.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { installed } from '../../../test/servers/install.ts';
import { kafkaNames, runTool } from '../../../test/servers/kafka.ts';
import { missing, needServer } from '../../../test/servers/need.ts';
import { readAll } from '../../core/bytes.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Context, InventoryLine, Sink, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { processSandboxes } from '../../sandboxes/process/runner.ts';
import { driverSuite } from '../driver.suite.ts';
import { kafkaDriver } from './driver.ts';
import { factsOf } from './facts.ts';
import { offsetsOfGroup } from './groups.ts';
import {
  type BinaryMessage,
  fill,
  onCluster,
  removeEverything,
  rigBetween,
  sharedServers,
  TIME,
  withAdmin,
  withProducer,
} from './testing.ts';

const servers = sharedServers();
const dir = mkdtempSync(join(tmpdir(), 'lifeboat-kafka-'));
after(async () => {
  await servers[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true });
});

const skip = await missing(...kafkaNames);
if (skip === false) process.env.KAFKA_HOME = await installed('kafka-4'); // what sandboxes run
driverSuite({ driver: kafkaDriver, skip, ...rigBetween(servers, 'kafka-4', 'kafka-3') });

test('a point comes back in a sandbox of the release that it was captured from', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const { brokers } = await servers.server('kafka-4');
  const ctx = liveContext({ env: { ...process.env, KAFKA_HOME: await installed('kafka-4') } });
  await removeEverything(brokers);
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

const PIECES = 5;

/** More than is on its way at any time: some of it is read after the first piece was written. */
async function fillLarge(brokers: string): Promise<void> {
  await removeEverything(brokers);
  await withAdmin(brokers, (admin) => admin.createTopics({ topics: ['large'], partitions: 1, replicas: 1 }));
  await withProducer(brokers, async (producer) => {
    for (let n = 0; n < PIECES * 9; n++) {
      const message: BinaryMessage = { topic: 'large', partition: 0, value: Buffer.alloc(950_000, `${n} `) };
      await producer.send({ messages: [{ ...message, timestamp: BigInt(TIME + n) }] });
    }
  });
}

/** Calls `meanwhile` while the n-th piece is put or read. */
function counting(nth: number, meanwhile: () => Promise<void>): (name: string) => Promise<void> {
  let seen = 0;
  return async (name) => {
    if (name.endsWith('.log') && ++seen === nth) await meanwhile();
  };
}

test('a broker that is killed while it is captured fails the capture, or goes on when it is back (fault 13)', async (t) => {
  if (!(await needServer(t, 'kafka-3'))) return;
  const kafka = await servers.server('kafka-3');
  await fillLarge(kafka.brokers);
  const ctx = liveContext();
  const captureWhile = async (timeout: string, meanwhile: () => Promise<void>): Promise<Source> => {
    const { sink, source } = memoryParts();
    const during = counting(1, meanwhile);
    const watched: Sink = {
      ...sink,
      async put(c, name, body, meta) {
        await during(name);
        return await sink.put(c, name, body, meta);
      },
    };
    await kafkaDriver.open({ brokers: kafka.brokers, topics: ['large'], timeout }).capture(ctx, watched);
    return source;
  };
  let killed = false;
  const kill = async (): Promise<void> => {
    await kafka.kill();
    killed = true;
  };
  await assert.rejects(captureWhile('3s', kill), { code: 'unreachable' });
  assert.ok(killed, 'and not before');
  await kafka.start();
  const source = await captureWhile('60s', async () => {
    await kafka.kill();
    await kafka.start();
  });
  const whole = await captureWhile('60s', async () => undefined);
  const [lines, expected] = await Promise.all([source, whole].map((each) => linesOf(ctx, each)));
  assert.deepEqual(lines, expected);
  assert.equal(lines?.find(({ kind }) => kind === 'partition')?.count, PIECES * 9);
});

test('a broker that is killed while it is restored into fails the restore, or has all of it (fault 13)', async (t) => {
  if (!(await needServer(t, 'kafka-3'))) return;
  const kafka = await servers.server('kafka-3');
  await fillLarge(kafka.brokers);
  const ctx = liveContext();
  const { sink, source } = memoryParts();
  await kafkaDriver.open({ brokers: kafka.brokers, topics: ['large'] }).capture(ctx, sink);
  const rename = { large: 'large-back' };
  const restoreWhile = async (timeout: string, replace: boolean, meanwhile: () => Promise<void>) => {
    const during = counting(3, meanwhile);
    const watched: Source = {
      ...source,
      async *get(c, name, range) {
        await during(name);
        yield* source.get(c, name, range);
      },
    };
    const component = kafkaDriver.open({ brokers: kafka.brokers, topics: ['large*'], timeout });
    return await component.restore(ctx, { base: watched }, { rename, replace });
  };
  let killed = false;
  const kill = async (): Promise<void> => {
    await kafka.kill();
    killed = true;
  };
  const told = { code: 'unreachable', message: /half restored are still there/, hint: /large-back/ };
  await assert.rejects(restoreWhile('3s', false, kill), told);
  assert.ok(killed, 'and not before');
  await kafka.start();
  const restored = await restoreWhile('60s', true, async () => {
    await kafka.kill();
    await kafka.start();
  });
  assert.deepEqual(restored.missing, []);
  const inventory = await restored.inventory?.(ctx);
  assert.ok(inventory);
  const findings = await Array.fromAsync(kafkaDriver.compare(ctx, inventoryOf(source), inventory));
  assert.ok(findings.length > 0);
  assert.deepEqual(
    findings.filter(({ verdict }) => verdict !== 'pass'),
    [],
  );
  await restored.settle?.(ctx);
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
  // The page's way to set a group.
  const { groups } = await factsOf(ctx, source);
  const stood = groups.flatMap(({ offsets }) => offsets).find(({ topic }) => topic === 'orders');
  const set = [
    '--reset-offsets',
    '--to-offset',
    `${stood?.position}`,
    '--group',
    'billing',
    '--topic',
    'orders-back:0',
  ];
  await runTool(lib, 'groups', ['--bootstrap-server', brokers, ...set, '--execute']);
  const now = await onCluster(ctx, { brokers }, (cluster) => offsetsOfGroup(ctx, cluster, 'billing'));
  assert.equal(now.find(({ topic }) => topic === 'orders-back')?.offset, 33);
  const piece = files.find((file) => file.includes('/orders/0/')) ?? '';
  const dumped = await runTool(lib, 'dump-log', ['--print-data-log', '--files', piece]);
  assert.equal(dumped.match(/ payload: value \d+ of orders/g)?.length, 120);
});

const CODECS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];

test('what Kafka’s own clients wrote with every codec, their own consumer reads from a restore', async (t) => {
  if (!(await needServer(t, 'kafka-4'))) return;
  const { brokers, lib } = await servers.server('kafka-4');
  const ctx = liveContext();
  await removeEverything(brokers);
  await withAdmin(brokers, (admin) => admin.createTopics({ topics: ['codecs'], partitions: 1, replicas: 1 }));
  for (const codec of CODECS) {
    const to = ['--producer-props', `bootstrap.servers=${brokers}`, `compression.type=${codec}`, 'linger.ms=20'];
    const size = ['--num-records', '400', '--record-size', '300', '--throughput', '-1'];
    await runTool(lib, 'producer-performance', ['--topic', 'codecs', ...size, ...to]);
  }
  await fill(ctx, brokers);
  const { sink, source } = memoryParts();
  const component = kafkaDriver.open({ brokers });
  await component.capture(ctx, sink);
  const names = ['codecs', 'orders', 'odd', 'empty'];
  const rename = Object.fromEntries(names.map((name) => [name, `${name}-lb`]));
  const restored = await component.restore(ctx, { base: source }, { rename });
  assert.deepEqual(restored.missing, []);
  await restored.settle?.(ctx);
  for (const [topic, records] of Object.entries({ codecs: CODECS.length * 400, orders: 145, odd: 8 })) {
    const [before, back] = [
      await consumed(lib, brokers, topic, records),
      await consumed(lib, brokers, `${topic}-lb`, records),
    ];
    assert.deepEqual(back, before, topic);
    assert.equal(new Set(before).size, records);
  }
});

/** Partition, offset, time, key, headers and value of each, as the console consumer prints them. */
async function consumed(lib: string, brokers: string, topic: string, records: number): Promise<string[]> {
  const shown = ['partition', 'offset', 'timestamp', 'key', 'headers', 'value'].map((each) => `print.${each}=true`);
  const mark = ['line.separator=<end>', 'null.literal=<null>'];
  const options = [...shown, ...mark].flatMap((each) => ['--formatter-property', each]);
  const limits = ['--from-beginning', '--max-messages', `${records}`, '--timeout-ms', '60000'];
  const said = await runTool(lib, 'consumer', ['--bootstrap-server', brokers, '--topic', topic, ...limits, ...options]);
  return said.split('<end>').slice(0, -1).sort();
}

async function linesOf(ctx: Context, source: Source): Promise<InventoryLine[]> {
  return await Array.fromAsync(inventoryOf(source).lines(ctx));
}

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
