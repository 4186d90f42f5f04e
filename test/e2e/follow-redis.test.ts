// A Redis followed by the command itself: killed with its server, and brought back to moments of which nothing else
// knows.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { liveContext } from '../../src/core/testing.ts';
import { readInfo } from '../../src/drivers/redis/connection.ts';
import { open } from '../../src/drivers/redis/testing.ts';
import { needServer } from '../servers/need.ts';
import { until } from '../servers/processes.ts';
import { startRedis } from '../servers/redis.ts';
import { type Running, startFollowing } from './following.ts';
import { workspace } from './workspace.ts';

const { dir, store, configure, run } = workspace('follow-redis');
const WAIT_MS = 60_000;

test('a Redis that is killed comes back as it was, also at a moment before', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  const ctx = liveContext();
  await using server = await startRedis('redis-7');
  await using target = await startRedis('redis-7');
  configure(`stack: shop
stores: { main: ${store('main')} }
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
});
