// The whole stack at one instant, by the command itself: what is followed to the very moment, the rest from its points.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { liveContext } from '../../src/core/testing.ts';
import { testDirs } from '../../src/drivers/postgresql/physical/testing.ts';
import { sql } from '../../src/drivers/postgresql/testing.ts';
import { open } from '../../src/drivers/redis/testing.ts';
import { unprivilegedUser } from '../servers/install.ts';
import { needServer } from '../servers/need.ts';
import { startPostgres, startPostgresOn } from '../servers/postgres.ts';
import { until } from '../servers/processes.ts';
import { type Redis, startRedis } from '../servers/redis.ts';
import { startFollowing } from './following.ts';
import { workspace } from './workspace.ts';

const MAJOR = 17;
/** Clocks are known to some milliseconds; this is beyond doubt. */
const APART_MS = 500;

const { dir, store, configure, write, run, runWith } = workspace('one-instant');
const ctx = liveContext();

async function call({ url }: Redis, ...words: string[]): Promise<unknown> {
  await using connection = await open(ctx, { url });
  return await connection.call(...words);
}

interface Planned {
  readonly moment: string;
  readonly components: readonly {
    readonly name: string;
    readonly origin: { readonly before_ms: number | null; readonly target: { readonly kind: string } | null };
    readonly reached?: { readonly at: string } | null;
  }[];
}

interface Drilled {
  readonly evidence: {
    readonly moment: string;
    readonly components: readonly {
      readonly name: string;
      readonly verdict: string;
      readonly target: { readonly kind: string } | null;
      readonly findings: {
        readonly tally: { readonly fail: number };
        readonly kept: readonly { readonly check: string; readonly verdict: string; readonly detail: string }[];
      };
    }[];
  };
}

test('a stack comes back as it was at one instant, and says how near each component comes to it', async (t) => {
  if (!(await needServer(t, `postgres-${MAJOR}`, 'redis-8'))) return;
  using dirs = testDirs();
  await using server = await startPostgres(MAJOR);
  await using live = await startRedis('redis-8');
  await using other = await startRedis('redis-8');
  const stack = (check: string): string => `stack: shop
stores:
  main: ${store('main')}
components:
  main-db: { kind: postgresql, url: "${server.url}", capture: [physical], follow: true, tier: all, bin_dir: ${server.bin}${check} }
  cache: { kind: redis, url: "${live.url}", follow: true, tier: all, checks: [{ name: keys, command: DBSIZE, equals: 20 }] }
  docs: { kind: files, paths: [${join(dir, 'data')}], tier: all, restore_after: [cache] }
tiers: { all: { rpo: 15m } }
`;
  configure(stack(''));
  write('data/a.txt', 'as it was');
  await run(0, 'init');
  await run(0, 'backup');
  const following = startFollowing(dir);
  const shown = new Map<string, number>();
  const reach = (ms: number) =>
    following.until(({ task, up_to, note }) => {
      if (up_to && !/takes a point/.test(note ?? '')) shown.set(task, Date.parse(up_to.at));
      return shown.size === 2 && [...shown.values()].every((each) => each > ms);
    });
  await reach(0);
  await sql(server, 'postgres', 'create table orders (id int)');
  const doBoth = async (from: number): Promise<void> => {
    for (let n = from; n < from + 20; n++) {
      await sql(server, 'postgres', `insert into orders values (${n})`);
      await call(live, 'SET', `order:${n}`, String(n));
    }
  };
  await doBoth(0);
  await delay(APART_MS);
  const instant = new Date().toISOString();
  await delay(APART_MS);
  await doBoth(20);
  write('data/a.txt', 'changed');
  await sql(server, 'postgres', 'drop table orders');
  await call(live, 'FLUSHALL');
  await reach(Date.now());

  const status = (await run(0, 'status', '--json')).json() as { components: { state: string }[] };
  assert.deepEqual(new Set(status.components.map(({ state }) => state)), new Set(['protected']));
  const ended = await following.kill('SIGTERM');
  assert.equal(ended.code, 0, ended.stderr);
  const listed = (await run(0, 'list')).stdout;
  for (const name of ['cache', 'main-db'])
    assert.match(listed, new RegExp(`^${name} +main +20.* … now − .* ± \\d+ ms$`, 'm'));
  assert.match(listed, /^all of these +main +20.* … now − .*, docs from the nearest point before$/m);
  assert.match((await run(0, 'show')).stdout, /joined, to now − /);
  const verified = (await run(0, 'verify', '--read-data')).stdout;
  for (const name of ['cache', 'main-db'])
    assert.match(verified, new RegExp(`^${name} can be brought to any .*each read`, 'm'));

  configure(stack(", checks: [{ name: orders, sql: 'select count(*) from orders', database: postgres, equals: 20 }]"));
  const env = { PATH: `${dirname(live.program)}:${process.env.PATH}` };
  const drilled = await runWith({ env }, 3, 'drill', '--at', instant, '--only', 'main-db,cache', '--json');
  const drill = drilled.json() as Drilled;
  const { moment, components } = drill.evidence;
  assert.equal(moment, instant);
  for (const { name, verdict, target, findings } of components) {
    const { tally, kept } = findings;
    assert.deepEqual([verdict, target?.kind, tally.fail], ['unknown', 'time', 0], JSON.stringify(components));
    const asked = kept.find(({ check }) => /: (orders|keys)$/.test(check));
    assert.deepEqual([asked?.verdict, asked?.detail], ['pass', '20'], `${name} as it was then ${JSON.stringify(kept)}`);
  }
  configure(stack(''));

  const [data, back] = [dirs.absent('main-db'), join(dir, 'back')];
  const to = [`main-db=${data}`, `cache=${other.url}`, `docs=${back}`].flatMap((each) => ['--to', each]);
  const preview = (await run(0, 'restore', '--at', instant, ...to, '--preview', '--json')).json() as Planned;
  const aims = preview.components.map(({ name, origin }) => [name, origin.target?.kind, origin.before_ms === null]);
  assert.deepEqual(aims, [
    ['main-db', 'time', true],
    ['cache', 'time', true],
    ['docs', undefined, false],
  ]);
  const restored = (await run(0, 'restore', '--at', instant, ...to, '--yes', '--json')).json() as Planned;
  for (const { reached, name } of restored.components.slice(0, 2)) {
    assert.ok(
      reached && Date.parse(reached.at) <= Date.parse(instant) + APART_MS,
      `${name} ${JSON.stringify(reached)}`,
    );
  }
  assert.equal(await call(other, 'DBSIZE'), 20);
  assert.equal(await call(other, 'EXISTS', 'order:20'), 0);
  const file = [join(back, 'a.txt'), join(back, dir, 'data', 'a.txt')].find(existsSync) ?? '';
  assert.equal(readFileSync(file, 'utf8'), 'as it was');
  const owner = unprivilegedUser();
  if (owner) execFileSync('chown', ['-R', `${owner.uid}:${owner.gid}`, dir]);
  await using again = await startPostgresOn(MAJOR, data);
  await until('it has recovered', 60_000, async () => {
    const [row] = await sql(again, 'postgres', 'select pg_is_in_recovery() as is');
    return !(row as { is: boolean }).is;
  });
  assert.deepEqual(await sql(again, 'postgres', 'select count(*)::int as n, max(id) from orders'), [
    { n: 20, max: 19 },
  ]);

  const { stderr } = await run(11, 'restore', '--at', '2020-01-01T00:00:00Z', '--only', 'cache', '--preview');
  assert.match(stderr, /nothing is as old/);
  await run(0, 'follow', '--drop', 'main-db');
});
