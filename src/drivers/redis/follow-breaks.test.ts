// Following real servers: where it goes on after a break.

import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startCuttingProxy } from '../../../test/servers/cutting-proxy.ts';
import { needServer } from '../../../test/servers/need.ts';
import { until } from '../../../test/servers/processes.ts';
import { startRedis } from '../../../test/servers/redis.ts';
import { readInfo } from './connection.ts';
import { redisDriver } from './driver.ts';
import {
  BEGINS_WITH_SELECT,
  caughtUp,
  followed,
  keysOf,
  offsetOf,
  startScene,
  streamOf,
  WAIT_MS,
  write,
} from './following-testing.ts';
import { open } from './testing.ts';

const SMALL_BACKLOG = ['--repl-backlog-size', '16kb'];

test('a break of the network costs no other copy: the journal goes on where it was', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  await using scene = await startScene('redis-7');
  const { ctx, server, kept } = scene;
  await using proxy = await startCuttingProxy(server.port);
  const component = redisDriver.open({ host: server.host, port: proxy.port });
  for (let round = 0; round < 3; round++) {
    const following = kept.follow(ctx, component);
    await write(ctx, server, round * 1000, 500);
    await caughtUp(ctx, server);
    proxy.cut();
    await assert.rejects(following.ended, { code: 'unreachable' });
    await write(ctx, server, round * 1000 + 500, 500);
  }
  await followed({ ...scene, component });
  assert.equal(kept.points.length, 1);
  assert.equal((await kept.lineages(ctx)).length, 1);
  assert.deepEqual(
    (await keysOf(ctx, kept)).slice(-2500),
    Array.from({ length: 2500 }, (_, n) => n + 500),
  );
});

test('after a break that was longer than the backlog a lineage with a base begins, and the gap is noted', async (t) => {
  if (!(await needServer(t, 'valkey-9'))) return;
  await using scene = await startScene('valkey-9', ...SMALL_BACKLOG);
  const { ctx, server, kept } = scene;
  for (let round = 0; round < 2; round++) {
    await followed(scene, () => write(ctx, server, 0, 100));
    await write(ctx, server, 0, 2_000);
  }
  const [first, second, ...more] = await kept.lineages(ctx);
  assert.ok(first && second);
  assert.deepEqual([kept.points.length, more], [2, []]);
  assert.deepEqual([second.source, second.parent], [first.source, null]);
  assert.match(second.why, /no longer had what followed/);
  const [stretch, gap] = await Array.fromAsync(kept.journal.stretches(ctx));
  assert.equal(stretch?.gap, null);
  assert.match(gap?.gap ?? '', /repl-backlog-size/);
  assert.equal(gap?.to.position, second.from.position);
});

test('a backup that was taken meanwhile spares the server another copy', async (t) => {
  if (!(await needServer(t, 'redis-8'))) return;
  await using scene = await startScene('redis-8', ...SMALL_BACKLOG);
  const { ctx, server, component, kept } = scene;
  await followed(scene);
  await write(ctx, server, 0, 2_000);
  const backup = await kept.capture(ctx, component);
  await write(ctx, server, 0, 10);
  await followed(scene);
  const [, second] = await kept.lineages(ctx);
  assert.equal(kept.points.length, 2);
  assert.deepEqual([second?.base, second?.from.position], [backup.id, backup.capture.journal?.to]);
  assert.match((await streamOf(ctx, kept)).toString('latin1', 0, 100), BEGINS_WITH_SELECT);
});

test('after a break in which its points were lost it takes another one, and the journal goes on', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  await using scene = await startScene('redis-7');
  const { ctx, server, kept } = scene;
  await followed(scene);
  kept.points.length = 0;
  await followed(scene, async () => {
    await write(ctx, server, 0, 10);
    await until('another base', WAIT_MS, async () => kept.points.length === 1);
  });
  assert.equal((await kept.lineages(ctx)).length, 1);
});

test('where a replica took over, the journal goes on in a lineage whose parent is the one before', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  await using scene = await startScene('redis-7');
  const { ctx, server: first, kept } = scene;
  await using second = await startRedis('redis-7', { args: ['--replicaof', `${first.host} ${first.port}`] });
  await using proxy = await startCuttingProxy(first.port);
  await using connection = await open(ctx, { url: second.url });
  const linkStatus = async (): Promise<boolean> => (await readInfo(connection)).get('master_link_status') === 'up';
  await until('a replica', WAIT_MS, linkStatus);
  const component = redisDriver.open({ host: first.host, port: proxy.port });
  const before = kept.follow(ctx, component);
  await write(ctx, first, 0, 100);
  await caughtUp(ctx, first);
  await write(ctx, first, 100, 100);
  await until(
    'the replica at the end',
    WAIT_MS,
    async () => (await offsetOf(ctx, second)) === (await offsetOf(ctx, first)),
  );
  proxy.lead(second.port);
  await assert.rejects(before.ended, { code: 'unreachable' });
  await first.kill();
  await connection.call('REPLICAOF', 'NO', 'ONE');
  await write(ctx, second, 200, 100);
  await followed({ ctx, server: second, component, kept });
  const [old, fresh, ...more] = await kept.lineages(ctx);
  assert.ok(old && fresh);
  assert.deepEqual([kept.points.length, more], [1, []]);
  assert.notDeepEqual(fresh.source, old.source);
  assert.deepEqual(fresh.parent, { lineage: old.id, position: fresh.from.position });
});

test('a server that saves its data as it ends waits for who follows, and the journal goes on behind that', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  await using scene = await startScene('redis-7');
  const { ctx, server, component, kept } = scene;
  const before = kept.follow(ctx, component);
  await caughtUp(ctx, server);
  await write(ctx, server, 0, 1000);
  const end = await offsetOf(ctx, server);
  await using connection = await open(ctx, { url: server.url });
  await assert.rejects(connection.call('SHUTDOWN', 'SAVE'), { code: 'unreachable' });
  await assert.rejects(before.ended, { code: 'unreachable' });
  assert.ok(Number(before.durable()) >= end);
  await server.stop();
  await server.start();
  await followed(scene);
  const [old, fresh] = await kept.lineages(ctx);
  assert.equal(kept.points.length, 1);
  assert.deepEqual(fresh?.parent, { lineage: old?.id, position: fresh?.from.position });
});

test('a copy of its dump that went on by itself, past the end of the journal, begins another (fault 33)', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  await using scene = await startScene('redis-7');
  const { ctx, server, kept } = scene;
  await using copy = await startRedis('redis-7');
  await followed(scene, async () => {
    await write(ctx, server, 0, 100);
    await caughtUp(ctx, server);
    await using connection = await open(ctx, { url: server.url });
    await connection.call('SAVE');
    await copy.stop();
    copyFileSync(join(server.dir, 'dump.rdb'), join(copy.dir, 'dump.rdb'));
    await copy.start();
    await write(ctx, server, 100, 100);
  });
  const end = await offsetOf(ctx, server);
  await write(ctx, copy, 5000, 1000);
  assert.ok((await offsetOf(ctx, copy)) > end, 'its log has bytes where the journal ends');
  await followed({ ctx, server: copy, component: redisDriver.open({ url: copy.url }), kept });
  const [first, second] = await kept.lineages(ctx);
  assert.ok(first && second);
  assert.deepEqual([kept.points.length, second.parent], [2, null]);
  assert.notDeepEqual(second.source, first.source);
});

test('after a break in which the server has lost its data, another journal begins', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  await using scene = await startScene('redis-7');
  const { ctx, server, component, kept } = scene;
  const before = kept.follow(ctx, component);
  await write(ctx, server, 0, 100);
  await caughtUp(ctx, server);
  await server.kill();
  await assert.rejects(before.ended, { code: 'unreachable' });
  await server.start();
  await followed(scene);
  const [, second] = await kept.lineages(ctx);
  assert.deepEqual([kept.points.length, second?.parent], [2, null]);
  assert.match(second?.why ?? '', /another log/);
});
