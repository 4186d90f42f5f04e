// Log lines beside a database and a cache, in the folder that the plan has for the three.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { nsAgo, push } from '../../src/drivers/loki/testing.ts';
import { type Loki, startLoki } from '../servers/loki.ts';
import { missing } from '../servers/need.ts';
import { type Postgres, startPostgres } from '../servers/postgres.ts';
import { type Redis, startRedis } from '../servers/redis.ts';
import { query } from './postgres.ts';
import { redisCommand } from './redis.ts';
import { workspace } from './workspace.ts';

const exec = promisify(execFile);
const HOUR_MS = 3_600_000;
const ID = '2024-02-23-020000';
const skip = await missing('postgres-17', 'redis-7', 'loki-3');
const { configure, dir, run } = workspace('logs');
let db: Postgres;
let cache: Redis;
let loki: Loki;

before(async () => {
  if (skip) return;
  const limits = ['max_entries_limit_per_query: 100', 'reject_old_samples: true', 'reject_old_samples_max_age: 120h'];
  [db, cache, loki] = await Promise.all([
    startPostgres(17),
    startRedis('redis-7'),
    startLoki({ tenants: true, limits }),
  ]);
  await query(db.url, 'create table reports as select generate_series(1, 100) as id');
  await redisCommand(cache.url, ['SET', 'session', 'x']);
  for (const hours of [60, 40, 26, 2]) {
    const values = Array.from({ length: 150 }, (_, n) => [nsAgo(hours * HOUR_MS, n), `${hours} ${n}`] as const);
    await push({ url: loki.url, tenant: 'prod' }, [{ stream: { app: 'shop' }, values }]);
  }
  configure(`stack: prod
stores: { dated: { format: plain, layout: dated, bucket: ${join(dir, 'store')} } }
components:
  postgresql: { kind: postgresql, url: "${db.url}", bin_dir: ${db.bin} }
  redis: { kind: redis, url: "${cache.url}" }
  loki: { kind: loki, url: "${loki.url}", tenant: prod, since: 4d }
`);
});
after(async () => {
  for (const server of [db, cache, loki]) await server?.[Symbol.asyncDispose]();
});

interface Manifest {
  readonly components: Readonly<Record<string, { readonly file: string; readonly size: number }>>;
}

test('a point of a database, a cache and logs has the names of the plan, and one file of all days', {
  skip,
}, async () => {
  await run(0, 'init');
  await run(0, 'backup');
  const [id = ''] = readdirSync(join(dir, 'store')).filter((name) => name.length === ID.length);
  const folder = join(dir, 'store', id);
  const names = readdirSync(folder).filter((name) => !/-globals\.sql\.gz$/.test(name));
  const files = { loki: `loki-${id}.json.gz`, postgresql: `postgres-${id}.sql.gz`, redis: `redis-${id}.rdb` };
  assert.deepEqual(names, [files.loki, 'manifest.json', files.postgresql, files.redis]);
  const { components } = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as Manifest;
  assert.deepEqual(Object.fromEntries(Object.entries(components).map(([name, { file }]) => [name, file])), files);
  const content = readFileSync(join(folder, files.loki));
  assert.equal(components.loki?.size, content.length);
  const lines = gunzipSync(content).toString().trim().split('\n');
  const texts = lines.map((line) => (JSON.parse(line) as { line: string }).line);
  const expected = [60, 40, 26, 2].flatMap((hours) => Array.from({ length: 150 }, (_, n) => `${hours} ${n}`));
  assert.deepEqual(texts, expected);
});

test('a later point keeps what finished days held, and zcat reads all of it', {
  skip,
}, async () => {
  await push({ url: loki.url, tenant: 'prod' }, [{ stream: { app: 'shop' }, values: [[nsAgo(HOUR_MS), 'new']] }]);
  await run(0, 'backup');
  const id =
    readdirSync(join(dir, 'store'))
      .filter((name) => name.length === ID.length)
      .at(-1) ?? '';
  const file = join(dir, 'store', id, `loki-${id}.json.gz`);
  const zcat = async (rest: string): Promise<string> => (await exec('sh', ['-c', `zcat '${file}' | ${rest}`])).stdout;
  assert.match(await zcat('tail -n 1'), /"line":"new"/);
  assert.equal(Number(await zcat('wc -l')), 601);
  await run(0, 'verify', '--all', '--read-data');
});

test('a Loki that refuses old lines says so in the preview, and what came back is told', { skip }, async () => {
  await using target = await startLoki({ limits: ['reject_old_samples: true', 'reject_old_samples_max_age: 30h'] });
  const to = ['restore', 'latest', '--only', 'loki', '--to', `loki=${target.url}`];
  const preview = await run(0, ...to, '--preview');
  assert.match(preview.stdout, /loki: loki at .* refuses lines older than 30 hours: set reject_old_samples: false/);
  const restored = await run(3, ...to, '--yes');
  assert.match(restored.stdout + restored.stderr, /300 lines are older than 30 hours .* and were not sent/);
});
