// Following real servers: what is kept, what is acknowledged, and where it goes on after a break.

import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { startCuttingProxy } from '../../../test/servers/cutting-proxy.ts';
import { needServer } from '../../../test/servers/need.ts';
import { until } from '../../../test/servers/processes.ts';
import { type Redis, redisNames, startRedis } from '../../../test/servers/redis.ts';
import { faultyBucket } from '../../buckets/faulty.ts';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { liveContext } from '../../core/testing.ts';
import { readInfo } from './connection.ts';
import { redisDriver } from './driver.ts';
import { type Keeper, keeper } from './follow-testing.ts';
import { recordsOf } from './records.ts';
import { fill, open, pipeline } from './testing.ts';

const WAIT_MS = 60_000;

async function write(ctx: Context, server: Redis, from: number, count: number, size = 100): Promise<void> {
  await using connection = await open(ctx, { url: server.url });
  const value = 'v'.repeat(size);
  await pipeline(
    connection,
    Array.from({ length: count }, (_, n) => ['SET', `key:${from + n}`, value]),
  );
}

async function offsetOf(ctx: Context, server: Redis): Promise<number> {
  await using connection = await open(ctx, { url: server.url });
  return Number((await readInfo(connection)).get('master_repl_offset'));
}

/** Until the server is told that the journal has all that it has done by now. */
async function caughtUp(ctx: Context, server: Redis): Promise<void> {
  await using connection = await open(ctx, { url: server.url });
  const told = async (): Promise<number> => {
    const replicas = [...(await readInfo(connection))].filter(([name]) => /^slave\d/.test(name));
    // A real replica names its port.
    const ours = replicas.map(([, text]) => Number(/port=0,.*offset=(\d+)/.exec(text)?.[1] ?? -1));
    return Math.max(-1, ...ours);
  };
  await until('somebody who follows', WAIT_MS, async () => (await told()) >= 0);
  await connection.call('SET', 'the last', 'of all');
  const offset = await offsetOf(ctx, server);
  await until(`the journal at ${offset}`, WAIT_MS, async () => (await told()) >= offset);
}

/** All bytes of the newest lineage; that no range is missing between, `read` proves. */
async function streamOf(ctx: Context, { journal, lineages }: Keeper): Promise<Buffer> {
  const lineage = (await lineages(ctx)).at(-1);
  assert.ok(lineage);
  const place = { lineage: lineage.id, position: lineage.from.position };
  const ranges = await Array.fromAsync(journal.read(ctx, place, null), ({ body }) => Buffer.from(body));
  return Buffer.concat(ranges.flatMap((body) => [...recordsOf('a range', body)].map(({ bytes }) => bytes)));
}

/** The keys that `write` wrote, as the journal tells it. */
async function keysOf(ctx: Context, kept: Keeper): Promise<number[]> {
  const text = (await streamOf(ctx, kept)).toString('latin1');
  return [...text.matchAll(/\bkey:(\d+)/g)].map(([, key]) => Number(key));
}

for (const name of redisNames) {
  test(`${name}: the copy is the base, and the log goes on behind it without a seam`, async (t) => {
    if (!(await needServer(t, name))) return;
    const ctx = liveContext();
    await using server = await startRedis(name);
    await fill(ctx, { url: server.url }, true);
    const component = redisDriver.open({ url: server.url });
    const kept = await keeper(ctx);
    const following = kept.follow(ctx, component);
    for (let n = 0; n < 20; n++) await write(ctx, server, n * 100, 100);
    await caughtUp(ctx, server);
    await following.stop();

    const [point] = kept.points;
    const [lineage, ...more] = await kept.lineages(ctx);
    assert.ok(point && lineage);
    assert.deepEqual([kept.points.length, more], [1, []]);
    assert.deepEqual(point.capture.journal, {
      source: lineage.source,
      from: lineage.from.position,
      to: lineage.from.position,
    });
    const stream = await streamOf(ctx, kept);
    assert.equal(Number(lineage.from.position) + stream.length, Number(following.durable()));
    assert.match(stream.toString('latin1', 0, 40), /^\*2\r\n\$6\r\nSELECT\r\n/);
    const standing = await component.standing?.(ctx);
    assert.deepEqual(standing?.source, lineage.source);
    assert.ok(Number(standing?.end.position) >= Number(following.durable()));
  });
}

test('a log that goes on from another one is given a base where no point leads there, whatever else is there', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7');
  await using other = await startRedis('redis-7');
  const component = redisDriver.open({ url: server.url });
  const kept = await keeper(ctx);
  const first = kept.follow(ctx, component);
  await write(ctx, server, 0, 100);
  await caughtUp(ctx, server);
  await first.stop();
  // The point of this log is gone; one of another server has come, which leads nowhere.
  const [lineage] = await kept.lineages(ctx);
  kept.points.length = 0;
  await kept.capture(ctx, redisDriver.open({ url: other.url }));
  assert.ok(lineage);
  {
    await using writer = await kept.journal.write(ctx);
    const durable = writer.durable();
    assert.ok(durable);
    const parent = { lineage: lineage.id, position: durable.position };
    await writer.begin(ctx, { from: durable, base: null, why: 'promoted', source: lineage.source, parent });
  }
  const second = kept.follow(ctx, component);
  await until('a base', WAIT_MS, async () => kept.points.length === 2);
  await write(ctx, server, 100, 100);
  await caughtUp(ctx, server);
  await second.stop();
  assert.match(kept.points[1]?.why ?? '', /no point can be brought forward/);
  // The new one leads there: nothing more is taken.
  const third = kept.follow(ctx, component);
  await caughtUp(ctx, server);
  await third.stop();
  assert.equal(kept.points.length, 2);
});

test('a server is told of what is stored only, and of nothing before the base is', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7');
  await using connection = await open(ctx, { url: server.url });
  const held = Promise.withResolvers<void>();
  const component = redisDriver.open({ url: server.url });
  const kept = await keeper(ctx, memoryBucket(), { committing: () => held.promise });
  const following = kept.follow(ctx, component);
  await until('a lineage', WAIT_MS, async () => following.durable() !== null);
  await connection.call('SET', 'key', 'value');
  assert.equal(await connection.call('WAIT', 1, 1500), 0, 'nothing can be restored yet');
  held.resolve();
  assert.equal(await connection.call('WAIT', 1, 10_000), 1);
  await connection.call('SET', 'key', 'other');
  assert.equal(await connection.call('WAIT', 1, 10_000), 1);
  assert.ok(Number(following.durable()) >= (await offsetOf(ctx, server)) - 100);
  await following.stop();
});

test('what a store could not take is stored when it can, and acknowledged then', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7');
  await using connection = await open(ctx, { url: server.url });
  let state: 'well' | 'away' | 'without replies' = 'well';
  const isRange = (key: string): boolean => /-[0-9a-f]{64}$/.test(key);
  const bucket = faultyBucket(memoryBucket(), {
    fail: (operation, key) =>
      state === 'away' && operation === 'put' && isRange(key) ? new Failure('unreachable', 'away') : undefined,
    loseReply: (_, key) => state === 'without replies' && isRange(key),
  });
  const kept = await keeper(ctx, bucket);
  const following = kept.follow(ctx, redisDriver.open({ url: server.url }));
  await write(ctx, server, 0, 100);
  await caughtUp(ctx, server);
  for (const how of ['away', 'without replies'] as const) {
    state = how;
    await write(ctx, server, 100, 100);
    await connection.call('SET', 'other', how);
    assert.equal(await connection.call('WAIT', 1, 1500), 0, how);
    state = 'well';
    assert.equal(await connection.call('WAIT', 1, 20_000), 1, how);
  }
  await write(ctx, server, 200, 100);
  await caughtUp(ctx, server);
  await following.stop();
  const round = Array.from({ length: 100 }, (_, n) => n + 100);
  assert.deepEqual((await keysOf(ctx, kept)).slice(-300), [...round, ...round, ...round.map((n) => n + 100)]);
});

describe('after a break', () => {
  test('of the network it goes on where it was, without another copy', async (t) => {
    if (!(await needServer(t, 'redis-7'))) return;
    const ctx = liveContext();
    await using server = await startRedis('redis-7');
    await using proxy = await startCuttingProxy(server.port);
    const component = redisDriver.open({ host: server.host, port: proxy.port });
    const kept = await keeper(ctx);
    for (let round = 0; round < 3; round++) {
      const following = kept.follow(ctx, component);
      await write(ctx, server, round * 1000, 500);
      await caughtUp(ctx, server);
      proxy.cut();
      await assert.rejects(following.ended, { code: 'unreachable' });
      await write(ctx, server, round * 1000 + 500, 500);
    }
    const following = kept.follow(ctx, component);
    await caughtUp(ctx, server);
    await following.stop();
    assert.equal(kept.points.length, 1);
    assert.equal((await kept.lineages(ctx)).length, 1);
    assert.deepEqual(
      (await keysOf(ctx, kept)).slice(-2500),
      Array.from({ length: 2500 }, (_, n) => n + 500),
    );
  });

  test('that was longer than its backlog a new lineage begins with a new base, and the gap is noted', async (t) => {
    if (!(await needServer(t, 'valkey-9'))) return;
    const ctx = liveContext();
    await using server = await startRedis('valkey-9', { args: ['--repl-backlog-size', '16kb'] });
    const component = redisDriver.open({ url: server.url });
    const kept = await keeper(ctx);
    for (let round = 0; round < 2; round++) {
      const following = kept.follow(ctx, component);
      await write(ctx, server, 0, 100);
      await caughtUp(ctx, server);
      await following.stop();
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
    const ctx = liveContext();
    await using server = await startRedis('redis-8', { args: ['--repl-backlog-size', '16kb'] });
    const component = redisDriver.open({ url: server.url });
    const kept = await keeper(ctx);
    const before = kept.follow(ctx, component);
    await caughtUp(ctx, server);
    await before.stop();
    await write(ctx, server, 0, 2_000);
    const backup = await kept.capture(ctx, component);
    await write(ctx, server, 0, 10);
    const after = kept.follow(ctx, component);
    await caughtUp(ctx, server);
    await after.stop();
    const [, second] = await kept.lineages(ctx);
    assert.equal(kept.points.length, 2);
    assert.deepEqual([second?.base, second?.from.position], [backup.id, backup.capture.journal?.to]);
    assert.match((await streamOf(ctx, kept)).toString('latin1', 0, 40), /^\*2\r\n\$6\r\nSELECT\r\n/);
  });

  test('in which its points were lost it takes another one, and the journal goes on', async (t) => {
    if (!(await needServer(t, 'redis-7'))) return;
    const ctx = liveContext();
    await using server = await startRedis('redis-7');
    const component = redisDriver.open({ url: server.url });
    const kept = await keeper(ctx);
    const before = kept.follow(ctx, component);
    await caughtUp(ctx, server);
    await before.stop();
    kept.points.length = 0;
    const after = kept.follow(ctx, component);
    await write(ctx, server, 0, 10);
    await caughtUp(ctx, server);
    await until('another base', WAIT_MS, async () => kept.points.length === 1);
    await after.stop();
    assert.equal((await kept.lineages(ctx)).length, 1);
  });

  test('in which a replica took over, the journal goes on in a lineage whose parent is the one before', async (t) => {
    if (!(await needServer(t, 'redis-7'))) return;
    const ctx = liveContext();
    await using first = await startRedis('redis-7');
    await using second = await startRedis('redis-7', { args: ['--replicaof', `${first.host} ${first.port}`] });
    await using proxy = await startCuttingProxy(first.port);
    await using connection = await open(ctx, { url: second.url });
    const linkStatus = async (): Promise<boolean> => (await readInfo(connection)).get('master_link_status') === 'up';
    await until('a replica', WAIT_MS, linkStatus);
    const component = redisDriver.open({ host: first.host, port: proxy.port });
    const kept = await keeper(ctx);
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
    const after = kept.follow(ctx, component);
    await caughtUp(ctx, second);
    await after.stop();
    const [old, fresh, ...more] = await kept.lineages(ctx);
    assert.ok(old && fresh);
    assert.deepEqual([kept.points.length, more], [1, []]);
    assert.notDeepEqual(fresh.source, old.source);
    assert.deepEqual(fresh.parent, { lineage: old.id, position: fresh.from.position });
  });

  test('for which the server saved its data it was waited for, and the journal goes on with that as its parent', async (t) => {
    if (!(await needServer(t, 'redis-7'))) return;
    const ctx = liveContext();
    await using server = await startRedis('redis-7');
    const component = redisDriver.open({ url: server.url });
    const kept = await keeper(ctx);
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
    const after = kept.follow(ctx, component);
    await caughtUp(ctx, server);
    await after.stop();
    const [old, fresh] = await kept.lineages(ctx);
    assert.equal(kept.points.length, 1);
    assert.deepEqual(fresh?.parent, { lineage: old?.id, position: fresh?.from.position });
  });

  test('in which a copy of its dump went on by itself, past the end of the journal, it begins again (fault 33)', async (t) => {
    if (!(await needServer(t, 'redis-7'))) return;
    const ctx = liveContext();
    await using server = await startRedis('redis-7');
    await using copy = await startRedis('redis-7');
    const kept = await keeper(ctx);
    const before = kept.follow(ctx, redisDriver.open({ url: server.url }));
    await write(ctx, server, 0, 100);
    await caughtUp(ctx, server);
    await using connection = await open(ctx, { url: server.url });
    await connection.call('SAVE');
    await copy.stop();
    copyFileSync(join(server.dir, 'dump.rdb'), join(copy.dir, 'dump.rdb'));
    await copy.start();
    await write(ctx, server, 100, 100);
    await caughtUp(ctx, server);
    await before.stop();
    const end = await offsetOf(ctx, server);
    await write(ctx, copy, 5000, 1000);
    assert.ok((await offsetOf(ctx, copy)) > end, 'its log has bytes where the journal ends');
    const after = kept.follow(ctx, redisDriver.open({ url: copy.url }));
    await caughtUp(ctx, copy);
    await after.stop();
    const [first, second] = await kept.lineages(ctx);
    assert.ok(first && second);
    assert.deepEqual([kept.points.length, second.parent], [2, null]);
    assert.notDeepEqual(second.source, first.source);
  });

  test('after which the server has lost its data, it begins again', async (t) => {
    if (!(await needServer(t, 'redis-7'))) return;
    const ctx = liveContext();
    await using server = await startRedis('redis-7');
    const component = redisDriver.open({ url: server.url });
    const kept = await keeper(ctx);
    const before = kept.follow(ctx, component);
    await write(ctx, server, 0, 100);
    await caughtUp(ctx, server);
    await server.kill();
    await assert.rejects(before.ended, { code: 'unreachable' });
    await server.start();
    const after = kept.follow(ctx, component);
    await caughtUp(ctx, server);
    await after.stop();
    const [, second] = await kept.lineages(ctx);
    assert.deepEqual([kept.points.length, second?.parent], [2, null]);
    assert.match(second?.why ?? '', /another log/);
  });
});

test('fault 38: a key that is larger than the buffers is followed', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  const limits = ['--client-output-buffer-limit', 'replica 64mb 64mb 0', '--repl-backlog-size', '16kb'];
  await using server = await startRedis('redis-7', { args: limits });
  const component = redisDriver.open({ url: server.url });
  const kept = await keeper(ctx);
  const following = kept.follow(ctx, component);
  await caughtUp(ctx, server);
  await write(ctx, server, 0, 1, 30_000_000);
  await caughtUp(ctx, server);
  await following.stop();
  assert.ok((await streamOf(ctx, kept)).length > 30_000_000);
});

test('fault 38: a server whose buffers are too small is asked for three full copies, and then said what to enlarge', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  const limits = ['--client-output-buffer-limit', 'replica 100kb 100kb 0', '--repl-backlog-size', '16kb'];
  await using server = await startRedis('redis-7', { args: limits });
  const component = redisDriver.open({ url: server.url });
  const kept = await keeper(ctx);
  for (let copies = 1; copies <= 3; copies++) {
    const following = kept.follow(ctx, component);
    await caughtUp(ctx, server);
    await write(ctx, server, 0, 1, 30_000_000);
    await assert.rejects(following.ended, { code: 'unreachable', hint: /client-output-buffer-limit/ });
  }
  await assert.rejects(kept.follow(ctx, component).ended, {
    code: 'blocked',
    hint: /repl-backlog-size is 16384 bytes/,
  });
  assert.equal(kept.points.length, 3);
});
