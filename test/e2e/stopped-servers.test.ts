// Ctrl-C while PostgreSQL's own programs work for us: nothing of ours is left running, and the next step is told.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { missing } from '../servers/need.ts';
import { type Postgres, startPostgres } from '../servers/postgres.ts';
import { lifeboat, type Ran } from './lifeboat.ts';
import { query } from './postgres.ts';
import { workspace } from './workspace.ts';

const { dir, store, configure, run } = workspace('stopped-servers');
const scratch = join(dir, 'scratch');
const skip = await missing('postgres-17');
const ROWS = 60_000;
type Failed = { error: { code: string; message: string; hint: string } };
let postgres: Postgres;
let shop = '';

before(async () => {
  if (skip !== false) return;
  chmodSync(dir, 0o711); // the user that a sandbox runs as passes through
  mkdirSync(scratch, { mode: 0o711 });
  postgres = await startPostgres(17);
  shop = postgres.url.replace(/postgres$/, 'shop');
  await query(postgres.url, 'CREATE DATABASE shop');
  const rows = `SELECT i AS id, repeat(md5(i::text), 20) AS note FROM generate_series(1, ${ROWS}) AS i`;
  await query(shop, `CREATE TABLE orders AS ${rows}`);
  await query(shop, 'CREATE INDEX ON orders (note); CREATE INDEX ON orders (md5(note)); CREATE INDEX ON orders (id)');
  configure(`stack: shop
stores: { main: ${store('main')} }
components: { main-db: { kind: postgresql, url: "${shop}", databases: [shop], bin_dir: ${postgres.bin} } }
`);
  await run(0, 'init');
  await run(0, 'backup');
});
after(async () => {
  await postgres?.[Symbol.asyncDispose]();
});

/** The command lines of what runs with our directory for temporary files, or in it. */
function running(): readonly string[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .flatMap((pid) => {
      try {
        const [argv, env] = ['cmdline', 'environ'].map((file) => readFileSync(`/proc/${pid}/${file}`, 'utf8'));
        return argv && `${argv}${env}`.includes(scratch) ? [argv.replaceAll('\0', ' ')] : [];
      } catch {
        return []; // it has ended meanwhile
      }
    });
}

/** Runs the command, and calls `then` once, as soon as a pg_restore of it writes to a server. */
async function amidst(then: (child: ChildProcess) => void, ...args: string[]): Promise<Ran> {
  let poll: NodeJS.Timeout | undefined;
  const ran = await lifeboat([...args, '--json'], {
    cwd: dir,
    env: { TMPDIR: scratch },
    onStart(child) {
      poll = setInterval(() => {
        if (!running().some((line) => /pg_restore .*--dbname/.test(line))) return;
        clearInterval(poll);
        then(child);
      }, 20);
    },
  });
  clearInterval(poll);
  assert.deepEqual(running(), []);
  assert.deepEqual(readdirSync(scratch), [], 'nothing is left in the temporary directory');
  return ran;
}

/** Stops the command by Ctrl-C; gives its hint. */
async function stopped(...args: string[]): Promise<string> {
  const ran = await amidst((child) => child.kill('SIGINT'), ...args);
  assert.equal(ran.code, 130, ran.stdout + ran.stderr);
  const { error } = ran.json() as Failed;
  assert.equal(error.code, 'interrupted');
  return error.hint;
}

const GO_ON = /go on with the same command for point (\S+) with (--store main --in-place --only main-db)$/;

async function goesOn(hint: string): Promise<void> {
  const [, point, how] = GO_ON.exec(hint) ?? [];
  assert.ok(point && how, hint);
  await run(0, 'restore', point, '--yes', ...how.split(' '));
  assert.deepEqual(await query(shop, 'SELECT count(*)::int AS rows FROM orders'), [{ rows: ROWS }]);
  await run(0, 'restore', '--drop-old', '--yes');
}

test('a restore of PostgreSQL that is stopped says how the command goes on with it', { skip }, async () => {
  await query(postgres.url, 'DROP DATABASE shop');
  await goesOn(await stopped('restore', 'latest', '--yes'));
});

test('a restore whose server is killed in the middle says so, and what to do when it is back', { skip }, async () => {
  await query(postgres.url, 'DROP DATABASE shop');
  let killed: Promise<void> | undefined;
  const kill = (): void => {
    killed = postgres.kill();
  };
  const ran = await amidst(kill, 'restore', 'latest', '--yes');
  await killed;
  const { error } = ran.json() as Failed;
  assert.deepEqual([ran.code, error.code], [14, 'unreachable'], error.message);
  await postgres.start();
  await goesOn(error.hint);
});

test('a drill of PostgreSQL that is stopped takes its server down, and gives no verdict', { skip }, async () => {
  assert.equal(await stopped('drill'), 'run the same command again to go on');
  assert.match((await run(0, 'drill', 'history')).stdout, /no drill yet/);
  await run(0, 'drill');
});
