import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { missing } from '../servers/need.ts';
import { type Postgres, startPostgres } from '../servers/postgres.ts';
import { expectExit, lifeboat, type Ran } from './lifeboat.ts';
import { query } from './postgres.ts';

const dir = mkdtempSync(join(tmpdir(), 'lifeboat-interrupt-'));
const skip = await missing('postgres-17', 'restic');
let postgres: Postgres;

before(async () => {
  if (skip !== false) return;
  postgres = await startPostgres(17);
  await query(postgres.url, 'CREATE DATABASE shop');
  const shop = postgres.url.replace(/postgres$/, 'shop');
  const rows = 'SELECT i AS id, repeat(md5(i::text), 20) AS note FROM generate_series(1, 120000) AS i';
  await query(shop, `CREATE TABLE orders AS ${rows}`);
  mkdirSync(join(dir, 'tmp'));
  writeFileSync(join(dir, 'password'), 'sesame');
  writeFileSync(
    join(dir, 'lifeboat.yaml'),
    `stack: shop
stores:
  main: { format: restic, bucket: ${join(dir, 'store')}, password: "\${file:${join(dir, 'password')}}", rate_limit: 1MB }
components:
  main-db: { kind: postgresql, url: "${shop}", databases: [shop], bin_dir: ${postgres.bin} }
`,
  );
  await expectExit(0, ['init'], { cwd: dir });
});
after(async () => {
  await postgres?.[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
});

/** Starts a backup and sends it `signal` as soon as it reports that bytes are captured. */
async function backupStoppedBy(signal: NodeJS.Signals): Promise<Ran> {
  return await lifeboat(['backup', '--progress', 'json', '--json'], {
    cwd: dir,
    env: { TMPDIR: join(dir, 'tmp') },
    onStart(child) {
      let seen = '';
      child.stderr?.on('data', (text: string) => {
        seen += text;
        if (!child.killed && /"bytes":[1-9]\d{5}/.test(seen)) child.kill(signal);
      });
    },
  });
}

function stockRestic(...args: readonly string[]): { status: number | null; text: string } {
  const repository = ['-r', join(dir, 'store'), '--password-file', join(dir, 'password'), '--no-cache', '--no-lock'];
  const ran = spawnSync('restic', [...repository, ...args], { encoding: 'utf8' });
  return { status: ran.status, text: `${ran.stdout}${ran.stderr}` };
}

/** Programs that work on this test's server. */
function dumpsRunning(): string[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .filter((pid) => {
      try {
        const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
        return (
          environment.includes(`PGPORT=${postgres.port}\0`) && readFileSync(`/proc/${pid}/comm`, 'utf8') === 'pg_dump\n'
        );
      } catch {
        return false; // it has ended meanwhile
      }
    });
}

async function pointsListed(): Promise<number> {
  const { points } = (await expectExit(0, ['list', '--json'], { cwd: dir })).json() as { points: unknown[] };
  return points.length;
}

test('Ctrl-C stops a backup cleanly: no point, no program left running, no temporary file', { skip }, async () => {
  const ran = await backupStoppedBy('SIGINT');
  assert.equal(ran.code, 130, ran.stdout + ran.stderr);
  assert.equal((ran.json() as { error: { code: string } }).error.code, 'interrupted');
  assert.equal(await pointsListed(), 0);
  assert.deepEqual(dumpsRunning(), []);
  assert.deepEqual(readdirSync(join(dir, 'tmp')), []);
});

test('a backup that was killed leaves no point, and the next one succeeds', { skip }, async () => {
  const ran = await backupStoppedBy('SIGKILL');
  assert.equal(ran.code, null);
  assert.equal(await pointsListed(), 0);
  const config = readFileSync(join(dir, 'lifeboat.yaml'), 'utf8');
  writeFileSync(join(dir, 'lifeboat.yaml'), config.replace(', rate_limit: 1MB', ''));
  await expectExit(0, ['backup'], { cwd: dir });
  await expectExit(0, ['verify', '--read-data'], { cwd: dir });
  assert.equal(await pointsListed(), 1);
  const check = stockRestic('check', '--read-data');
  assert.equal(check.status, 0, check.text);
});
