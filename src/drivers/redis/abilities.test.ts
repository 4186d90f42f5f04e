// What Redis can do besides: sandboxes that freeze time, single keys, checks, names of the old scripts.

import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { describe, test } from 'node:test';
import { installed } from '../../../test/servers/install.ts';
import { needServer } from '../../../test/servers/need.ts';
import { type RedisName, redisNames, startRedis } from '../../../test/servers/redis.ts';
import { bytesOf, readAll } from '../../core/bytes.ts';
import type { Sandbox } from '../../core/driver.ts';
import { inventoryFrom, inventoryOf } from '../../core/inventory.ts';
import type { Context, InventoryLine, Row, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { processSandboxes } from '../../sandboxes/process/runner.ts';
import { redisDriver } from './driver.ts';
import { textOf } from './resp.ts';
import { retarget } from './settings.ts';
import { fill, ODD_NAMES, open } from './testing.ts';

async function until(what: string, probe: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 20_000; !(await probe()); ) {
    if (performance.now() > end) throw new Error(what);
  }
}

async function captured(ctx: Context, settings: object): Promise<{ source: Source; version: string }> {
  const { sink, source } = memoryParts();
  const { serverVersion } = await redisDriver.open(settings).capture(ctx, sink);
  return { source, version: serverVersion };
}

async function pathWith(...names: RedisName[]): Promise<string> {
  const programs = await Promise.all(names.map((name) => installed(name)));
  return programs.map((program) => dirname(program)).join(':');
}

async function sandbox(ctx: Context, version: string): Promise<Sandbox> {
  return await processSandboxes().start(ctx, redisDriver, version);
}

describe('a point whose keys have passed away since', () => {
  for (const name of redisNames) {
    test(`captured from ${name} is equal in a sandbox, where no time passes`, async (t) => {
      if (!(await needServer(t, name))) return;
      const ctx = liveContext({ env: { ...process.env, PATH: await pathWith(name) } });
      await using server = await startRedis(name);
      await using connection = await open(ctx, { url: server.url });
      await connection.call('SET', 'stays', '1');
      const passing = async (ms: number): Promise<Awaited<ReturnType<typeof captured>>> => {
        const soon = Date.now() + ms;
        for (let n = 0; n < 50; n++) await connection.call('SET', `passes:${n}`, n, 'PXAT', soon);
        await connection.call('DEL', 'list', 'hash');
        await connection.call('RPUSH', 'list', 'a');
        await connection.call('PEXPIREAT', 'list', soon);
        await connection.call('HSET', 'hash', 'f', '1', 'g', '2');
        await connection.ask('HPEXPIREAT', 'hash', soon, 'FIELDS', 1, 'f'); // not every server can
        const point = await captured(ctx, { url: server.url });
        return Date.now() < soon ? point : await passing(4 * ms); // too slow: they may not be in the point
      };
      const { source, version } = await passing(400);
      await until('the keys pass away', async () => (await connection.call('EXISTS', 'passes:0')) === 0);

      await using box = await sandbox(ctx, version);
      await box.component.restore(ctx, { base: source });
      const frozen = await Array.fromAsync(
        redisDriver.compare(ctx, inventoryOf(source), await box.component.inventory(ctx)),
      );
      assert.deepEqual(
        frozen.filter(({ verdict }) => verdict !== 'pass'),
        [],
      );
      assert.equal(
        frozen.reduce((sum, { detail }) => sum + Number.parseInt(detail, 10), 0),
        53,
      );

      await using target = await startRedis(name);
      const live = redisDriver.open({ url: target.url });
      await live.restore(ctx, { base: source });
      await using counter = await open(ctx, { url: target.url });
      await until('the server drops them', async () => Number(await counter.call('DBSIZE')) <= 2);
      const findings = await Array.fromAsync(redisDriver.compare(ctx, inventoryOf(source), await live.inventory(ctx)));
      assert.ok(
        findings.every(({ verdict }) => verdict !== 'fail'),
        JSON.stringify(findings),
      );
    });
  }
});

describe('single keys', () => {
  const rowsOf = async (ctx: Context, source: Source, keys: string[]): Promise<Row[]> =>
    await Array.fromAsync(
      redisDriver.open({ host: 'nowhere' }).extract?.(ctx, { base: source }, { keys }, never) ?? [],
    );
  const never = async (): Promise<never> => assert.fail('no server is needed');
  async function* fed(rows: readonly Row[]): AsyncIterable<Row> {
    yield* rows;
  }

  test('are read without a server, whatever their names, in words', async (t) => {
    if (!(await needServer(t, 'valkey-9'))) return;
    const ctx = liveContext();
    await using server = await startRedis('valkey-9');
    await fill(ctx, { url: server.url }, true);
    const { source } = await captured(ctx, { url: server.url });
    const rows = new Map(
      (await rowsOf(ctx, source, ['*'])).map(({ key, value }) => [key, value as Record<string, unknown>]),
    );
    assert.ok(rows.has('\\x00\xff\\x0a\\x0d '.replace('\xff', '\\xff')), [...rows.keys()].slice(-20).join('|'));
    assert.deepEqual(rows.get('schlüssel:日本')?.value, 'odd');
    assert.deepEqual(rows.get('binary')?.value, { base64: 'AAEC//4=' });
    assert.equal(rows.get('passing')?.expires_at, '2099-01-01T00:00:00.000Z');
    assert.match(JSON.stringify(rows.get('hash:fields')), /"expires_at":"2099-01-01/);
    assert.match(JSON.stringify(rows.get('stream')), /"entries":\[\{"id":"1-1","fields":\["name","n 1","size","1"\]\}/);
    assert.equal(rows.get('items')?.database, 15, 'the last of sixteen of that name');
    const first = redisDriver.open({ host: 'nowhere' }).extract?.(ctx, { base: source }, { keys: ['*'] }, never);
    for await (const row of first ?? []) {
      assert.ok(row.key.length > 0);
      break; // and the walk ends with it
    }
  });

  test('go back into a server of another version, by value where its dumps are of no use', async (t) => {
    if (!(await needServer(t, 'redis-8', 'redis-7'))) return;
    const ctx = liveContext();
    await using server = await startRedis('redis-8');
    await fill(ctx, { url: server.url }, true);
    const { source } = await captured(ctx, { url: server.url });
    const rows = (await rowsOf(ctx, source, ['*'])).filter(({ key }) => !key.startsWith('hash:fields'));
    await using target = await startRedis('redis-7');
    const component = redisDriver.open({ url: target.url });
    await using connection = await open(ctx, { url: target.url });
    await connection.call('SET', 'hash', 'in the way');
    const merged = await component.merge?.(ctx, fed(rows), {}, 'overwrite');
    assert.deepEqual(merged, { missing: rows.length - 1, different: 1, same: 0, applied: rows.length });
    const again = await component.merge?.(ctx, fed(rows), {}, 'preview');
    assert.deepEqual(again, { missing: 0, different: 0, same: rows.length, applied: 0 });
    for (const name of ODD_NAMES) assert.equal(textOf(await connection.call('GET', name)), 'odd');
  });

  test('that somebody has tampered with are refused', async (t) => {
    if (!(await needServer(t, 'redis-7'))) return;
    const ctx = liveContext();
    await using server = await startRedis('redis-7');
    await fill(ctx, { url: server.url }, true);
    const { source } = await captured(ctx, { url: server.url });
    const [row] = await rowsOf(ctx, source, ['hash']);
    assert.ok(row);
    const value = row.value as Record<string, Record<string, string>>;
    const dump = Buffer.from(value.dump?.base64 ?? '', 'base64');
    dump[20] = (dump[20] ?? 0) ^ 1;
    const tampered = { ...row, value: { ...value, dump: { family: 'redis', base64: dump.toString('base64') } } };
    const component = redisDriver.open({ url: server.url });
    for (const wrong of [tampered, { key: 'x', value: 1 }]) {
      await assert.rejects(component.merge?.(ctx, fed([wrong]), {}, 'overwrite') ?? assert.fail(), {
        code: 'malformed',
      });
    }
  });
});

test('checks are commands that read and answer with a number', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7');
  await fill(ctx, { url: server.url }, true);
  const measure = async (query: string): Promise<number | undefined> =>
    await redisDriver.open({ url: `${server.url}/0` }).measure?.(ctx, query);
  assert.equal(await measure('DBSIZE'), 333);
  assert.equal(await measure("hget hash 'word 7'"), 7);
  assert.equal(await measure('LLEN "list"'), 52);
  assert.equal(await redisDriver.open({ url: `${server.url}/3` }).measure?.(ctx, 'DBSIZE'), 2);
  for (const query of [
    'FLUSHALL',
    'SET a 1',
    'GETDEL number:0',
    'DEBUG SLEEP 1',
    'GET binary',
    'no-such-command',
    '',
  ]) {
    await assert.rejects(measure(query), { code: 'denied' }, query);
  }
  assert.equal(await measure('DBSIZE'), 333);
});

test('values of modules are kept as they are, and left out with a warning where the module is missing', async (t) => {
  if (!(await needServer(t, 'redis-8', 'valkey-9'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-8');
  await using connection = await open(ctx, { url: server.url });
  await connection.call('SET', 'plain', '1');
  for (let n = 0; n < 50; n++) {
    await connection.call('VADD', 'vectors', 'VALUES', '2', n / 50, 1 - n, `element ${n}`);
  }
  const { sink, source } = memoryParts();
  const { warnings } = await redisDriver.open({ url: server.url }).capture(ctx, sink);
  assert.match(warnings.join(), /vectorset/);
  for (const name of ['redis-8', 'valkey-9'] as const) {
    await using target = await startRedis(name);
    const component = redisDriver.open({ url: target.url });
    const restored = await component.restore(ctx, { base: source });
    const verdicts = new Map<string, string>();
    for await (const each of redisDriver.compare(ctx, inventoryOf(source), await component.inventory(ctx))) {
      verdicts.set(each.check, each.verdict);
    }
    const [check] = [...verdicts.keys()].filter((each) => each.includes('vectorset'));
    if (name === 'redis-8') assert.deepEqual([restored.method, verdicts.get(check ?? '')], ['master', 'pass']);
    else {
      assert.match(restored.warnings.join(), /1 values of module vectorset were not restored/);
      assert.equal(verdicts.get(check ?? ''), 'fail');
    }
  }
  const [row] = await Array.fromAsync(
    redisDriver.open({ url: server.url }).extract?.(ctx, { base: source }, { keys: ['vectors'] }, assert.fail) ?? [],
  );
  assert.ok(row);
  await connection.call('DEL', 'vectors');
  async function* rows(): AsyncIterable<Row> {
    if (row) yield row;
  }
  await redisDriver.open({ url: server.url }).merge?.(ctx, rows(), {}, 'missing-only');
  assert.equal(await connection.call('VCARD', 'vectors'), 50);
});

test('a changed value, expiry, order of a list and a missing key are seen', async (t) => {
  if (!(await needServer(t, 'redis-8'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-8');
  await fill(ctx, { url: server.url }, true);
  const component = redisDriver.open({ url: server.url });
  const before = inventoryFrom(await Array.fromAsync((await component.inventory(ctx)).lines(ctx)));
  await using connection = await open(ctx, { url: server.url });
  const failing = async (): Promise<string[]> => {
    const findings = await Array.fromAsync(redisDriver.compare(ctx, before, await component.inventory(ctx)));
    return findings
      .filter(({ verdict }) => verdict === 'fail')
      .map(({ check }) => check.replace(/ until \S+/, ' until'));
  };
  const there = async (...commands: string[][]): Promise<void> => {
    for (const command of commands) await connection.call(...command);
  };
  const steps: [does: string[][], undoes: string[][], seen: string][] = [
    [[['APPEND', 'empty', 'x']], [['SET', 'empty', '']], 'db0/string'],
    [[['PEXPIREAT', 'passing', '4070908801000']], [['PEXPIREAT', 'passing', '4070908800000']], 'db0/string until'],
    [[['LMOVE', 'list', 'list', 'LEFT', 'RIGHT']], [['LMOVE', 'list', 'list', 'RIGHT', 'LEFT']], 'db0/list until'],
    [[['ZADD', 'zset', '3.5', '17']], [['ZADD', 'zset', '3', '17']], 'db0/zset'],
    [[['SMOVE', 'set', 'set:small', 'word 1']], [['SMOVE', 'set:small', 'set', 'word 1']], 'db0/set'],
    [[['XGROUP', 'SETID', 'stream', 'idle', '6-1']], [['XGROUP', 'SETID', 'stream', 'idle', '5-1']], 'db0/stream'],
    [[['FUNCTION', 'DELETE', 'lifeboat']], [], 'library lifeboat'],
  ];
  assert.deepEqual(await failing(), []);
  for (const [does, undoes, seen] of steps) {
    await there(...does);
    assert.ok(
      (await failing()).some((check) => check.startsWith(`${seen} `)),
      seen,
    );
    await there(...undoes);
  }
});

test('what the clock took away is told from what is lost', async () => {
  const ctx = liveContext();
  const line = (name: string, count: number, digest: string): InventoryLine => ({ kind: 'keys', name, count, digest });
  const taken = (at: string): InventoryLine => ({
    kind: 'facts',
    name: 'time',
    count: null,
    digest: null,
    detail: { at },
  });
  const verdict = async (
    at: string,
    expected: InventoryLine,
    ...actual: InventoryLine[]
  ): Promise<string | undefined> => {
    const [left, right] = [
      [taken('2026-01-01T00:00:00Z'), expected],
      [taken(at), ...actual],
    ].map(inventoryFrom);
    assert.ok(left && right);
    return (await Array.fromAsync(redisDriver.compare(ctx, left, right)))[0]?.verdict;
  };
  const hour = 'db0/string until 2026-01-01T10:00:00.000Z';
  assert.equal(await verdict('2026-01-01T08:59:00Z', line(hour, 3, 'a')), 'fail', 'before its hour');
  assert.equal(await verdict('2026-01-01T09:30:00Z', line(hour, 3, 'a'), line(hour, 2, 'b')), 'unknown', 'in its hour');
  assert.equal(await verdict('2026-01-01T10:00:00Z', line(hour, 3, 'a')), 'pass', 'after it');
  assert.equal(await verdict('2026-01-01T11:00:00Z', line(hour, 3, 'a'), line(hour, 3, 'b')), 'fail', 'changed');
  assert.equal(await verdict('2026-01-01T11:00:00Z', line(hour, 3, 'a'), line(hour, 4, 'b')), 'fail', 'more');
  assert.equal(await verdict('2026-01-01T11:00:00Z', line('db0/string', 3, 'a')), 'fail', 'what stays');
  const fields = 'db0/hash with fields until 2026-01-01T10:00:00.000Z';
  assert.equal(await verdict('2026-01-01T11:00:00Z', line(fields, 3, 'a'), line(fields, 3, 'b')), 'unknown');
  assert.equal(await verdict('2026-01-01T08:00:00Z', line(fields, 3, 'a'), line(fields, 3, 'b')), 'fail');
});

test('another place keeps who we are, unless it says otherwise', () => {
  const from = { url: 'redis://backup:secret@old:7000/2', inventory: 'counts' };
  assert.deepEqual(retarget(from, 'new:7001'), {
    inventory: 'counts',
    url: 'redis://new:7001/2',
    username: 'backup',
    password: 'secret',
  });
  assert.deepEqual(retarget({ host: 'old', password: 'secret' }, 'rediss://other:word@new'), {
    url: 'rediss://new:6379/0',
    username: 'other',
    password: 'word',
    tls: true,
  });
  const files = { ca_file: '/ca.pem' };
  assert.deepEqual(retarget({ host: 'old', tls: files }, 'rediss://new'), { url: 'rediss://new:6379/0', tls: files });
  assert.throws(() => retarget(from, 'postgresql://new'), { code: 'settings-invalid' });
});

test('settings that contradict one another are refused', () => {
  for (const wrong of [
    { url: 'http://x' },
    { url: 'redis://a', host: 'b' },
    { url: 'redis://a/x' },
    { host: 'a', port: 0 },
    { host: 'a', tls: { ca: 'x' } },
  ]) {
    assert.throws(() => redisDriver.open(wrong), { code: 'settings-invalid' }, JSON.stringify(wrong));
  }
});

test('files of the old scripts are known by their names', () => {
  for (const [name, stamp] of [
    ['redis-2024-02-23-020000.rdb', '2024-02-23-020000'],
    ['redis_20260128_120000.rdb.gz', '20260128_120000'],
  ] as const) {
    const known = redisDriver.recognise(name);
    assert.deepEqual([known?.part, known?.stamp], ['dump.rdb', stamp]);
  }
  for (const name of ['redis.rdb', 'redis-2024-02-23-020000.rdb.tmp', 'postgres-2024-02-23-020000.sql.gz']) {
    assert.equal(redisDriver.recognise(name), null);
  }
});

test('a file of the old scripts that was cut short is no backup, whatever it was packed with', async () => {
  const { checked } = redisDriver.recognise('redis-2024-02-23-020000.rdb') ?? {};
  assert.ok(checked);
  const whole = Buffer.concat([Buffer.from('REDIS0011'), Buffer.from([255]), Buffer.alloc(8)]);
  assert.deepEqual(await readAll(checked(liveContext(), bytesOf(whole))), whole);
  for (const cut of [whole.subarray(0, 9), whole.subarray(0, -1)]) {
    await assert.rejects(readAll(checked(liveContext(), bytesOf(cut))), { code: 'malformed' });
  }
});

test('an imported file without an inventory is checked before it is loaded, and restored', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7');
  await fill(ctx, { url: server.url }, true);
  const { source } = await captured(ctx, { url: server.url });
  const rdb = Buffer.concat(await Array.fromAsync(source.get(ctx, 'dump.rdb')));
  const imported = async (data: Buffer): Promise<Source> => {
    const parts = memoryParts();
    async function* body(): AsyncIterable<Uint8Array> {
      yield data;
    }
    await parts.sink.put(ctx, 'dump.rdb', body());
    return parts.source;
  };
  await using target = await startRedis('redis-7');
  const component = redisDriver.open({ url: target.url });
  const damaged = Buffer.from(rdb);
  damaged[rdb.length >> 1] = (damaged[rdb.length >> 1] ?? 0) ^ 1;
  await assert.rejects(component.restore(ctx, { base: await imported(damaged) }), { code: 'malformed' });
  assert.equal((await component.probe(ctx)).holdsData, null);
  await component.restore(ctx, { base: await imported(rdb) });
  const findings = await Array.fromAsync(redisDriver.compare(ctx, inventoryOf(source), await component.inventory(ctx)));
  assert.deepEqual([...new Set(findings.map(({ verdict }) => verdict))], ['pass']);
});
