// Restores of a real PostgreSQL through the command: what is shown, chosen, refused, replaced and kept.

import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { missing } from '../servers/need.ts';
import { type Postgres, startPostgres } from '../servers/postgres.ts';
import type { Ran } from './lifeboat.ts';
import { query } from './postgres.ts';
import { workspace } from './workspace.ts';

const skip = await missing('postgres-17', 'postgres-16');
const { dir, store, configure, run } = workspace('restore');
const servers = new AsyncDisposableStack();
after(() => servers.disposeAsync());

let postgres: Postgres;
let older: Postgres;
let between = '';

before(async () => {
  if (skip !== false) return;
  postgres = servers.use(await startPostgres(17));
  older = servers.use(await startPostgres(16));
  await query(postgres.url, 'CREATE DATABASE shop');
  const rows = 'SELECT i AS id, md5(i::text) AS note FROM generate_series(1, 100) AS i';
  await query(database('shop'), `CREATE TABLE orders AS ${rows}; CREATE TABLE customers AS SELECT 1 AS id`);
  configure(config());
  await run(0, 'init');
  await run(0, 'backup');
  between = ((await run(0, 'show', '--json')).json() as { finished_at: string }).finished_at;
  await query(database('shop'), `INSERT INTO orders VALUES (101, 'later')`);
  await run(0, 'backup');
});

function config(settings = `bin_dir: ${postgres.bin}`): string {
  return `stack: shop
stores: { main: ${store('store')} }
components: { main-db: { kind: postgresql, url: "${database('shop')}", databases: [shop], ${settings} } }
`;
}

function database(name: string, { url }: Postgres = postgres): string {
  return url.replace(/postgres$/, name);
}

async function count(name: string, table = 'orders'): Promise<unknown> {
  return (await query(database(name), `SELECT count(*)::int AS n FROM ${table}`))[0]?.n;
}

function errorOf(ran: Ran): string {
  return (ran.json() as { error: { code: string } }).error.code;
}

function to(name: string, server: Postgres = postgres): string[] {
  return ['--yes', '--json', '--to', `main-db=${database(name, server)}`];
}

test('a preview tells what is there and would be replaced, and changes nothing', { skip }, async () => {
  const plain = await run(3, 'restore', 'latest', '--preview');
  assert.match(plain.stdout, /PROBLEM: main-db/);
  const inPlace = await run(0, 'restore', 'latest', '--preview', '--in-place');
  assert.match(inPlace.stdout, /main-db .* beside, compared, swapped in/);
  assert.equal(await count('shop'), 101);
});

test('data is replaced neither without --in-place nor without a word', { skip }, async () => {
  assert.equal(errorOf(await run(12, 'restore', 'latest', '--yes', '--json')), 'target-not-empty');
  const unasked = await run(12, 'restore', 'latest', '--json');
  assert.equal(errorOf(unasked), 'target-not-empty', 'nobody is asked about what will be refused');
  assert.equal(errorOf(await run(34, 'restore', 'latest', '--in-place', '--json')), 'not-confirmed');
  assert.equal(await count('shop'), 101);
});

test('--at takes the newest point before that time, and --to leaves the first database alone', { skip }, async () => {
  await run(0, 'restore', '--at', between, ...to('as_of'));
  assert.equal(await count('as_of'), 100);
  await run(0, 'restore', 'latest', ...to('newest'));
  assert.equal(await count('newest'), 101);
  assert.equal(await count('shop'), 101);
});

test('--select brings back one table, and no more', { skip }, async () => {
  await query(postgres.url, 'CREATE DATABASE part');
  const ran = await run(0, 'restore', 'latest', '--select', 'table=customers', ...to('part'));
  assert.equal((ran.json() as { verdict: string }).verdict === 'fail', false);
  assert.equal(await count('part', 'customers'), 1);
  await assert.rejects(count('part', 'orders'), /does not exist/);
  await run(2, 'restore', 'latest', '--select', 'tables=customers', ...to('part'));
});

test('in place keeps the old database beside the new one, until --drop-old', { skip }, async () => {
  const kept = "SELECT datname FROM pg_database WHERE datname LIKE 'shop\\_\\_lifeboat%'";
  await query(database('shop'), 'DELETE FROM orders');
  await run(0, 'restore', 'latest', '--in-place', '--yes', '--terminate-connections');
  assert.equal(await count('shop'), 101);
  assert.equal((await query(postgres.url, kept)).length, 1);
  const unasked = await run(34, 'restore', '--drop-old', '--json');
  assert.equal(errorOf(unasked), 'not-confirmed');
  assert.doesNotMatch(unasked.stdout, /--preview/, 'it has none');
  await run(0, 'restore', '--drop-old', '--yes');
  assert.deepEqual(await query(postgres.url, kept), []);
  assert.match((await run(0, 'restore', '--drop-old', '--yes')).stdout, /nothing was kept/);
});

test('what a restore in place has kept at another target goes with the same --to', { skip }, async () => {
  await query(postgres.url, 'CREATE DATABASE aside');
  const place = ['--to', `main-db=${database('aside')}`, '--yes'];
  await run(0, 'restore', 'latest', ...place);
  const again = await run(0, 'restore', 'latest', '--in-place', '--terminate-connections', ...place);
  assert.match(again.stdout, /kept as aside__lifeboat_old_\S+ until lifeboat restore --drop-old with the same --to$/m);
  assert.match((await run(0, 'restore', '--drop-old', '--yes')).stdout, /nothing was kept/);
  await run(2, 'restore', '--drop-old', '--yes', '--to', 'other-db=x');
  assert.match((await run(0, 'restore', '--drop-old', ...place)).stdout, /^main-db: aside__lifeboat_old_\S+ removed$/m);
  assert.equal(await count('aside'), 101);
});

test('23: a dump does not go into an older server', { skip }, async () => {
  assert.equal(errorOf(await run(23, 'restore', 'latest', ...to('shop', older))), 'version-mismatch');
});

test('24: a role that may not make databases is told before anything happens', { skip }, async () => {
  await query(postgres.url, "CREATE ROLE clerk LOGIN PASSWORD 'clerk'");
  const url = `postgresql://clerk:clerk@${postgres.host}:${postgres.port}/by_clerk`;
  const ran = await run(24, 'restore', 'latest', '--yes', '--json', '--to', `main-db=${url}`);
  assert.equal(errorOf(ran), 'privileges');
});

test('20: without pg_restore of the right version nothing is begun', { skip }, async () => {
  mkdirSync(join(dir, 'empty'));
  configure(config(`bin_dir: ${join(dir, 'empty')}`));
  assert.equal(errorOf(await run(20, 'restore', 'latest', ...to('without'))), 'program-missing');
  configure(config());
});

/** PostgreSQL's programs, with a pg_restore that ends so. */
function bin(end: string): string {
  const made = join(dir, end.replace(/\W/g, ''));
  mkdirSync(made);
  for (const each of ['pg_dump', 'psql', 'pg_dumpall']) symlinkSync(join(postgres.bin, each), join(made, each));
  const real = `exec "${join(postgres.bin, 'pg_restore')}" "$@"`;
  const script = `#!/bin/sh\ncase " $* " in *" --version "*|*" --list"*|*" -l "*) ${real};; esac\n${end}\n`;
  writeFileSync(join(made, 'pg_restore'), script);
  chmodSync(join(made, 'pg_restore'), 0o755);
  return made;
}

test('21 and 22: a pg_restore that dies or hangs is no success', { skip }, async () => {
  configure(config(`bin_dir: ${bin('echo "out of luck" >&2; exit 7')}`));
  const died = await run(21, 'restore', 'latest', ...to('died'));
  assert.equal(errorOf(died), 'program-failed');
  assert.match(died.stdout, /out of luck/);
  configure(config(`bin_dir: ${bin('exec sleep 60')}, deadline: 3s`));
  assert.equal(errorOf(await run(22, 'restore', 'latest', ...to('hung'))), 'timeout');
  configure(config());
});

test('a restore that brought back one component and broke off in another says how to go on', { skip }, async () => {
  const uploads = join(dir, 'uploads');
  const both = (settings: string): void =>
    configure(config(settings).replace(/ }\n$/, `, uploads: { kind: files, paths: [${uploads}] } }\n`));
  mkdirSync(uploads);
  both(`bin_dir: ${postgres.bin}`);
  await run(0, 'backup');
  rmSync(uploads, { recursive: true });
  both(`bin_dir: ${bin('exec sleep 61')}, deadline: 3s`);
  const ran = await run(3, 'restore', 'latest', ...to('half'));
  const { point, hint } = ran.json() as { point: string; hint: string };
  const how = ['--store', 'main', '--in-place', '--only', 'main-db'];
  assert.match(hint, new RegExp(`go on with the same command for point ${point} with ${how.join(' ')}$`));
  both(`bin_dir: ${postgres.bin}`);
  await run(0, 'restore', point, ...to('half'), ...how);
  assert.equal(await count('half'), 101);
  assert.ok(existsSync(uploads));
  configure(config());
});

test('14: a server that is down is unreachable, for a restore as for a preview', { skip }, async () => {
  await postgres.stop();
  assert.equal(errorOf(await run(14, 'restore', 'latest', ...to('gone'))), 'unreachable');
  await run(3, 'restore', 'latest', '--preview');
  const ran = await run(1, 'backup', '--json');
  assert.match((ran.json() as { error: { message: string } }).error.message, /main-db: unreachable/);
  await postgres.start();
  await run(0, 'backup');
});
