import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { type Postgres, startPostgres } from '../../../test/servers/postgres.ts';
import type { MergeMode, Row } from '../../core/model.ts';
import { liveContext } from '../../core/testing.ts';
import { openServer } from './driver.ts';
import { readRows } from './rows.ts';
import { serverOf } from './settings.ts';
import { createDatabase, everything, settingsFor, sql } from './testing.ts';

describe('rows of postgresql', { skip: await missing('postgres-16') }, () => {
  let server: Postgres;
  before(async () => {
    server = await startPostgres(16);
    await createDatabase(
      server,
      'odd',
      everything(16),
      'create table "No Key" (a int)',
      'create table pairs (b text, a int generated always as identity, primary key (a, b), c text)',
      "insert into pairs (b, c) values ('x', 'one'), ('y', null)",
      'create table wide (id int primary key, t text)',
      "insert into wide select g, repeat('x', 100000) from generate_series(1, 700) g",
    );
  });
  after(async () => await server?.[Symbol.asyncDispose]());
  const ctx = liveContext();
  const settings = () => settingsFor(server, { databases: ['odd'] });
  const rowsIn = async (table: string, where: string | null = null): Promise<Row[]> =>
    await Array.fromAsync(readRows(ctx, serverOf(settings()), 'odd', { table, where }));
  const merge = async (table: string, rows: Row[], mode: MergeMode) => {
    const feed = async function* () {
      yield* rows;
    };
    return await openServer(settings()).merge(ctx, feed(), { tables: [table] }, mode);
  };

  it('every type of value comes back as it was, and generated columns by themselves', async () => {
    const rows = await rowsIn('public.types');
    assert.equal(rows.length, 2);
    const digest = 'select md5(string_agg(t::text, chr(10) order by id)) as digest from types t';
    const before = await sql(server, 'odd', digest);
    await sql(
      server,
      'odd',
      'begin; alter table types disable trigger all; delete from types where id = 10; update types set o = null, "select" = null; commit',
    );
    assert.deepEqual(await merge('types', rows, 'overwrite'), { missing: 1, different: 1, same: 0, applied: 2 });
    assert.deepEqual(await sql(server, 'odd', digest), before);
  });

  it('a key of several columns, one of them an identity', async () => {
    const rows = await rowsIn('pairs', "b = 'x' or c is null");
    assert.deepEqual(
      rows.map(({ key }) => key),
      ['["1","x"]', '["2","y"]'],
    );
    await sql(server, 'odd', "delete from pairs where a = 1; update pairs set c = ''");
    assert.deepEqual(await merge('pairs', rows, 'overwrite'), { missing: 1, different: 1, same: 0, applied: 2 });
    assert.deepEqual(await sql(server, 'odd', 'select * from pairs order by a'), [
      { b: 'x', a: 1, c: 'one' },
      { b: 'y', a: 2, c: null },
    ]);
  });

  it('large rows are read and compared a few at a time', async () => {
    const rows = await rowsIn('wide');
    assert.equal(rows.length, 700);
    assert.deepEqual(await merge('wide', rows, 'preview'), { missing: 0, different: 0, same: 700, applied: 0 });
  });

  it('values that name things mean the same things, whatever the search path of the database is', async () => {
    await sql(
      server,
      'odd',
      'create table named (id int primary key, r regclass, c regclass)',
      "insert into named values (1, 'wide', 'pg_class')",
    );
    const rows = await rowsIn('named', "r = 'wide'::regclass");
    assert.deepEqual(rows[0]?.value, { id: '1', r: 'public.wide', c: 'pg_class' });
    await sql(server, 'odd', 'create schema first', 'create table first.wide (a int)');
    await sql(server, 'odd', 'alter database odd set search_path to first, public');
    assert.deepEqual(await merge('named', rows, 'preview'), { missing: 0, different: 0, same: 1, applied: 0 });
    await sql(server, 'odd', 'delete from named');
    assert.deepEqual(await merge('named', rows, 'missing-only'), { missing: 1, different: 0, same: 0, applied: 1 });
    assert.deepEqual(await sql(server, 'odd', "select 1 as one from named where r = 'public.wide'::regclass"), [
      { one: 1 },
    ]);
    await sql(server, 'odd', 'alter database odd reset search_path', 'drop schema first cascade');
  });

  it('what can not be told apart, or does not fit any more, is refused', async () => {
    await assert.rejects(merge('"No Key"', [], 'preview'), { code: 'settings-invalid', message: /no primary key/ });
    await assert.rejects(merge('no_such', [], 'preview'), { code: 'settings-invalid' });
    const rows = await rowsIn('pairs');
    await sql(server, 'odd', 'alter table pairs add column later int');
    await assert.rejects(merge('pairs', rows, 'missing-only'), { code: 'different', message: /columns/ });
  });

  it('a condition whose function finds a table by no schema is told what to do', async () => {
    await sql(
      server,
      'odd',
      "create function bare() returns bigint language sql as 'select count(*) from wide'",
      "create function full_name() returns bigint language sql as 'select count(*) from public.wide'",
    );
    await assert.rejects(rowsIn('wide', 'bare() > 0'), { code: 'query-failed', hint: /schema/ });
    assert.equal((await rowsIn('wide', 'id < 3 and full_name() > 0')).length, 2);
  });

  it('a condition is one condition, and can change nothing', async () => {
    for (const where of ['true); delete from wide; select (true', 'lo_create(0) > 0', 'no_such_column = 1']) {
      await assert.rejects(rowsIn('wide', where), { code: 'query-failed' }, where);
    }
    assert.equal((await rowsIn('wide', 'id < 10 -- and a comment')).length, 9);
  });
});
