// What a source may do to a capture.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { needServer } from '../../../test/servers/need.ts';
import { redisNames, startRedis } from '../../../test/servers/redis.ts';
import type { Bytes, Context, Finding, Part, Sink } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { readInfo } from './connection.ts';
import { redisDriver } from './driver.ts';
import { fill, open, pipeline } from './testing.ts';

/** Every command that a capture and doctor need, as the hint and the page of the driver name them. */
const BACKUP_USER = 'on >secret +psync +replconf +ping +info +time';

async function finding(ctx: Context, settings: object, check: RegExp): Promise<Finding | undefined> {
  const { findings } = await redisDriver.open(settings).probe(ctx);
  return findings.find((each) => check.test(each.check));
}

/** More than the buffers of two sockets hold, so that a server is caught in the middle of it. */
async function fillMuch(ctx: Context, settings: object): Promise<void> {
  await using connection = await open(ctx, settings);
  await connection.call('CONFIG', 'SET', 'rdbcompression', 'no');
  const value = 'x'.repeat(1024 * 1024);
  await pipeline(
    connection,
    Array.from({ length: 64 }, (_, n) => ['SET', `large:${n}`, value]),
  );
}

function sinkThat(doing: (bytes: number) => Promise<void>): Sink {
  const { sink } = memoryParts();
  const put = async (ctx: Context, name: string, body: Bytes): Promise<Part> => {
    let bytes = 0;
    async function* watched(): Bytes {
      for await (const chunk of body) {
        bytes += chunk.length;
        await doing(bytes);
        yield chunk;
      }
    }
    return await sink.put(ctx, name, watched());
  };
  return { ...sink, put };
}

describe('a user who may not replicate', () => {
  for (const name of redisNames) {
    test(`on ${name}: doctor and the capture name the rights that are missing, and they suffice`, async (t) => {
      if (!(await needServer(t, name))) return;
      const ctx = liveContext();
      await using server = await startRedis(name, {
        args: ['--user', 'backup', 'on', '>secret', '+info', '+time', '+ping', '+replconf'],
      });
      await fill(ctx, { url: server.url }, true);
      const settings = { url: server.url, username: 'backup', password: 'secret' };
      const component = redisDriver.open(settings);
      await assert.rejects(component.capture(ctx, memoryParts().sink), {
        code: 'privileges',
        message: /psync/,
        hint: 'ACL SETUSER backup +psync +replconf +ping +info +time',
      });
      const before = await finding(ctx, settings, /may replicate/);
      assert.deepEqual(
        [before?.verdict, before?.hint],
        ['fail', 'ACL SETUSER backup +psync +replconf +ping +info +time'],
      );
      await using admin = await open(ctx, { url: server.url });
      await admin.call('ACL', 'SETUSER', 'backup', 'reset', ...BACKUP_USER.split(' '));
      assert.equal((await finding(ctx, settings, /may replicate/))?.verdict, 'pass');
      assert.equal((await readInfo(admin)).get('sync_full'), '0', 'a probe asks for no copy');
      await component.capture(ctx, memoryParts().sink);
      assert.equal((await readInfo(admin)).get('sync_full'), '1');
    });
  }
});

test('a server that has PSYNC renamed is told apart from one that lacks rights', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7', { args: ['--rename-command', 'PSYNC', 'XYZ'] });
  const settings = { url: server.url };
  await assert.rejects(redisDriver.open(settings).capture(ctx, memoryParts().sink), {
    code: 'denied',
    hint: /renamed/,
  });
  assert.equal((await finding(ctx, settings, /may replicate/))?.verdict, 'fail');
});

test('a wrong password, a missing one, a user that is not there', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7', { args: ['--requirepass', 'right'] });
  for (const who of [{ password: 'wrong-canary' }, {}, { username: 'nobody', password: 'wrong-canary' }]) {
    const component = redisDriver.open({ url: server.url, ...who });
    await assert.rejects(component.capture(ctx, memoryParts().sink), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'wrong-password');
      assert.ok(!`${error.stack}${JSON.stringify(error)}`.includes('canary'));
      return true;
    });
  }
});

test('a server that repeats what it does not know does not make us repeat a password', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  await using server = await startRedis('redis-7', { args: ['--rename-command', 'AUTH', ''] });
  const component = redisDriver.open({ url: server.url, password: 'canary' });
  await assert.rejects(component.probe(liveContext()), (error: Error) => !String(error.stack).includes('canary'));
});

test('fault 38: a copy that breaks off is not asked for again and again', async (t) => {
  if (!(await needServer(t, 'redis-8'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-8');
  await fillMuch(ctx, { url: server.url });
  const sink = sinkThat(async (bytes) => {
    if (bytes > 1_000_000) throw new RangeError('the store is full');
  });
  await assert.rejects(redisDriver.open({ url: server.url }).capture(ctx, sink), RangeError);
  await using connection = await open(ctx, { url: server.url });
  assert.equal((await readInfo(connection)).get('sync_full'), '1');
});

test('fault 45: a server that is killed in the middle of its copy leaves no part', async (t) => {
  if (!(await needServer(t, 'valkey-8'))) return;
  const ctx = liveContext();
  await using server = await startRedis('valkey-8');
  await fillMuch(ctx, { url: server.url });
  let killed = false;
  const sink = sinkThat(async (bytes) => {
    if (bytes < 1_000_000 || killed) return;
    killed = true;
    await server.kill();
  });
  await assert.rejects(redisDriver.open({ url: server.url }).capture(ctx, sink), { code: 'unreachable' });
  assert.ok(killed);
});

test('TLS: with the certificate it works, without it says what is missing', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7', { tls: true });
  const settings = { url: server.url, tls: { ca_file: server.caFile } };
  await fill(ctx, settings, true);
  const { totals } = await redisDriver.open(settings).capture(ctx, memoryParts().sink);
  assert.equal(totals.databases, 16);
  await assert.rejects(redisDriver.open({ url: server.url }).probe(ctx), { code: 'unreachable', hint: /ca_file/ });
});

test('a copy of many megabytes comes whole, encrypted or not', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  for (const tls of [true, false]) {
    await using server = await startRedis('redis-7', { tls });
    const settings = { url: server.url, ...(tls && { tls: { ca_file: server.caFile } }) };
    await using connection = await open(ctx, settings);
    await connection.call('CONFIG', 'SET', 'rdbcompression', 'no');
    await pipeline(connection, manyKeys());
    const { totals } = await redisDriver.open(settings).capture(ctx, memoryParts().sink);
    assert.equal(totals.keys, 4000, 'and the check sum of the copy was right');
  }
});

function* manyKeys(): Iterable<readonly string[]> {
  for (let n = 0; n < 4000; n++) yield ['SET', `key:${n}`, `${n} `.repeat(1000)];
}

test('keys are counted without being digested where the settings say so', async (t) => {
  if (!(await needServer(t, 'valkey-9'))) return;
  const ctx = liveContext();
  await using server = await startRedis('valkey-9');
  await fill(ctx, { url: server.url }, true);
  const [full, counted] = [{ url: server.url }, { url: server.url, inventory: 'counts' }].map((each) =>
    redisDriver.open(each),
  );
  assert.ok(full && counted);
  const findings = await Array.fromAsync(
    redisDriver.compare(ctx, await full.inventory(ctx), await counted.inventory(ctx)),
  );
  assert.ok(findings.length > 20);
  assert.deepEqual(
    new Set(findings.map(({ verdict, detail }) => `${verdict}: ${detail}`)),
    new Set(['unknown: counted, not digested']),
  );
});

test('only the databases of the settings are looked at', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7');
  await fill(ctx, { url: server.url }, true);
  const { totals } = await redisDriver.open({ url: server.url, databases: [3, 5] }).capture(ctx, memoryParts().sink);
  assert.deepEqual(totals, { databases: 2, keys: 4, expiring: 0, functions: 1 });
});

test('a node of a cluster and a replica without its master are told by doctor', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using node = await startRedis('redis-7', { args: ['--cluster-enabled', 'yes'] });
  assert.equal((await finding(ctx, { url: node.url }, /all of its data/))?.verdict, 'fail');
  const { warnings } = await redisDriver.open({ url: node.url }).capture(ctx, memoryParts().sink);
  assert.match(warnings.join(), /slots/);
  await using replica = await startRedis('redis-7', { args: ['--replicaof', '127.0.0.1', '1'] });
  assert.match((await finding(ctx, { url: replica.url }, /follows/))?.hint ?? '', /REPLICAOF NO ONE/);
  await assert.rejects(redisDriver.open({ url: replica.url }).capture(ctx, memoryParts().sink), { code: 'blocked' });
});
