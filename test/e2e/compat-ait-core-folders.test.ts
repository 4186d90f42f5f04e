// AIT-CORE's plan with all four services: what its scripts leave in the four folders, and a new machine that has
// nothing but these folders.

import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { missing } from '../servers/need.ts';
import { type OpenSearch, startOpenSearch } from '../servers/opensearch.ts';
import { type Postgres, startPostgres } from '../servers/postgres.ts';
import { type Redis, startRedis } from '../servers/redis.ts';
import { type S3Server, startS3 } from '../servers/s3.ts';
import { fillObjects, fillSearch, objectsAt, searchAt } from './compat-services.ts';
import { redisCommand } from './redis.ts';
import { query, type Shell, shellFor } from './scripts.ts';

const FOLDERS = ['postgres', 'redis', 'minio', 'elasticsearch'];
const skip = await missing('postgres-16', 'redis-7', 'minio', 'opensearch-2');
const servers = new AsyncDisposableStack();
const dir = mkdtempSync(join(tmpdir(), 'lifeboat-ait-folders-'));
after(async () => {
  await servers.disposeAsync();
  rmSync(dir, { recursive: true, force: true });
});

interface Machine {
  readonly postgres: Postgres;
  readonly redis: Redis;
  readonly minio: S3Server;
  readonly search: OpenSearch;
  /** BACKUP_DIR. */
  readonly backups: string;
}
let old: Machine;
let fresh: Machine;
let shell: Shell;

async function machine(name: string): Promise<Machine> {
  const [postgres, redis, minio, search] = await Promise.all([
    startPostgres(16).then((each) => servers.use(each)),
    startRedis('redis-7').then((each) => servers.use(each)),
    startS3('minio').then((each) => servers.use(each)),
    startOpenSearch('opensearch-2').then((each) => servers.use(each)),
  ]);
  await query(postgres.url, 'CREATE DATABASE soriano_core');
  return { postgres, redis, minio, search, backups: join(dir, name) };
}

before(async () => {
  if (skip) return;
  [old, fresh] = await Promise.all([machine('old'), machine('fresh')]);
  await query(
    core(old),
    "CREATE TABLE policies AS SELECT i AS id, 'policy ' || i AS holder FROM generate_series(1, 50) i",
  );
  await redisCommand(old.redis.url, ['SET', 'session:1', 'soriano']);
  await fillObjects(old.minio);
  await fillSearch(old.search.url);
  shell = shellFor('ait-core', dir, {}, old.postgres.bin);
  const lines = Object.entries(variables(old)).map(([name, value]) => `${name}='${value}'`);
  writeFileSync(join(dir, 'backup/backup.env'), lines.join('\n'));
});

test('backup-all.sh leaves all four in their folders, and cp and gunzip take them out', { skip }, async () => {
  await shell.run('cd backup && ./backup-all.sh');
  const [objects = '', ...more] = readdirSync(join(old.backups, 'minio'));
  assert.match(objects, /^minio_\d{8}_\d{6}$/);
  const [indices = ''] = readdirSync(join(old.backups, 'elasticsearch'));
  assert.match(indices, /^elasticsearch_\d{8}_\d{6}$/);
  assert.deepEqual(more, []);
  const at = (path: string): string => join(old.backups, 'minio', objects, path);
  assert.equal(readFileSync(at('documents/2026/policy%201.txt'), 'utf8'), 'the first policy');
  assert.equal(readFileSync(at('archive/minutes.txt'), 'utf8'), 'as of today');
  assert.ok(!existsSync(at('archive/gone.txt')), 'what is deleted is among the older versions only');
  const [packed = ''] = readdirSync(join(old.backups, 'elasticsearch', indices, 'indices/policies')).sort();
  assert.match(packed, /^documents-.*\.bulk\.gz$/);
  const bulk = gunzipSync(readFileSync(join(old.backups, 'elasticsearch', indices, 'indices/policies', packed)));
  assert.match(bulk.toString(), /"holder":"holder \d+"/);
});

test('the scripts of one service add to its folder alone', { skip }, async () => {
  await shell.run('cd backup && ./backup-minio.sh && ./backup-elasticsearch.sh');
  assert.deepEqual(
    FOLDERS.map((folder) => readdirSync(join(old.backups, folder)).length),
    [2, 1, 2, 2],
  );
  await shell.run('cd backup && ./verify-backups.sh');
});

test('a new machine recovers all four from the synced folders alone', { skip }, async () => {
  for (const folder of FOLDERS) cpSync(join(old.backups, folder), join(fresh.backups, folder), { recursive: true });
  await shell.run('backup/restore-all.sh -a --yes', variables(fresh));
  assert.equal(await query(core(fresh), 'SELECT count(*)::int FROM policies'), 50);
  assert.equal(await redisCommand(fresh.redis.url, ['GET', 'session:1']), 'soriano');
  assert.deepEqual(await objectsAt(fresh.minio), await objectsAt(old.minio));
  assert.deepEqual(await searchAt(fresh.search.url), await searchAt(old.search.url));
});

test('a half-synced folder is told by its files, and an older whole one is restored in its place', {
  skip,
}, async () => {
  const [, newest = ''] = readdirSync(join(fresh.backups, 'minio')).sort();
  const lost = join(fresh.backups, 'minio', newest, 'documents/2026/policy%201.txt');
  const kept = readFileSync(lost);
  forget();
  rmSync(lost);
  const said = await shell.run('backup/restore-minio.sh --yes', variables(fresh), 3);
  assert.match(said, new RegExp(`${newest}/documents/2026/policy%201.txt is whole: it is missing`));
  assert.deepEqual(await objectsAt(fresh.minio), await objectsAt(old.minio));
  const about = join(fresh.backups, 'minio', newest, '_lifeboat/component.json');
  writeFileSync(lost, kept);
  rmSync(about);
  assert.match(await shell.run('backup/verify-backups.sh', variables(fresh), 13), /component.json is missing/);
  rmSync(join(fresh.backups, 'minio', newest), { recursive: true });
});

test('one folder that is missing is told, and the others are restored', { skip }, async () => {
  forget();
  rmSync(join(fresh.backups, 'elasticsearch'), { recursive: true });
  await redisCommand(fresh.redis.url, ['SET', 'session:1', 'lost']);
  const said = await shell.run('backup/restore-all.sh -a --yes', variables(fresh), 3);
  assert.match(said, /elasticsearch is not restored: there is no backup of it/);
  assert.equal(await redisCommand(fresh.redis.url, ['GET', 'session:1']), 'soriano');
});

test('a folder from anywhere is restored; wrong keys and damaged files are told', { skip }, async () => {
  const [name = ''] = readdirSync(join(old.backups, 'elasticsearch'));
  const usb = join(dir, 'usb', name);
  cpSync(join(old.backups, 'elasticsearch', name), usb, { recursive: true });
  await fetch(`${fresh.search.url}/policies`, { method: 'DELETE' });
  await shell.run(`backup/restore-elasticsearch.sh ${usb} --yes`, variables(fresh));
  assert.deepEqual(await searchAt(fresh.search.url), await searchAt(old.search.url));
  const part = join(usb, 'indices/policies', readdirSync(join(usb, 'indices/policies')).sort()[0] ?? '');
  const bytes = readFileSync(part);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  writeFileSync(part, bytes);
  const damaged = await shell.run(`backup/restore-elasticsearch.sh ${usb} --yes`, variables(fresh), 13);
  const [, saved = 'nothing'] = /policies[\s\S]*what was replaced is point ([-\d]+)/.exec(damaged) ?? [];
  assert.ok(existsSync(join(fresh.backups, '0-lifeboat/manifests', `${saved}.json`)), damaged);
  const [objects = ''] = readdirSync(join(old.backups, 'minio'));
  const wrong = { ...variables(fresh), MINIO_SECRET_KEY: 'wrong' };
  const said = await shell.run(`backup/restore-minio.sh ${join(old.backups, 'minio', objects)} --yes`, wrong, 17);
  assert.match(said, /HTTP 403/);
  assert.match(await shell.run('backup/restore-minio.sh', variables(fresh), 34), /127\.0\.0\.1:\d+\/documents,archive/);
  assert.deepEqual(await objectsAt(fresh.minio), await objectsAt(old.minio), 'nothing happens before it was confirmed');
});

/** As if the machine had never looked at its folders. */
function forget(): void {
  rmSync(join(fresh.backups, '0-lifeboat'), { recursive: true });
}

function variables({ postgres, redis, minio, search, backups }: Machine): Record<string, string> {
  return {
    DB_HOST: postgres.host,
    DB_PORT: String(postgres.port),
    DB_USER: postgres.user,
    DB_PASSWORD: postgres.password,
    REDIS_HOST: redis.host,
    REDIS_PORT: String(redis.port),
    MINIO_ENDPOINT: minio.endpoint,
    MINIO_ACCESS_KEY: minio.accessKey,
    MINIO_SECRET_KEY: minio.secretKey,
    MINIO_BUCKETS: 'documents,archive',
    MINIO_VERSIONS: 'true',
    ELASTICSEARCH_URL: search.url,
    BACKUP_DIR: backups,
  };
}

function core({ postgres }: Machine): string {
  return postgres.url.replace(/postgres$/, 'soriano_core');
}
