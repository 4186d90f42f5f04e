import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { liveContext } from '../../src/core/testing.ts';
import { nsAgo, push } from '../../src/drivers/loki/testing.ts';
import { open } from '../../src/drivers/redis/testing.ts';
import { clientOf, put } from '../../src/drivers/s3/testing.ts';
import { make, openClient } from '../../src/drivers/zookeeper/testing.ts';
import { installed } from '../servers/install.ts';
import { startKafka } from '../servers/kafka.ts';
import { startLoki } from '../servers/loki.ts';
import { needServer } from '../servers/need.ts';
import { startPostgres } from '../servers/postgres.ts';
import { startRedis } from '../servers/redis.ts';
import { type S3Server, startS3 } from '../servers/s3.ts';
import { certificateIn } from '../servers/tls.ts';
import { startZookeeper } from '../servers/zookeeper.ts';
import {
  assertClean,
  assertCleanFiles,
  filesUnder,
  fillOrders,
  gatewayTo,
  reachableDir,
  type Secrets,
  watchCommandLines,
} from './canaries.ts';
import { lifeboat } from './lifeboat.ts';
import { query } from './postgres.ts';
import { redisCommand } from './redis.ts';
import { shellFor } from './scripts.ts';

const CANARIES = {
  store: 'canary-store-5f0c71',
  postgres: 'canary-postgres-93ab10',
  redis: 'canary-redis-c7d2e4',
  second: 'canary-second-0b1e55',
};

const dir = reachableDir(join(tmpdir(), 'lifeboat-secrets-'));
after(() => rmSync(dir, { recursive: true, force: true }));

test('passwords are in no command line, output, log, manifest, evidence, or file of the store', async (t) => {
  if (!(await needServer(t, 'postgres-16', 'redis-7'))) return;
  await using postgres = await startPostgres(16);
  await using redis = await startRedis('redis-7', { args: ['--requirepass', CANARIES.redis, '--masterauth', 'x'] });
  await query(postgres.url, `CREATE ROLE backup SUPERUSER LOGIN PASSWORD '${CANARIES.postgres}'`);
  await query(postgres.url, 'CREATE DATABASE shop');
  await query(postgres.url.replace(/postgres$/, 'shop'), 'CREATE TABLE t AS SELECT 1 AS a');
  const redisUrl = redis.url.replace('redis://', `redis://:${CANARIES.redis}@`);
  await redisCommand(redisUrl, ['SET', 'a', 'b']);
  writeFileSync(join(dir, 'store.password'), CANARIES.store);
  writeFileSync(join(dir, 'second.password'), CANARIES.second);
  writeFileSync(
    join(dir, 'lifeboat.yaml'),
    `stack: shop
stores:
  main: { format: restic, bucket: ${join(dir, 'store')}, password: "\${file:${join(dir, 'store.password')}}" }
  dated: { format: plain, layout: dated, bucket: ${join(dir, 'plain')} }
components:
  main-db: { kind: postgresql, host: ${postgres.host}, port: ${postgres.port}, user: backup, password: "\${env:PG_SECRET}", databases: [shop], bin_dir: ${postgres.bin} }
  cache: { kind: redis, url: "\${env:REDIS_SECRET_URL}" }
`,
  );
  mkdirSync(join(dir, 'tmp'));
  const env = {
    PG_SECRET: CANARIES.postgres,
    REDIS_SECRET_URL: redisUrl,
    TMPDIR: join(dir, 'tmp'),
    PATH: `${dirname(redis.program)}:${process.env.PATH}`,
  };
  const words = [
    ['init'],
    ['doctor'],
    ['backup'],
    ['keys', 'add', '--store', 'main', '--new-password-file', join(dir, 'second.password')],
    ['verify', '--read-data'],
    ['drill', '--store', 'main', '--evidence', join(dir, 'evidence.json')],
    ['restore', 'latest', '--in-place', '--yes', '--terminate-connections'],
    ['restore', 'latest', '--to', `main-db=postgresql://backup:${'wrong'}@127.0.0.1:1/x`, '--yes', '--only', 'main-db'],
  ];
  const watch = watchCommandLines();
  const outputs: string[] = [];
  for (const args of words) {
    const ran = await lifeboat([...args, '--log-level', 'debug'], { cwd: dir, env });
    outputs.push(`$ lifeboat ${args.join(' ')} → ${ran.code}\n${ran.stdout}\n${ran.stderr}`);
  }
  // Each of these reached its end; a password can only leak where there was work to do.
  assert.deepEqual(
    outputs
      .slice(0, 7)
      .map((text) => Number(/→ (\d+)/.exec(text)?.[1]))
      .map((code) => code === 0 || code === 3),
    Array(7).fill(true),
    outputs.join('\n'),
  );
  for (const line of watch.stop()) {
    if (!line.includes(redis.program)) assertClean(line, `the command line ${line.slice(0, 80)}`, CANARIES);
  }
  for (const text of outputs) assertClean(text, text.split('\n')[0] ?? '', CANARIES);
  for (const root of ['store', 'plain', 'tmp']) {
    for (const file of filesUnder(join(dir, root))) assertClean(readFileSync(file, 'latin1'), file, CANARIES);
  }
  assertClean(readFileSync(join(dir, 'evidence.json'), 'utf8'), 'the evidence', CANARIES);
});

test('the password of an ACL user, the key of a certificate and the keys of S3 are nowhere either', async (t) => {
  if (!(await needServer(t, 'redis-7', 'seaweedfs'))) return;
  const home = reachableDir(join(dir, 'acl-'));
  const { certFile, keyFile } = await certificateIn(home);
  await using s3 = await startS3('seaweedfs');
  const user = ['--user', 'backup', 'on', `>${CANARIES.redis}`, '~*', '+@all'];
  await using redis = await startRedis('redis-7', { tls: true, args: user });
  await using filling = await open(liveContext(), { url: redis.url, tls: { ca_file: redis.caFile } });
  await filling.call('SET', 'a', 'b');
  const [, keyLine = ''] = readFileSync(keyFile, 'utf8').split('\n');
  assert.ok(keyLine.length > 40);
  const secrets = { ...CANARIES, S3: s3.secretKey, TLS: keyLine };
  writeFileSync(
    join(home, 'lifeboat.yaml'),
    `stack: shop
stores:
  main:
    format: restic
    bucket: s3://${s3.bucket}/lifeboat
    endpoint: ${s3.endpoint}
    region: ${s3.region}
    access_key: ${s3.accessKey}
    secret_key: "\${env:S3_SECRET}"
    password: "\${env:STORE_SECRET}"
components:
  cache:
    kind: redis
    url: ${redis.url}
    username: backup
    password: "\${env:REDIS_SECRET}"
    tls: { ca_file: ${redis.caFile}, cert_file: ${certFile}, key_file: ${keyFile} }
`,
  );
  mkdirSync(join(home, 'tmp'));
  const env = {
    S3_SECRET: s3.secretKey,
    STORE_SECRET: CANARIES.store,
    REDIS_SECRET: CANARIES.redis,
    TMPDIR: join(home, 'tmp'),
    PATH: `${dirname(redis.program)}:${process.env.PATH}`,
  };
  const watch = watchCommandLines();
  const runs: [code: number | null, words: string[], env: Secrets][] = [
    [0, ['init'], env],
    [null, ['doctor'], env],
    [0, ['backup'], env],
    [0, ['verify', '--read-data'], env],
    [0, ['drill', '--store', 'main', '--evidence', join(home, 'evidence.json')], env],
    [0, ['restore', 'latest', '--in-place', '--yes'], env],
    // What is refused is quoted by some servers, and so is what came to them.
    [null, ['backup'], { ...env, REDIS_SECRET: `${CANARIES.redis}-wrong` }],
    [null, ['verify'], { ...env, S3_SECRET: `${s3.secretKey}-wrong` }],
    [null, ['verify'], { ...env, STORE_SECRET: `${CANARIES.store}-wrong` }],
  ];
  for (const [code, words, given] of runs) {
    const ran = await lifeboat([...words, '--log-level', 'debug'], { cwd: home, env: given });
    const text = `$ lifeboat ${words.join(' ')} → ${ran.code}\n${ran.stdout}\n${ran.stderr}`;
    if (code !== null) assert.equal(ran.code, code, text);
    assertClean(text, words.join(' '), secrets);
  }
  for (const line of watch.stop()) {
    if (!line.includes(redis.program)) assertClean(line, `the command line ${line.slice(0, 80)}`, secrets);
  }
  assertClean(readFileSync(join(home, 'evidence.json'), 'utf8'), 'the evidence', secrets);
  const aws = shellFor('ait-core', join(home, 'aws'), awsVariables(s3), '');
  await aws.run(`aws s3 sync s3://${s3.bucket}/ ${join(home, 'store')}`);
  assertCleanFiles(join(home, 'store'), secrets);
  for (const file of filesUnder(join(home, 'tmp'))) assertClean(readFileSync(file, 'latin1'), file, secrets);
});

test('what signs in to brokers, trees, buckets and logs is nowhere either, right or wrong', async (t) => {
  if (!(await needServer(t, 'minio', 'kafka-4', 'zookeeper-3.9', 'loki-3'))) return;
  const secrets = {
    ...CANARIES,
    kafka: 'canary-kafka-1f0d9a',
    super: 'canary-super-6b2c48',
    loki: 'canary-loki-d903e7',
  };
  const home = reachableDir(join(dir, 'all-'));
  await using servers = new AsyncDisposableStack();
  const [s3, kafka, zookeeper, loki] = await Promise.all([
    startS3('minio').then((each) => servers.use(each)),
    startKafka('kafka-4', { users: { admin: secrets.kafka } }).then((each) => servers.use(each)),
    startZookeeper({ superPassword: secrets.super }).then((each) => servers.use(each)),
    startLoki().then((each) => servers.use(each)),
  ]);
  const gateway = servers.use(await gatewayTo(loki.url, `Bearer ${secrets.loki}`));
  const ctx = liveContext();
  await using client = clientOf(ctx, s3);
  await put(ctx, client, s3.bucket, [{ key: 'invoice', body: 'paid' }]);
  await fillOrders(kafka, secrets.kafka);
  const login = { username: 'super', password: secrets.super };
  await using tree = await openClient(ctx, { hosts: zookeeper.hosts, ...login });
  await make(tree, '/shop', { data: 'the shop' });
  await push(loki, [{ stream: { app: 'shop' }, values: [[nsAgo(60_000), 'a line']] }]);
  const env = {
    S3_SECRET: s3.secretKey,
    KAFKA_SECRET: secrets.kafka,
    SUPER_SECRET: secrets.super,
    LOKI_SECRET: secrets.loki,
    STORE_SECRET: secrets.store,
    TMPDIR: join(home, 'tmp'),
    KAFKA_HOME: kafka.lib,
    ZOOKEEPER_HOME: zookeeper.lib,
    PATH: [dirname(await installed('minio')), dirname(loki.program), process.env.PATH].join(delimiter),
  };
  mkdirSync(env.TMPDIR);
  writeFileSync(
    join(home, 'lifeboat.yaml'),
    `stack: shop
stores: { main: { format: restic, bucket: ${join(home, 'store')}, password: "\${env:STORE_SECRET}" } }
components:
  objects: { kind: s3, endpoint: "${s3.endpoint}", access_key: ${s3.accessKey}, secret_key: "\${env:S3_SECRET}", buckets: [${s3.bucket}] }
  events: { kind: kafka, brokers: "${kafka.brokers}", topics: [orders], sasl: { mechanism: PLAIN, username: admin, password: "\${env:KAFKA_SECRET}" } }
  settings: { kind: zookeeper, hosts: "${zookeeper.hosts}", root: /shop, username: super, password: "\${env:SUPER_SECRET}" }
  logs: { kind: loki, url: "${gateway.url}", token: "\${env:LOKI_SECRET}" }
`,
  );
  const wrong = Object.fromEntries(
    Object.entries(env).map(([name, value]) => [
      name,
      /(S3|KAFKA|SUPER|LOKI)_SECRET/.test(name) ? `${value}-no` : value,
    ]),
  );
  const canaries = { ...secrets, S3: s3.secretKey };
  const watch = watchCommandLines();
  const runs: [codes: readonly number[], words: string[], env: Secrets][] = [
    [[0], ['init'], env],
    [[0, 3], ['doctor'], env],
    [[0], ['backup'], env],
    [[0], ['drill', '--evidence', join(home, 'evidence.json')], env],
    [[0], ['restore', 'latest', '--in-place', '--yes'], env],
    [[3], ['doctor'], wrong],
    [[3], ['backup'], wrong], // a tree lets anybody read, so there is a point, with why the others failed in it
    [[3], ['restore', 'latest', '--in-place', '--preview'], wrong],
  ];
  for (const [codes, words, given] of runs) {
    const ran = await lifeboat([...words, '--log-level', 'debug'], { cwd: home, env: given });
    const text = `$ lifeboat ${words.join(' ')} → ${ran.code}\n${ran.stdout}\n${ran.stderr}`;
    assert.ok(ran.code !== null && codes.includes(ran.code), text);
    assertClean(text, words.join(' '), canaries);
  }
  for (const line of watch.stop()) assertClean(line, `the command line ${line.slice(0, 80)}`, canaries);
  assertClean(readFileSync(join(home, 'evidence.json'), 'utf8'), 'the evidence', canaries);
  assertCleanFiles(join(home, 'store'), canaries);
  for (const file of filesUnder(env.TMPDIR)) assertClean(readFileSync(file, 'latin1'), file, canaries);
});

function awsVariables(s3: S3Server): Record<string, string> {
  return { AWS_ACCESS_KEY_ID: s3.accessKey, AWS_SECRET_ACCESS_KEY: s3.secretKey, AWS_ENDPOINT_URL: s3.endpoint };
}

test('what the scripts of the plans read from variables and from backup.env is nowhere either', async (t) => {
  if (!(await needServer(t, 'postgres-16', 'redis-7', 'seaweedfs'))) return;
  const home = mkdtempSync(join(dir, 'plans-'));
  await using s3 = await startS3('seaweedfs');
  await using postgres = await startPostgres(16);
  await using redis = await startRedis('redis-7', { args: ['--requirepass', CANARIES.redis] });
  await query(postgres.url, `CREATE ROLE backup SUPERUSER LOGIN PASSWORD '${CANARIES.postgres}'`);
  for (const name of ['soriano_core', 'infershield']) await query(postgres.url, `CREATE DATABASE ${name} OWNER backup`);
  const secrets = { ...CANARIES, S3: s3.secretKey };
  const place = { REDIS_HOST: redis.host, REDIS_PORT: `${redis.port}`, REDIS_PASSWORD: CANARIES.redis };
  const aws = { ...awsVariables(s3), S3_BACKUP_BUCKET: s3.bucket };
  const ait = shellFor('ait-core', join(home, 'ait'), {}, postgres.bin);
  const inEnv = {
    DB_HOST: postgres.host,
    DB_PORT: `${postgres.port}`,
    DB_USER: 'backup',
    DB_PASSWORD: CANARIES.postgres,
  };
  const settings = { ...inEnv, ...place, ...aws, BACKUP_DIR: join(home, 'backups') };
  const lines = Object.entries(settings).map(([name, value]) => `${name}='${value}'`);
  writeFileSync(join(ait.dir, 'backup/backup.env'), lines.join('\n'));
  const exported = { POSTGRES_HOST: postgres.host, POSTGRES_PORT: `${postgres.port}`, POSTGRES_DB: 'infershield' };
  const user = { POSTGRES_USER: 'backup', PGPASSWORD: CANARIES.postgres, POSTGRES_PASSWORD: CANARIES.postgres };
  const prefix = { S3_BACKUP_PREFIX: 'prod' };
  const shield = shellFor(
    'infershield',
    join(home, 'shield'),
    { ...exported, ...user, ...place, ...aws, ...prefix },
    postgres.bin,
  );
  const latest = `$(aws s3 ls s3://${s3.bucket}/prod/ | sort -r | head -1 | awk '{print $2}' | tr -d '/')`;
  const watch = watchCommandLines();
  const said = [
    await ait.run('cd backup && ./backup-all.sh 2>&1'),
    await ait.run('cd backup && ./verify-backups.sh 2>&1'),
    await ait.run('cd backup && ./restore-all.sh -a --yes 2>&1'),
    await ait.run('cd backup && ./backup-all.sh', { REDIS_PASSWORD: `${CANARIES.redis}-wrong` }, 3),
    await shield.run('scripts/backup.sh 2>&1'),
    await shield.run(`scripts/restore.sh ${latest} --yes 2>&1`),
    await shield.run('scripts/backup.sh', { AWS_SECRET_ACCESS_KEY: `${s3.secretKey}-wrong` }, 17),
  ];
  for (const line of watch.stop()) {
    if (!line.includes(redis.program)) assertClean(line, `the command line ${line.slice(0, 80)}`, secrets);
  }
  for (const text of said) assertClean(text, text.slice(0, 80), secrets);
  await shield.run(`aws s3 sync s3://${s3.bucket}/ ${join(home, 'store')}`);
  // The roles of the server, with how their passwords are hashed, are data; the passwords themselves are not in it.
  for (const root of ['store', 'backups']) assertCleanFiles(join(home, root), secrets);
});
