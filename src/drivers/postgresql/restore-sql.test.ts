import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { missing, needServer } from '../../../test/servers/need.ts';
import { type Postgres, startPostgres } from '../../../test/servers/postgres.ts';
import { bytesOf } from '../../core/bytes.ts';
import type { RestoreOptions, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { postgresqlDriver } from './driver.ts';
import { settingsFor, sql } from './testing.ts';

describe('fault 48: SQL text is hostile until proved otherwise', { skip: await missing('postgres-16') }, () => {
  let target: Postgres;
  let dir: string;
  before(async () => {
    target = await startPostgres(16);
    dir = await mkdtemp(join(tmpdir(), 'lifeboat-pg-'));
  });
  after(async () => {
    await target?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });
  const ctx = liveContext();
  const into = (name: string, more: Record<string, unknown> = {}) =>
    settingsFor(target, { databases: [name], ...more });
  const restore = async (settings: unknown, base: Source, options?: RestoreOptions) =>
    await postgresqlDriver.open(settings).restore(ctx, { base }, options);
  const rowsOf = async (name: string, text: string) => await sql(target, name, text);
  const ownersIn = async (name: string) =>
    await rowsOf(
      name,
      `select relname as name, pg_get_userbyid(relowner) as owner from pg_class where relnamespace = 'public'::regnamespace
        union all select proname, pg_get_userbyid(proowner) from pg_proc where pronamespace = 'public'::regnamespace order by 1`,
    );
  /** Roles that restores make for a while. */
  const passing = "select rolname from pg_roles where rolname like 'lifeboat_restore%'";
  const textual = async (text: string): Promise<Source> => {
    const { sink, source } = memoryParts();
    await sink.put(ctx, 'databases/shop.sql', bytesOf(text));
    return source;
  };
  const HOSTILE: readonly [string, string, object][] = [
    ['runs a program by psql', 'create table t (a int);\n\\! touch PROOF\n', { code: 'malformed' }],
    ['runs a program by the server', "copy (select 1) to program 'touch PROOF';", { code: 'privileges' }],
    ['makes itself mighty', 'alter role postgres password null;', { code: 'privileges' }],
    ['becomes another role', 'set session authorization postgres;', { code: 'privileges' }],
    ['reads files of the server', "create table t as select pg_read_file('PG_VERSION');", { code: 'privileges' }],
    [
      'hides an action before an owner',
      `create table t (a text); insert into t values ('x');
       alter table t alter column a type text using pg_read_file('PG_VERSION'), owner to pg_monitor;`,
      { code: 'privileges' },
    ],
    ['hides behind a quote', "select 'a\\'; \\! touch PROOF\n'; select 1;", { code: 'malformed' }],
  ];
  for (const [what, text, refusal] of HOSTILE) {
    it(`text that ${what}`, async () => {
      const proof = join(dir, 'proof');
      const settings = into('hostile');
      await assert.rejects(restore(settings, await textual(text.replaceAll('PROOF', proof)), {}), refusal);
      assert.ok(!(await readdir(dir)).includes('proof'));
      assert.deepEqual(await rowsOf('postgres', passing), []);
      await sql(target, 'postgres', 'drop database if exists hostile');
    });
  }

  it('what an old script dumped comes back, with roles that are known nowhere', async () => {
    const text = `
      SET transaction_timeout = 0; SET client_encoding = 'UTF8'; SELECT pg_catalog.set_config('search_path', '', false);
      CREATE TABLE public.t (a int, b text); ALTER TABLE public.t OWNER TO gone;
      COPY public.t (a, b) FROM stdin;\n1\tx\\ny\n2\t\\N\n\\.\n
      GRANT SELECT ON TABLE public.t TO "Other Gone"; ALTER TABLE ONLY public.t ADD PRIMARY KEY (a);`;
    const { warnings } = await restore(into('old_script'), await textual(text));
    assert.equal(warnings.length, 2);
    assert.deepEqual(
      await rowsOf(
        'old_script',
        "select a, b, pg_get_userbyid(relowner) as o from t, pg_class c where c.oid = 't'::regclass order by a",
      ),
      [
        { a: 1, b: 'x\ny', o: 'gone' },
        { a: 2, b: null, o: 'gone' },
      ],
    );
  });

  it('what belongs to a superuser, or to nobody, goes to a role that can do nothing', async () => {
    const text = `create table t (a int); alter table t owner to postgres;
      create function f() returns int language sql security definer as 'select 1';
      alter function f() owner to pg_execute_server_program;
      create table mine (a int); alter table mine owner to app;`;
    const { warnings } = await restore(into('owned'), await textual(text));
    assert.match(warnings.join(), /2 objects belong to role lifeboat_owner/);
    assert.deepEqual(await ownersIn('owned'), [
      { name: 'f', owner: 'lifeboat_owner' },
      { name: 'mine', owner: 'app' },
      { name: 't', owner: 'lifeboat_owner' },
    ]);
    const rights = `select rolcanlogin or rolsuper or rolcreaterole or rolcreatedb or rolreplication
      or rolbypassrls as mighty from pg_roles where rolname = 'lifeboat_owner'`;
    assert.deepEqual(await rowsOf('postgres', rights), [{ mighty: false }]);
  });

  it('a database of somebody without such rights keeps what the text gives to nobody', async () => {
    await sql(target, 'postgres', 'create role landlord', 'create database leased owner landlord');
    await restore(into('leased'), await textual('create table t (a int);'));
    assert.deepEqual(await ownersIn('leased'), [{ name: 't', owner: 'landlord' }]);
  });

  // What a role may do with those that it made is another thing since 16.
  for (const major of [15, 18] as const) {
    it(`who may make roles on PostgreSQL ${major} runs it with fewer rights, without being a superuser`, async (t) => {
      if (!(await needServer(t, `postgres-${major}`))) return;
      await using server = await startPostgres(major);
      await sql(server, 'postgres', "create role manager login createrole createdb password 'manager'");
      const as = (name: string) => settingsFor(server, { databases: [name], user: 'manager', password: 'manager' });
      await restore(as('managed'), await textual('create table t (a int); alter table t owner to manager;'));
      const owner = "select pg_get_userbyid(relowner) as owner from pg_class where relname = 't'";
      // Up to 15 who may make roles may make himself a member of those that run programs.
      const heir = major < 16 ? 'lifeboat_owner' : 'manager';
      assert.deepEqual(await sql(server, 'managed', owner), [{ owner: heir }]);
      for (const hostile of ["alter role manager password 'stolen';", 'create database more;']) {
        await assert.rejects(restore(as('hostile'), await textual(hostile)), { code: 'privileges' });
      }
      assert.deepEqual(await sql(server, 'postgres', passing), []);

      await sql(
        server,
        'postgres',
        "create role half login createrole password 'half'",
        'create database h owner half',
      );
      const half = settingsFor(server, { databases: ['h'], user: 'half', password: 'half' });
      const run = restore(half, await textual('create table t (a int);'));
      if (major < 16) await assert.rejects(run, { code: 'denied' });
      else assert.match((await run).warnings.join(), /run with all rights of half/);
    });
  }

  it('text is not run by who can touch the server, where no role with fewer rights can be made', async () => {
    const text = await textual(`copy (select 1) to program 'touch ${join(dir, 'proof')}';`);
    for (const group of ['pg_execute_server_program', 'postgres']) {
      const user = `in_${group}`;
      await sql(
        target,
        'postgres',
        `create role ${user} login password 'in' in role ${group}`,
        `create database lent_${user} owner ${user}`,
      );
      const refusal = { code: 'denied', message: new RegExp(user), hint: /CREATEROLE/ };
      await assert.rejects(restore(into(`lent_${user}`, { user, password: 'in' }), text), refusal);
    }
    assert.ok(!(await readdir(dir)).includes('proof'));
  });

  it('who may not is told that the text had all the rights there were', async () => {
    await sql(target, 'postgres', "create role tenant login password 'tenant'", 'create database mine owner tenant');
    const settings = into('mine', { user: 'tenant', password: 'tenant' });
    const { warnings } = await restore(settings, await textual('create table t (a int);'));
    assert.match(warnings.join(), /run with all rights of tenant/);
  });

  it('a restore that is stopped leaves no role behind', async () => {
    const stop = new AbortController();
    const stopping = liveContext({ signal: stop.signal });
    const text = await textual('create table t (a int); select pg_sleep(60);');
    const stopped = assert.rejects(postgresqlDriver.open(into('stopped')).restore(stopping, { base: text }), {
      code: 'interrupted',
    });
    const sleeping = "select 1 from pg_stat_activity where query = 'select pg_sleep(60)'";
    const deadline = Date.now() + 60_000;
    while ((await rowsOf('postgres', sleeping)).length === 0) assert.ok(Date.now() < deadline, 'it never slept');
    const [role] = await rowsOf('postgres', passing);
    stop.abort();
    await stopped;
    assert.deepEqual(await rowsOf('postgres', passing), []);
    // One that was killed could clear nothing away.
    await sql(target, 'postgres', `create role ${(role as { rolname: string }).rolname}`);
    await sql(target, 'postgres', 'drop database if exists stopped with (force)');
    await restore(into('stopped'), await textual('create table t (a int);'));
    assert.deepEqual(await rowsOf('postgres', passing), []);
  });

  it('a database that a killed restore left to its own role is taken back, and its owner asked for', async () => {
    const role = `lifeboat_restore_${createHash('sha256').update('left').digest('hex').slice(0, 12)}`;
    await sql(target, 'postgres', `create role ${role}`, `create database "left" owner ${role}`);
    await sql(target, 'left', `create type remnant as enum ('a')`, `alter type remnant owner to ${role}`);
    const { warnings } = await restore(into('left'), await textual('create table t (a int);'));
    assert.match(warnings.join(), /database left: .*owner.* postgres/);
    const owner = "select pg_get_userbyid(datdba) as owner from pg_database where datname = 'left'";
    assert.deepEqual(await rowsOf('postgres', owner), [{ owner: 'postgres' }]);
    assert.deepEqual(await rowsOf('left', "select from pg_type where typname = 'remnant'"), []);
    assert.deepEqual(await rowsOf('postgres', passing), []);
  });
});
