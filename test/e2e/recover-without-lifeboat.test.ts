import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { needServer } from '../servers/need.ts';
import { startPostgres } from '../servers/postgres.ts';
import { startRedis } from '../servers/redis.ts';
import { expectExit } from './lifeboat.ts';
import { blocks } from './page.ts';
import { query } from './postgres.ts';
import { redisCommand } from './redis.ts';

const dir = mkdtempSync(join(tmpdir(), 'lifeboat-without-'));
after(() => rmSync(dir, { recursive: true, force: true }));

function shell(script: string, env: Readonly<Record<string, string>>): string {
  const ran = spawnSync('bash', ['-euo', 'pipefail', '-c', script], {
    encoding: 'utf8',
    env: { ...process.env, HOME: dir, RESTIC_CACHE_DIR: join(dir, 'cache'), ...env },
  });
  assert.equal(ran.status, 0, `${script}\n${ran.stdout}\n${ran.stderr}`);
  return ran.stdout;
}

test('what the page says brings everything back with stock programs alone', async (t) => {
  if (!(await needServer(t, 'restic', 'postgres-16', 'redis-7'))) return;
  await using source = await startPostgres(16);
  await using target = await startPostgres(16);
  await using redis = await startRedis('redis-7');
  await query(source.url, 'CREATE DATABASE shop');
  await query(source.url, "CREATE ROLE teller LOGIN PASSWORD 'x'");
  const shop = source.url.replace(/postgres$/, 'shop');
  await query(shop, 'CREATE TABLE orders AS SELECT i AS id, md5(i::text) AS note FROM generate_series(1, 5000) AS i');
  await query(shop, 'ALTER TABLE orders OWNER TO teller');
  await redisCommand(redis.url, ['SET', 'greeting', 'hello']);
  mkdirSync(join(dir, 'uploads'));
  writeFileSync(join(dir, 'uploads', 'a file.txt'), 'hello');
  writeFileSync(join(dir, 'password'), 'sesame\n');
  const config = `stack: shop
stores:
  main: { format: restic, bucket: ${join(dir, 'store')}, password: "\${file:${join(dir, 'password')}}" }
  dated: { format: plain, layout: dated, bucket: ${join(dir, 'plain')} }
components:
  main-db: { kind: postgresql, url: "${shop}", databases: [shop], bin_dir: ${source.bin} }
  cache: { kind: redis, url: "${redis.url}" }
  uploads: { kind: files, paths: [${join(dir, 'uploads')}] }
`;
  writeFileSync(join(dir, 'lifeboat.yaml'), config);
  await expectExit(0, ['init'], { cwd: dir });
  await expectExit(0, ['backup'], { cwd: dir });

  const env = {
    PATH: `${target.bin}:${process.env.PATH}`,
    RESTIC_REPOSITORY: join(dir, 'store'),
    RESTIC_PASSWORD_FILE: join(dir, 'password'),
    RESTORED: join(dir, 'restored'),
    REDIS_DIR: join(dir, 'redis'),
    PGHOST: target.host,
    PGPORT: String(target.port),
    PGUSER: target.user,
    PGPASSWORD: target.password,
  };
  mkdirSync(env.REDIS_DIR);
  const outputs = blocks('sh').map((block) => shell(block, env));
  assert.equal(outputs.length, 4);
  const counted = 'SELECT count(*)::int AS n, md5(string_agg(note, id::text ORDER BY id)) AS sum FROM orders';
  const expected = await query(shop, counted);
  assert.deepEqual(await query(target.url.replace(/postgres$/, 'shop'), counted), expected);
  assert.match(outputs.at(-1) ?? '', /a file\.txt/);
  await using again = await startRedis('redis-7', { args: ['--dir', env.REDIS_DIR] });
  assert.equal(await redisCommand(again.url, ['GET', 'greeting']), 'hello');

  await query(target.url, 'CREATE DATABASE empty');
  const [stamp = ''] = readdirSync(join(dir, 'plain')).filter((name) => /^\d{4}-/.test(name));
  const plain = { ...env, PLAIN: join(dir, 'plain', stamp), PGDATABASE: 'empty' };
  for (const block of blocks('plain')) shell(block, plain);
  assert.deepEqual(await query(target.url.replace(/postgres$/, 'empty'), counted), expected);
});
