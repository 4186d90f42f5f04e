// A folder that older scripts wrote becomes points of the stack: listed, verified, rehearsed and restored.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { needServer } from '../servers/need.ts';
import { startRedis } from '../servers/redis.ts';
import { redisCommand } from './redis.ts';
import { workspace } from './workspace.ts';

const STAMPS = ['2024-02-22-020000', '2024-02-23-020000'] as const;
const { dir, configure, run, runWith } = workspace('import');

test('old folders are imported once, an empty file is named, and the rest is restored', async (t) => {
  if (!(await needServer(t, 'redis-7'))) return;
  await using redis = await startRedis('redis-7');
  await redisCommand(redis.url, ['SET', 'session:7', 'ada']);
  const files = STAMPS.map((stamp) => join(dir, 'old', stamp, `redis-${stamp}.rdb`));
  const [empty = '', whole = ''] = files;
  for (const file of files) {
    mkdirSync(dirname(file), { recursive: true });
    const ran = spawnSync('redis-cli', ['-p', String(redis.port), '--rdb', file], { encoding: 'utf8' });
    assert.equal(ran.status, 0, ran.stderr);
  }
  writeFileSync(empty, '');
  const kept = readFileSync(whole);
  configure(`stack: shop
stores: { dated: { format: plain, layout: dated, bucket: ${join(dir, 'old')} } }
components: { cache: { kind: redis, url: "${redis.url}" } }
`);
  await run(0, 'init');
  await run(3, 'import');
  const { points } = (await run(0, 'list', '--json')).json() as { points: { id: string }[] };
  assert.deepEqual(
    points.map(({ id }) => id),
    [STAMPS[1]],
  );
  assert.ok(readFileSync(whole).equals(kept));
  await runWith({ env: { PATH: [dirname(redis.program), process.env.PATH].join(delimiter) } }, 3, 'drill'); // no inventory
  await redisCommand(redis.url, ['FLUSHALL']);
  await run(3, 'restore', STAMPS[1], '--yes');
  assert.equal(await redisCommand(redis.url, ['GET', 'session:7']), 'ada');
});

test('a dump whose pg_dump failed halfway is named, though its gzip is whole', async () => {
  const [stamp] = STAMPS;
  const begun = '--\n-- PostgreSQL database dump\n--\n\nCREATE TABLE orders (id int);\n';
  const folder = join(dir, 'halfway', stamp);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `postgres-${stamp}.sql.gz`), gzipSync(begun));
  configure(`stack: shop
stores: { dated: { format: plain, layout: dated, bucket: ${join(dir, 'halfway')} } }
components: { main-db: { kind: postgresql, host: localhost } }
`);
  await run(0, 'init');
  const said = await run(3, 'import');
  assert.match(said.stdout, /NOT USABLE/);
  assert.match(said.stdout, /fail: .*sql\.gz is whole: .*cut short when it was made/);
  const listed = (await run(0, 'list', '--json')).json() as { points: unknown; unreadable_stores: unknown };
  assert.deepEqual([listed.points, listed.unreadable_stores], [[], []]);
});
