// Markers as their owner sees them: written by lifeboat follow, shown, measured by a drill, and removed.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { delimiter } from 'node:path';
import { after, before, test } from 'node:test';
import { missing } from '../servers/need.ts';
import { type Postgres, startPostgres } from '../servers/postgres.ts';
import { until } from '../servers/processes.ts';
import { type Redis, startRedis } from '../servers/redis.ts';
import { query } from './postgres.ts';
import { redisCommand } from './redis.ts';
import { workspace } from './workspace.ts';

const SOON_MS = 60_000;
const { configure, run, runWith, store } = workspace('markers');
const skip = await missing('postgres-17', 'redis-8');
let db: Postgres;
let cache: Redis;

before(async () => {
  if (skip) return;
  [db, cache] = await Promise.all([startPostgres(17), startRedis('redis-8')]);
  await query(db.url, 'create table orders as select 1 as id');
  configure(`stack: shop
stores:
  local: ${store('store')}
components:
  main-db: { kind: postgresql, url: "${db.url}", bin_dir: "${db.bin}", capture: [physical], follow: true, markers: 1s }
  cache:   { kind: redis, url: "${cache.url}" }
  config:  { kind: files, paths: [/nowhere] }
`);
  await run(0, 'init');
});
after(async () => {
  await db?.[Symbol.asyncDispose]();
  await cache?.[Symbol.asyncDispose]();
});

interface Shown {
  readonly components: readonly { name: string; marker: { number: number } | null; error?: { code: string } }[];
}
async function shown(expected: number): Promise<Shown['components']> {
  return ((await run(expected, 'markers', '--json')).json() as Shown).components;
}
const numberOf = async (): Promise<number> => (await shown(0))[0]?.marker?.number ?? 0;

/** Until there is a marker of this number. */
async function followUntil(number: number): Promise<void> {
  let child: ChildProcess | undefined;
  const following = runWith({ onStart: (started) => void (child = started) }, 0, 'follow');
  try {
    await until(`marker ${number}`, SOON_MS, async () => (await numberOf()) >= number);
  } finally {
    child?.kill('SIGTERM');
  }
  await following;
}

test('there are none before they are written', { skip }, async () => {
  const { stdout } = await run(0, 'markers');
  assert.match(stdout, /main-db +1\.0 s +none/);
  assert.match(stdout, /cache +off +none/);
  assert.doesNotMatch(stdout, /config/);
  assert.match((await run(0, 'markers', '--remove')).stdout, /^there were no markers/);
  assert.match((await run(0, 'markers', '--help')).stdout, /Examples:\n {2}lifeboat markers /);
});

test('lifeboat follow writes them where that is asked for, and a drill measures the loss by them', {
  skip,
}, async () => {
  await followUntil(2);
  assert.deepEqual(
    (await shown(0)).map(({ marker }) => marker !== null),
    [true, false],
  );
  const env = { PATH: [db.bin, process.env.PATH].join(delimiter) };
  await runWith({ env }, 0, 'backup', 'main-db');
  const last = await numberOf();
  const drilled = await runWith({ env }, 0, 'drill', '--only', 'main-db', '--json');
  const { evidence } = drilled.json() as { evidence: { started_at: string; components: { marker: Lost }[] } };
  const marker = evidence.components[0]?.marker;
  assert.equal(marker?.number, last);
  assert.equal(marker.lost_ms, Date.parse(evidence.started_at) - Date.parse(marker.at));
  assert.match((await run(0, 'drill', 'history')).stdout, /would lose +lost by markers\n.* s\n?$/);
});
interface Lost {
  readonly number: number;
  readonly at: string;
  readonly lost_ms: number;
}

test('they are removed with what was made for them, and told; a service that is away is no reason to stay silent', {
  skip,
}, async () => {
  await cache.stop();
  assert.deepEqual(
    (await shown(3)).map(({ name, error }) => [name, error?.code]),
    [
      ['main-db', undefined],
      ['cache', 'unreachable'],
    ],
  );
  const { stdout, stderr } = await run(3, 'markers', '--remove');
  assert.match(
    stdout,
    /main-db: table lifeboat\.marker of postgres removed\nmain-db: schema lifeboat of postgres removed/,
  );
  assert.match(stdout, /cache: NOT REMOVED: redis at/);
  assert.match(stderr, /following writes them again while markers is set: main-db/);
  await run(14, 'markers', 'cache');
  await cache.start();
  assert.equal(await redisCommand(cache.url, ['dbsize']), 0);
  assert.match((await run(0, 'markers', '--remove')).stdout, /^there were no markers/);
  assert.deepEqual(await query(db.url, "select to_regnamespace('lifeboat') as schema"), [{ schema: null }]);
  await run(0, 'follow', '--drop', 'main-db');
});

test('what can not be marked is refused with its line', { skip }, async () => {
  configure(`stack: shop
stores: { local: ${store('store')} }
components:
  config: { kind: files, paths: [/nowhere], markers: 5s }
`);
  const refused = await run(10, 'markers');
  assert.match(refused.stderr, /lifeboat\.yaml:4: components\.config\.markers: no markers can be written into files/);
  configure(`stack: shop
stores: { local: ${store('store')} }
components:
  cache: { kind: redis, url: "${cache.url}", markers: 10ms }
`);
  assert.match((await run(10, 'markers')).stderr, /markers: a duration of at least 1s/);
});
