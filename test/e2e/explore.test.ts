// Somebody has dropped a table at about three in the morning: the command stands at a moment before, is asked, goes on,
// and is left, by lines of a script and by a signal.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { serverIn } from '../../src/drivers/postgresql/physical/live-server.ts';
import { type TestDirs, testDirs } from '../../src/drivers/postgresql/physical/testing.ts';
import { sql } from '../../src/drivers/postgresql/testing.ts';
import { missing } from '../servers/need.ts';
import { type Postgres, startPostgres, startPostgresOn } from '../servers/postgres.ts';
import { until } from '../servers/processes.ts';
import { followingPostgres, timeAt } from './following.ts';
import type { Ran } from './lifeboat.ts';
import { workspace } from './workspace.ts';

const MAJOR = 18;
const { dir, store, configure, write, run, runWith } = workspace('explore');
const skip = await missing(`postgres-${MAJOR}`);

interface Event {
  readonly event: string;
  readonly wanted?: string;
  readonly rows?: readonly (readonly (string | null)[])[];
  readonly notes?: readonly string[];
  readonly error?: { readonly code: string; readonly message: string; readonly hint?: string };
  readonly access?: readonly string[];
  readonly writes?: string | null;
}

function eventsOf({ stdout }: Ran): readonly Event[] {
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Event);
}

describe('exploring by the command', { skip }, () => {
  let server: Postgres;
  let dirs: TestDirs;
  let [whole, dropped] = ['', ''];
  let made = 0;

  before(async () => {
    dirs = testDirs();
    server = await startPostgres(MAJOR, { conf: { wal_keep_size: '1GB' } });
    await sql(server, 'postgres', 'create database shop', "create role reader login password 'of then'");
    await sql(server, 'postgres', 'grant pg_read_all_data to reader');
    const { host, port, user, password, bin } = server;
    write('files/a', 'a');
    configure(`stack: shop
stores:
  main: ${store('main')}
components:
  main-db: { kind: postgresql, host: ${host}, port: ${port}, user: ${user}, password: ${password},
    databases: [shop], capture: [physical], follow: true, bin_dir: ${bin} }
  uploads: { kind: files, paths: [${join(dir, 'files')}] }
`);
    await run(0, 'init');
    await followingPostgres(dir, server, async () => {
      await run(0, 'backup');
      await sql(server, 'shop', 'create table orders as select g as id from generate_series(1, 1000) g');
      whole = await timeAt(server);
      await sql(server, 'shop', 'insert into orders values (1001)', 'drop table orders');
      dropped = await timeAt(server);
      await sql(server, 'shop', 'create table later ()');
    });
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    dirs?.[Symbol.dispose]();
  });

  const into = (path: string): string[] => ['--only', 'main-db', '--to', `main-db=${path}`, '--explore', '--yes'];
  const fresh = (): string => dirs.absent(`explored ${++made}`);
  const explore = async (exit: number, lines: readonly string[], ...args: string[]): Promise<Ran> =>
    await runWith({ input: lines.map((line) => `${line}\n`).join('') }, exit, 'restore', ...args);

  test('lines are answered one by one, and the end of the input leaves a directory that starts, and no server', async () => {
    const path = fresh();
    const lines = [
      'sql select count(*), max(id) as newest, null as nothing from orders;',
      `to ${dropped}`,
      "sql select to_regclass('orders')",
      `to ${whole}`,
      'status',
      '+1h',
      "sql select to_regclass('later')",
      'select 1',
      'sql delete from later',
      '-10s',
      '\\dt',
      'use nowhere',
      'sql select 1',
    ];
    const ran = await explore(3, lines, '--at', whole, ...into(path), '--json');
    const [stands, rows, gone, none, back, status, end, later, ...refused] = eventsOf(ran);
    assert.equal(stands?.event, 'standing');
    assert.equal(stands?.wanted, whole);
    assert.deepEqual(rows?.rows, [['1000', '1000', null]]);
    assert.equal(gone?.wanted, dropped);
    assert.deepEqual(none?.rows, [[null]]);
    assert.match(back?.error?.message ?? '', /is before where it stands .* it never goes back/);
    assert.match(back?.error?.hint ?? '', /restore once more, into another directory/);
    assert.equal(status?.wanted, dropped);
    assert.match(end?.notes?.join() ?? '', /nothing is stored of 20.* it goes to the end of what is/);
    assert.deepEqual(later?.rows, [['later']]);
    assert.deepEqual(
      refused.map(({ event, error }) => error?.code ?? event),
      ['usage', 'query-failed', 'usage', 'usage', 'settings-invalid', 'rows', 'left'],
    );
    const hints = [/sql select/, /select, with, .* psql/, /into another directory/, /status tells how to connect/];
    for (const [n, hint] of hints.entries()) assert.match(refused[n]?.error?.hint ?? '', hint);
    assert.equal(serverIn(path), null);
    await using started = await startPostgresOn(MAJOR, path);
    await until('it has recovered', 60_000, async () => {
      const [row] = await sql(started, 'postgres', 'select pg_is_in_recovery() as is');
      return !(row as { is: boolean }).is;
    });
    assert.deepEqual(await sql(started, 'shop', "select to_regclass('later')::text as later"), [{ later: 'later' }]);
  });

  test('the same command again says what to do; with --delta it begins anew, and a signal ends it in order', async () => {
    const path = fresh();
    await explore(0, ['quit', 'promote'], '--at', whole, ...into(path));
    const { stderr } = await explore(12, [], '--at', dropped, ...into(path));
    assert.match(stderr, /start a server on its directory, begin anew in it with --delta .* or name another directory/);
    let child: ChildProcess | undefined;
    let process = 0;
    const onStart = (started: ChildProcess): void => {
      child = started;
      started.stdout?.on('data', () => {
        if (process === 0) child?.kill('SIGINT');
        process ||= serverIn(path) ?? 0;
      });
    };
    const options = { input: null, onStart };
    const ran = await runWith(options, 0, 'restore', '--at', dropped, ...into(path), '--delta');
    assert.match(ran.stdout, /main-db stands at .*, last change 20.*; it takes no writes\n/);
    assert.match(ran.stdout, /stays: a server that is started on it comes back to where this one stood/);
    assert.ok(process > 0 && !existsSync(`/proc/${process}`), 'its server has ended');
    assert.ok(!existsSync(join(path, 'postmaster.pid')));
  });

  test('where its own command was killed, the server that stays is named, and how it is stopped', async () => {
    const path = fresh();
    const onStart = (child: ChildProcess): void =>
      void child.stdout?.once('data', () => process.kill(child.pid ?? 0, 'SIGKILL'));
    await runWith({ input: null, onStart }, -1, 'restore', '--at', whole, ...into(path)).catch(() => undefined);
    const left = serverIn(path);
    assert.ok(left !== null);
    try {
      for (const also of [[], ['--delta']]) {
        const { stderr } = await explore(30, [], '--at', whole, ...into(path), ...also);
        assert.ok(
          stderr.includes(`a server runs on it (process ${left})`) && stderr.includes(`pg_ctl -D '${path}' stop`),
        );
      }
    } finally {
      process.kill(left, 'SIGINT');
    }
    await until('it has ended', 60_000, async () => serverIn(path) === null);
  });

  test('promoted, it takes writes by the network with the password of then, until it is left', async () => {
    const path = fresh();
    const answers: Promise<unknown>[] = [];
    let seen = '';
    const onStart = (child: ChildProcess): void => {
      child.stdin?.write('promote\n');
      child.stdout?.on('data', (text: string) => {
        seen += text;
        const [, port] = /"promoted".*@127\.0\.0\.1:(\d+)/.exec(seen) ?? [];
        if (port === undefined || answers.length > 0) return;
        const as = { ...server, port: Number(port) };
        const read = { ...as, user: 'reader', password: 'of then' };
        const work = async (): Promise<unknown> => {
          await sql(as, 'shop', 'insert into orders values (5000)');
          await assert.rejects(sql({ ...read, password: 'of now' }, 'shop', 'select 1'), /authentication failed/);
          return await sql(read, 'shop', 'select max(id) as id from orders');
        };
        answers.push(work().finally(() => child.stdin?.end()));
      });
    };
    const ran = await runWith({ input: null, onStart }, 0, 'restore', '--at', whole, ...into(path), '--json');
    const events = eventsOf(ran);
    assert.deepEqual(await Promise.all(answers), [[{ id: 5000 }]]);
    assert.equal(events[1]?.writes, 'timeline 2');
    assert.match(events.at(-1)?.notes?.[0] ?? '', /stays: a server that is started on it is a primary/);
    await using started = await startPostgresOn(MAJOR, path);
    assert.deepEqual(await sql(started, 'shop', 'select max(id) as id from orders'), [{ id: 5000 }]);
  });

  test('what can not be explored is refused with the next step, before anything is touched', async () => {
    const path = fresh();
    for (const [args, code, told] of [
      [['latest', ...into(path)], 2, /none is named\n.*--at 2026/],
      [
        ['--at', whole, '--only', 'main-db', '--explore', '--yes'],
        2,
        /kind postgresql can not be explored .*\n.*--to main-db=/,
      ],
      [['--at', whole, '--only', 'uploads', '--explore', '--yes'], 2, /uploads of kind files can not be explored/],
      [['--at', whole, '--explore', '--yes'], 2, /one component is explored at a time.*\n.*--only: main-db, uploads/],
      [['--at', whole, ...into(path), '--in-place'], 2, /--in-place does not go with --explore/],
      [['--at', '2020-01-01T00:00:00Z', ...into(path)], 11, /nothing is as old/],
      [['--at', whole, ...into(path).slice(0, -1)], 34, /there is no terminal to ask at/],
    ] as const) {
      const { stderr } = await explore(code, [], ...args);
      assert.match(stderr, told);
    }
    assert.ok(!existsSync(path));
  });
});
