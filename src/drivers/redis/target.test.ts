// What a target may do to a restore.

import assert from 'node:assert/strict';
import { connect as connectTcp } from 'node:net';
import { describe, test } from 'node:test';
import { needServer } from '../../../test/servers/need.ts';
import { type Redis, type RedisName, startRedis } from '../../../test/servers/redis.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Bytes, Context, Finding, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { readInfo } from './connection.ts';
import { redisDriver } from './driver.ts';
import { serveAsMaster } from './master.ts';
import { textOf } from './resp.ts';
import { restore } from './restore.ts';
import { readSettings } from './settings.ts';
import { fill, open, pipeline } from './testing.ts';

async function capturedFrom(ctx: Context, name: RedisName, more = 0): Promise<Source> {
  await using server = await startRedis(name);
  await fill(ctx, { url: server.url }, true);
  await using connection = await open(ctx, { url: server.url });
  await connection.call('CONFIG', 'SET', 'rdbcompression', 'no');
  const value = 'x'.repeat(1024 * 1024);
  await pipeline(
    connection,
    Array.from({ length: more }, (_, n) => ['SET', `large:${n}`, value]),
  );
  const { sink, source } = memoryParts();
  await redisDriver.open({ url: server.url }).capture(ctx, sink);
  return source;
}

async function differences(ctx: Context, source: Source, settings: object): Promise<Finding[]> {
  const live = await redisDriver.open(settings).inventory(ctx);
  const findings = await Array.fromAsync(redisDriver.compare(ctx, inventoryOf(source), live));
  assert.ok(findings.length > 20);
  return findings.filter(({ verdict }) => verdict !== 'pass');
}

/** Nothing of us is left: a master without a master, and no connection but the one that asks. */
async function assertOnItsOwn(ctx: Context, settings: object, keys: number): Promise<void> {
  await using connection = await open(ctx, settings);
  const info = await readInfo(connection);
  assert.deepEqual([info.get('role'), info.has('master_host')], ['master', false]);
  assert.equal(await connection.call('DBSIZE'), keys);
}

function during(source: Source, doing: (bytes: number) => Promise<void>): Source {
  return {
    ...source,
    async *get(ctx, name, range): Bytes {
      let bytes = 0;
      for await (const chunk of source.get(ctx, name, range)) {
        yield chunk;
        bytes += chunk.length;
        if (name === 'dump.rdb') await doing(bytes);
      }
    },
  };
}

async function keysOf(ctx: Context, server: Redis): Promise<unknown> {
  await using connection = await open(ctx, { url: server.url });
  return await connection.call('DBSIZE');
}

test('a target that signs in to its masters is restored, and goes on doing so', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  const source = await capturedFrom(ctx, 'redis-7');
  await using target = await startRedis('redis-7', {
    args: ['--masterauth', 'of-its-master', '--masteruser', 'someone'],
  });
  const { method } = await redisDriver.open({ url: target.url }).restore(ctx, { base: source });
  assert.equal(method, 'master');
  assert.deepEqual(await differences(ctx, source, { url: target.url }), []);
  await using connection = await open(ctx, { url: target.url });
  const masterauth = await connection.call('CONFIG', 'GET', 'masterauth');
  assert.equal(Array.isArray(masterauth) && textOf(masterauth[1]), 'of-its-master');
});

test('a target that refuses REPLICAOF is restored key by key, and says so', async (t) => {
  if (!(await needServer(t, 'redis-7', 'redis-8'))) return;
  const ctx = liveContext();
  const source = await capturedFrom(ctx, 'redis-7');
  const renamed = ['--rename-command', 'REPLICAOF', '', '--rename-command', 'SLAVEOF', ''];
  await using target = await startRedis('redis-7', { args: renamed });
  const restored = await redisDriver.open({ url: target.url }).restore(ctx, { base: source });
  assert.equal(restored.method, 'restore-commands');
  assert.match(restored.warnings.join(), /key by key instead/);
  assert.deepEqual(await differences(ctx, source, { url: target.url }), []);

  const user = ['--user', 'app', 'on', '>secret', '~*', '+@all', '-replicaof', '-slaveof'];
  await using limited = await startRedis('redis-8', { args: user });
  const settings = { url: limited.url, username: 'app', password: 'secret' };
  assert.equal((await redisDriver.open(settings).restore(ctx, { base: source })).method, 'restore-commands');
  assert.deepEqual(await differences(ctx, source, { url: limited.url }), []);
});

test('a target that replicates over TLS only is restored key by key', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  const source = await capturedFrom(ctx, 'redis-7');
  await using target = await startRedis('redis-7', { tls: true });
  const settings = { url: target.url, tls: { ca_file: target.caFile } };
  assert.equal((await redisDriver.open(settings).restore(ctx, { base: source })).method, 'restore-commands');
  assert.deepEqual(await differences(ctx, source, settings), []);
  await assertOnItsOwn(ctx, settings, 333);
});

describe('maxmemory', () => {
  test('that the data would not fit into is refused before anything is changed', async (t) => {
    if (!(await needServer(t, 'redis-8'))) return;
    const ctx = liveContext();
    const source = await capturedFrom(ctx, 'redis-8', 8);
    await using target = await startRedis('redis-8', { args: ['--maxmemory', '4mb'] });
    await using connection = await open(ctx, { url: target.url });
    await connection.call('SET', 'kept', '1');
    const restoring = redisDriver.open({ url: target.url }).restore(ctx, { base: source }, { replace: true });
    await assert.rejects(restoring, { code: 'no-space', hint: /maxmemory/ });
    assert.equal(textOf(await connection.call('GET', 'kept')), '1');
  });

  for (const way of ['restore-commands', 'logical', 'master'] as const) {
    test(`that is reached on the way (${way}) is said, and no half of the data is left`, async (t) => {
      if (!(await needServer(t, 'redis-7'))) return;
      const ctx = liveContext();
      const whole = await capturedFrom(ctx, 'redis-7', 16);
      // As if it had taken less memory where it was.
      const source: Source = {
        ...whole,
        async *get(c, name, range) {
          const data = Buffer.concat(await Array.fromAsync(whole.get(c, name, range)));
          yield name === 'dump.rdb' ? data : Buffer.from(data.toString().replace(/"used_bytes":\d+/, '"used_bytes":1'));
        },
      };
      await using target = await startRedis('redis-7', { args: ['--maxmemory', '8mb'] });
      const restoring = restore(ctx, readSettings({ url: target.url }), { base: source }, {}, way);
      await assert.rejects(restoring, { code: 'no-space', hint: /maxmemory/ });
      await assertOnItsOwn(ctx, { url: target.url }, 0);
    });
  }
});

test('a database that the target does not have is refused before anything is changed', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  const source = await capturedFrom(ctx, 'redis-7');
  await using target = await startRedis('redis-7', { args: ['--databases', '4'] });
  const restoring = redisDriver.open({ url: target.url }).restore(ctx, { base: source });
  await assert.rejects(restoring, { code: 'denied', hint: /databases 16/ });
  await assertOnItsOwn(ctx, { url: target.url }, 0);
});

test('a replica, a node of a cluster and a sentinel are refused', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  const source = await capturedFrom(ctx, 'redis-7');
  await using replica = await startRedis('redis-7', { args: ['--replicaof', '127.0.0.1', '1'] });
  await using node = await startRedis('redis-7', { args: ['--cluster-enabled', 'yes'] });
  for (const [{ url }, hint] of [
    [replica, /REPLICAOF NO ONE/],
    [node, /single server/],
  ] as const) {
    await assert.rejects(redisDriver.open({ url }).restore(ctx, { base: source }), { code: 'denied', hint });
  }
});

test('a restore that is stopped in the middle leaves a master without data', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const source = await capturedFrom(liveContext(), 'redis-7', 32);
  for (const way of ['master', 'restore-commands', 'logical'] as const) {
    const stop = new AbortController();
    const ctx = liveContext({ signal: stop.signal });
    await using target = await startRedis('redis-7');
    const stopped = during(source, async (bytes) => {
      if (bytes > 8_000_000) stop.abort();
    });
    const restoring = restore(ctx, readSettings({ url: target.url }), { base: stopped }, {}, way);
    await assert.rejects(restoring, { code: 'interrupted' }, way);
    await assertOnItsOwn(liveContext(), { url: target.url }, 0);
  }
});

test('a target that is killed in the middle is said, with what to send it', async (t) => {
  if (!(await needServer(t, 'valkey-8'))) return;
  const ctx = liveContext();
  const source = await capturedFrom(ctx, 'valkey-8', 32);
  await using target = await startRedis('valkey-8');
  const killing = during(source, async (bytes) => {
    if (bytes > 8_000_000) await target.kill();
  });
  const restoring = redisDriver.open({ url: target.url }).restore(ctx, { base: killing });
  await assert.rejects(restoring, { code: 'unreachable', hint: /REPLICAOF NO ONE/ });
  await target.start();
  await assertOnItsOwn(ctx, { url: target.url }, 0);
});

test('chosen keys and databases come back alone, beside what is there only when told to replace', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  const source = await capturedFrom(ctx, 'redis-7');
  await using target = await startRedis('redis-7');
  const component = redisDriver.open({ url: target.url });
  const select = { database: '0', keys: ['many:1*', 'hash'] };
  const { method } = await component.restore(ctx, { base: source }, { select });
  assert.equal(method, 'restore-commands');
  assert.equal(await keysOf(ctx, target), 112);
  await assert.rejects(component.restore(ctx, { base: source }, { select }), { code: 'target-not-empty' });
  await using connection = await open(ctx, { url: target.url });
  await connection.call('SET', 'other', 'stays');
  await connection.call('SET', 'hash', 'another type');
  await component.restore(ctx, { base: source }, { select, replace: true });
  assert.equal(await keysOf(ctx, target), 113);
  assert.equal(textOf(await connection.call('TYPE', 'hash')), 'hash');
  const { warnings } = await component.restore(ctx, { base: source }, { select: { keys: ['nobody'] }, replace: true });
  assert.match(warnings.join(), /no key matches/);
  await assert.rejects(component.restore(ctx, { base: source }, { select: { tables: ['t'] } }), { code: 'usage' });
  await component.restore(ctx, { base: source }, { select: { database: '7' } });
  const seventh = redisDriver.open({ url: target.url, databases: [7] });
  const lines = await Array.fromAsync((await seventh.inventory(ctx)).lines(ctx));
  assert.deepEqual(
    lines.flatMap(({ kind, name, count }) => (kind === 'keys' ? [[name, count]] : [])),
    [
      ['db7/list', 1],
      ['db7/string', 1],
    ],
  );
});

test('nobody but the target gets the copy', async () => {
  const options = {
    address: '127.0.0.1',
    peer: '127.0.0.1',
    replicationId: 'a'.repeat(40),
    bytes: 6,
    timeoutMs: 30_000,
  };
  await using master = await serveAsMaster({
    ...options,
    async *body() {
      yield Buffer.from('secret');
    },
  });
  const says = (words: string): Promise<string> =>
    new Promise((resolve) => {
      const socket = connectTcp(master.port, '127.0.0.1', () => socket.write(words));
      let heard = '';
      socket.on('data', (chunk) => {
        heard += chunk;
        if (heard.includes('secret')) resolve(heard);
      });
      socket.on('error', () => {});
      socket.on('close', () => resolve(heard));
    });
  const psync = (id: string): string => `*3\r\n$5\r\nPSYNC\r\n$${id.length}\r\n${id}\r\n$2\r\n-1\r\n`;
  for (const words of [
    psync('?'),
    psync('b'.repeat(40)),
    '*1\r\n$4\r\nSYNC\r\n',
    'SYNC\r\n',
    'GET / HTTP/1.1\r\n\r\n',
  ]) {
    assert.ok(!(await says(words)).includes('secret'), words);
  }
  await using elsewhere = await serveAsMaster({ ...options, peer: '127.0.0.2', body: async function* () {} });
  const refused = new Promise((resolve) =>
    connectTcp(elsewhere.port, '127.0.0.1')
      .on('close', resolve)
      .on('error', () => {}),
  );
  await refused;
  const socket = connectTcp(master.port, '127.0.0.1', () => socket.write(psync('a'.repeat(40))));
  const heard = await new Promise((resolve) => {
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
      if (text.endsWith('secret')) resolve(text);
    });
  });
  socket.destroy();
  assert.match(String(heard), /^\+FULLRESYNC 1{40} 1\r\n\$6\r\nsecret$/);
});
