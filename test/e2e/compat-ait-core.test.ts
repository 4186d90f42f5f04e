// Every command line of AIT-CORE's plan that concerns PostgreSQL, Redis and S3.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { missing } from '../servers/need.ts';
import { type Postgres, startPostgres } from '../servers/postgres.ts';
import { type Redis, startRedis } from '../servers/redis.ts';
import { type S3Server, startS3 } from '../servers/s3.ts';
import { redisCommand } from './redis.ts';
import { query, type Shell, shellFor } from './scripts.ts';

const skip = await missing('postgres-16', 'redis-7', 'seaweedfs');
const servers = new AsyncDisposableStack();
const dir = mkdtempSync(join(tmpdir(), 'lifeboat-ait-core-'));
after(async () => {
  await servers.disposeAsync();
  rmSync(dir, { recursive: true, force: true });
});

const POLICIES = 'SELECT count(*)::int FROM policies';
const backups = join(dir, 'backups');

let main: Postgres;
let testDb: Postgres;
let redis: Redis;
let s3: S3Server;
let shell: Shell;

before(async () => {
  if (skip) return;
  [main, testDb, redis, s3] = await Promise.all([
    startPostgres(16).then((each) => servers.use(each)),
    startPostgres(16, { ownIdentity: true }).then((each) => servers.use(each)),
    startRedis('redis-7').then((each) => servers.use(each)),
    startS3('seaweedfs').then((each) => servers.use(each)),
  ]);
  await query(main.url, 'CREATE DATABASE soriano_core');
  await query(main.url, 'CREATE ROLE auditor CONNECTION LIMIT 3');
  await query(
    database(main),
    "CREATE TABLE policies AS SELECT i AS id, 'policy ' || i AS holder FROM generate_series(1, 500) i",
  );
  await query(testDb.url, 'CREATE DATABASE test_restore');
  await redisCommand(redis.url, ['SET', 'session:1', 'soriano']);
  shell = shellFor('ait-core', dir, {}, main.bin);
  writeFileSync(
    join(dir, 'backup/backup.env'),
    [
      `DB_HOST=${main.host}`,
      `DB_PORT=${main.port}`,
      `DB_USER=${main.user}`,
      `DB_PASSWORD='${main.password}'`,
      `REDIS_HOST=${redis.host}`,
      `REDIS_PORT=${redis.port}`,
      `BACKUP_DIR=${backups}`,
      `S3_BACKUP_BUCKET=${s3.bucket}`,
      `AWS_ACCESS_KEY_ID=${s3.accessKey}`,
      `AWS_SECRET_ACCESS_KEY=${s3.secretKey}`,
      `AWS_ENDPOINT_URL=${s3.endpoint}`,
    ].join('\n'),
  );
});

test('the scheduled scripts leave the files of the plan on disk and in S3', { skip }, async () => {
  await shell.run('cd backup && ./backup-all.sh');
  const [file, globals] = filesIn('postgres').reverse();
  assert.match(file ?? '', /^postgres_soriano_core_\d{8}_\d{6}\.sql\.gz$/);
  assert.match(globals ?? '', /^postgres_\d{8}_\d{6}-globals\.sql\.gz$/);
  assert.match(filesIn('redis').join(), /^redis_\d{8}_\d{6}\.rdb$/);
  const listed = await aws('aws s3 ls s3://$BUCKET/postgres/ --recursive | tail -5');
  assert.ok(listed.includes(`postgres/${file}`), listed);
  await shell.run('cd backup && ./backup-postgres.sh');
  await shell.run('cd backup && ./backup-redis.sh');
  assert.deepEqual([filesIn('postgres').length, filesIn('redis').length], [4, 2]);
});

test('a backup goes into a temporary database by gunzip and psql', { skip }, async () => {
  const login = `export PGPASSWORD='${main.password}' PGHOST=${main.host} PGPORT=${main.port} PGUSER=${main.user}`;
  const lines = [
    login,
    'createdb temp_restore',
    `gunzip -c ${newest('postgres')} | psql -q -v ON_ERROR_STOP=1 -d temp_restore`,
    `psql -d temp_restore -c "COPY (SELECT * FROM policies WHERE id < 3) TO STDOUT" | psql -d soriano_core -c "COPY policies FROM STDIN"`,
  ];
  await shell.run(lines.join(' && '));
  assert.equal(await query(database(main), POLICIES), 502);
  await query(
    database(main),
    'DELETE FROM policies WHERE ctid IN (SELECT max(ctid) FROM policies GROUP BY id HAVING count(*) > 1)',
  );
  await shell.run(`${login} && dropdb temp_restore`);
});

test('what is exported beats backup.env: a test restore never touches the first server', { skip }, async () => {
  await query(database(main), "INSERT INTO policies VALUES (900, 'written after the backup')");
  const login = `export DB_HOST=localhost DB_PORT=${testDb.port} DB_NAME=test_restore DB_USER=${testDb.user}`;
  await shell.run(`cd backup && ${login} && ./restore-postgres.sh --yes`);
  assert.equal(await query(database(testDb, 'test_restore'), POLICIES), 500);
  assert.equal(await query(database(main), POLICIES), 501);
});

test('the latest backup or a named file is restored in place, over whatever is there', { skip }, async () => {
  await query(database(main), 'TRUNCATE policies');
  assert.match(await shell.run('cd backup && ./restore-postgres.sh', {}, 34), /soriano_core/);
  assert.equal(await query(database(main), POLICIES), 0, 'nothing happens before it was confirmed');
  await shell.run('cd backup && ./restore-postgres.sh --yes --terminate-connections');
  assert.equal(await query(database(main), POLICIES), 500);
  await query(database(main), 'DELETE FROM policies WHERE id > 10');
  await query(main.url, 'ALTER ROLE auditor CONNECTION LIMIT 5');
  // The role that is there is not changed, so that not all of it is as it was.
  await shell.run(`cd backup && ./restore-postgres.sh ${newest('postgres')} --yes`, {}, 3);
  await query(main.url, 'ALTER ROLE auditor CONNECTION LIMIT 3');
  assert.equal(await query(database(main), POLICIES), 500);
  await redisCommand(redis.url, ['SET', 'session:1', 'lost']);
  await shell.run('cd backup && ./restore-redis.sh --yes');
  assert.equal(await redisCommand(redis.url, ['GET', 'session:1']), 'soriano');
});

test('the replaced databases are kept until they are dropped', { skip }, async () => {
  const kept = "SELECT count(*)::int FROM pg_database WHERE datname LIKE 'soriano\\_core\\_\\_lifeboat%'";
  assert.equal(await query(main.url, kept), 2);
  await shell.run('cd backup && ./restore-postgres.sh --drop-old --yes');
  assert.equal(await query(main.url, kept), 0);
  assert.equal(await query(database(main), POLICIES), 500);
});

test('a file from anywhere, such as an old disk, is restored', { skip }, async () => {
  const elsewhere = join(dir, 'postgres_soriano_core_20250101_120000.sql.gz');
  await shell.run(`cp ${newest('postgres')} ${elsewhere}`);
  await query(database(main), 'TRUNCATE policies');
  await shell.run(`backup/restore-postgres.sh ${elsewhere} --yes`);
  assert.equal(await query(database(main), POLICIES), 500);
  await shell.run(`cp ${elsewhere} ${join(dir, 'dump.sql.gz')}`);
  assert.match(
    await shell.run(`backup/restore-postgres.sh ${join(dir, 'dump.sql.gz')} --yes`, {}, 2),
    /not named like/,
  );
  assert.match(await shell.run('backup/restore-postgres.sh /no/such/file.sql.gz --yes', {}, 11), /no file/);
});

test('a new machine recovers from the synced folders alone', { skip }, async () => {
  const fresh = join(dir, 'fresh');
  await aws(`aws s3 sync s3://$BUCKET/postgres/ ${fresh}/postgres/ && aws s3 sync s3://$BUCKET/redis/ ${fresh}/redis/`);
  await using target = await startPostgres(16);
  await using cache = await startRedis('redis-7');
  const onlyHere = { BACKUP_DIR: fresh, S3_BACKUP_BUCKET: '', S3_BUCKET: '' };
  const there = { ...onlyHere, DB_HOST: target.host, DB_PORT: String(target.port), REDIS_PORT: String(cache.port) };
  assert.match(await shell.run('cd backup && ./restore-all.sh --yes', there, 2), /-a/);
  await query(target.url, 'CREATE DATABASE soriano_core');
  await shell.run('cd backup && ./restore-all.sh -a --yes', there);
  assert.equal(await query(database(target), POLICIES), 500);
  assert.equal(await redisCommand(cache.url, ['GET', 'session:1']), 'soriano');
});

test('the weekly verification passes, and finds a file that was cut short', { skip }, async () => {
  await shell.run('cd backup && ./verify-backups.sh');
  const file = newest('postgres');
  const whole = readFileSync(file);
  writeFileSync(file, whole.subarray(0, whole.length >> 1));
  assert.match(await shell.run('cd backup && ./verify-backups.sh', {}, 13), /soriano_core/);
  writeFileSync(file, whole);
  await shell.run('cd backup && ./verify-backups.sh');
});

function filesIn(folder: string): string[] {
  return readdirSync(join(backups, folder)).sort();
}
/** As `ls -lh /backup/postgres/ | tail` shows it. */
function newest(folder: string): string {
  const [name = ''] = filesIn(folder)
    .filter((each) => !each.includes('globals'))
    .reverse();
  return join(backups, folder, name);
}

async function aws(line: string): Promise<string> {
  return await shell.run(line, {
    BUCKET: s3.bucket,
    AWS_ACCESS_KEY_ID: s3.accessKey,
    AWS_SECRET_ACCESS_KEY: s3.secretKey,
    AWS_ENDPOINT_URL: s3.endpoint,
  });
}

function database({ url }: Postgres, name = 'soriano_core'): string {
  return url.replace(/postgres$/, name);
}
