import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { missing } from '../../../test/servers/need.ts';
import { type Postgres, startPostgres } from '../../../test/servers/postgres.ts';
import { liveContext } from '../../core/testing.ts';
import { tablesOf } from './catalogue.ts';
import { countPiece, merged, piecesOf } from './digests.ts';
import { postgresqlDriver } from './driver.ts';
import { takeSnapshot } from './inventory.ts';
import { findProgram } from './programs.ts';
import { serverOf } from './settings.ts';
import { captureOf, createDatabase, differences, quotedName, SHOP, settingsFor, sql } from './testing.ts';

describe('capture of postgresql', { skip: await missing('postgres-16') }, () => {
  let server: Postgres;
  let dir: string;
  before(async () => {
    server = await startPostgres(16);
    dir = await mkdtemp(join(tmpdir(), 'lifeboat-pg-'));
    await createDatabase(server, 'shop', SHOP);
    const large =
      'create table large as select g as id, repeat(md5(g::text), 100) as t from generate_series(1, 8000) g';
    await createDatabase(server, 'large', large, 'create sequence moving', 'create table quiet (a int)');
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });
  const shop = (more: Record<string, unknown> = {}) => settingsFor(server, { databases: ['shop'], ...more });
  const large = (more: Record<string, unknown> = {}) => settingsFor(server, { databases: ['large'], ...more });

  /** A directory with a pg_dump of our own making before the real programs. */
  async function pretending(script: string, dumpall = 'exec "$real" "$@"'): Promise<string> {
    const fake = await mkdtemp(join(dir, 'bin-'));
    const path = join(fake, 'pg_dump');
    const version = `[ "$1" = --version ] && { echo 'pg_dump (PostgreSQL) 16.14'; exit; }`;
    await writeFile(path, `#!/bin/bash\n${version}\nreal=${server.bin}/pg_dump\n${script}\n`);
    await chmod(path, 0o755);
    await writeFile(join(fake, 'pg_dumpall'), `#!/bin/bash\nreal=${server.bin}/pg_dumpall\n${dumpall}\n`);
    await chmod(join(fake, 'pg_dumpall'), 0o755);
    return fake;
  }

  describe('fault 34: a dump that did not succeed is never called one', () => {
    const LIES: readonly [string, string, object][] = [
      ['that writes nothing and exits with 0', 'exit 0', { code: 'malformed' }],
      ['that writes something else', 'echo "-- PostgreSQL database dump"', { code: 'malformed' }],
      ['that stops in the middle and exits with 0', '"$real" "$@" | head -c 3000', { code: 'malformed' }],
      ['that leaves a table out', '"$real" --exclude-table=customers "$@"', /lacks the data of public\.customers/],
      ['that writes everything and exits with 1', '"$real" "$@"; exit 1', { code: 'program-failed' }],
      ['that says error and exits with 0', '"$real" "$@"; echo "pg_dump: error: x" >&2', { code: 'program-failed' }],
    ];
    for (const [what, script, refusal] of LIES) {
      it(`a pg_dump ${what}`, async () => {
        await assert.rejects(captureOf(liveContext(), shop({ bin_dir: await pretending(script) })), refusal);
      });
    }
  });

  describe('fault 51: a program that misbehaves', () => {
    it('dies by a signal, which is named', async () => {
      const refusal = { code: 'program-failed', message: /SIGKILL/ };
      await assert.rejects(captureOf(liveContext(), shop({ bin_dir: await pretending('kill -9 $$') })), refusal);
    });
    it('hangs, and is ended at the deadline', async () => {
      const settings = shop({ bin_dir: await pretending('sleep 1000'), deadline: '2s' });
      await assert.rejects(captureOf(liveContext(), settings), { code: 'timeout' });
    });
    it('floods standard error', async () => {
      const flood = 'yes "pg_dump: error: no" | head -c 20000000 >&2; exit 3';
      await assert.rejects(captureOf(liveContext(), shop({ bin_dir: await pretending(flood) })), (error: Error) => {
        assert.ok(error.message.length < 20_000);
        return true;
      });
    });
    it('closes its output early and goes on', async () => {
      const closing = '"$real" "$@" | head -c 100; exec 1>&-; sleep 0.2';
      await assert.rejects(captureOf(liveContext(), shop({ bin_dir: await pretending(closing) })), {
        code: 'malformed',
      });
    });
  });

  it('fault 35: a pg_dump of the right major is found beforehand, or its absence explained', async () => {
    const ctx = liveContext({ env: { PATH: '/usr/bin:/bin' } });
    const wanted = { name: 'pg_dump', major: 99, orNewer: true, binDir: server.bin };
    await assert.rejects(findProgram(ctx, wanted), {
      code: 'program-missing',
      message: /pg_dump of PostgreSQL 99 is needed, there is .*16/,
      hint: /postgresql-client-99/,
    });
    await assert.rejects(findProgram(ctx, { ...wanted, binDir: join(dir, 'none') }), {
      message: new RegExp(`, and none in ${join(dir, 'none')}$`),
    });
    assert.equal((await findProgram(ctx, { ...wanted, major: 14 })).major >= 15, true, 'a newer one will do');
    await assert.rejects(findProgram(ctx, { ...wanted, name: 'postgres', major: 14, orNewer: false }), {
      code: 'program-missing',
    });
  });

  it('faults 49 and 50: neither names nor secrets are in any argument, whatever a database is called', async () => {
    const log = join(dir, 'arguments');
    const bin = await pretending(`printf '%s\\n' "$@" >> ${log}; exec "$real" "$@"`);
    for (const name of ['--file=hijacked', 'host=evil user=x']) {
      await createDatabase(server, name, 'create table t as select 1 as a');
      const { capture } = await captureOf(liveContext(), settingsFor(server, { databases: [name], bin_dir: bin }));
      assert.equal(capture.totals.rows, 1);
      await sql(server, 'postgres', `drop database ${quotedName(name)}`);
    }
    const said = await readFile(log, 'utf8');
    assert.match(said, /--snapshot=/);
    assert.doesNotMatch(said, /hijacked|evil|sesame/);
  });

  it('roles that come, change or go during the capture are told, and are unknown in its point', async () => {
    await sql(server, 'postgres', 'create role changing', 'create role going');
    const change = 'create role coming; alter role changing login; drop role going';
    const dumpall = `"$real" "$@"; [ "$1" = --version ] || ${server.bin}/psql -Xqc '${change}' >&2`;
    const { source, capture } = await captureOf(
      liveContext(),
      shop({ bin_dir: await pretending('exec "$real" "$@"', dumpall) }),
    );
    assert.match(capture.warnings.join(), /roles that changed during the capture: changing, going, coming/);
    await using target = await startPostgres(16);
    const settings = settingsFor(target, { databases: ['shop'] });
    await postgresqlDriver.open(settings).restore(liveContext(), { base: source });
    const found = await differences(liveContext(), source, settings);
    assert.deepEqual(
      found.map(({ check, verdict }) => `${verdict}: ${check}`),
      ['changing', 'coming', 'going'].map((name) => `unknown: role ${name} is the same`),
    );
  });

  it('a dump whose server process dies half-way is a failure', async () => {
    const kill = () =>
      sql(
        server,
        'postgres',
        "select pg_terminate_backend(pid) from pg_stat_activity where query like 'COPY public.large%'",
      );
    await assert.rejects(captureOf(liveContext(), large(), kill), { code: 'unreachable' });
  });

  it('a server that is killed during the capture is a failure', async () => {
    await using other = await startPostgres(16);
    await createDatabase(
      other,
      'large',
      'create table t as select repeat(md5(g::text), 100) from generate_series(1, 8000) g',
    );
    await assert.rejects(
      captureOf(liveContext(), settingsFor(other), () => other.kill()),
      { code: 'unreachable' },
    );
  });

  it('a database that is not there is told beforehand, with those that are', async () => {
    const component = postgresqlDriver.open(shop({ databases: ['shop', 'shpo'] }));
    const { findings } = await component.probe(liveContext());
    const [absent] = findings.filter(({ verdict }) => verdict === 'fail');
    assert.match(absent?.detail ?? '', /^no shpo$/);
    assert.match(absent?.hint ?? '', /there are: .*shop/);
  });

  it('a table that somebody has locked fails after a deadline, and names who', async () => {
    const { host, port, user, password } = server;
    const client = new pg.Client({ host, port, user, password, database: 'shop', application_name: 'the blocker' });
    await client.connect();
    try {
      await client.query('begin; lock table customers');
      const { rows } = await client.query('select pg_backend_pid() as pid');
      const refusal = { code: 'blocked', message: new RegExp(`customers by process ${rows[0].pid} .*the blocker`) };
      await assert.rejects(captureOf(liveContext(), shop({ lock_timeout: '300ms' })), refusal);
    } finally {
      await client.end();
    }
  });

  it('a role without rights on one table fails, and names the table', async () => {
    await createDatabase(server, 'closed', 'create table open (a int)', 'create table "Closed" (a int)');
    await sql(server, 'closed', "create role clerk login password 'clerk'", 'grant select on open to clerk');
    const settings = settingsFor(server, { databases: ['closed'], user: 'clerk', password: 'clerk' });
    await assert.rejects(captureOf(liveContext(), settings), {
      code: 'privileges',
      message: /clerk may not read public\."Closed"$/,
      hint: /pg_read_all_data/,
    });
    await sql(server, 'closed', 'grant select on "Closed" to clerk');
    const { capture: some } = await captureOf(liveContext(), settings);
    assert.match(some.warnings.join(), /passwords of roles are not in it: clerk/);
    await sql(server, 'closed', 'grant pg_read_all_data to clerk', 'alter table open enable row level security');
    await assert.rejects(captureOf(liveContext(), settings), {
      code: 'privileges',
      message: /row-level security.*open/,
    });
    await sql(server, 'closed', 'alter role clerk bypassrls');
    const { capture } = await captureOf(liveContext(), settings);
    assert.deepEqual(capture.warnings, []);
  });

  it('what is written after the snapshot is neither in the dump nor in its inventory', async () => {
    await using target = await startPostgres(16);
    const ctx = liveContext();
    const writes = () =>
      sql(
        server,
        'large',
        'delete from large where id % 2 = 0',
        'insert into quiet values (1)',
        "select nextval('moving')",
      );
    // The roles are put when the snapshots are taken and before any dump begins.
    const { source } = await captureOf(ctx, large(), writes, 'globals.sql');
    const settings = settingsFor(target, { databases: ['large'] });
    await postgresqlDriver.open(settings).restore(ctx, { base: source });
    assert.deepEqual(await differences(ctx, source, settings), []);
    const live = (await differences(ctx, source, large())).map(({ check, detail }) => `${check}: ${detail}`);
    assert.deepEqual(live.toSorted().slice(1), [
      'table large.public.large is the same: 8000 at the cut, 4000 now',
      'table large.public.quiet is the same: 0 at the cut, 1 now',
    ]);
  });

  it('what the owner of a database puts in the place of the operators of the server is never run', async () => {
    const ctx = liveContext();
    const OPERATORS = ['/', '=', '<>', '>'].flatMap((name) =>
      ['int', 'oid', 'name', 'text'].map((type) => [name, type]),
    );
    await createDatabase(
      server,
      'trapped',
      'create schema evil',
      'create sequence evil.ran',
      ...OPERATORS.map(([name, type], i) => {
        const result = name === '/' ? 'int' : 'bool';
        return `create function evil.f${i}(${type}, ${type}) returns ${result} language sql as
            $$ select nextval('evil.ran')::int::${result} $$;
          create operator evil.${name} (leftarg = ${type}, rightarg = ${type}, function = evil.f${i})`;
      }),
      'alter database trapped set search_path = evil, pg_catalog',
    );
    const settings = settingsFor(server, { databases: ['trapped'] });
    await captureOf(ctx, settings);
    assert.deepEqual(await sql(server, 'trapped', 'select is_called from evil.ran'), [{ is_called: false }]);
  });

  it('an inventory by counts says what it does not know, and so does one by sample', async () => {
    const ctx = liveContext();
    await createDatabase(server, 'many', 'create table many (id int primary key, t text)');
    await sql(
      server,
      'many',
      "insert into many select g, 'x' from generate_series(1, 120000) g",
      'create table few as select 1',
    );
    const settings = (inventory: string) => settingsFor(server, { databases: ['many'], inventory });
    for (const level of ['counts', 'sample']) {
      const { source, capture } = await captureOf(ctx, settings(level));
      assert.equal(capture.inventoryLevel, level);
      const found = await differences(ctx, source, settings(level));
      const unknown = level === 'counts' ? ['few', 'many'] : ['many'];
      assert.deepEqual(
        found.map(({ check }) => check),
        unknown.map((name) => `table many.public.${name} is the same`),
      );
      assert.ok(found.every(({ verdict }) => verdict === 'unknown'));
    }
    const { source } = await captureOf(ctx, settings('sample'));
    await sql(server, 'many', "update many set t = 'y'");
    assert.deepEqual(
      (await differences(ctx, source, settings('sample'))).map(({ verdict }) => verdict),
      ['fail'],
    );
  });

  it('a table of an extension is counted once, however large it is', async () => {
    const ctx = liveContext();
    await createDatabase(
      server,
      'extended',
      'create extension vector',
      'create table own as select g as a from generate_series(1, 5000) g',
      'alter extension vector add table own',
      'set allow_system_table_mods = on',
      `update pg_extension set extconfig = array['own'::regclass::oid], extcondition = array['where a > 1000']
        where extname = 'vector'`,
      'reset allow_system_table_mods',
    );
    await using snapshot = await takeSnapshot(ctx, serverOf(settingsFor(server)), 'extended');
    const table = (await tablesOf(snapshot.session)).find(({ name }) => name === 'own');
    assert.ok(table && table.pages > 7);
    const counts = piecesOf(table, 'full', 7).map((piece) => countPiece(snapshot.session, piece, 'full'));
    assert.equal((await Promise.all(counts)).reduce(merged).rows, 4000);
  });

  it('a table that is digested in pieces has the digest of the whole', async () => {
    const ctx = liveContext();
    await using snapshot = await takeSnapshot(ctx, serverOf(large()), 'large');
    const { session } = snapshot;
    const table = (await tablesOf(session)).find(({ name }) => name === 'large');
    assert.ok(table && table.pages > 30);
    const [whole, ...others] = piecesOf(table, 'full');
    assert.ok(whole && others.length === 0);
    const pieces = piecesOf(table, 'full', 7);
    assert.ok(pieces.length > 4);
    const counted = await Promise.all(pieces.map((piece) => countPiece(session, piece, 'full')));
    assert.deepEqual(counted.reduce(merged), await countPiece(session, whole, 'full'));
  });
});
