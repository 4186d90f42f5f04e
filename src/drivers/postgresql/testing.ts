// What the tests of this driver share: databases of every kind of object, and a server to put them on.

import pg from 'pg';
import type { Postgres, PostgresMajor } from '../../../test/servers/postgres.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Bytes, Capture, Context, Finding, Sink, Source } from '../../core/model.ts';
import { memoryParts } from '../../core/testing.ts';
import { postgresqlDriver } from './driver.ts';
import { renditionsOf } from './plain.ts';

/** Names that break what is pasted together: quotes, a newline, an option, a connection string, Unicode. */
export const ODD_NAMES = [
  '--file=x',
  'host=evil',
  `o'dd "name"`,
  'dbname=x user=y',
  'zwei\nZeilen',
  'Łódź 🛟',
  'a/b.c%d',
  '$HOME',
];

export type Login = Pick<Postgres, 'host' | 'port' | 'user' | 'password'>;

/** Runs statements, as the superuser where it is a server. */
export async function sql(server: Login, database: string, ...texts: string[]): Promise<unknown[]> {
  const { host, port, user, password } = server;
  const client = new pg.Client({ host, port, user, password, database, ssl: false });
  client.on('error', () => undefined); // the statement that is running, or the end, is told
  await client.connect();
  try {
    let rows: unknown[] = [];
    for (const text of texts) rows = (await client.query(text)).rows;
    return rows;
  } finally {
    await client.end();
  }
}

export function quotedName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export async function createDatabase(server: Postgres, name: string, ...texts: string[]): Promise<void> {
  await sql(server, 'postgres', `create database ${quotedName(name)}`);
  if (texts.length > 0) await sql(server, name, ...texts);
}

export function settingsFor(server: Postgres, more: Record<string, unknown> = {}): Record<string, unknown> {
  const { host, port, user, password, bin } = server;
  return { host, port, user, password, bin_dir: bin, ...more };
}

/** A shop: a table with a key, values that depend on settings, an index, a sequence that has moved. */
export const SHOP = `
  create table customers (id serial primary key, name text not null, since timestamptz, score float8, photo bytea, note jsonb);
  insert into customers (name, since, score, photo, note)
    select 'customer ' || g, timestamptz '2024-02-29 12:00:00+02' + g * interval '1 h', g / 3.0, decode(md5(g::text), 'hex'),
      jsonb_build_object('n', g) from generate_series(1, 1000) g;
  create index customers_name on customers (name);
`;

/** Every kind of object that hurts, in one database (fault 37). */
export function everything(major: PostgresMajor): string {
  // What each build has: the smallest of them comes with one extension and without XML.
  const extension = major === 16 ? 'vector' : 'hstore';
  const value = major === 16 ? '[1,2.5]' : 'a=>1, b=>NULL';
  const xml = major === 15 ? 'xml' : 'text';
  const tables = TABLES.replaceAll('EXTENSION', extension).replace('VALUE', value).replace('XML', xml);
  return `${tables} ${OBJECTS} ${RULES} ${major >= 18 ? VIRTUAL : ''}`;
}

const TABLES = `
  create schema "Schema ""with"" quotes";
  create schema "line
break";
  create extension EXTENSION;
  create type mood as enum ('sad', 'it''s ok', 'happy');
  create domain positive as numeric(10, 2) check (value > 0);
  create type address as (street text, number int);
  create type span as range (subtype = float8);
  create table types (
    id bigint generated always as identity (start 5 increment 5) primary key, a mood, b positive default 1.50, c address, d span,
    e timestamptz, f interval, g date, h float4, i float8, j bytea, k money, l json, m jsonb, n XML, o text[], p int4range,
    q regclass, r bit varying(9), s inet, t uuid, u time with time zone, v "char", w char(7), x numeric, y tsvector, z EXTENSION,
    "select" text, doubled int generated always as (length("select") * 2) stored, "line
break" int, constraint "check ""it""" check (w in ('a', 'b')));
  insert into types (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, "select", "line
break")
  values ('it''s ok', 3, row('Main "St"', 7), '[1.5,2.5)', '1999-12-31 23:59:59.123456+05:30', '1 year -2 days 3:04:05.6',
    '0044-03-15 BC', 0.1, 1e-300, '\\x00ff5c27', 12.34, '{"a": 1, "a": 2}', '{"a": [1, null]}', '<a>ü</a>', '{a,NULL,"b c"}',
    '[1,5)', 'pg_class', '10101', '10.0.0.1/8', '11111111-2222-3333-4444-555555555555', '12:00+03', 'x', 'a', 'NaN', 'a fat cat',
    'VALUE', E'tab\\t newline\\n backslash \\\\ quote '' \\\\. ', 3), (null, 1, null, 'empty', 'infinity', null, '-infinity',
    '-Infinity', 'NaN', '', -1, null, 'null', null, '{}', 'empty', null, '', null, null, null, null, null, null, null, null, '', null);
  create table "Schema ""with"" quotes"."table 'x'; --" ("Column" int primary key references types (id) deferrable initially deferred);
  insert into "Schema ""with"" quotes"."table 'x'; --" values (5);
  create table no_columns ();
  insert into no_columns default values;
  insert into no_columns default values;
  create table same_rows (a int, b text);
  insert into same_rows select 1, 'x' from generate_series(1, 3);
  create unlogged table unlogged (a int);
  insert into unlogged values (1);
  create table parent (id int, kind text, at date not null) partition by range (at);
  create table "part 1" partition of parent for values from ('2024-01-01') to ('2025-01-01') partition by list (kind);
  create table part_1_a partition of "part 1" for values in ('a', null);
  create table part_2 (at date not null, kind text, id int);
  alter table parent attach partition part_2 for values from ('2025-01-01') to (maxvalue);
  alter table parent add primary key (id, at, kind);
  insert into parent values (1, 'a', '2024-05-05'), (2, 'b', '2026-05-05');
  create table refers (id int, at date, kind text, foreign key (id, at, kind) references parent (id, at, kind));
  create table base (a int, b varchar(9) check (b in ('x', 'y')));
  create table child (own text) inherits (base);
  alter table base add column later int default 7;
  insert into child values (1, 'x', 'own', 8);
  create table toasted (id int, big text);
  alter table toasted alter big set storage external;
  insert into toasted select g, repeat(md5(g::text), 1000) from generate_series(1, 20) g;
`;

const OBJECTS = `
  create sequence down increment -3 minvalue -1000 start -1 cache 5;
  select nextval('down'), nextval('down');
  create sequence never start 100;
  create sequence set_not_called;
  select setval('set_not_called', 42, false);
  create view happy as select id, a, (w)::text = any (array['a', 'b']) as w from types where a <> 'sad';
  create materialized view counted as select count(*) as n from types;
  create materialized view unfilled as select 1 as one with no data;
  create index partial on types (lower("select"), x desc nulls last) where b > 0 and w in ('a', 'b');
  create statistics dependent (dependencies) on a, b from types;
  create function touch() returns trigger language plpgsql as $body$ begin return new; end $body$;
  create trigger touched before update on types for each row when (old.b is distinct from new.b) execute function touch();
  create function old_sql(int) returns int language sql immutable as 'select $1 + 1 /* comment
\\! not a command */';
  create function new_sql(a int) returns int language sql immutable return (a + 1) * 2;
  create procedure nothing() language sql as $$ $$;
  create aggregate product(numeric) (sfunc = numeric_mul, stype = numeric, initcond = '1');
  create operator === (leftarg = int, rightarg = int, function = int4eq, commutator = ===);
  create collation german (provider = libc, locale = 'C');
  create function on_ddl() returns event_trigger language plpgsql as $$ begin end $$;
  create event trigger watch on ddl_command_end when tag in ('CREATE TABLE') execute function on_ddl();
  create text search configuration plain (copy = simple);
  create publication changes for table types (id, a, b) where (id > 0), same_rows;
  create cast (mood as positive) with inout;
  select lo_from_bytea(0, decode(repeat('00ff', 5000), 'hex')), lo_from_bytea(0, '');
  do $$ declare hole oid := lo_create(0); fd int; begin
    fd := lo_open(hole, x'20000'::int); perform lo_lseek(fd, 9000, 0); perform lowrite(fd, 'end');
  end $$;
`;

const RULES = `
  create rule silent as on delete to same_rows do instead nothing;
  alter table types enable row level security;
  alter table types force row level security;
  create role reader nologin;
  create role "Owner ""Q""" login password 'owner''s own secret' valid until '2031-01-01' connection limit 7;
  grant reader to "Owner ""Q""" with admin option;
  alter role "Owner ""Q""" set work_mem to '7MB';
  alter role "Owner ""Q""" set search_path to public, "Schema ""with"" quotes";
  create policy mine on types for select to reader using (a in ('sad', 'happy'));
  grant select (a, b), update on types to reader;
  grant usage on schema "line
break" to reader with grant option;
  grant execute on function old_sql(int) to reader;
  revoke all on function new_sql(int) from public;
  alter table same_rows owner to "Owner ""Q""";
  alter default privileges in schema public grant select on tables to reader;
  comment on table types is 'it''s a "comment"
with lines';
  comment on column types.a is 'mood';
  comment on schema public is 'another comment';
  comment on constraint "check ""it""" on types is 'constraint';
  comment on role reader is 'reads';
`;

const VIRTUAL =
  'create table virtual_columns (a int, b int generated always as (a * 2) virtual); insert into virtual_columns values (1);';

/** A component captured into memory. `during` runs once, while the first such part streams. */
export async function captureOf(
  ctx: Context,
  settings: unknown,
  during?: () => Promise<unknown>,
  suffix = '.dump',
): Promise<{ source: Source; capture: Capture }> {
  const { sink, source } = memoryParts();
  let waiting = during;
  async function* interrupted(body: Bytes): Bytes {
    for await (const chunk of body) {
      yield chunk;
      const now = waiting;
      waiting = undefined;
      await now?.();
    }
  }
  const hooked: Sink = {
    ...sink,
    put: (c, name, body, meta) => sink.put(c, name, name.endsWith(suffix) ? interrupted(body) : body, meta),
  };
  const capture = await postgresqlDriver.open(settings).capture(ctx, hooked);
  return { source, capture };
}

/** The same point as a plain store keeps it. */
export async function plainOf(
  ctx: Context,
  { source, capture }: { source: Source; capture: Capture },
): Promise<Source> {
  const names = (await Array.fromAsync(source.parts(ctx))).map(({ name }) => name);
  const forms = renditionsOf(names, capture.serverVersion);
  const plain = memoryParts();
  for (const name of names) {
    const { name: plainName = name, transform } = forms.get(name) ?? {};
    const body = source.get(ctx, name);
    await plain.sink.put(ctx, plainName, transform ? transform(ctx, body) : body);
  }
  return plain.source;
}

/** What differs between a point and a live server; empty when they are equal. */
export async function differences(ctx: Context, source: Source, settings: unknown): Promise<Finding[]> {
  const live = await postgresqlDriver.open(settings).inventory(ctx);
  const findings = await Array.fromAsync(postgresqlDriver.compare(ctx, inventoryOf(source), live));
  if (findings.length === 0) throw new Error('nothing was compared');
  return findings.filter(({ verdict }) => verdict !== 'pass');
}
