// Rows counted and digested by the server, in a way that every major and every order of rows gives the same.
//
// A row is the text of its columns in order of name, without generated ones; its digest is the 64 bits that the
// server's own hash makes of that text, byte by byte; a table's is the sum of its rows'. A sum keeps what an exclusive
// or forgets: how often a row is there. It finds accidents; who can write to the server could make other rows of the
// same sum (docs/adr/0006-row-digests.md).

import { z } from 'zod';
import type { InventoryLevel } from '../../core/model.ts';
import { type Column, qualified, sqlName, type Table } from './catalogue.ts';
import type { Session } from './connection.ts';
import { quoted } from './names.ts';

/** A value longer than this takes part by a hash of its own: the text of a row must stay below 1 GB. */
const LARGE_BYTES = 1_000_000;
/** Tables are read in pieces of this size, so that two sessions can share the largest one. */
const PIECE_PAGES = 16_384;
/** A function takes 100 arguments at most. */
const COLUMNS_PER_CALL = 90;
/** `sample`: tables with more rows than this are digested in part, 1 row of 16 chosen by its primary key. */
const SAMPLED_ROWS_MIN = 100_000;

export interface Counted {
  readonly rows: number;
  /** Null when rows were only counted. */
  readonly sum: bigint | null;
  readonly sampled: boolean;
}

/** A piece of a table: pages `from` up to but without `to`; null is its end, as it will be when it is read. */
export interface Piece {
  readonly table: Table;
  readonly from: number;
  readonly to: number | null;
}

export function piecesOf(table: Table, level: InventoryLevel, pages = PIECE_PAGES): Piece[] {
  // The condition on an extension's table is a whole WHERE clause: no bounds fit beside it.
  if (level !== 'full' || !table.heap || table.condition !== '') return [{ table, from: 0, to: null }];
  const starts = Array.from({ length: Math.max(1, Math.ceil(table.pages / pages)) }, (_, i) => i * pages);
  return starts.map((from, i) => ({ table, from, to: starts[i + 1] ?? null }));
}

/**
 * The name of the hash, with what it makes of a given text, as servers of another byte order make something else of it,
 * and the encoding where it is not the usual one, as the same text is other bytes there. Digests of two methods say
 * nothing of one another.
 */
export async function digestMethod(session: Session): Promise<string> {
  const { probe } = await session.row(
    z.object({ probe: z.string() }),
    `select concat_ws('-', to_hex(${hashOf("'Lifeboat'")}), nullif(current_setting('server_encoding'), 'UTF8')) as probe`,
  );
  return `hash64-${probe}`;
}

const counted = z.object({ rows: z.coerce.number(), sum: z.coerce.bigint().nullable() });

export async function countPiece(session: Session, piece: Piece, level: InventoryLevel): Promise<Counted> {
  const from = `from only ${sqlName(piece.table)} t ${conditionOf(piece)}`;
  const count = `select count(*) as rows, null as sum ${from}`;
  const digest = `select count(*) as rows, coalesce(sum(${rowDigest(piece.table)}), 0) as sum ${from}`;
  if (level === 'counts') return { ...(await session.row(counted, count)), sampled: false };
  // How many rows each of the partitions has that are told as one is by chance: so no choice may hang on it.
  const isPartOfMore = qualified(piece.table.told) !== qualified(piece.table);
  if (level === 'full' || piece.table.key.length === 0 || isPartOfMore) {
    return { ...(await session.row(counted, digest)), sampled: false };
  }
  const all = await session.row(counted, count);
  if (all.rows <= SAMPLED_ROWS_MIN) return { ...(await session.row(counted, digest)), sampled: false };
  const key = piece.table.key.map((name) => `t.${quoted(name)}`).join(`, E'\\x1f', `);
  const chosen = `where ${hashOf(`concat(${key})`)} & 15 = 0`;
  const sample = await session.row(counted, `${digest} ${piece.table.condition === '' ? chosen : ''}`);
  return { rows: all.rows, sum: sample.sum, sampled: true };
}

function conditionOf({ table, from, to }: Piece): string {
  if (table.condition !== '') return table.condition;
  const after = from === 0 ? [] : [`t.ctid >= '(${from},0)'`];
  const before = to === null ? [] : [`t.ctid < '(${to},0)'`];
  const bounds = [...after, ...before];
  return bounds.length === 0 ? '' : `where ${bounds.join(' and ')}`;
}

function rowDigest(table: Table): string {
  const calls: string[] = [];
  for (let i = 0; i < table.columns.length; i += COLUMNS_PER_CALL) {
    calls.push(columnsText(table.columns.slice(i, i + COLUMNS_PER_CALL)));
  }
  return hashOf(calls.length === 0 ? "''" : calls.join(' || '));
}

/** Of the bytes, whatever a collation holds for equal. */
function hashOf(text: string): string {
  return `hashtextextended((${text}) collate "C", 0)`;
}

/**
 * Values with a separator between, which leaves out NULLs; in a row that has any, which ones they are. A composite
 * value of NULLs only "is null" and yet there.
 */
function columnsText(columns: readonly Column[]): string {
  const nullable = columns.filter((column) => column.nullable).map(({ name }) => `t.${quoted(name)}`);
  const nulls = `case when num_nulls(${nullable.join(', ')}) > 0
    then concat(${nullable.map((value) => `${value} is not distinct from null`).join(', ')}) end`;
  const texts = [...columns.map(valueText), ...(nullable.length === 0 ? [] : [nulls])];
  return `concat_ws(E'\\x1f', ${texts.join(', ')})`;
}

function valueText({ name, large }: Column): string {
  const value = `t.${quoted(name)}`;
  if (large === null) return value;
  // Not MD5, which a server that keeps to FIPS refuses; and the text of a bytea may be too long to be made.
  const [long, short] =
    large === 'bytes' ? [`encode(sha256(${value}), 'hex')`, `${value}::text`] : [`${hashOf(value)}::text`, value];
  return `case when octet_length(${value}) > ${LARGE_BYTES} then ${long} else ${short} end`;
}

/**
 * Large objects, by their bytes. Where an object has a hole or ends in zeros, a restore may write zeros or not: they
 * don't count. Null when this role may not read them.
 */
export async function countLargeObjects(session: Session, level: InventoryLevel): Promise<Counted> {
  const { rows, readable } = await session.row(
    z.object({ rows: z.coerce.number(), readable: z.boolean() }),
    `select count(*) as rows, has_table_privilege('pg_catalog.pg_largeobject', 'SELECT') as readable
      from pg_largeobject_metadata`,
  );
  if (level === 'counts' || !readable || rows === 0) return { rows, sum: rows === 0 ? 0n : null, sampled: false };
  const { sum } = await session.row(
    z.object({ sum: z.coerce.bigint() }),
    `select coalesce(sum(${hashOf(`concat(loid, ':', pageno, ':', bytes)`)}), 0) as sum
      from (select loid, pageno, rtrim(data, '\\x00'::bytea) as bytes from pg_largeobject) p where bytes <> ''`,
  );
  return { rows, sum, sampled: false };
}

export function merged(a: Counted, b: Counted): Counted {
  const sum = a.sum === null || b.sum === null ? null : a.sum + b.sum;
  return { rows: a.rows + b.rows, sum, sampled: a.sampled || b.sampled };
}
