// What a database holds: its tables and sequences, as one snapshot sees them.

import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { Session } from './connection.ts';
import { ident, quoted } from './names.ts';

export interface Column {
  readonly name: string;
  /** How its large values are told: as text, as bytes, or not at all. */
  readonly large: 'text' | 'bytes' | null;
  readonly nullable: boolean;
}
export interface Table {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly unlogged: boolean;
  /** Unlogged, on a standby: its rows are nowhere. */
  readonly empty: boolean;
  /** Rows can be told apart by their place: large tables are read in pieces. */
  readonly heap: boolean;
  readonly pages: number;
  readonly bytes: number;
  readonly readable: boolean;
  /** In order of name, without generated ones: those are computed again by whoever reads them. */
  readonly columns: readonly Column[];
  readonly key: readonly string[];
  /** Of an extension's own table: which rows are the user's, as SQL. */
  readonly condition: string;
  /**
   * The table whose partitions are told as one, or itself. By the hash of an enum a restore puts rows into others than
   * they were in: that hash is made of numbers which each database gives out anew.
   */
  readonly told: { readonly schema: string; readonly name: string };
}
export interface Sequence {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly readable: boolean;
  readonly increment: bigint;
}

/** The schemas that hold what users made. */
export const USER_SCHEMA = "n.nspname !~ '^pg_' and n.nspname <> 'information_schema'";

/** What an extension brought with it is its own business. */
export function notOfExtension(catalogue: string, oid: string): string {
  return `not exists (select from pg_depend ext where ext.classid = '${catalogue}'::regclass and ext.objid = ${oid}
    and ext.deptype = 'e')`;
}

const tableRow = z
  .object({
    oid: z.number(),
    schema: z.string(),
    name: z.string(),
    unlogged: z.boolean(),
    empty: z.boolean(),
    heap: z.boolean(),
    bytes: z.coerce.number(),
    readable: z.boolean(),
    names: z.array(z.string()),
    large: z.array(z.enum(['text', 'bytes', ''])),
    nullable: z.array(z.boolean()),
    key: z.array(z.string()),
    condition: z.string(),
    told: z.object({ schema: z.string(), name: z.string() }),
  })
  .transform(
    ({ names, large, nullable, bytes, ...table }): Table => ({
      ...table,
      bytes,
      pages: Math.ceil(bytes / 8192),
      columns: names.map((name, i) => ({ name, large: large[i] || null, nullable: nullable[i] ?? true })),
    }),
  );

/** Every table whose rows a dump holds: no parents of partitions, no foreign ones, no other extension's. */
export async function tablesOf(session: Session): Promise<Table[]> {
  return await session.rows(
    tableRow,
    `select c.oid::int8::float8 as oid, n.nspname as schema, c.relname as name, c.relpersistence = 'u' as unlogged,
        c.relpersistence = 'u' and pg_is_in_recovery() as empty,
        coalesce(a.amname = 'heap', false) as heap, coalesce(pg_relation_size(c.oid), 0) as bytes,
        has_table_privilege(c.oid, 'SELECT') and has_schema_privilege(n.oid, 'USAGE') as readable,
        coalesce(k.names, '{}') as names, coalesce(k.large, '{}') as large, coalesce(k.nullable, '{}') as nullable,
        coalesce(p.names, '{}') as key, coalesce(x.condition, '') as condition,
        json_build_object('schema', coalesce(h.schema, n.nspname), 'name', coalesce(h.name, c.relname)) as told
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      left join pg_am a on a.oid = c.relam
      left join lateral (
        select array_agg(attname::text order by attname collate "C") as names,
          array_agg(not attnotnull order by attname collate "C") as nullable,
          array_agg(case when base in (25, 1042, 1043) then 'text' when base = 17 then 'bytes' else '' end
            order by attname collate "C") as large
        from (
          select t.*, coalesce(nullif(d2.typbasetype, 0), nullif(d.typbasetype, 0), t.atttypid) as base
          from pg_attribute t
          join pg_type d on d.oid = t.atttypid
          left join pg_type d2 on d2.oid = d.typbasetype
          where t.attrelid = c.oid and t.attnum > 0 and not t.attisdropped and t.attgenerated = ''
        ) b
      ) k on true
      left join lateral (
        select array_agg(t.attname::text order by o.place) as names
        from pg_index i
        cross join lateral unnest(i.indkey::int2[]) with ordinality o (attnum, place)
        join pg_attribute t on t.attrelid = c.oid and t.attnum = o.attnum
        where i.indrelid = c.oid and i.indisprimary
      ) p on true
      left join lateral (
        select o.condition from pg_extension e cross join lateral unnest(e.extconfig, e.extcondition) o (rel, condition)
        where o.rel = c.oid
      ) x on true
      left join lateral (
        select hn.nspname as schema, hc.relname as name
        from pg_partition_ancestors(c.oid) with ordinality a (relid, height)
        join pg_partitioned_table t on t.partrelid = a.relid and t.partstrat = 'h'
        join pg_class hc on hc.oid = t.partrelid
        join pg_namespace hn on hn.oid = hc.relnamespace
        where exists (select from unnest(t.partclass::oid[]) k (oid) join pg_opclass using (oid)
          where opcname = 'enum_ops' and opcnamespace = 'pg_catalog'::regnamespace)
        order by a.height desc limit 1
      ) h on c.relispartition
      where c.relkind = 'r' and ${USER_SCHEMA} and (x.condition is not null or ${notOfExtension('pg_class', 'c.oid')})
      order by n.nspname collate "C", c.relname collate "C"`,
  );
}

export async function sequencesOf(session: Session): Promise<Sequence[]> {
  return await session.rows(
    z.object({
      oid: z.number(),
      schema: z.string(),
      name: z.string(),
      readable: z.boolean(),
      increment: z.coerce.bigint(),
    }),
    `select c.oid::int8::float8 as oid, n.nspname as schema, c.relname as name, s.seqincrement as increment,
        has_sequence_privilege(c.oid, 'SELECT') and has_schema_privilege(n.oid, 'USAGE') as readable
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      join pg_sequence s on s.seqrelid = c.oid
      where ${USER_SCHEMA} and ${notOfExtension('pg_class', 'c.oid')}`,
  );
}

/** 'privileges', naming what can't be read, before a dump finds out one by one. */
export function assertReadable(where: string, user: string, things: readonly (Table | Sequence)[]): void {
  const closed = things.filter(({ readable }) => !readable).map(qualified);
  if (closed.length === 0) return;
  const more = closed.length > 5 ? ` and ${closed.length - 5} more` : '';
  throw new Failure('privileges', `${where}: ${user} may not read ${closed.slice(0, 5).join(', ')}${more}`, {
    hint: `grant pg_read_all_data to ${quoted(user)}`,
  });
}

export function qualified({ schema, name }: { schema: string; name: string }): string {
  return `${ident(schema)}.${ident(name)}`;
}
/** For statements. */
export function sqlName({ schema, name }: { schema: string; name: string }): string {
  return `${quoted(schema)}.${quoted(name)}`;
}
