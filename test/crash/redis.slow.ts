// A Redis that is written to while it, `lifeboat follow`, the store, and the ways between them are killed and cut at
// random; after that, restores to moments, each compared with what the server itself had done by then: all of it, in
// its order, and no half of a transaction. The seed is printed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRORS } from '../../src/core/errors.ts';
import { liveContext } from '../../src/core/testing.ts';
import { readInfo } from '../../src/drivers/redis/connection.ts';
import { open } from '../../src/drivers/redis/testing.ts';
import { workspace } from '../e2e/workspace.ts';
import { type CuttingProxy, startCuttingProxy } from '../servers/cutting-proxy.ts';
import { needServer } from '../servers/need.ts';
import { type Redis, startRedis } from '../servers/redis.ts';
import { type Acts, atOnce, type Chance, chanceOf, howMuch, pause, record, seed, told, until, wreak } from './chaos.ts';
import { type Follower, keepFollowing } from './follower.ts';
import { acknowledgedIn, startWatch, type Watch } from './redis-watch.ts';
import { contentAfter, contentIn, type Done, historyOf, startWorkload } from './redis-workload.ts';
import { type CrashingStore, startCrashingStore } from './store.ts';

const NAME = 'redis-7';
const { seconds, moments } = howMuch({ seconds: 15, moments: 3 });
const COMPONENT = 'cache';
/** Nothing is lost when it is killed, and a cut costs no full copy. */
const ARGS = ['--appendonly', 'yes', '--appendfsync', 'always', '--repl-backlog-size', '64mb'];
/** A third full copy in a row is the last one for ten minutes, unless follow is started anew. */
const KILLS_MAX = 2;
/** By how much its clock, as it is measured, may be wrong. */
const CLOCK_MS = 20;

const { dir, configure, run } = workspace('crash-redis');
const ctx = liveContext();

test('a Redis comes back as it was at any moment, whatever was killed meanwhile', async (t) => {
  if (!(await needServer(t, NAME, 'versitygw'))) return;
  t.diagnostic(`seed ${seed}`);
  await using store = await startCrashingStore();
  await using server = await startRedis(NAME, { args: ARGS });
  await using way = await startCuttingProxy(server.port);
  configure(`stack: shop
stores:
  main: ${store.yaml}
components:
  ${COMPONENT}: { kind: redis, host: ${server.host}, port: ${way.port}, follow: true }
`);
  await run(0, 'init');
  await using workload = startWorkload(server.url, seed);
  await using watch = startWatch(server.url);
  await using follower = keepFollowing(dir);
  await until('there is a window', async () => (await windows()).length > 0);
  const done = await trouble({ server, way, store, follower, watch });
  await workload.stop();
  await follower.restart();
  await allStored(server, follower);
  await watch.stop();
  await follower.stop();
  await store.assertHolds(COMPONENT, watch.claims());
  await run(0, 'verify', '--read-data');

  const history = await historyIn(server);
  for (const [writer, n] of workload.acknowledged().entries()) {
    const own = history.filter((each) => each.writer === writer).map((each) => each.n);
    assert.deepEqual(
      own,
      [...own.keys()].map((at) => at + 1),
      'each was done once, and in its order',
    );
    assert.ok(own.length >= n && n > 0, `the server itself has lost number ${n} of writer ${writer}`);
  }
  const chance = chanceOf('moments');
  const found = await windows();
  for (const at of momentsIn(found, chance)) await atMoment(at, history, watch);
  for (const [at, { toMs }] of found.slice(0, -1).entries()) {
    const between = new Date((toMs + (found[at + 1]?.fromMs ?? toMs)) / 2).toISOString();
    await run(ERRORS.missing.exit, 'restore', '--at', between, '--to', `${COMPONENT}=${server.url}`, '--yes');
  }
  const ms = (found.at(-1)?.toMs ?? 0) - (found[0]?.fromMs ?? 0);
  const result = [
    `${NAME}, ${new Date().toISOString().slice(0, 10)}, seed ${seed}: ${history.length} transactions in `,
    `${Math.round(ms / 1000)} s, ${found.length} windows. Meanwhile: ${told(done)}. `,
    `Each of ${moments} moments came back as it was, and each gap was refused.`,
  ].join('');
  t.diagnostic(result);
  record('crash-redis', result);
});

interface Scene {
  readonly server: Redis;
  readonly way: CuttingProxy;
  readonly store: CrashingStore;
  readonly follower: Follower;
  readonly watch: Watch;
}

async function trouble(scene: Scene): Promise<ReadonlyMap<string, number>> {
  return await atOnce({
    async server(trouble) {
      const acts = serverActs(scene, trouble.chance);
      await wreak(acts, trouble, seconds * 1000);
      // Whatever was drawn: what is acknowledged is looked up where nobody mends it.
      await acts['follow killed']?.();
    },
    store: (trouble) => wreak(scene.store.acts(trouble.chance), trouble, seconds * 1000),
  });
}

function serverActs({ server, way, store, follower, watch }: Scene, chance: Chance): Acts {
  let kills = 0;
  return {
    'the server killed': async () => {
      await server.kill();
      await pause(chance(1000));
      await server.start();
      kills += 1;
      if (kills < KILLS_MAX) return;
      await follower.restart();
      kills = 0;
    },
    'follow killed': async () => {
      const claims = watch.claims();
      await follower.kill(async () => await store.assertHolds(COMPONENT, claims));
      kills = 0;
    },
    'follow stopped': async () => {
      await follower.restart();
      kills = 0;
    },
    'connections cut': async () => way.cut(),
    'server out of reach': async () => {
      way.away(true);
      await pause(500 + chance(2000));
      way.away(false);
    },
  };
}

/** With the point that it is replayed on: before that nothing is acknowledged. */
async function allStored(server: Redis, { lastWords }: Follower): Promise<void> {
  await using connection = await open(ctx, { url: server.url });
  const isStored = async (): Promise<boolean> => {
    const info = await readInfo(connection);
    const acknowledged = acknowledgedIn(info);
    // Before its first replica a server has no log.
    return acknowledged > 0n && acknowledged >= BigInt(info.get('master_repl_offset') ?? 0);
  };
  await until('all of the log is stored', isStored, lastWords);
}

async function historyIn({ url }: Redis): Promise<readonly Done[]> {
  await using connection = await open(ctx, { url });
  return await historyOf(connection);
}

interface Window {
  readonly fromMs: number;
  readonly toMs: number;
}
interface Listed {
  readonly recoverable: readonly { readonly windows: readonly { readonly from: string; readonly to: string }[] }[];
}

async function windows(): Promise<readonly Window[]> {
  const { recoverable } = (await run(0, 'list', '--json')).json() as Listed;
  return (recoverable[0]?.windows ?? []).map(({ from, to }) => ({ fromMs: Date.parse(from), toMs: Date.parse(to) }));
}

/** The last one before a kill, the last of all, and anywhere. */
function momentsIn(found: readonly Window[], chance: Chance): readonly number[] {
  const ends = [found[0], found.at(-1)].flatMap((each) => each?.toMs ?? []);
  const totalMs = found.reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0);
  const others = Array.from({ length: moments - ends.length }, () => {
    let ms = chance(totalMs);
    const window = found.find(({ fromMs, toMs }) => {
      if (ms <= toMs - fromMs) return true;
      ms -= toMs - fromMs;
      return false;
    });
    return (window?.fromMs ?? 0) + ms;
  });
  return [...ends, ...others];
}

async function atMoment(atMs: number, history: readonly Done[], watch: Watch): Promise<void> {
  const at = new Date(atMs).toISOString();
  await using target = await startRedis(NAME);
  await run(0, 'restore', '--at', at, '--to', `${COMPONENT}=${target.url}`, '--yes');
  await using connection = await open(ctx, { url: target.url });
  const restored = await historyOf(connection);
  const about = `at ${at}, seed ${seed}`;
  const same = restored.findIndex(({ entry }, index) => entry !== history[index]?.entry);
  assert.equal(same, -1, `${about}: number ${same} of all is another one: ${restored[same]?.entry}`);
  const storedMs = watch.acknowledgedBy(atMs);
  const least = history.filter(({ atMs: doneMs }) => doneMs <= storedMs).length;
  const most = history.filter(({ atMs: doneMs }) => doneMs <= atMs + CLOCK_MS).length;
  const { length } = restored;
  assert.ok(length >= least && length <= most, `${about}: ${length} transactions, not ${least} to ${most}`);
  const nowMs = Date.now();
  const expected = contentAfter(history.slice(0, length), seed, nowMs);
  assert.deepEqual(await contentIn(connection, nowMs), expected, about);
}
