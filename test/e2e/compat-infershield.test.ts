// Every command line of InferShield's plan that concerns PostgreSQL, Redis and S3.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, truncateSync } from 'node:fs';
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
const dir = mkdtempSync(join(tmpdir(), 'lifeboat-infershield-'));
after(async () => {
  await servers.disposeAsync();
  rmSync(dir, { recursive: true, force: true });
});

const LATEST = `$(aws s3 ls s3://$S3_BACKUP_BUCKET/prod/ | sort -r | head -1 | awk '{print $2}' | tr -d '/')`;
const REPORTS = 'SELECT COUNT(*)::int FROM reports';

let production: Postgres;
let staging: Postgres;
let redis: Redis;
let stagingRedis: Redis;
let s3: S3Server;
let shell: Shell;
/** The variables that name the staging servers. */
let toStaging: Readonly<Record<string, string>>;

before(async () => {
  if (skip) return;
  [production, staging, redis, stagingRedis, s3] = await Promise.all([
    startPostgres(16).then((each) => servers.use(each)),
    startPostgres(16, { ownIdentity: true }).then((each) => servers.use(each)),
    startRedis('redis-7').then((each) => servers.use(each)),
    startRedis('redis-7').then((each) => servers.use(each)),
    startS3('seaweedfs').then((each) => servers.use(each)),
  ]);
  for (const { url } of [production, staging]) await query(url, 'CREATE DATABASE infershield');
  await fill();
  toStaging = {
    POSTGRES_HOST: 'localhost',
    POSTGRES_PORT: String(staging.port),
    REDIS_HOST: 'localhost',
    REDIS_PORT: String(stagingRedis.port),
  };
  const env = {
    POSTGRES_HOST: production.host,
    POSTGRES_PORT: String(production.port),
    POSTGRES_DB: 'infershield',
    POSTGRES_USER: production.user,
    POSTGRES_PASSWORD: production.password,
    REDIS_HOST: redis.host,
    REDIS_PORT: String(redis.port),
    S3_BACKUP_BUCKET: s3.bucket,
    S3_BACKUP_PREFIX: 'prod',
    AWS_ACCESS_KEY_ID: s3.accessKey,
    AWS_SECRET_ACCESS_KEY: s3.secretKey,
    AWS_ENDPOINT_URL: s3.endpoint,
    APP_VERSION: '0.4.0',
    // Half a day away, so that points are named after the second they began in.
    BACKUP_SCHEDULE: `0 ${(new Date().getUTCHours() + 12) % 24} * * *`,
  };
  shell = shellFor('infershield', dir, env, production.bin);
});

test('the backup that the plan takes, lists, downloads and restores by hand', { skip }, async () => {
  await shell.run('bash scripts/backup.sh');
  assert.match(await shell.run('aws s3 ls s3://$S3_BACKUP_BUCKET/prod/'), /PRE \d{4}-\d\d-\d\d-\d{6}\/$/m);
  const stamp = (await shell.run(`echo "${LATEST}"`)).trim();
  assert.match(stamp, /^\d{4}-\d\d-\d\d-\d{6}$/);
  await shell.run(`aws s3 sync s3://$S3_BACKUP_BUCKET/prod/${stamp}/ ./backup/`);
  const manifest = JSON.parse(readFileSync(join(dir, 'backup/manifest.json'), 'utf8'));
  assert.equal(manifest.version, '0.4.0');
  assert.equal(manifest.components.postgresql.file, `postgres-${stamp}.sql.gz`);
  assert.equal(manifest.components.redis.file, `redis-${stamp}.rdb`);
  assert.equal(manifest.components.postgresql.size, readFileSync(join(dir, `backup/postgres-${stamp}.sql.gz`)).length);
  await query(staging.url, 'CREATE DATABASE by_hand');
  const psql = `PGPASSWORD="$POSTGRES_PASSWORD" psql -q -h localhost -p ${staging.port} -U ${staging.user}`;
  await shell.run(`gunzip -c backup/postgres-${stamp}-globals.sql.gz | ${psql} -d postgres`); // roles that are there stay
  await shell.run(`gunzip -c backup/postgres-${stamp}.sql.gz | ${psql} -v ON_ERROR_STOP=1 -d by_hand`);
  assert.equal(await query(database(staging, 'by_hand'), REPORTS), 1000);
});

test('a test backup uploads nothing and needs no bucket', { skip }, async () => {
  const before = await shell.run('aws s3 ls s3://$S3_BACKUP_BUCKET/ --recursive');
  await shell.run('bash scripts/backup.sh --test');
  await shell.run('bash scripts/backup.sh --test', { S3_BACKUP_BUCKET: '', AWS_ENDPOINT_URL: 'http://127.0.0.1:9' });
  assert.equal(await shell.run('aws s3 ls s3://$S3_BACKUP_BUCKET/ --recursive'), before);
});

test('who exports the staging hosts restores there, and production stays untouched', { skip }, async () => {
  await query(database(production), "INSERT INTO reports VALUES (5000, 'written after the backup')");
  await shell.run(`BACKUP_DATE=${LATEST}; bash scripts/restore.sh \${BACKUP_DATE} --postgres-only --yes`, toStaging);
  assert.equal(await query(database(staging), REPORTS), 1000);
  assert.equal(await query(database(production), REPORTS), 1001);
  assert.equal(await redisCommand(stagingRedis.url, ['DBSIZE']), 0, '--postgres-only');
  await shell.run(`bash scripts/restore.sh ${LATEST} --redis-only --yes`, toStaging);
  assert.equal(await redisCommand(stagingRedis.url, ['GET', 'session:7']), 'ada');
  await query(database(production), 'DELETE FROM reports WHERE id = 5000');
});

test('rows that were deleted come back from staging by a file', { skip }, async () => {
  await query(database(production), 'DELETE FROM reports WHERE id IN (1, 2)');
  const psql = (port: number): string =>
    `PGPASSWORD="$POSTGRES_PASSWORD" psql -h localhost -p ${port} -U postgres -d infershield`;
  const file = join(dir, 'deleted-reports.csv');
  const out = `\\copy (SELECT * FROM reports WHERE id IN (1, 2)) TO '${file}' CSV HEADER`;
  await shell.run(`${psql(staging.port)} -c "${out}"`);
  await shell.run(`${psql(production.port)} -c "\\copy reports FROM '${file}' CSV HEADER"`);
  assert.equal(await query(database(production), REPORTS), 1000);
});

test('nothing is overwritten before its name was confirmed', { skip }, async () => {
  await query(database(production), "UPDATE reports SET title = 'newer' WHERE id = 3");
  const said = await shell.run(`bash scripts/restore.sh ${LATEST}`, {}, 34);
  assert.ok(said.includes(`${production.host}:${production.port}/infershield`), said);
  assert.equal(await query(database(production), 'SELECT title FROM reports WHERE id = 3'), 'newer');
});

test('a restore over full, half-corrupt servers brings everything back', { skip }, async () => {
  await query(database(production), 'DROP TABLE audit_logs');
  await query(database(production), "UPDATE reports SET title = 'garbage'");
  await redisCommand(redis.url, ['SET', 'session:7', 'mallory']);
  await redisCommand(redis.url, ['SET', 'stray', 'x']);
  await shell.run(`bash scripts/restore.sh ${LATEST} --yes --terminate-connections`);
  assert.equal(await query(database(production), "SELECT count(*)::int FROM reports WHERE title = 'garbage'"), 0);
  assert.equal(await query(database(production), 'SELECT count(*)::int FROM audit_logs'), 3);
  assert.equal(await redisCommand(redis.url, ['GET', 'session:7']), 'ada');
  assert.equal(await redisCommand(redis.url, ['EXISTS', 'stray']), 0);
});

test('the newest folder stays the newest backup after a restore, however often it is repeated', { skip }, async () => {
  const stamp = await shell.run(`echo "${LATEST}"`);
  await shell.run(`bash scripts/restore.sh ${stamp.trim()} --redis-only --yes`);
  assert.equal(await shell.run(`echo "${LATEST}"`), stamp);
});

test('folders that the old script made are restored as well', { skip }, async () => {
  const stamp = '2024-02-23-020000';
  const make = [
    'mkdir -p old',
    `PGPASSWORD="$POSTGRES_PASSWORD" pg_dump -h $POSTGRES_HOST -p $POSTGRES_PORT -U $POSTGRES_USER $POSTGRES_DB` +
      ` | gzip > old/postgres-${stamp}.sql.gz`,
    `redis-cli -h $REDIS_HOST -p $REDIS_PORT --rdb old/redis-${stamp}.rdb > old.log`,
    `aws s3 sync ./old/ s3://$S3_BACKUP_BUCKET/prod/${stamp}/`,
  ];
  await shell.run(make.join(' && '));
  await query(database(staging), 'DROP TABLE reports');
  await redisCommand(stagingRedis.url, ['FLUSHALL']);
  await shell.run(`bash scripts/restore.sh ${stamp} --yes`, toStaging);
  assert.equal(await query(database(staging), REPORTS), 1000);
  assert.equal(await redisCommand(stagingRedis.url, ['GET', 'session:7']), 'ada');
});

test('a stamp without a backup, no stamp, and a missing variable are told apart', { skip }, async () => {
  assert.match(await shell.run('bash scripts/restore.sh 2020-01-01-020000 --yes', {}, 11), /2020-01-01-020000/);
  assert.match(await shell.run('bash scripts/restore.sh --yes', {}, 2), /which backup/);
  assert.match(await shell.run(`bash scripts/restore.sh ${LATEST} --yes`, { POSTGRES_HOST: '' }, 10), /POSTGRES_HOST/);
});

test('a backup at its scheduled time is named after that time', { skip }, async () => {
  const now = new Date();
  const slot = new Date(Math.floor(now.getTime() / 60_000) * 60_000);
  const schedule = `${slot.getUTCMinutes()} ${slot.getUTCHours()} * * *`;
  const env = { BACKUP_SCHEDULE: schedule, S3_BACKUP_PREFIX: 'scheduled' };
  await shell.run('bash scripts/backup.sh', env);
  const id = `${slot.toISOString().slice(0, 10)}-${slot.toISOString().slice(11, 16).replace(':', '')}00`;
  const folders = (): Promise<string> => shell.run('aws s3 ls s3://$S3_BACKUP_BUCKET/scheduled/');
  assert.match(await folders(), new RegExp(`PRE ${id}/`));
  await shell.run('bash scripts/backup.sh', env);
  assert.equal((await folders()).match(/PRE \d{4}-/g)?.length, 2, 'each call makes one, as the old script did');
});

test('the quarterly test backs up, and restores the newest backup into sandboxes', { skip }, async () => {
  assert.match(await shell.run('bash scripts/test-dr.sh'), /pass/);
});

test('a database that can not even be opened is replaced all the same', { skip }, async () => {
  const name = "SELECT oid::int FROM pg_database WHERE datname = 'infershield'";
  const map = join(production.dir, 'base', String(await query(production.url, name)), 'pg_filenode.map');
  await production.stop();
  truncateSync(map, 0);
  await production.start();
  await assert.rejects(query(database(production), REPORTS), /pg_filenode/);
  await shell.run(`bash scripts/restore.sh ${LATEST} --postgres-only --yes --terminate-connections`);
  assert.equal(await query(database(production), REPORTS), 1000);
});

test('a server that is stopped is told apart from a wrong backup', { skip }, async () => {
  await production.stop();
  assert.match(await shell.run(`bash scripts/restore.sh ${LATEST} --postgres-only --yes`, {}, 14), /postgresql/);
  await production.start();
  await redis.stop();
  assert.match(await shell.run(`bash scripts/restore.sh ${LATEST} --redis-only --yes`, {}, 14), /redis/);
  await redis.start();
});

function database({ url }: Postgres, name = 'infershield'): string {
  return url.replace(/postgres$/, name);
}

async function fill(): Promise<void> {
  const url = database(production);
  await query(url, 'CREATE TABLE reports (id int PRIMARY KEY, title text)');
  await query(url, "INSERT INTO reports SELECT i, 'report ' || i FROM generate_series(1, 1000) i");
  await query(
    url,
    "CREATE TABLE audit_logs AS SELECT i AS id, 'report.deleted' AS action FROM generate_series(1, 3) i",
  );
  await query(url, 'CREATE ROLE infershield LOGIN');
  for (const table of ['reports', 'audit_logs']) await query(url, `ALTER TABLE ${table} OWNER TO infershield`);
  await redisCommand(redis.url, ['SET', 'session:7', 'ada']);
  await redisCommand(redis.url, ['HSET', 'limits', 'a', '1', 'b', '2']);
}
