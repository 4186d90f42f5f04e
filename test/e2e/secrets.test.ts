import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { needServer } from '../servers/need.ts';
import { startPostgres } from '../servers/postgres.ts';
import { startRedis } from '../servers/redis.ts';
import { lifeboat } from './lifeboat.ts';
import { query } from './postgres.ts';
import { redisCommand } from './redis.ts';

const CANARIES = {
  store: 'canary-store-5f0c71',
  postgres: 'canary-postgres-93ab10',
  redis: 'canary-redis-c7d2e4',
  second: 'canary-second-0b1e55',
};

const dir = mkdtempSync(join(tmpdir(), 'lifeboat-secrets-'));
after(() => rmSync(dir, { recursive: true, force: true }));

/** Looks at every command line on this machine until stopped. */
function watchCommandLines(): { stop(): readonly string[] } {
  const seen = new Set<string>();
  const look = (): void => {
    for (const pid of readdirSync('/proc')) {
      if (!/^\d+$/.test(pid)) continue;
      try {
        seen.add(readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' '));
      } catch {
        // it has ended meanwhile
      }
    }
  };
  const timer = setInterval(look, 5);
  return {
    stop() {
      clearInterval(timer);
      return [...seen];
    },
  };
}

function filesUnder(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

function assertClean(text: string, where: string): void {
  for (const [name, canary] of Object.entries(CANARIES)) {
    assert.ok(!text.includes(canary), `the ${name} password is in ${where}`);
    const encoded = Buffer.from(canary).toString('base64').slice(0, -4);
    assert.ok(!text.includes(encoded), `the ${name} password is in ${where}, in base64`);
  }
}

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
    if (!line.includes(redis.program)) assertClean(line, `the command line ${line.slice(0, 80)}`);
  }
  for (const text of outputs) assertClean(text, text.split('\n')[0] ?? '');
  for (const root of ['store', 'plain', 'tmp']) {
    for (const file of filesUnder(join(dir, root))) assertClean(readFileSync(file, 'latin1'), file);
  }
  assertClean(readFileSync(join(dir, 'evidence.json'), 'utf8'), 'the evidence');
});
