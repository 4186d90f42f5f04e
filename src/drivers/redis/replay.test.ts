// What was done to real servers at random, brought back to any moment of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needServer } from '../../../test/servers/need.ts';
import { until } from '../../../test/servers/processes.ts';
import { type Redis, type RedisName, redisNames, startRedis } from '../../../test/servers/redis.ts';
import type { ReplayTarget } from '../../core/component.ts';
import { withSignal } from '../../core/context.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Context, Restored } from '../../core/model.ts';
import { liveContext } from '../../core/testing.ts';
import { serverTime } from './capture.ts';
import { type Connection, readInfo } from './connection.ts';
import { redisDriver } from './driver.ts';
import { type Keeper, keeper, type Point } from './follow-testing.ts';
import { restore } from './restore.ts';
import { extract } from './rows.ts';
import { readSettings } from './settings.ts';
import { fill, open, pipeline } from './testing.ts';
import { randomBelow, work } from './workload-testing.ts';

const WORKERS = 3;
const MOMENTS = 4;
const LATER_MS = Date.parse('2099-06-01T00:30:00Z');
const WAIT_MS = 60_000;

interface Followed {
  readonly kept: Keeper;
  /** The one that everything is replayed on. */
  readonly base: Point;
}
interface History extends Followed {
  /** Captures of a replica after it. */
  readonly moments: readonly Point[];
}

/** Works on a server while it is followed, and captures a replica of it now and then: what that held at that offset. */
async function worked(ctx: Context, { server, replica }: Pair, seed: number): Promise<History> {
  await fill(ctx, { url: server.url }, true);
  await using connection = await open(ctx, { url: replica.url });
  // Nobody works in this database.
  await using source = await open(ctx, { url: `${server.url}/9` });
  await source.call('SET', 'stays', '1', 'PXAT', LATER_MS);
  const kept = await keeper(ctx);
  const following = kept.follow(ctx, redisDriver.open({ url: server.url }));
  await until('the base', WAIT_MS, async () => kept.points.length === 1);
  const [base] = kept.points;
  assert.ok(base);
  const from = Number(base.capture.journal?.to);
  // A replica gets what is done after its copy within a second.
  const offset = async (): Promise<number> => Number((await readInfo(connection)).get('slave_repl_offset'));
  await until('the replica behind the base', WAIT_MS, async () => (await offset()) >= from);
  await pipeline(source, [
    ['PEXPIREAT', 'database', LATER_MS],
    ['SET', 'stays too', '1', 'PXAT', LATER_MS],
  ]);
  const stop = new AbortController();
  const workers = Array.from({ length: WORKERS }, (_, n) =>
    work(withSignal(ctx, stop.signal), { url: server.url }, seed + n).catch((error) => {
      if (!stop.signal.aborted) throw error;
    }),
  );
  const below = randomBelow(seed);
  for (let n = 0; n < MOMENTS; n++) {
    await ctx.sleep(100 + below(500));
    await kept.capture(ctx, redisDriver.open({ url: replica.url }));
  }
  stop.abort();
  await Promise.all(workers);
  const moments = kept.points.slice(1);
  const last = moments.at(-1)?.capture.journal?.to ?? '';
  await until('the last moment in the journal', WAIT_MS, async () => (following.durable() ?? '') >= last);
  await following.stop();
  return { kept, base, moments };
}

interface Pair extends AsyncDisposable {
  readonly server: Redis;
  readonly replica: Redis;
}
async function pair(ctx: Context, name: RedisName): Promise<Pair> {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startRedis(name));
  const replica = stack.use(await startRedis(name, { args: ['--replicaof', `${server.host} ${server.port}`] }));
  await using connection = await open(ctx, { url: replica.url });
  await until('a replica', WAIT_MS, async () => (await readInfo(connection)).get('master_link_status') === 'up');
  const owned = stack.move();
  return { server, replica, [Symbol.asyncDispose]: async () => await owned.disposeAsync() };
}

async function targetOf(name: RedisName): Promise<Redis> {
  return await startRedis(name, { args: ['--enable-debug-command', 'yes'] });
}

async function restored(ctx: Context, to: Redis, { kept, base }: Followed, target: ReplayTarget): Promise<Restored> {
  const chain = await kept.chain(ctx, base, target);
  return await redisDriver.open({ url: to.url, frozen: true }).restore(ctx, chain, { replace: true });
}

/** Follows a server while something is done to it, until all of that is stored. */
async function scripted(
  ctx: Context,
  server: Redis,
  act: (connection: Connection, stored: () => Promise<void>) => Promise<unknown>,
  before?: Keeper,
): Promise<Followed & { last: string }> {
  const kept = before ?? (await keeper(ctx));
  const following = kept.follow(ctx, redisDriver.open({ url: server.url }));
  await until('the base', WAIT_MS, async () => kept.points.length === 1);
  await using connection = await open(ctx, { url: server.url });
  const stored = async (): Promise<void> => {
    const end = await offsetOf(connection);
    await until('all of it in the journal', WAIT_MS, async () => Number(following.durable() ?? -1) >= end);
  };
  await act(connection, stored);
  await stored();
  await following.stop();
  const [base] = kept.points;
  assert.ok(base);
  return { kept, base, last: following.durable() ?? '' };
}

async function offsetOf(connection: Connection): Promise<number> {
  return Number((await readInfo(connection)).get('master_repl_offset'));
}

function positionOf({ capture }: Point): ReplayTarget {
  return { kind: 'position', value: capture.journal?.to ?? '' };
}

/** What of a point and of a server is not the same, line by line; in which order keys are found does not matter. */
async function differences(ctx: Context, { source }: Point, server: Redis, frozen = true): Promise<string[]> {
  const live = await redisDriver.open({ url: server.url, frozen }).inventory(ctx);
  const [then, now] = await Promise.all(
    [inventoryOf(source), live].map(async (each) => {
      const lines = await Array.fromAsync(each.lines(ctx));
      return lines.filter(({ kind }) => kind !== 'facts').map((line) => JSON.stringify(line));
    }),
  );
  assert.ok(then && now && then.length > 20);
  return [...then.filter((line) => !now.includes(line)), ...now.filter((line) => !then.includes(line))];
}

for (const name of redisNames) {
  test(`${name} comes back as it was at each moment`, async (t) => {
    if (!(await needServer(t, name))) return;
    const seed = Number(process.env.SEED ?? Date.now() % 1e9);
    t.diagnostic(`SEED=${seed}`);
    const ctx = liveContext();
    await using servers = await pair(ctx, name);
    const history = await worked(ctx, servers, seed);
    await using to = await targetOf(name);
    for (const moment of history.moments) {
      const { method, reached } = await restored(ctx, to, history, positionOf(moment));
      assert.equal(method, 'master');
      assert.ok(reached && reached.position <= (moment.capture.journal?.to ?? ''));
      assert.deepEqual(await differences(ctx, moment, to), []);
    }
  });
}

test('where the target may not be a replica, the log is done by an ordinary client', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const seed = Number(process.env.SEED ?? Date.now() % 1e9);
  t.diagnostic(`SEED=${seed}`);
  const ctx = liveContext();
  await using servers = await pair(ctx, 'redis-7');
  const history = await worked(ctx, servers, seed);
  const renamed = ['--rename-command', 'REPLICAOF', '', '--rename-command', 'SLAVEOF', ''];
  await using to = await startRedis('redis-7', { args: renamed });
  for (const moment of history.moments.slice(-2)) {
    const chain = await history.kept.chain(ctx, history.base, positionOf(moment));
    for (const way of ['restore-commands', 'logical'] as const) {
      const { method, warnings, reached } = await restore(
        ctx,
        readSettings({ url: to.url }),
        chain,
        { replace: true },
        way,
      );
      assert.equal(method, way);
      assert.match(warnings.join(), /\d+ keys were left out: their time has come/);
      assert.ok(reached);
      // What was to pass away within the hour has done so.
      const wrong = (await differences(ctx, moment, to, false)).filter((line) => !/ until 20[0-8]/.test(line));
      assert.deepEqual(wrong, []);
    }
  }
});

test('fields that expire are not replayed by an ordinary client, and nothing is left of the try', async (t) => {
  if (!(await needServer(t, 'redis-8'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-8');
  await using to = await startRedis('redis-8');
  const followed = await scripted(ctx, server, async (connection) => {
    await connection.call('HSET', 'hash', 'field', '1');
    await connection.call('HEXPIRE', 'hash', 100, 'FIELDS', 1, 'field');
  });
  const chain = await followed.kept.chain(ctx, followed.base, { kind: 'latest' });
  const restoring = restore(ctx, readSettings({ url: to.url }), chain, {}, 'restore-commands');
  await assert.rejects(restoring, { code: 'denied', hint: /REPLICAOF/ });
  await using connection = await open(ctx, { url: to.url });
  assert.equal(await connection.call('DBSIZE'), 0);
  assert.equal((await redisDriver.open({ url: to.url }).restore(ctx, chain)).method, 'master');
});

test('a moment within a transaction is the one before it, also where that is larger than what is held', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7');
  const value = 'v'.repeat(5_000_000);
  let [begin, end] = [0, 0];
  const history = await scripted(ctx, server, async (connection) => {
    await connection.call('SET', 'before', '1');
    begin = await offsetOf(connection);
    await pipeline(connection, [
      ['MULTI'],
      ...Array.from({ length: 6 }, (_, n) => ['SET', `large:${n}`, value]),
      ['EXEC'],
    ]);
    end = await offsetOf(connection);
    await connection.call('SET', 'after', '1');
  });
  await using to = await targetOf('redis-7');
  await using connection = await open(ctx, { url: to.url });
  for (const [at, keys] of [
    [begin, 1],
    [begin + 1, 1],
    [begin + 17_000_000, 1],
    [end - 1, 1],
    [end, 7],
    [end + 1, 7],
  ] as const) {
    const { reached } = await restored(ctx, to, history, { kind: 'position', value: `${at}` });
    assert.equal(await connection.call('DBSIZE'), keys, `${at}`);
    assert.ok(Number(reached?.position) <= at);
  }
  await restored(ctx, to, history, { kind: 'latest' });
  assert.equal(await connection.call('DBSIZE'), 8);
  await restored(ctx, to, history, { kind: 'immediate' });
  assert.equal(await connection.call('DBSIZE'), 0);
});

test('a time brings back what had come by then, and nothing that was done after it', async (t) => {
  if (!(await needServer(t, 'valkey-8'))) return;
  const ctx = liveContext();
  await using server = await startRedis('valkey-8');
  const times: number[] = [];
  const history = await scripted(ctx, server, async (connection, stored) => {
    for (let n = 0; n < 3; n++) {
      await connection.call('RPUSH', 'done', n);
      await stored();
      times.push(await serverTime(ctx, connection));
      await ctx.sleep(150);
    }
    await connection.call('SET', 'the last', 'of all');
  });
  await using to = await targetOf('valkey-8');
  await using connection = await open(ctx, { url: to.url });
  for (const [n, at] of times.entries()) {
    const { reached } = await restored(ctx, to, history, { kind: 'time', at: new Date(at).toISOString() });
    assert.equal(await connection.call('LLEN', 'done'), n + 1);
    assert.ok(reached && Date.parse(reached.at) <= at);
  }
});

test('the log goes on over a replica that took over', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using servers = await pair(ctx, 'redis-7');
  const { server, replica } = servers;
  await using connection = await open(ctx, { url: replica.url });
  const before = await scripted(ctx, server, (first) => first.call('SET', 'before', '1'));
  await until('the replica at the end', WAIT_MS, async () => (await offsetOf(connection)) >= Number(before.last));
  await server.kill();
  await connection.call('REPLICAOF', 'NO', 'ONE');
  const history = await scripted(ctx, replica, (second) => second.call('SET', 'after', '1'), before.kept);
  assert.equal((await history.kept.lineages(ctx)).length, 2);
  await using to = await targetOf('redis-7');
  const { reached } = await restored(ctx, to, history, { kind: 'latest' });
  await using target = await open(ctx, { url: to.url });
  assert.equal(await target.call('EXISTS', 'before', 'after'), 2);
  assert.ok(reached);
});

test('a log with a command that the target does not know fails the restore, and leaves it empty', async (t) => {
  if (!(await needServer(t, 'redis-7', 'valkey-9'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7');
  const history = await scripted(ctx, server, async (connection) => {
    await connection.call('SET', 'key', '1');
    await connection.call('RPUSH', 'list', '1');
  });
  await using to = await startRedis('redis-7', { args: ['--rename-command', 'RPUSH', ''] });
  const chain = await history.kept.chain(ctx, history.base, { kind: 'latest' });
  for (const way of ['master', 'restore-commands'] as const) {
    const restoring = restore(ctx, readSettings({ url: to.url }), chain, {}, way);
    await assert.rejects(restoring, { code: way === 'master' ? 'version-mismatch' : 'denied' }, way);
    await using connection = await open(ctx, { url: to.url });
    const info = await readInfo(connection);
    assert.deepEqual([info.get('role'), await connection.call('DBSIZE')], ['master', 0]);
  }
});

test('what is no moment of the log, or only a part of it, is refused before anything is changed', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7');
  const history = await scripted(ctx, server, (connection) => connection.call('SET', 'key', '1'));
  await using to = await targetOf('redis-7');
  await using connection = await open(ctx, { url: to.url });
  await connection.call('SET', 'kept', '1');
  const foreign = `${'0'.repeat(40)}:1`;
  for (const [target, code] of [
    [{ kind: 'position', value: '99999999999' }, 'missing'],
    [{ kind: 'position', value: foreign }, 'usage'],
    [{ kind: 'position', value: '0/16B3748' }, 'usage'],
    [{ kind: 'name', value: 'before the upgrade' }, 'usage'],
  ] as const) {
    await assert.rejects(restored(ctx, to, history, target), { code }, JSON.stringify(target));
  }
  const chain = await history.kept.chain(ctx, history.base, { kind: 'latest' });
  for (const [settings, select] of [
    [{ url: to.url }, { keys: ['key'] }],
    [{ url: to.url, databases: [0] }, {}],
  ] as const) {
    const component = redisDriver.open(settings);
    await assert.rejects(component.restore(ctx, chain, { replace: true, select }), { code: 'usage' });
  }
  const rows = extract(ctx, readSettings({ url: to.url }), chain, { keys: ['*'] });
  await assert.rejects(Array.fromAsync(rows), { code: 'usage' });
  assert.equal(await connection.call('DBSIZE'), 1);
});
