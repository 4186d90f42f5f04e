import assert from 'node:assert/strict';
import { endianness } from 'node:os';
import { describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { type Postgres, postgresMajors, startPostgres } from '../../../test/servers/postgres.ts';
import { liveContext } from '../../core/testing.ts';
import { postgresqlDriver } from './driver.ts';
import { captureOf, createDatabase, differences, settingsFor, sql } from './testing.ts';

const MANY = Array.from({ length: 200 }, (_, i) => `c${i} int default ${i}`).join(', ');
const EVERY_KIND = [
  'create domain name_of as text check (value <> $$?$$)',
  `create table kinds (id bigint primary key, n numeric, f float8, t text, v varchar(9), b bytea, j jsonb, at timestamptz,
    took interval, a int[], d name_of, twice bigint generated always as (id * 2) stored)`,
  `insert into kinds select g, g / 4.0, g / 3.0, 'text ' || g, null, decode(md5(g::text), 'hex'), jsonb_build_object('g', g),
    timestamptz '2024-02-29 12:00:00+02' + g * interval '1 h', g * interval '1 min', array[g, null], 'ł' || g
    from generate_series(1, 500) g`,
  'create table large (t text, b bytea)',
  "insert into large values (repeat('long ', 300000), decode(repeat('00ff', 600000), 'hex'))",
  `create table many (${MANY})`,
  'insert into many (c7) values (null), (8)',
  'create table none ()',
  'insert into none default values',
  "select lo_from_bytea(4242, decode(repeat('00ff', 5000), 'hex'))",
];
const METHOD = 'hash64-63b78a7b2f375f31';
const SUMS = {
  kinds: '796967280291067846',
  'kinds.public.kinds': '-63134763121220717',
  'kinds.public.large': '5683422588956604240',
  'kinds.public.many': '-2427368415057725273',
  'kinds.public.none': '-6939563903564495251',
};

async function digestsOf(server: Postgres, database: string): Promise<Record<string, string | null>> {
  const live = await postgresqlDriver.open(settingsFor(server, { databases: [database] })).inventory(liveContext());
  const lines = await Array.fromAsync(live.lines(liveContext()));
  const rows = lines.filter(({ kind }) => kind === 'table' || kind === 'large-objects');
  return Object.fromEntries(rows.map(({ name, digest }) => [name, digest]));
}

for (const major of postgresMajors) {
  it(`PostgreSQL ${major} gives the digests that every major gives`, {
    skip: await missing(`postgres-${major}`),
  }, async () => {
    await using server = await startPostgres(major);
    await createDatabase(server, 'kinds', ...EVERY_KIND);
    const digests = await digestsOf(server, 'kinds');
    // A server of the other byte order has digests of its own, and another name for them.
    const expected = Object.entries(SUMS).map(([name, sum]) => [name, `${METHOD}:${sum}`]);
    if (endianness() === 'LE') assert.deepEqual(digests, Object.fromEntries(expected));
    else assert.ok(Object.values(digests).every((digest) => digest?.startsWith(METHOD) === false));
  });
}

describe('digests of rows', { skip: await missing('postgres-15') }, () => {
  it('tell apart what a comparison might hold for equal', async () => {
    await using server = await startPostgres(15);
    const RULES = "provider = icu, locale = 'und-u-ks-level1', deterministic = false";
    await createDatabase(server, 'pairs', `create collation careless (${RULES})`, 'create domain word as text');
    await sql(server, 'pairs', 'create type pair as (a int, b int)');
    const PAIRS: readonly [string, string, string][] = [
      ['a text, b text', "(null, '')", "('', null)"],
      ['a text, b text', "('x', null)", "(null, 'x')"],
      ['a text, b text', "('xy', 'z')", "('x', 'yz')"],
      ['a text', "('')", '(null)'],
      ['a text collate careless, b text', "('A', 'b')", "('a', 'b')"],
      ['a text collate careless, b text collate "C"', "('A', 'b')", "('a', 'b')"],
      ['a char(5), b word', "('x', 'y')", "('x', 'y ')"],
      ['a numeric', '(1.0)', '(1.00)'],
      ['a float8', '(0.0)', "('-0')"],
      ['a bytea', "('\\x00')", "('\\x0000')"],
      ['a text', "(repeat('x', 1500000) || 'y')", "(repeat('x', 1500000) || 'z')"],
      ['a bytea', "(convert_to(repeat('x', 1500000) || 'y', 'UTF8'))", "(convert_to(repeat('x', 1500001), 'UTF8'))"],
      ['a pair, b pair', '(null, row(null, null))', '(row(null, null), null)'],
      ['a int', '(1), (2), (2)', '(1), (1), (2)'],
      ['a int', '(1), (4)', '(2), (3)'],
    ];
    for (const [i, [columns, left, right]] of PAIRS.entries()) {
      for (const [side, values] of [['left', left] as const, ['right', right] as const]) {
        await sql(server, 'pairs', `create table ${side}${i} (${columns}); insert into ${side}${i} values ${values}`);
      }
    }
    const digests = await digestsOf(server, 'pairs');
    for (const [i, [columns, left, right]] of PAIRS.entries()) {
      const [a, b] = [digests[`pairs.public.left${i}`], digests[`pairs.public.right${i}`]];
      assert.match(a ?? '', /^hash64-[0-9a-f]+:-?\d+$/);
      assert.notEqual(a, b, `${columns}: ${left.slice(0, 40)} and ${right.slice(0, 40)}`);
    }
  });

  it('of partitions by the hash of an enum are told as one: a restore puts rows into others of them', async () => {
    await using server = await startPostgres(15);
    const enums = [
      "create type filler as enum ('x')",
      "create type mood as enum ('sad', 'glad', 'calm', 'wild', 'meek')",
    ];
    const of = 'partition of moods for values';
    await createDatabase(
      server,
      'shop',
      ...enums,
      'create table moods (id int, mood mood, primary key (id, mood)) partition by list (id)',
      `create table moods_1 ${of} in (1) partition by hash (mood)`,
      ...[0, 1, 2, 3].map((i) => `create table h${i} partition of moods_1 for values with (modulus 4, remainder ${i})`),
      `create table moods_rest ${of} in (2)`,
      'insert into moods select i, m from generate_series(1, 2) i cross join unnest(enum_range(null::mood)) m',
    );
    const rowsIn = async (database: string): Promise<unknown[]> =>
      await sql(server, database, 'select tableoid::regclass::text as t, id, mood from moods order by 1, 2, 3');
    for (const inventory of ['full', 'sample'] as const) {
      const { source } = await captureOf(liveContext(), settingsFor(server, { databases: ['shop'], inventory }));
      const settings = settingsFor(server, { databases: [`other_${inventory}`], inventory });
      await postgresqlDriver.open(settings).restore(liveContext(), { base: source });
      assert.notDeepEqual(await rowsIn('shop'), await rowsIn(`other_${inventory}`));
      assert.deepEqual(await differences(liveContext(), source, settings), []);
      await sql(server, `other_${inventory}`, "delete from moods where id = 1 and mood = 'calm'");
      const [found] = (await differences(liveContext(), source, settings)).filter(({ check }) => /table/.test(check));
      assert.match(found?.check ?? '', /moods_1/);
    }
  });

  it('say nothing of one another where a database came back in another encoding', async () => {
    await using server = await startPostgres(15);
    await createDatabase(server, 'shop', "create table t as select 'Grüße' as a");
    const { source } = await captureOf(liveContext(), settingsFor(server, { databases: ['shop'] }));
    await sql(server, 'postgres', `create database latin encoding 'LATIN1' template template0 locale 'C'`);
    const settings = settingsFor(server, { databases: ['latin'] });
    await postgresqlDriver.open(settings).restore(liveContext(), { base: source });
    const found = (await differences(liveContext(), source, settings)).filter(({ check }) => /table/.test(check));
    assert.deepEqual(found, [
      {
        check: 'table shop.public.t is the same',
        verdict: 'unknown',
        detail: 'counted; the databases digest rows in different ways',
      },
    ]);
  });

  it('take no MD5 from the server, because one that keeps to FIPS refuses it', async () => {
    await using server = await startPostgres(15);
    const values = ['x', 'y', 'z'].map((each) => `repeat('${each}', 1500000)`);
    await createDatabase(server, 'large', 'create table t (t text, v varchar, b bytea)');
    await sql(server, 'large', `insert into t values (${values.join(', ')}::bytea)`);
    await sql(server, 'large', "create role reader login password 'r' in role pg_read_all_data");
    await sql(server, 'large', 'revoke execute on function md5(text), md5(bytea) from public');
    const digests = await digestsOf({ ...server, user: 'reader', password: 'r' }, 'large');
    assert.match(digests['large.public.t'] ?? '', /^hash64-/);
  });

  it('are of bytes where a database has no encoding', async () => {
    await using server = await startPostgres(15);
    await sql(server, 'postgres', `create database ascii encoding 'SQL_ASCII' template template0 locale 'C'`);
    for (const [name, byte] of [['left', 'e4'] as const, ['right', 'e5'] as const]) {
      const value = `convert_from('\\x${byte}', 'SQL_ASCII')`;
      await sql(server, 'ascii', `create table "${name}" as select ${value} as t`);
    }
    const digests = await digestsOf(server, 'ascii');
    assert.match(digests['ascii.public.left'] ?? '', /^hash64-/);
    assert.notEqual(digests['ascii.public.left'], digests['ascii.public.right']);
  });
});
