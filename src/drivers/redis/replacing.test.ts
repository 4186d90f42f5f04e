// What a restore or a merge may do to data that lives.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { installed } from '../../../test/servers/install.ts';
import { needServer } from '../../../test/servers/need.ts';
import { type RedisName, startRedis } from '../../../test/servers/redis.ts';
import { inventoryFrom, inventoryOf } from '../../core/inventory.ts';
import type { Bytes, Context, InventoryLine, InventoryReader, Row, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import type { Connection } from './connection.ts';
import { redisDriver } from './driver.ts';
import { REPLY_BYTES_MAX, type Reply, textOf } from './resp.ts';
import { restore, type Way } from './restore.ts';
import { readSettings } from './settings.ts';
import { open } from './testing.ts';

async function captured(ctx: Context, name: RedisName, filling: (on: Connection) => Promise<unknown>): Promise<Source> {
  await using server = await startRedis(name);
  await using connection = await open(ctx, { url: server.url });
  await filling(connection);
  const { sink, source } = memoryParts();
  await redisDriver.open({ url: server.url }).capture(ctx, sink);
  return source;
}

async function* rowsOf(ctx: Context, source: Source, keys: string[]): AsyncIterable<Row> {
  const component = redisDriver.open({ host: 'nowhere' });
  yield* component.extract?.(ctx, { base: source }, { keys }, assert.fail) ?? [];
}

async function untilGone(probe: () => Promise<Reply>): Promise<void> {
  for (const end = performance.now() + 20_000; (await probe()) !== 0; ) {
    if (performance.now() > end) throw new Error('the key does not pass away');
  }
}

const PASSES_MS = 400;

/** Holds a key whose time has come by now, and one that stays. */
async function withPassedKey(ctx: Context, name: RedisName, passesMs = PASSES_MS): Promise<Source> {
  const at = Date.now() + passesMs;
  const source = await captured(ctx, name, async (on) => {
    await on.call('SET', 'session', 'of the point', 'PXAT', at);
    await on.call('SET', 'stays', 'of the point');
  });
  if (Date.now() >= at) return await withPassedKey(ctx, name, 4 * passesMs); // too slow: it may not be in the point
  await untilGone(async () => Number(Date.now() <= at));
  return source;
}

describe('a key of the point whose time has come', () => {
  test('does not take the live key of its name with it when rows are merged, and is counted', async (t) => {
    if (!(await needServer(t, 'redis-7'))) return;
    const ctx = liveContext();
    const source = await withPassedKey(ctx, 'redis-7');
    await using target = await startRedis('redis-7');
    await using connection = await open(ctx, { url: target.url });
    await connection.call('SET', 'session', 'of today');
    const component = redisDriver.open({ url: target.url });
    const merged = await component.merge?.(ctx, rowsOf(ctx, source, ['*']), {}, 'overwrite');
    assert.deepEqual(merged, { missing: 1, different: 0, same: 0, expired: 1, applied: 1 });
    assert.equal(textOf(await connection.call('GET', 'session')), 'of today');
  });

  for (const way of ['restore-commands', 'logical'] as const) {
    test(`does not take it when chosen keys are restored in place (${way}), and that is said`, async (t) => {
      if (!(await needServer(t, 'redis-7'))) return;
      const ctx = liveContext();
      const source = await withPassedKey(ctx, 'redis-7');
      await using target = await startRedis('redis-7');
      await using connection = await open(ctx, { url: target.url });
      await connection.call('SET', 'session', 'of today');
      const options = { select: { keys: ['s*'] }, replace: true };
      const { warnings } = await restore(ctx, readSettings({ url: target.url }), { base: source }, options, way);
      assert.match(warnings.join(), /1 keys were left out: their time has come/);
      assert.equal(textOf(await connection.call('GET', 'session')), 'of today');
      assert.equal(textOf(await connection.call('GET', 'stays')), 'of the point');
    });
  }

  test('that is missing in a sandbox, where nothing passes away, is unknown and no pass', async (t) => {
    if (!(await needServer(t, 'redis-7'))) return;
    const ctx = liveContext();
    const source = await withPassedKey(ctx, 'redis-7');
    await using target = await startRedis('redis-7', { args: ['--enable-debug-command', 'local'] });
    const verdicts = async (way: Way): Promise<string[]> => {
      const settings = readSettings({ url: target.url, frozen: true });
      await restore(ctx, settings, { base: source }, { replace: true }, way);
      const live = await redisDriver.open({ url: target.url, frozen: true }).inventory(ctx);
      // As if the hour had passed.
      const later = inventoryFrom(
        (await Array.fromAsync(live.lines(ctx))).map((line) => {
          const detail = { ...(line.detail as object), at: '2099-01-01T00:00:00Z' };
          return line.name === 'time' ? { ...line, detail } : line;
        }),
      );
      const findings = await Array.fromAsync(redisDriver.compare(ctx, inventoryOf(source), later));
      return findings.map(({ verdict }) => verdict);
    };
    assert.deepEqual(await verdicts('restore-commands'), ['pass', 'unknown']);
    assert.deepEqual(await verdicts('master'), ['pass', 'pass']);
  });
});

test('a value that is replaced by commands is replaced at once, and stays as it was when one is refused', async (t) => {
  if (!(await needServer(t, 'redis-7', 'redis-8'))) return;
  const ctx = liveContext();
  const source = await captured(ctx, 'redis-8', async (on) => {
    for (let n = 0; n < 40; n++) await on.call('RPUSH', 'list', ...Array.from({ length: 100 }, (_, i) => `${n}:${i}`));
    await on.call('SET', 'text', 'x'.repeat(100_000));
  });
  await using target = await startRedis('redis-7');
  await using connection = await open(ctx, { url: target.url });
  await connection.call('RPUSH', 'list', 'of', 'today');
  const component = redisDriver.open({ url: target.url });
  const replaced = async (): Promise<unknown[]> => {
    await connection.call('CONFIG', 'RESETSTAT');
    const calls: [() => Promise<unknown>, string][] = [
      [async () => await component.merge?.(ctx, rowsOf(ctx, source, ['list']), {}, 'overwrite'), 'merge'],
      [
        async () => await component.restore(ctx, { base: source }, { select: { keys: ['list'] }, replace: true }),
        'restore',
      ],
    ];
    const outcomes: unknown[] = [];
    for (const [call, name] of calls) {
      await call().then(
        () => outcomes.push(name),
        (error: unknown) => outcomes.push(error),
      );
    }
    return outcomes;
  };
  // Whoever looks while it is replaced sees the one or the other.
  const seen = new Set<number>();
  await using watcher = await open(ctx, { url: target.url });
  let over = false;
  const watching = (async () => {
    while (!over) seen.add(Number(await watcher.call('LLEN', 'list')));
  })();
  assert.deepEqual(await replaced(), ['merge', 'restore']);
  over = true;
  await watching;
  assert.deepEqual(
    [...seen].filter((length) => length !== 2 && length !== 4000),
    [],
  );
  assert.equal(await connection.call('LLEN', 'list'), 4000);

  await connection.call('DEL', 'list');
  await connection.call('RPUSH', 'list', 'of', 'today');
  await connection.call('ACL', 'SETUSER', 'default', '-rpush');
  for (const outcome of await replaced()) assert.match(String(outcome), /rpush/i);
  assert.equal(await connection.call('LLEN', 'list'), 2);
});

test('functions of the target stay when only chosen databases or keys are restored', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  const library = (answer: number): string =>
    `#!lua name=lib\nredis.register_function('answer', function() return ${answer} end)`;
  const source = await captured(ctx, 'redis-7', async (on) => {
    await on.call('FUNCTION', 'LOAD', library(1));
    await on.call('SET', 'key', '1');
  });
  await using target = await startRedis('redis-7');
  await using connection = await open(ctx, { url: target.url });
  await connection.call('FUNCTION', 'LOAD', library(2));
  const component = redisDriver.open({ url: target.url });
  for (const select of [{ database: '0' }, { keys: ['key'] }]) {
    await component.restore(ctx, { base: source }, { select, replace: true });
    assert.equal(await connection.call('FCALL', 'answer', 0), 2);
    assert.equal(textOf(await connection.call('GET', 'key')), '1');
  }
  await redisDriver.open({ url: target.url, databases: [0] }).restore(ctx, { base: source }, { replace: true });
  assert.equal(await connection.call('FCALL', 'answer', 0), 1, 'all that is configured includes functions');
});

test('what was asked for over TLS never goes to the target in the clear', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  const source = await captured(ctx, 'redis-7', async (on) => await on.call('SET', 'key', 'secret'));
  await using target = await startRedis('redis-7', { tls: true, args: ['--tls-replication', 'no'] });
  const component = redisDriver.open({ url: target.url, tls: { ca_file: target.caFile } });
  assert.equal((await component.restore(ctx, { base: source })).method, 'restore-commands');
});

test('a module that keeps data of its own is named, and told when that data was not restored or is missing', async (t) => {
  if (!(await needServer(t, 'redis-8'))) return;
  const module = join(dirname(await installed('redis-8')), 'falkordb.so');
  if (!existsSync(module)) return t.skip('this redis-8 comes without a module');
  const ctx = liveContext();
  const args = ['--loadmodule', module];
  await using server = await startRedis('redis-8', { args });
  const { sink, source } = memoryParts();
  const { warnings } = await redisDriver.open({ url: server.url }).capture(ctx, sink);
  assert.match(warnings.join(), /graphdata/);
  const own = async (reader: InventoryReader): Promise<InventoryLine[]> =>
    (await Array.fromAsync(reader.lines(ctx))).filter(({ kind }) => kind === 'modules');
  assert.deepEqual(
    (await own(inventoryOf(source))).map(({ name }) => name),
    ['graphdata'],
  );
  for (const other of [args, []]) {
    await using target = await startRedis('redis-8', { args: other });
    const live = await redisDriver.open({ url: target.url }).inventory(ctx);
    const findings = await Array.fromAsync(redisDriver.compare(ctx, inventoryOf(source), live));
    const found = findings.find(({ check }) => check.includes('data of module graphdata'));
    assert.equal(found?.verdict, 'unknown');
    assert.match(found.detail, other === args ? /not compared/ : /missing now/);
    if (other === args) continue;
    const restored = await restore(ctx, readSettings({ url: target.url }), { base: source }, {}, 'restore-commands');
    assert.match(restored.warnings.join(), /module graphdata keeps beside the keys was not restored/);
  }
});

test('a target that stands still in the middle of its copy is given up after the timeout', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  const source = await captured(ctx, 'redis-7', async (on) => {
    await on.call('CONFIG', 'SET', 'rdbcompression', 'no');
    for (let n = 0; n < 48; n++) await on.call('SET', `large:${n}`, 'x'.repeat(1024 * 1024));
  });
  await using target = await startRedis('redis-7');
  let stopped = false;
  const stopping: Source = {
    ...source,
    async *get(c, name, range): Bytes {
      for await (const chunk of source.get(c, name, range)) {
        yield chunk;
        if (name !== 'dump.rdb' || stopped) continue;
        stopped = true;
        process.kill(target.pid, 'SIGSTOP');
      }
    },
  };
  const restoring = redisDriver.open({ url: target.url, timeout: '1s' }).restore(ctx, { base: stopping });
  try {
    // It can't be promoted either while it stands still, and that is what must be known.
    await assert.rejects(restoring, { code: 'unreachable', hint: /REPLICAOF NO ONE/ });
  } finally {
    process.kill(target.pid, 'SIGCONT');
  }
});

test('an answer that would not fit into memory is refused', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7');
  await using filling = await open(ctx, { url: server.url });
  await filling.call('SETRANGE', 'large', REPLY_BYTES_MAX, 'x');
  await using connection = await open(ctx, { url: server.url });
  await assert.rejects(connection.call('GET', 'large'), { code: 'value-too-large', hint: /largest keys/ });
});
