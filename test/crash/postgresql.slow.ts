// A PostgreSQL that is written to while it, `lifeboat follow`, the store, and the ways between them are killed and cut
// at random, and a standby takes over now and then; after that, restores to moments, each compared with what was
// committed by then. The seed is printed.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { test } from 'node:test';
import type { JournalStretch } from '../../src/core/journal.ts';
import { mapBounded } from '../../src/core/parallel.ts';
import { type TestDirs, testDirs } from '../../src/drivers/postgresql/physical/testing.ts';
import { sql } from '../../src/drivers/postgresql/testing.ts';
import { positionOf, sourceIn } from '../../src/drivers/postgresql/wal/positions.ts';
import { query } from '../e2e/postgres.ts';
import { workspace } from '../e2e/workspace.ts';
import { needServer } from '../servers/need.ts';
import { type Postgres, startPostgresOn } from '../servers/postgres.ts';
import { type Acts, atOnce, type Chance, chanceOf, howMuch, pause, record, seed, told, until, wreak } from './chaos.ts';
import { type Follower, keepFollowing } from './follower.ts';
import { type Era, MAJOR, type Servers, startServers } from './postgresql-servers.ts';
import { lostOf, stateOf, wrongWith } from './postgresql-workload.ts';
import { type Claim, type CrashingStore, startCrashingStore } from './store.ts';

const { seconds, moments } = howMuch({ seconds: 30, moments: 4 });
const FAILOVER_EACH_S = 180;
const AT_ONCE = 3;
const COMPONENT = 'main-db';
const NEAR_US = 250_000;
/** Times of ranges and moments are whole milliseconds. */
const SAME_MS = 5;

const { dir, configure, run } = workspace('crash');

test(`PostgreSQL ${MAJOR} comes back as it was at any moment, whatever was killed meanwhile`, async (t) => {
  if (!(await needServer(t, `postgres-${MAJOR}`, 'versitygw'))) return;
  t.diagnostic(`seed ${seed}`);
  using dirs = testDirs();
  await using store = await startCrashingStore();
  await using servers = await startServers();
  configure(configuration(servers, store));
  await run(0, 'init');
  await using follower = keepFollowing(dir);
  await until('there is a base', async () => (await listed()).points.length > 0);
  const done = await trouble({ servers, store, follower });
  const { workload } = servers;
  await workload.stop();
  const end = await endOf(servers.primary);
  const eras = await servers.eras();
  const isStored = async (): Promise<boolean> => endIn(await store.stretches(COMPONENT), eras.length).position >= end;
  await until('all of the log is stored', isStored, follower.lastWords);
  await follower.stop();
  await store.assertHolds(COMPONENT, done.claims);
  await run(0, 'verify', '--read-data');

  const last = eras.at(-1)?.history ?? [];
  assert.ok(last.length > 0, 'something was written');
  assert.equal(lostOf(workload.acknowledged(), last), null, 'no server loses what it acknowledged when it is killed');
  const lifespan = await windowOf();
  const stretches = await store.stretches(COMPONENT);
  // The servers fetch their log by themselves, and do not run as we do.
  spawnSync('chmod', ['-R', 'a+rX', dir]);
  const chance = chanceOf('moments');
  await mapBounded(momentsIn(lifespan, eras, chance), AT_ONCE, async (atMs) => {
    const at = new Date(atMs).toISOString();
    const restored = await restoredTo(at, dirs, servers.primary);
    const wrong = likelyEras(atMs, eras, stretches).map((era) =>
      wrongWith(era.history, atMs * 1000, restored, NEAR_US),
    );
    assert.ok(wrong.includes(null), `at ${at}, seed ${seed}: ${wrong.join('; ')}; ${describe(eras, stretches)}`);
  });
  const lost = eras.reduce((sum, each) => sum + each.lost, 0);
  const result = [
    `PostgreSQL ${MAJOR}, ${new Date().toISOString().slice(0, 10)}, seed ${seed}: ${last.length} transactions in `,
    `${Math.round((lifespan.toMs - lifespan.fromMs) / 1000)} s. Meanwhile: ${done.told}. ${eras.length - 1} × a standby `,
    `took over, which had not got ${lost} transactions of the old primaries. `,
    `Each of ${moments} moments came back as it was, before, within and after each switch among them.`,
  ].join('');
  t.diagnostic(result);
  record('crash-postgresql', result);
});

function configuration({ primary, port }: Servers, store: CrashingStore): string {
  return `stack: shop
stores:
  main: ${store.yaml}
components:
  ${COMPONENT}:
    kind: postgresql
    host: ${primary.host}
    port: ${port}
    user: ${primary.user}
    password: ${primary.password}
    capture: [physical]
    follow: true
    bin_dir: ${primary.bin}
`;
}

interface Scene {
  readonly servers: Servers;
  readonly store: CrashingStore;
  readonly follower: Follower;
}

/** What was done, in words, and what was acknowledged meanwhile. */
async function trouble(scene: Scene): Promise<{ readonly told: string; readonly claims: readonly Claim[] }> {
  const { servers, store } = scene;
  const claims: Claim[] = [];
  const failovers = Math.max(1, Math.round(seconds / FAILOVER_EACH_S));
  const counts = await atOnce({
    async servers(trouble) {
      const acts = serverActs(scene, trouble.chance, claims);
      for (let at = 0; at <= failovers; at++) {
        await wreak(acts, trouble, (seconds * 1000) / (failovers + 1));
        // Whatever was drawn: what is acknowledged is looked up where nobody mends it.
        await until('it is followed', async () => (await servers.claims()).length > 0, scene.follower.lastWords);
        await acts['follow killed']?.();
        if (at === failovers || trouble.signal.aborted) return;
        // The next standby has nothing of the timeline before: it can't help out with what is missing.
        const timeline = 1 + at;
        const isFollowed = async (): Promise<boolean> =>
          endIn(await store.stretches(COMPONENT), timeline).position !== '';
        await until(`timeline ${timeline} is followed`, isFollowed, scene.follower.lastWords);
        claims.push(...(await servers.claims()));
        await servers.failOver(trouble.chance);
      }
    },
    store: (trouble) => wreak(store.acts(trouble.chance), trouble, seconds * 1000),
  });
  return { told: told(counts), claims };
}

function serverActs({ servers, store, follower }: Scene, chance: Chance, claims: Claim[]): Acts {
  const { way } = servers;
  return {
    'the server killed': async () => {
      await servers.primary.kill();
      await pause(chance(1000));
      await servers.primary.start();
    },
    'follow killed': async () => {
      const now = await servers.claims();
      claims.push(...now);
      await follower.kill(async () => await store.assertHolds(COMPONENT, now));
    },
    'follow stopped': async () => await follower.restart(),
    'connections cut': async () => way.cut(),
    'server out of reach': async () => {
      way.away(true);
      await pause(500 + chance(2000));
      way.away(false);
    },
    checkpoint: async () => void (await sql(servers.primary, 'postgres', 'checkpoint')),
    'segment switched': async () => void (await sql(servers.primary, 'postgres', 'select pg_switch_wal()')),
    'table made and dropped': async () => {
      const made = 'create table t as select g from generate_series(1, 20000) g';
      await sql(servers.primary, 'shop', made, 'drop table t');
    },
  };
}

interface Window {
  readonly from: string;
  readonly to: string;
}
interface Listed {
  readonly points: readonly unknown[];
  readonly recoverable: readonly { readonly windows: readonly Window[] }[];
}
interface Lifespan {
  readonly fromMs: number;
  readonly toMs: number;
}

async function listed(): Promise<Listed> {
  return (await run(0, 'list', '--json')).json() as Listed;
}
async function windowOf(): Promise<Lifespan> {
  const { recoverable } = await listed();
  const windows = recoverable[0]?.windows ?? [];
  const [window] = windows;
  assert.ok(window && windows.length === 1, `one window, without a gap: ${JSON.stringify(windows)}`);
  return { fromMs: Date.parse(window.from), toMs: Date.parse(window.to) };
}
async function endOf(server: Postgres): Promise<string> {
  const [row] = await query(server.url, 'select pg_current_wal_flush_lsn()::text as lsn');
  return positionOf(String(row?.lsn));
}

/** Around each switch, as far as there is room for them, and anywhere. */
function momentsIn({ fromMs, toMs }: Lifespan, eras: readonly Era[], chance: Chance): readonly number[] {
  const around = eras.slice(1).flatMap(({ bornMs }, at) => {
    const { diedMs = bornMs } = eras[at] ?? {};
    return [diedMs - chance(600), diedMs + chance(bornMs - diedMs), bornMs + chance(1500)];
  });
  const inside = around.filter((each) => each > fromMs && each < toMs).slice(0, moments);
  const others = Array.from({ length: moments - inside.length }, () => fromMs + chance(toMs - fromMs));
  return [...inside, ...others];
}

function ofTimeline(stretches: readonly JournalStretch[], timeline: number): JournalStretch | undefined {
  return stretches.findLast(({ lineage }) => sourceIn(lineage.source)?.timeline === timeline);
}
function endIn(stretches: readonly JournalStretch[], timeline: number): { position: string; at: string } {
  return ofTimeline(stretches, timeline)?.to ?? { position: '', at: '' };
}

/**
 * Whose history the moment is of. Of what an old primary has written and the next one had not got, that is there which
 * was stored; who restores to a moment of it gets it. Before and after, what leads to the one that lives counts.
 */
function likelyEras(atMs: number, eras: readonly Era[], stretches: readonly JournalStretch[]): readonly Era[] {
  const at = eras.findLastIndex(({ bornMs }) => bornMs <= atMs);
  const [era, next] = eras.slice(at);
  assert.ok(era);
  if (!next) return [era];
  const own = endIn(stretches, era.timeline);
  const leftAt = ofTimeline(stretches, next.timeline)?.lineage.parent?.position ?? '';
  const leftMs = own.position > leftAt ? Date.parse(own.at) : Number.NEGATIVE_INFINITY;
  if (Math.abs(atMs - leftMs) <= SAME_MS) return [era, next];
  return [atMs < leftMs ? era : next];
}

function describe(eras: readonly Era[], stretches: readonly JournalStretch[]): string {
  return eras
    .map(({ timeline, bornMs, diedMs }) => {
      const { lineage, from, to } = ofTimeline(stretches, timeline) ?? {};
      return JSON.stringify({ timeline, bornMs, diedMs, from, to, parent: lineage?.parent });
    })
    .join(' ');
}

async function restoredTo(at: string, dirs: TestDirs, { bin }: Postgres): ReturnType<typeof stateOf> {
  assert.ok(bin);
  const path = dirs.absent(`moment ${at}`);
  const restore = ['restore', '--at', at, '--only', COMPONENT, '--to', `${COMPONENT}=${path}`, '--yes', '--json'];
  const { stdout } = await run(0, ...restore);
  const [, ahead, error] = /"clock": *\{\s*"ahead_ms": *([-\d.]+),\s*"error_ms": *([\d.]+)/.exec(stdout) ?? [];
  assert.ok(Math.abs(Number(ahead)) <= Number(error), `this machine has one clock: ${ahead} ms ± ${error} ms`);
  await using restored = await startPostgresOn(MAJOR, path);
  await until(`the moment ${at} is reached`, async () => {
    const [row] = await query(restored.url, 'select pg_is_in_recovery() as still');
    return row?.still === false;
  }).catch((failed: unknown) => assert.fail(`${failed}, at ${at}, seed ${seed}: ${restored.output()}`));
  const state = await stateOf(restored);
  await restored.stop();
  rmSync(path, { recursive: true, force: true });
  return state;
}
