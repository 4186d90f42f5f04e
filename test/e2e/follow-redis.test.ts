// A Redis followed by the command itself: killed with its server, and brought back to moments that nothing else knows.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { liveContext } from '../../src/core/testing.ts';
import { readInfo } from '../../src/drivers/redis/connection.ts';
import { open } from '../../src/drivers/redis/testing.ts';
import { needServer } from '../servers/need.ts';
import { until } from '../servers/processes.ts';
import { startRedis } from '../servers/redis.ts';
import { type Running, startFollowing } from './following.ts';
import { blocks } from './page.ts';
import { workspace } from './workspace.ts';

const { dir, configure, run, write } = workspace('follow-redis');
const WAIT_MS = 60_000;

test('a Redis that is killed comes back as it was, also at a moment before', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7');
  await using target = await startRedis('redis-7');
  configure(`stack: shop
stores: { main: { format: plain, layout: dated, bucket: ${join(dir, 'main')} } }
components:
  cache: { kind: redis, url: "${server.url}", follow: true }
`);
  await run(0, 'init');
  await using connection = await open(ctx, { url: server.url });
  const stored = async (running: Running): Promise<void> => {
    const end = (await readInfo(connection)).get('master_repl_offset') ?? '';
    await running.until(({ up_to }) => Number(up_to?.position ?? -1) >= Number(end));
  };
  const first = startFollowing(dir);
  await first.until(({ up_to }) => up_to !== undefined);
  for (let n = 0; n < 100; n++) await connection.call('RPUSH', 'orders', n);
  await stored(first);
  await first.kill('SIGKILL');
  for (let n = 100; n < 200; n++) await connection.call('RPUSH', 'orders', n);
  const second = startFollowing(dir);
  await stored(second);
  await ctx.sleep(1000);
  const moment = ctx.now().toISOString();
  await ctx.sleep(1000);
  await connection.call('FLUSHALL');
  await stored(second);
  await server.kill();
  const { code } = await second.kill('SIGTERM');
  assert.equal(code, 0);

  await run(0, 'verify', '--all', '--read-data');
  const to = `cache=${target.url}`;
  const { stdout } = await run(0, 'restore', '--at', moment, '--to', to, '--yes');
  await using restored = await open(ctx, { url: target.url });
  assert.equal(await restored.call('LLEN', 'orders'), 200, stdout);
  await run(0, 'restore', 'latest', '--until', 'latest', '--in-place', '--to', to, '--yes');
  await until('an empty target', WAIT_MS, async () => (await restored.call('DBSIZE')) === 0);

  const [, script = ''] = blocks('python');
  write('journal.py', script);
  write('log.py', blocks('py')[0] ?? '');
  const rdb = globSync(join(dir, 'main/*/redis-*.rdb'))[0] ?? '';
  const journal = `python3 journal.py ${join(dir, 'main')} cache 00000001 > journal.bytes`;
  // Without Lifeboat, as the page says it: at the moment, and at the end.
  for (const [until, orders] of [
    [`${Date.parse(moment) / 1000}`, 200],
    ['9999999999', 0],
  ] as const) {
    await using alone = await startRedis('redis-7');
    await alone.stop();
    const commands = `set -e\n${journal}\n${blocks('redis')[0]}`;
    const env = { ...process.env, DUMP_RDB: rdb, SKIP: '0', UNTIL: until, REDIS_DIR: alone.dir };
    const shell = spawnSync('sh', ['-c', commands], { cwd: dir, env, encoding: 'utf8' });
    assert.equal(shell.status, 0, shell.stderr);
    await using itself = await startRedis('redis-7', { args: ['--dir', alone.dir, '--appendonly', 'yes'] });
    await using asked = await open(ctx, { url: itself.url });
    assert.equal(await asked.call('LLEN', 'orders'), orders);
  }
});

test('a point is made out of an earlier one and the log, and is the same: a log is proved', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7');
  const folder = join(dir, 'proved');
  configure(`stack: shop
stores: { main: { format: plain, layout: dated, bucket: ${folder} } }
components:
  cache: { kind: redis, url: "${server.url}", follow: true, markers: 1s }
  docs: { kind: files, paths: [${join(dir, 'lifeboat.yaml')}] }
drills: { log: { until: cut=latest, components: [cache] } }
`);
  await run(0, 'init');
  await using connection = await open(ctx, { url: server.url });
  const write = async (from: number): Promise<void> => {
    await connection.call('FLUSHDB');
    for (let n = from; n < from + 100; n++) {
      await connection.call('RPUSH', 'orders', n);
      await connection.call('SET', `session:${n}`, 'x', 'PX', n % 2 === 0 ? 300 : 600_000);
      await connection.call('EVAL', "redis.call('INCRBY', 'sum', ARGV[1]); redis.call('SADD', 'all', ARGV[1])", 0, n);
    }
    for (let n = from; n < from + 50; n++) await connection.call('HSET', 'stock', `item:${n}`, n, 'last', n);
  };
  const running = startFollowing(dir);
  await running.until(({ up_to }) => up_to !== undefined);
  await write(0);
  await Promise.all([run(0, 'backup'), write(1000)]);
  await write(2000);
  const end = (await readInfo(connection)).get('master_repl_offset') ?? '';
  await running.until(({ up_to }) => Number(up_to?.position ?? -1) >= Number(end));
  assert.equal((await running.kill('SIGTERM')).code, 0);
  const drill = await run(0, 'drill', 'log', '--json');
  const { evidence, proved } = drill.json() as {
    evidence: { verdict: string; components: { point: string; against: string; findings: { tally: unknown } }[] };
    proved: string[];
  };
  assert.deepEqual([evidence.verdict, proved], ['pass', []], 'the data of neither point was tried');
  const [cache] = evidence.components;
  assert.ok(cache && cache.point < cache.against);
  const both = await run(3, 'drill', '--until', 'cut=latest');
  assert.match(both.stdout, /docs.*was not taken at one place of a log/);
});
