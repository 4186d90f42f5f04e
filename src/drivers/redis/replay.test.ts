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
import { readInfo } from './connection.ts';
import { redisDriver } from './driver.ts';
import { type Keeper, keeper, type Point } from './follow-testing.ts';
import { fill, open } from './testing.ts';
import { randomBelow, work } from './workload-testing.ts';

const WORKERS = 3;
const MOMENTS = 6;
const WAIT_MS = 60_000;

interface History {
  readonly kept: Keeper;
  /** The one that everything is replayed on, and captures of a replica at moments after it. */
  readonly base: Point;
  readonly moments: readonly Point[];
}

/** Works on a server while it is followed, and captures a replica of it now and then: what that held at that offset. */
async function worked(ctx: Context, { server, replica }: Pair, seed: number): Promise<History> {
  await fill(ctx, { url: server.url }, true);
  await using connection = await open(ctx, { url: replica.url });
  const kept = await keeper(ctx);
  const following = kept.follow(ctx, redisDriver.open({ url: server.url }));
  await until('the base', WAIT_MS, async () => kept.points.length === 1);
  const [base] = kept.points;
  assert.ok(base);
  const from = Number(base.capture.journal?.to);
  // A replica gets what is done after its copy within a second.
  const offset = async (): Promise<number> => Number((await readInfo(connection)).get('slave_repl_offset'));
  await until('the replica behind the base', WAIT_MS, async () => (await offset()) >= from);
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

async function restored(ctx: Context, to: Redis, { kept, base }: History, target: ReplayTarget): Promise<Restored> {
  const chain = await kept.chain(ctx, base, target);
  return await redisDriver.open({ url: to.url, frozen: true }).restore(ctx, chain, { replace: true });
}

/** What of a point and of a server is not the same, line by line; in which order keys are found does not matter. */
async function differences(ctx: Context, { source }: Point, server: Redis): Promise<string[]> {
  const live = await redisDriver.open({ url: server.url, frozen: true }).inventory(ctx);
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
  test(`${name}: any moment comes back as it was`, async (t) => {
    if (!(await needServer(t, name))) return;
    const seed = Number(process.env.SEED ?? Date.now() % 1e9);
    t.diagnostic(`SEED=${seed}`);
    const ctx = liveContext();
    await using servers = await pair(ctx, name);
    const history = await worked(ctx, servers, seed);
    await using to = await targetOf(name);
    for (const moment of history.moments) {
      const value = moment.capture.journal?.to ?? '';
      const { method, reached } = await restored(ctx, to, history, { kind: 'position', value });
      assert.equal(method, 'master');
      assert.ok(reached && reached.position <= value);
      assert.deepEqual(await differences(ctx, moment, to), []);
    }
  });
}
