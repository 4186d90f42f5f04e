import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { type Postgres, startPostgres } from '../../../test/servers/postgres.ts';
import { liveContext } from '../../core/testing.ts';
import { captureOf, createDatabase, differences, settingsFor, sql } from './testing.ts';

const MADE = `
  create role reader;
  create table t (a int primary key, b int, c int);
  grant select (a, b), update (c) on t to reader with grant option;
  create table u (a int primary key, b int);
  create publication p for table t (a, b) where (a > 0), u;
`;

describe('what is defined in a database of postgresql', { skip: await missing('postgres-16') }, () => {
  let server: Postgres;
  before(async () => {
    server = await startPostgres(16, { conf: { wal_level: 'logical' } });
    await createDatabase(server, 'shop', MADE);
  });
  after(async () => await server?.[Symbol.asyncDispose]());

  const CHANGES: readonly [string, string, string][] = [
    ['a grant on a column', 'revoke select (b) on t from reader', 'owner and privileges of shop: table public.t'],
    [
      'an option of one',
      'revoke grant option for select (a) on t from reader',
      'owner and privileges of shop: table public.t',
    ],
    ['which columns are published', 'alter publication p set table t (a) where (a > 0), u', 'shop: publication p'],
    ['which rows are published', 'alter publication p set table t (a, b) where (a > 1), u', 'shop: publication p'],
  ];
  for (const [what, change, check] of CHANGES) {
    it(`${what} is part of it`, async () => {
      const ctx = liveContext();
      const settings = settingsFor(server, { databases: ['shop'] });
      const { source } = await captureOf(ctx, settings);
      assert.deepEqual(await differences(ctx, source, settings), []);
      await sql(server, 'shop', change);
      const found = await differences(ctx, source, settings);
      assert.deepEqual(
        found.map(({ check: name, verdict }) => [name, verdict]),
        [[`${check} is the same`, 'fail']],
      );
    });
  }
});
