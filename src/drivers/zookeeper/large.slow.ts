// A tree larger than what is promised of memory, with one znode that has as many children as no client of Java lists,
// and an ensemble that loses its leader.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { workspace } from '../../../test/e2e/workspace.ts';
import { missingTools, needServer } from '../../../test/servers/need.ts';
import { startEnsemble, startZookeeper } from '../../../test/servers/zookeeper.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Sink } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { worst } from '../../core/verdict.ts';
import type { Client } from './client.ts';
import { zookeeperDriver } from './driver.ts';
import { make, openClient, remove } from './testing.ts';

const PEAK_MIB_MAX = 512;
const FLAT = 50_000;
const SPREAD = 51_000;
const LARGE = 30;
const TIME = '/usr/bin/time';
const { dir, store, configure, run } = workspace('zookeeper-large');

async function many(client: Client, count: number, one: (n: number) => readonly [string, string | Buffer]) {
  for (let from = 0; from < count; from += 1000) {
    const some = Array.from({ length: Math.min(1000, count - from) }, (_, n) => one(from + n));
    await Promise.all(some.map(([path, data]) => make(client, path, { data })));
  }
}

function peakOf(...args: readonly string[]): number {
  const counted = join(dir, 'counted');
  const options = ['--quiet', '--format', '%M', '--output', counted, 'bin/lifeboat'];
  const ran = spawnSync(TIME, [...options, '--config', join(dir, 'lifeboat.yaml'), ...args], { encoding: 'utf8' });
  assert.equal(ran.status, 0, `${args.join(' ')}: ${ran.stdout}${ran.stderr}`);
  return Number(readFileSync(counted, 'utf8')) / 1024;
}

test(`${FLAT + SPREAD} znodes are backed up and restored in less than ${PEAK_MIB_MAX} MiB`, {
  skip: missingTools(TIME),
}, async (t) => {
  if (!(await needServer(t, 'zookeeper-3.9'))) return;
  await using server = await startZookeeper({ java: ['-Xmx600m'] });
  const { hosts } = server;
  await using client = await openClient(liveContext(), { hosts });
  for (const path of ['/shop', '/shop/flat', '/shop/spread', '/shop/large']) await make(client, path);
  await many(client, FLAT, (n) => [`/shop/flat/session-${n}`, `v${n}`]);
  await many(client, 100, (n) => [`/shop/spread/${n}`, '']);
  await many(client, SPREAD, (n) => [`/shop/spread/${n % 100}/${n}`, `a value of some length ${n} `.repeat(6)]);
  for (let n = 0; n < LARGE; n++) await make(client, `/shop/large/${n}`, { data: Buffer.alloc(1_000_000, `${n} `) });
  configure(`stack: shop
stores: { main: ${store('main')} }
components: { coordination: { kind: zookeeper, hosts: "${hosts}", root: /shop } }
plans: { nightly: { to: [main] } }
`);
  await run(0, 'init');
  const peaks = [
    peakOf('backup'),
    peakOf('restore', 'latest', '--yes', '--to', `coordination=zookeeper://${hosts}/back`),
  ];
  t.diagnostic(`${peaks.map((peak) => peak.toFixed(0)).join(' and ')} MiB`);
  for (const peak of peaks) assert.ok(peak < PEAK_MIB_MAX, `${peak.toFixed(0)} MiB`);
});

test('a capture goes on with another server when the leader dies, and fails when there is no quorum', async (t) => {
  if (!(await needServer(t, 'zookeeper-3.9'))) return;
  const ctx = liveContext();
  await using ensemble = await startEnsemble();
  const { hosts, servers } = ensemble;
  const leader = servers.find(({ isLeader }) => isLeader);
  assert.ok(leader);
  // The leader comes first: it is who is asked.
  const settings = { hosts: [leader.hosts, ...hosts.filter((each) => each !== leader.hosts)], timeout: '10s' };
  await using client = await openClient(ctx, settings);
  await make(client, '/app');
  await many(client, 200, (n) => [`/app/${n}`, `${n}`]);
  await make(client, '/app/z', { data: Buffer.alloc(20_000) });
  const { sink, source } = memoryParts();
  let puts = 0;
  const killing: Sink = {
    ...sink,
    async put(...args) {
      if (++puts === 1) await leader.server.kill();
      return await sink.put(...args);
    },
  };
  const component = zookeeperDriver.open({ ...settings, root: '/app' });
  const capture = await component.capture(ctx, killing);
  assert.deepEqual(capture.warnings, []);
  assert.ok(ctx.logged.some(({ message }) => message.includes('once more')));
  const findings = await Array.fromAsync(
    zookeeperDriver.compare(ctx, inventoryOf(source), await component.inventory(ctx)),
  );
  assert.equal(worst(findings.map(({ verdict }) => verdict)), 'pass');
  await using other = await openClient(ctx, settings);
  await remove(other, '/app/z');
  await servers.find((each) => each !== leader)?.server.kill();
  const alone = zookeeperDriver.open({ ...settings, root: '/app', timeout: '3s' });
  await assert.rejects(alone.capture(ctx, memoryParts().sink), { code: 'unreachable' });
});
