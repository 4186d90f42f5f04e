import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { missing, needServer } from '../../../test/servers/need.ts';
import { type Postgres, startPostgres } from '../../../test/servers/postgres.ts';
import { bytesOf } from '../../core/bytes.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { RestoreOptions, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { processSandboxes } from '../../sandboxes/process/runner.ts';
import { openServer, postgresqlDriver } from './driver.ts';
import { captureOf, createDatabase, differences, SHOP, settingsFor, sql } from './testing.ts';

/** Restoring a row of `slow` takes a moment on a server where that is switched on. */
const SLOW = `
  create function take_time(int) returns boolean language sql as $$
    select pg_sleep(case current_setting('lifeboat.slow', true) when 'on' then 0.2 else 0 end) is not null $$;
  create table slow (a int check (take_time(a)));
  insert into slow select generate_series(1, 200);
`;
const PARTS = `
  create schema other;
  create type other.mood as enum ('sad', 'happy');
  create table other.people (id serial primary key, mood other.mood, boss int references other.people);
  create index on other.people (mood);
  create table pets (id int primary key, owner int references other.people, note text);
  create table events (at date, n int) partition by range (at);
  create table events_2024 partition of events for values from ('2024-01-01') to ('2025-01-01');
  insert into other.people (mood) values ('sad'), ('happy');
  insert into pets values (1, 1, 'dog');
  insert into events values ('2024-02-03', 7);
  create table large as select g as id, repeat(md5(g::text), 50) as t from generate_series(1, 2000) g;
  create table people (id int);
`;

describe('restore of postgresql', { skip: await missing('postgres-15', 'postgres-16') }, () => {
  let server: Postgres;
  let target: Postgres;
  let dir: string;
  before(async () => {
    [server, target] = await Promise.all([startPostgres(16), startPostgres(16)]);
    dir = await mkdtemp(join(tmpdir(), 'lifeboat-pg-'));
    await createDatabase(server, 'shop', SHOP);
    await createDatabase(server, 'parts', PARTS);
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await target?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });
  const ctx = liveContext();
  const captured = async (name: string) => await captureOf(ctx, settingsFor(server, { databases: [name] }));
  const into = (name: string, more: Record<string, unknown> = {}) =>
    settingsFor(target, { databases: [name], ...more });
  const restore = async (settings: unknown, base: Source, options?: RestoreOptions) =>
    await postgresqlDriver.open(settings).restore(ctx, { base }, options);
  const rowsOf = async (name: string, text: string) => await sql(target, name, text);
  const databases = async () => {
    const rows = await sql(target, 'postgres', 'select datname as name from pg_database order by 1');
    return rows.map((row) => (row as { name: string }).name);
  };

  it('fault 23: a database that holds anything is refused, whatever it is', async () => {
    const { source } = await captured('shop');
    for (const thing of [
      'create view v as select 1',
      'create schema s',
      "select lo_from_bytea(0, 'x')",
      'create function f() returns int return 1',
    ]) {
      await createDatabase(target, 'holds', thing);
      await assert.rejects(restore(into('holds'), source), { code: 'target-not-empty', hint: /in place/ });
      await sql(target, 'postgres', 'drop database holds');
    }
  });

  it('all of several targets are looked at before one is touched', async () => {
    const { source } = await captureOf(ctx, settingsFor(server, { databases: ['parts', 'shop'] }));
    await createDatabase(target, 'shop', 'create table mine (a int)');
    const settings = settingsFor(target, { databases: ['parts', 'shop'] });
    await assert.rejects(restore(settings, source), { code: 'target-not-empty' });
    assert.ok(!(await databases()).includes('parts'));
    await sql(target, 'postgres', 'drop database shop');
  });

  it('a server killed in the middle leaves what says so, and the next restore clears it away', async () => {
    await createDatabase(server, 'slow', SLOW);
    const { source } = await captured('slow');
    const settings = into('slow');
    await sql(target, 'postgres', "alter role postgres set lifeboat.slow to 'on'");
    const broken = assert.rejects(restore(settings, source), { code: 'unreachable' });
    await untilCopying(target);
    await target.kill();
    await broken;
    await target.start();
    await sql(target, 'postgres', 'alter role postgres reset lifeboat.slow');
    const comment = "select shobj_description(oid, 'pg_database') as c from pg_database where datname = 'slow'";
    assert.match(JSON.stringify(await rowsOf('postgres', comment)), /not finished/);
    const { warnings } = await restore(settings, source);
    assert.match(warnings.join(), /unfinished restore of slow was cleared away/);
    assert.deepEqual(await differences(ctx, source, settings), []);
  });

  it('a point of a database that says it is not finished does not pass that on', async () => {
    const mark = 'lifeboat: a restore into this database was not finished';
    await createDatabase(server, 'half', 'create table t (a int)', `comment on database half is '${mark}'`);
    const { source } = await captured('half');
    await restore(into('half'), source);
    await assert.rejects(restore(into('half'), source), { code: 'target-not-empty' });
  });

  it('a restore that is stopped ends its programs and leaves no scratch files', async () => {
    await createDatabase(server, 'stopped', SLOW);
    const { source } = await captured('stopped');
    const stop = new AbortController();
    const scratch = await mkdtemp(join(dir, 'scratch-'));
    const stopping = liveContext({ signal: stop.signal, scratch });
    await sql(target, 'postgres', "alter role postgres set lifeboat.slow to 'on'");
    const stopped = assert.rejects(postgresqlDriver.open(into('stopped')).restore(stopping, { base: source }), {
      code: 'interrupted',
    });
    await untilCopying(target);
    stop.abort();
    await stopped;
    await sql(target, 'postgres', 'alter role postgres reset lifeboat.slow');
    assert.deepEqual(await readdir(scratch), []);
  });

  it('fault 22: without room for the archive it streams, and brings back the same', async () => {
    const { source } = await captured('parts');
    // A file system without any free block.
    const cramped = liveContext({ scratch: '/proc' });
    const settings = into('streamed');
    await postgresqlDriver.open(settings).restore(cramped, { base: source });
    assert.equal(cramped.logged[0]?.level, 'warn');
    assert.deepEqual(await differences(ctx, source, settings), []);
  });

  it('an older server is refused', async () => {
    await using older = await startPostgres(15);
    const { source } = await captured('shop');
    const settings = settingsFor(older, { databases: ['shop'] });
    await assert.rejects(restore(settings, source), { code: 'version-mismatch', hint: /16 or newer/ });
  });

  it('a newer server gets all of it, and nothing is called different for being rendered anew', async (t) => {
    if (!(await needServer(t, 'postgres-18'))) return;
    await using newer = await startPostgres(18);
    const { source } = await captured('parts');
    const settings = settingsFor(newer, { databases: ['parts'] });
    await restore(settings, source);
    const found = await differences(ctx, source, settings);
    assert.deepEqual(
      found.filter(({ verdict }) => verdict === 'fail'),
      [],
    );
    assert.ok(found.every(({ check, detail }) => detail.includes('different majors') || check.startsWith('role ')));
  });

  it('a newer pg_restore than the server does as well', async (t) => {
    if (!(await needServer(t, 'postgres-18'))) return;
    await using newer = await startPostgres(18);
    const settings = (name: string) => ({ ...into(name), bin_dir: newer.bin });
    const older = { ...settingsFor(server, { databases: ['shop'] }), bin_dir: newer.bin };
    // Only the programs of 18 are to be had, as on a machine that was updated.
    const only = liveContext({ env: { PATH: '' } });
    const { source } = await captureOf(only, older);
    await postgresqlDriver.open(settings('newer')).restore(only, { base: source });
    assert.deepEqual(await differences(ctx, source, settings('newer')), []);
  });

  it('an extension that the server lacks is told before anything is touched', async () => {
    await using other = await startPostgres(15);
    await createDatabase(other, 'with_hstore', 'create extension hstore', 'create table h as select 1 as a');
    const { source } = await captureOf(ctx, settingsFor(other, { databases: ['with_hstore'] }));
    await assert.rejects(restore(into('with_hstore'), source), { code: 'program-missing', message: /hstore/ });
    assert.ok(!(await databases()).includes('with_hstore'));
  });

  it('some tables come back alone, by reading no more than their own data', async () => {
    const { source } = await captured('parts');
    let bytes = 0;
    const counting: Source = {
      ...source,
      async *get(c, name, range) {
        for await (const chunk of source.get(c, name, range)) {
          bytes += name.endsWith('.dump') ? chunk.length : 0;
          yield chunk;
        }
      },
    };
    const settings = into('some');
    await restore(settings, counting, { select: { tables: ['other.people', 'events'] } });
    assert.ok(bytes < 200_000, `${bytes} bytes of an archive of 3 MB were read`);
    assert.deepEqual(await rowsOf('some', 'select id, mood::text from other.people order by 1'), [
      { id: 1, mood: 'sad' },
      { id: 2, mood: 'happy' },
    ]);
    assert.deepEqual(await rowsOf('some', "select n, nextval('other.people_id_seq')::int as next from events"), [
      { n: 7, next: 3 },
    ]);
    assert.deepEqual(await rowsOf('some', "select to_regclass('large') as large, to_regclass('pets') as pets"), [
      { large: null, pets: null },
    ]);
    // Into a database that holds other tables, but never over one of the same name.
    await restore(settings, source, { select: { tables: ['pets'] } });
    await assert.rejects(restore(settings, source, { select: { tables: ['pets'] } }), { code: 'target-not-empty' });
    await assert.rejects(restore(settings, source, { select: { tables: ['people'] } }), {
      code: 'ambiguous',
      hint: /schema/,
    });
    await assert.rejects(restore(settings, source, { select: { tables: ['no_such'] } }), { code: 'missing' });
    const near = { code: 'missing', hint: 'did you mean large?' };
    await assert.rejects(restore(settings, source, { select: { tables: ['larg'] } }), near);
  });

  it('a role that is no superuser restores into its own empty database', async () => {
    await sql(target, 'postgres', "create role tenant login password 'tenant'", 'create database mine owner tenant');
    const { source } = await captured('parts');
    const settings = into('mine', { user: 'tenant', password: 'tenant' });
    const { warnings } = await restore(settings, source);
    assert.match(warnings.join('\n'), /owners and privileges were left out, for want of rights on postgres/);
    assert.deepEqual(await rowsOf('mine', 'select count(*)::int as n from large'), [{ n: 2000 }]);
  });

  it('sessions in the way are named, and only ended when told so', async () => {
    const { source } = await captured('shop');
    await createDatabase(target, 'busy', 'create table old (a int)');
    const settings = into('busy');
    const { host, port, user, password } = target;
    const client = new pg.Client({ host, port, user, password, database: 'busy', application_name: 'the app' });
    client.on('error', () => undefined);
    await client.connect();
    await assert.rejects(restore(settings, source, { replace: true }), { code: 'blocked', message: /the app/ });
    assert.deepEqual(await rowsOf('busy', 'select * from old'), []);
    await using staged = await openServer(settings).stage(ctx, { base: source }, '2026-01-01-000000');
    await assert.rejects(staged.publish(ctx, { terminateConnections: false }), { code: 'blocked', message: /the app/ });
    assert.deepEqual(await rowsOf('busy', 'select * from old'), [], 'the live database lets sessions in again');
    const { keptAs } = await staged.publish(ctx, { terminateConnections: true });
    assert.match(keptAs.join(), /^busy__lifeboat_old_\d{4}-\d{2}-\d{2}-\d{6}$/);
    assert.deepEqual(await differences(ctx, source, settings), []);
    assert.deepEqual(await openServer(settings).dropOld(ctx), keptAs);
    await client.end();
  });

  it('in place works when the live database is gone, and leaves nothing behind when it is given up', async () => {
    const { source } = await captured('shop');
    const long = 'x'.repeat(63);
    const component = openServer(into(long));
    {
      await using given = await component.stage(ctx, { base: source }, '2026-01-01-000001');
      assert.ok(given);
    }
    assert.ok(!(await databases()).some((name) => name.includes('x__lifeboat')));
    await using staged = await component.stage(ctx, { base: source }, '2026-01-01-000002');
    assert.deepEqual((await staged.publish(ctx, { terminateConnections: false })).keptAs, []);
    assert.deepEqual(await differences(ctx, source, into(long)), []);
  });

  it('a damaged database is no obstacle: in place keeps it, and a replacement drops it', async () => {
    const { source } = await captured('shop');
    const settings = into('damaged');
    const component = openServer(settings);
    for (const way of ['in place', 'replace']) {
      await sql(target, 'postgres', 'drop database if exists damaged');
      await createDatabase(target, 'damaged', 'create table t (a int)');
      const [row] = await sql(target, 'postgres', "select oid from pg_database where datname = 'damaged'");
      await writeFile(join(target.dir, 'base', String((row as { oid: number }).oid), 'PG_VERSION'), 'nonsense');
      const { holdsData, findings } = await component.probe(ctx);
      assert.match(holdsData ?? '', /damaged, which can not be read/);
      assert.ok(findings.some(({ verdict }) => verdict === 'fail'));
      await assert.rejects(component.restore(ctx, { base: source }), { code: 'query-failed' });
      if (way === 'replace') await component.restore(ctx, { base: source }, { replace: true });
      else {
        await using staged = await component.stage(ctx, { base: source }, '2026-01-01-000003');
        const { keptAs } = await staged.publish(ctx, { terminateConnections: false });
        assert.deepEqual(await component.dropOld(ctx), keptAs);
      }
      assert.deepEqual(await differences(ctx, source, settings), []);
    }
  });

  it('nothing in globals is run but statements about roles that it created', async () => {
    const { source } = await captured('shop');
    const { sink, source: changed } = memoryParts();
    const hostile = `alter role standing with superuser; grant postgres to standing; create role fresh;
      alter role fresh with login; drop role standing; create database y;`;
    for await (const { name } of source.parts(ctx)) {
      await sink.put(ctx, name, name === 'globals.sql' ? bytesOf(hostile) : source.get(ctx, name));
    }
    await sql(target, 'postgres', 'create role standing');
    await restore(into('globals'), changed);
    const roles = `select rolname as n, rolsuper as s, rolcanlogin as l, pg_has_role(oid, 'postgres', 'member') as m
      from pg_roles where rolname in ('standing', 'fresh') order by 1`;
    assert.deepEqual(await rowsOf('postgres', roles), [
      { n: 'fresh', s: false, l: true, m: false },
      { n: 'standing', s: false, l: false, m: false },
    ]);
    assert.ok(!(await databases()).includes('y'));
  });

  it('fault 50: passwords are in no argument of a restore', async () => {
    const { source } = await captured('shop');
    const bin = await mkdtemp(join(dir, 'bin-'));
    const log = join(dir, 'restore-arguments');
    const version = `[ "$1" = --version ] && exec ${target.bin}/pg_restore --version`;
    await writeFile(
      join(bin, 'pg_restore'),
      `#!/bin/bash\n${version}\nprintf '%s\\n' "$@" >> ${log}\nexec ${target.bin}/pg_restore "$@"\n`,
    );
    await chmod(join(bin, 'pg_restore'), 0o755);
    const name = `host=evil '\\ --x`;
    await restore(into(name, { bin_dir: bin }), source);
    const said = await readFile(log, 'utf8');
    assert.doesNotMatch(said, /sesame/);
    assert.ok(said.includes("--dbname=dbname='host=evil \\'\\\\ --x'"));
    assert.deepEqual(await differences(ctx, source, into(name)), []);
  });

  it('a sandbox brings a point back, whatever the point calls its superuser, and answers checks of each database', async () => {
    const { source, capture } = await captured('parts');
    const [boxed, settings] = [liveContext(), settingsFor(server)]; // which name the directory of its programs
    await using box = await processSandboxes().start(boxed, postgresqlDriver, capture.serverVersion, settings);
    await box.component.restore(boxed, { base: source });
    const live = await box.component.inventory(boxed);
    const found = await Array.fromAsync(postgresqlDriver.compare(ctx, inventoryOf(source), live));
    assert.deepEqual(
      found.filter(({ verdict }) => verdict !== 'pass'),
      [],
    );
    const { measure } = box.component;
    assert.ok(measure);
    assert.equal(await measure(boxed, 'select count(*) from large'), 2000);
    await assert.rejects(measure(boxed, 'delete from large'), { code: 'query-failed' });
    await assert.rejects(measure(boxed, "select 'x'"), { code: 'query-failed' });
    await createDatabase(server, 'second', 'create table orders as select 7 as a');
    const second = await captureOf(ctx, settingsFor(server, { databases: ['second'] }));
    await box.component.restore(boxed, { base: second.source });
    assert.equal(await measure(boxed, 'select count(*) from large', 'parts'), 2000);
    assert.equal(await measure(boxed, 'select a from orders', 'second'), 7);
    await assert.rejects(measure(boxed, 'select a from orders'), { code: 'ambiguous', hint: /database in a check/ });
  });
});

/** Until pg_restore has begun to copy rows. */
async function untilCopying(target: Postgres): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (Date.now() < deadline) {
    const busy = "select 1 from pg_stat_activity where application_name = 'lifeboat' and query like 'COPY%'";
    if ((await sql(target, 'postgres', busy)).length > 0) return;
  }
  throw new Error('pg_restore did not begin');
}
