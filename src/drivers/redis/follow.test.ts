// Following real servers: what is kept, and what is acknowledged.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needServer } from '../../../test/servers/need.ts';
import { until } from '../../../test/servers/processes.ts';
import { redisNames, startRedis } from '../../../test/servers/redis.ts';
import { faultyBucket } from '../../buckets/faulty.ts';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { Failure } from '../../core/errors.ts';
import { liveContext } from '../../core/testing.ts';
import { redisDriver } from './driver.ts';
import { keeper } from './follow-testing.ts';
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
import { fill, open } from './testing.ts';

for (const name of redisNames) {
  test(`${name}: the copy is the base, and the log goes on behind it without a seam`, async (t) => {
    if (!(await needServer(t, name))) return;
    await using scene = await startScene(name);
    const { ctx, server, component, kept } = scene;
    await fill(ctx, { url: server.url }, true);
    const durable = await followed(scene, async () => {
      for (let n = 0; n < 20; n++) await write(ctx, server, n * 100, 100);
    });

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
    assert.equal(Number(lineage.from.position) + stream.length, Number(durable));
    assert.match(stream.toString('latin1', 0, 100), BEGINS_WITH_SELECT);
    const standing = await component.standing?.(ctx);
    assert.deepEqual(standing?.source, lineage.source);
    assert.ok(Number(standing?.end.position) >= Number(durable));
  });
}

test('a log that goes on from another one is given a base where no point leads there, whatever else is there', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  await using scene = await startScene('redis-7');
  const { ctx, server, kept } = scene;
  await using other = await startRedis('redis-7');
  await followed(scene, () => write(ctx, server, 0, 100));
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
  await followed(scene, async () => {
    await until('a base', WAIT_MS, async () => kept.points.length === 2);
    await write(ctx, server, 100, 100);
  });
  assert.match(kept.points[1]?.why ?? '', /no point can be brought forward/);
  // The new one leads there: nothing more is taken.
  await followed(scene);
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

test('fault 38: a key that is larger than the buffers is followed', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const limits = ['--client-output-buffer-limit', 'replica 64mb 64mb 0', '--repl-backlog-size', '16kb'];
  await using scene = await startScene('redis-7', ...limits);
  const { ctx, server, kept } = scene;
  await followed(scene, async () => {
    await caughtUp(ctx, server);
    await write(ctx, server, 0, 1, 30_000_000);
  });
  assert.ok((await streamOf(ctx, kept)).length > 30_000_000);
});

test('fault 38: a server whose buffers are too small is asked for three full copies, and then said what to enlarge', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const limits = ['--client-output-buffer-limit', 'replica 100kb 100kb 0', '--repl-backlog-size', '16kb'];
  await using scene = await startScene('redis-7', ...limits);
  const { ctx, server, component, kept } = scene;
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
