// A server that was followed is brought to a moment of its past by the command itself: into a directory, on which a
// server starts that fetches its log from the store.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type TestDirs, testDirs } from '../../src/drivers/postgresql/physical/testing.ts';
import { sql } from '../../src/drivers/postgresql/testing.ts';
import { unprivilegedUser } from '../servers/install.ts';
import { missingTools, needServer } from '../servers/need.ts';
import { type Postgres, startPostgres, startPostgresOn } from '../servers/postgres.ts';
import { until } from '../servers/processes.ts';
import { followingPostgres, timeAt } from './following.ts';
import { lifeboat } from './lifeboat.ts';
import { blocks } from './page.ts';
import { workspace } from './workspace.ts';

const MAJOR = 18;
const { dir, store, configure, run } = workspace('moment');

const skip = missingTools('python3', 'openssl', 'zstd');
test('a server is brought back to the second before a mistake, and fetches its log by itself', { skip }, async (t) => {
  if (!(await needServer(t, `postgres-${MAJOR}`))) return;
  using dirs = testDirs();
  await using server = await startPostgres(MAJOR, { conf: { wal_keep_size: '1GB' } });
  await sql(server, 'postgres', 'create database shop');
  const checks = '[{ name: orders, sql: select count(*) from orders, database: shop, equals: 500000 }]';
  configure(configuration(server));
  await run(0, 'init');
  let before = '';
  await followingPostgres(dir, server, async () => {
    await run(0, 'backup');
    await sql(server, 'shop', 'create table orders as select g, md5(g::text) from generate_series(1, 500000) g');
    before = await timeAt(server);
    await sql(server, 'shop', 'drop table orders');
    await delay(100); // a window ends some milliseconds before what came last: the time of that is known no better
    await sql(server, 'shop', 'create table later ()');
  });
  configure(configuration(server, checks));
  const { stdout: drilled } = await run(3, 'drill', '--at', before, '--json');
  assert.match(drilled, /"tally": \{\s*"pass": 2,\s*"unknown": 1,\s*"fail": 0/, 'it starts, and has all of them');
  configure(configuration(server));

  const path = dirs.absent('restored');
  const restore = ['restore', '--at', before, '--only', 'main-db', '--to', `main-db=${path}`, '--yes', '--json'];
  await previewed(before, path);
  // A server is asked for rows only when somebody has started one.
  const { stdout } = await run(0, ...restore);
  await byHand(before, dirs);
  assert.match(stdout, /"reached": \{[^}]*"at": "20/);
  assert.match(stdout, /start a server on it: it fetches the log by itself/);
  const owner = unprivilegedUser();
  if (owner) execFileSync('chown', ['-R', `${owner.uid}:${owner.gid}`, dir]);
  await assertTold(path);
  if (owner) await assertUnreadable(before, path);
  // What was fetched ahead is not to be all.
  const spool = join(path, 'pg_wal/lifeboat');
  for (const name of readdirSync(spool)) if (/^[0-9A-F]{24}$/.test(name)) rmSync(join(spool, name));

  renameSync(join(dir, 'main'), join(dir, 'away'));
  const early = startPostgresOn(MAJOR, path).then(async (one) => {
    await one[Symbol.asyncDispose]();
    throw new Error(one.output());
  });
  await assert.rejects(
    early,
    /the log was not fetched \(exit code 255\): .* start the server again, and it goes on/,
    'a store that is away is not the end of the log',
  );
  renameSync(join(dir, 'away'), join(dir, 'main'));
  await using back = await startPostgresOn(MAJOR, path);
  await recoveredAs(back);
  assert.match(back.output(), /restored log file "0000000100000000000000\d\d" from archive/);
  assert.ok(!existsSync(spool));
});

/** What would not come about is told before anybody is asked, and so is who must be able to read what. */
async function previewed(before: string, path: string): Promise<void> {
  const into = ['--only', 'main-db', '--to', `main-db=${path}`];
  const { stdout } = await run(0, 'restore', '--at', before, ...into, '--preview');
  assert.match(stdout, /warning: main-db: .* its user must be able to read the configuration/);
  for (const [lsn, problem] of [
    ['FF/0', /PROBLEM: main-db: FF\/0 lies behind the end of what is stored\n {2}choose a place from 0\//],
    ['here', /PROBLEM: main-db: here is no place in PostgreSQL's log\n {2}write it as 0\//],
  ] as const) {
    const refused = await run(3, 'restore', 'latest', '--until', `lsn=${lsn}`, ...into, '--preview');
    assert.match(refused.stdout, problem);
  }
  assert.ok(!existsSync(path));
}

/** Whom the server runs as is known, and so is that it may not read this. */
async function assertUnreadable(before: string, path: string): Promise<void> {
  const file = join(dir, 'lifeboat.yaml');
  const { uid, gid, mode } = statSync(file);
  const preview = ['restore', '--at', before, '--only', 'main-db', '--to', `main-db=${path} 2`, '--preview'];
  const told = /its owner \(user \d+\) can't read .*lifeboat\.yaml: as it is, the server stops while it recovers/;
  assert.doesNotMatch((await run(0, ...preview)).stdout, told);
  chownSync(file, 0, 0);
  chmodSync(file, 0o600);
  assert.match((await run(0, ...preview)).stdout, told);
  chownSync(file, uid, gid);
  chmodSync(file, mode);
}

function configuration({ host, port, user, password, bin }: Postgres, checks = '[]'): string {
  return `stack: shop
stores:
  main: ${store('main')}
components:
  main-db: { kind: postgresql, host: ${host}, port: ${port}, user: ${user}, password: ${password},
    capture: [physical], follow: true, bin_dir: ${bin}, checks: ${checks} }
`;
}

/** By what the page says, on the base backup as it is. */
async function byHand(before: string, dirs: TestDirs): Promise<void> {
  const path = dirs.absent('by hand');
  // Its rows are asked for by nobody, as no server runs.
  await run(0, 'restore', 'latest', '--to', `main-db=${path}`, '--yes');
  const lineage = '00000001';
  const script = join(dir, 'journal.py');
  writeFileSync(script, blocks('python')[0] ?? '');
  const bytes = execFileSync('python3', [script, join(dir, 'main'), join(dir, 'password'), 'main-db', lineage], {
    maxBuffer: 2 ** 30,
  });
  writeFileSync(join(dir, 'journal.bytes'), bytes);
  const folders = readdirSync(join(dir, 'main/lifeboat/journal/main-db', lineage)).filter(
    (each) => !each.includes('.'),
  );
  const [first = ''] = folders.sort();
  const variables = {
    DATA: path,
    ARCHIVE: dirs.absent('archive'),
    FIRST: first,
    TIMELINE: '1',
    MOMENT: before.replace('Z', '+00'),
  };
  execFileSync('bash', ['-euc', blocks('bash')[0] ?? ''], { cwd: dir, env: { ...process.env, ...variables } });
  await using back = await startPostgresOn(MAJOR, path);
  await recoveredAs(back);
}

/** As it was before the mistake. */
async function recoveredAs(back: Postgres): Promise<void> {
  await until('it has recovered', 60_000, async () => {
    const [row] = await sql(back, 'postgres', 'select pg_is_in_recovery() as is');
    return !(row as { is: boolean }).is;
  });
  assert.deepEqual(await sql(back, 'shop', 'select count(*)::int as n from orders'), [{ n: 500_000 }]);
  assert.deepEqual(await sql(back, 'shop', `select to_regclass('later') as later`), [{ later: null }]);
}

/** To PostgreSQL, what is not larger than 125 is the end of its log. */
async function assertTold(data: string): Promise<void> {
  const config = ['wal-fetch', '--config', join(dir, 'lifeboat.yaml')];
  const codes = async (...args: string[]): Promise<number | null> => {
    const { code } = await lifeboat([...config, ...args], { cwd: data });
    return code;
  };
  const first = '000000010000000000000004';
  assert.equal(await codes(first, 'pg_wal/FETCHED'), 0);
  assert.equal(statSync(join(data, 'pg_wal/FETCHED')).size, 16 * 1024 * 1024);
  rmSync(join(data, 'pg_wal/FETCHED'));
  assert.equal(await codes('0000000100000000000000F4', 'pg_wal/FETCHED'), 3, 'behind the end');
  assert.equal(await codes('00000007.history', 'pg_wal/FETCHED'), 3);
  assert.equal(await codes('--component', 'main', first, 'pg_wal/FETCHED'), 255);
  assert.equal(await codes('--store', 'other', first, 'pg_wal/FETCHED'), 255);
  assert.equal(await codes(first), 255);
  assert.ok(!existsSync(join(data, 'pg_wal/FETCHED')));
}
