// A server that is written to while it, `lifeboat follow`, and the way to either are killed and cut at random; then
// restores to random moments, each compared with what was committed by then. The seed is printed: CRASH_SEED repeats
// it. One minute, or `npm run test:slow -- --crash` for fifteen.

import assert from 'node:assert/strict';
import { type ChildProcess, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { randomNumbers } from '../../bench/data.ts';
import { withSection } from '../../bench/page.ts';
import { testDirs } from '../../src/drivers/postgresql/physical/testing.ts';
import { sql } from '../../src/drivers/postgresql/testing.ts';
import { positionOf } from '../../src/drivers/postgresql/wal/positions.ts';
import { lifeboat } from '../e2e/lifeboat.ts';
import { query } from '../e2e/postgres.ts';
import { workspace } from '../e2e/workspace.ts';
import { type CuttingProxy, startCuttingProxy } from '../servers/cutting-proxy.ts';
import { needServer } from '../servers/need.ts';
import { type Postgres, startPostgres, startPostgresOn } from '../servers/postgres.ts';
import { until as untilWithin } from '../servers/processes.ts';
import { type Done, HISTORY, SCHEMA, STATE, startWorkload, wrongWith } from './workload.ts';

const MAJOR = 18;
const seconds = Number(process.env.CRASH_SECONDS ?? 40);
const moments = Number(process.env.CRASH_MOMENTS ?? 4);
const seed = process.env.CRASH_SEED ?? String(Math.floor(Math.random() * 1e9));
/** Where the result goes. */
const page = process.env.CRASH_PAGE;
const PAGE_WRITER = 'npm run test:slow -- --crash';
const NEAR_US = 100_000;
const REPLAYED_MS = 120_000;

const { dir, store, configure, run } = workspace('crash');

test(`PostgreSQL ${MAJOR} comes back as it was at any moment, whatever was killed meanwhile`, async (t) => {
  if (!(await needServer(t, `postgres-${MAJOR}`))) return;
  t.diagnostic(`seed ${seed}`);
  const random = randomNumbers(seed);
  const chance = (below: number): number => random() % below;
  using dirs = testDirs();
  await using server = await startPostgres(MAJOR, { conf: { track_commit_timestamp: 'on', full_page_writes: 'on' } });
  await sql(server, 'postgres', 'create database shop');
  await sql(server, 'shop', ...SCHEMA);
  await using way = await startCuttingProxy(server.port);
  configure(configuration(server, way));
  await run(0, 'init');

  const follower = keepFollowing();
  await until('there is a base', async () => (await pointsIn()).length > 0);
  const workload = startWorkload(server);
  const done = await wreak({ server, way, follower }, chance, seconds * 1000);
  await workload.stop();
  const end = await lsnOf(server);
  await until('all of the log is stored', async () => (await journalEnd()) >= end);
  await follower.stop();
  await run(0, 'verify', '--read-data');

  const history = await committed(server);
  assert.ok(history.length > 0, 'something was written');
  for (const [writer, n] of workload.acknowledged().entries()) {
    const last = history.filter((each) => each.writer === writer).length;
    assert.ok(last >= n, `the server itself has lost number ${n} of writer ${writer}`);
  }
  const { fromMs, toMs } = await windowOf();
  t.diagnostic(`${history.length} transactions in ${Math.round((toMs - fromMs) / 1000)} s; ${done}`);
  // The server fetches its log by itself, and does not run as we do.
  spawnSync('chmod', ['-R', 'a+rX', dir]);
  for (let i = 0; i < moments; i++) {
    const atMs = fromMs + chance(Math.floor(toMs - fromMs));
    await atMoment(new Date(atMs).toISOString(), history, dirs.absent(`moment ${i}`), server);
  }
  const result = [
    `PostgreSQL ${MAJOR}, ${new Date().toISOString().slice(0, 10)}, seed ${seed}: ${history.length} transactions in `,
    `${Math.round((toMs - fromMs) / 1000)} s. Meanwhile: ${done}. Each of ${moments} random moments came back as it was.`,
  ].join('');
  if (page !== undefined) writeFileSync(page, withSection(readFileSync(page, 'utf8'), 'crash', result, PAGE_WRITER));
});

function configuration(server: Postgres, way: CuttingProxy): string {
  return `stack: shop
stores: { main: ${store('main')} }
components:
  main-db:
    kind: postgresql
    host: ${server.host}
    port: ${way.port}
    user: ${server.user}
    password: ${server.password}
    capture: [physical]
    follow: true
    bin_dir: ${server.bin}
`;
}

interface Scene {
  readonly server: Postgres;
  readonly way: CuttingProxy;
  readonly follower: Follower;
}

/** What was done to it, in words. */
async function wreak({ server, way, follower }: Scene, chance: (below: number) => number, ms: number): Promise<string> {
  const acts: Readonly<Record<string, () => Promise<void>>> = {
    'the server killed': async () => {
      await server.kill();
      await pause(chance(1000));
      await server.start();
    },
    'follow killed': async () => follower.kill(),
    'follow stopped': async () => await follower.restart(),
    'connections cut': async () => way.cut(),
    'server out of reach': async () => {
      way.away(true);
      await pause(500 + chance(2000));
      way.away(false);
    },
    checkpoint: async () => void (await sql(server, 'postgres', 'checkpoint')),
    'segment switched': async () => void (await sql(server, 'postgres', 'select pg_switch_wal()')),
    'table made and dropped': async () =>
      void (await sql(server, 'shop', 'create table t as select g from generate_series(1, 20000) g', 'drop table t')),
  };
  const names = Object.keys(acts);
  const counts = new Map<string, number>();
  const untilMs = performance.now() + ms;
  while (performance.now() < untilMs) {
    await pause(300 + chance(2500));
    const name = names[chance(names.length)] ?? '';
    await acts[name]?.();
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].map(([name, count]) => `${name} ${count} ×`).join(', ');
}

interface Follower {
  kill(): void;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** `lifeboat follow`, started again whenever it has ended. */
function keepFollowing(): Follower {
  let child: ChildProcess | undefined;
  let isOver = false;
  let ended: Promise<unknown> = Promise.resolve();
  const said: string[] = [];
  const start = (): void => {
    ended = lifeboat(['follow', '--log-level', 'warn'], {
      cwd: dir,
      onStart: (started) => void (child = started),
    }).then(({ code, stderr }) => {
      if (code !== null) said.push(`${code}: ${stderr.slice(-500)}`);
      if (!isOver) start();
    });
  };
  start();
  return {
    kill: () => void child?.kill('SIGKILL'),
    async restart() {
      const before = ended;
      child?.kill('SIGTERM');
      await before;
    },
    async stop() {
      isOver = true;
      child?.kill('SIGTERM');
      await ended;
      // 130: it was told to stop before it had begun.
      const others = said.filter((each) => !/^(0|130): /.test(each));
      assert.deepEqual(others, [], 'follow ends by itself only when it is asked to');
    },
  };
}

interface Window {
  readonly from: string;
  readonly to: string;
  readonly source: { readonly to: { readonly position: string } };
}
interface Listed {
  readonly points: readonly unknown[];
  readonly recoverable: readonly { readonly windows: readonly Window[] }[];
}

async function listed(): Promise<Listed> {
  return (await run(0, 'list', '--json')).json() as Listed;
}
async function pointsIn(): Promise<readonly unknown[]> {
  return (await listed()).points;
}
async function windowOf(): Promise<{ fromMs: number; toMs: number }> {
  const { recoverable } = await listed();
  const windows = recoverable[0]?.windows ?? [];
  const [window] = windows;
  assert.ok(window && windows.length === 1, `one window, without a gap: ${JSON.stringify(windows)}`);
  return { fromMs: Date.parse(window.from), toMs: Date.parse(window.to) };
}
async function journalEnd(): Promise<string> {
  return (await listed()).recoverable[0]?.windows.at(-1)?.source.to.position ?? '';
}

async function lsnOf(server: Postgres): Promise<string> {
  const [row] = await query(server.url, 'select pg_current_wal_flush_lsn()::text as lsn');
  return positionOf(String(row?.lsn));
}

async function committed(server: Postgres): Promise<readonly Done[]> {
  const rows = await query(shopOf(server), HISTORY);
  return rows.map(({ writer, n, at }) => ({ writer: Number(writer), n: Number(n), atUs: Number(at) }));
}

async function atMoment(at: string, history: readonly Done[], path: string, { bin }: Postgres): Promise<void> {
  assert.ok(bin);
  const restore = ['restore', '--at', at, '--only', 'main-db', '--to', `main-db=${path}`, '--yes', '--json'];
  const { stdout } = await run(0, ...restore);
  const [, ahead, error] = /"clock": *\{\s*"ahead_ms": *([-\d.]+),\s*"error_ms": *([\d.]+)/.exec(stdout) ?? [];
  assert.ok(Math.abs(Number(ahead)) <= Number(error), `this machine has one clock: ${ahead} ms ± ${error} ms`);
  await using restored = await startPostgresOn(MAJOR, path);
  await until(`the moment ${at} is reached`, async () => {
    const [row] = await query(restored.url, 'select pg_is_in_recovery() as still');
    return row?.still === false;
  }).catch((error: unknown) => assert.fail(`${error}, at ${at}, seed ${seed}: ${restored.output()}`));
  const rows = await query(shopOf(restored), STATE);
  const state = rows.map(({ writer, rows: count, last, total }) => {
    return { writer: Number(writer), rows: Number(count), last: Number(last), total: Number(total) };
  });
  assert.equal(wrongWith(history, Date.parse(at) * 1000, state, NEAR_US), null, `at ${at}, seed ${seed}`);
}

function shopOf({ url }: Postgres): string {
  return url.replace(/postgres$/, 'shop');
}
async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  await untilWithin(what, REPLAYED_MS, isSo);
}
async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
