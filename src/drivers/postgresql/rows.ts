// Single rows of a point: read in a sandbox, compared with the live table, and put back.

import { z } from 'zod';
import type { Answer } from '../../core/component.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context, Json, Merged, MergeMode, Row, Selection } from '../../core/model.ts';
import { refuseForeign } from '../../core/selection.ts';
import { qualified, sqlName } from './catalogue.ts';
import { connect, place, type Session } from './connection.ts';
import { quoted } from './names.ts';
import { parseTableName } from './selection.ts';
import type { Server } from './settings.ts';

/** As many rows at a time as fit into this; one at least, however large it is. */
const BATCH_BYTES = 8 * 1024 * 1024;
const BATCH_ROWS_MAX = 500;
const FIRST_ROWS = 16;
/** To people who look around. */
const SHOWN_MAX = 100;
/** Of a check's or an extract's own SQL. */
const QUERY_MS_MAX = 10 * 60_000;

/** What `extract` was asked for: one table, and which of its rows. */
export interface Asked {
  readonly table: string;
  readonly where: string | null;
}

export function askedFor(select: Selection): Asked {
  const { tables = [], where } = select;
  refuseForeign('postgresql', select, ['database', 'tables', 'where'], 'choose rows by table, where and database');
  const [table, ...more] = tables;
  if (table === undefined || more.length > 0) throw new Failure('settings-invalid', 'extract needs one table');
  return { table, where: where ?? null };
}

interface Shape {
  readonly schema: string;
  readonly name: string;
  /** All columns but generated ones, with their types. */
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly key: readonly string[];
  /** Identity columns that the server gives values to, always: rows may be added with one, and not changed. */
  readonly always: readonly string[];
}

/** The rows as they are written: each value its text, NULL null. */
export async function* readRows(ctx: Context, server: Server, database: string, asked: Asked): AsyncIterable<Row> {
  await using session = await connect(ctx, server, database);
  const shape = await shapeOf(session, server, asked.table);
  const columns = shape.columns.map(({ name }) => quoted(name)).join(', ');
  const where = asked.where === null ? '' : ` where (${asked.where}\n)`;
  await session.run(`begin read only; set local statement_timeout = ${QUERY_MS_MAX}; set local search_path to default`);
  // By the extended protocol, which runs one statement: the condition can't bring a second one.
  await session.texts(`declare lifeboat_rows no scroll cursor for select ${columns} from ${sqlName(shape)}${where}`);
  // The condition is read as its author would; values are written as `merge` reads them, with all names in full.
  await session.run('set local search_path to pg_catalog');
  for (let wanted = FIRST_ROWS; ; ) {
    const rows = await fetched(session, wanted);
    for (const values of rows) yield rowOf(shape, values);
    if (rows.length < wanted) return;
    const mean = rows.reduce((sum, values) => sum + sizeOf(values), 0) / rows.length;
    wanted = Math.max(1, Math.min(BATCH_ROWS_MAX, Math.floor(BATCH_BYTES / mean)));
  }
}

/** What the user's query answers, in its one column; nulls are left out. */
export async function* readValues(
  ctx: Context,
  server: Server,
  database: string,
  query: string,
): AsyncIterable<string> {
  await using session = await connect(ctx, server, database);
  await session.run(`begin read only; set local statement_timeout = ${QUERY_MS_MAX}; set local search_path to default`);
  await session.texts(`declare lifeboat_rows no scroll cursor for ${query}`);
  for (;;) {
    const rows = await fetched(session, BATCH_ROWS_MAX);
    for (const values of rows) {
      const [value] = values;
      if (value === undefined || values.length > 1) {
        throw new Failure('query-failed', `${place(server, database)}: a reference needs a query of one column`);
      }
      if (value !== null) yield value;
    }
    if (rows.length < BATCH_ROWS_MAX) return;
  }
}

/** The first rows of what the user's query answers, as a session of this role would see them. */
export async function readFirst(ctx: Context, server: Server, database: string, query: string): Promise<Answer> {
  await using session = await connect(ctx, server, database);
  await session.run(`begin read only; set local statement_timeout = ${QUERY_MS_MAX}; set local search_path to default`);
  await session.texts(`declare lifeboat_rows no scroll cursor for ${query}`);
  const { columns, rows } = await session.table(`fetch ${SHOWN_MAX + 1} from lifeboat_rows`);
  return { columns, rows: rows.slice(0, SHOWN_MAX), more: rows.length > SHOWN_MAX };
}

async function fetched(session: Session, wanted: number): Promise<(string | null)[][]> {
  try {
    return await session.texts(`fetch ${wanted} from lifeboat_rows`);
  } catch (error) {
    if (!isFailure(error, 'query-failed')) throw error;
    throw new Failure('query-failed', error.message, { cause: error.cause, hint: FUNCTIONS });
  }
}
const FUNCTIONS = 'functions in a condition must name tables with their schema, or have a search_path of their own';

function sizeOf(values: Values): number {
  return values.reduce((sum, value) => sum + (value?.length ?? 0), 64);
}

function rowOf({ columns, key }: Shape, values: readonly (string | null)[]): Row {
  const value = Object.fromEntries(columns.map(({ name }, i) => [name, values[i] ?? null]));
  return { key: keyText(key.map((name) => value[name] ?? '')), value };
}
function keyText(values: readonly string[]): string {
  return values.length === 1 && values[0] !== undefined ? values[0] : JSON.stringify(values);
}

export async function mergeRows(
  ctx: Context,
  server: Server,
  database: string,
  { rows, asked, mode }: { rows: AsyncIterable<Row>; asked: Asked; mode: MergeMode },
): Promise<Merged> {
  await using session = await connect(ctx, server, database);
  const shape = await shapeOf(session, server, asked.table);
  if (shape.key.length === 0) {
    throw new Failure('settings-invalid', `${place(server, database)}: ${qualified(shape)} has no primary key`, {
      hint: 'rows can be told apart by a key only; restore the table into another database',
    });
  }
  const sum = { missing: 0, different: 0, same: 0, applied: 0 };
  await session.run(mode === 'preview' ? 'begin read only' : 'begin');
  let batch: Values[] = [];
  let bytes = 0;
  const flush = async (): Promise<void> => {
    await mergeBatch(session, shape, batch, mode, sum);
    batch = [];
    bytes = 0;
  };
  for await (const row of rows) {
    const values = valuesOf(row, shape);
    batch.push(values);
    bytes += sizeOf(values);
    if (batch.length === BATCH_ROWS_MAX || bytes > BATCH_BYTES) await flush();
  }
  await flush();
  await session.run('commit');
  return sum;
}

type Values = readonly (string | null)[];
const rowValue = z.record(z.string(), z.string().nullable());

function valuesOf({ value, key }: { value: Json; key: string }, { columns, ...shape }: Shape): Values {
  const parsed = rowValue.safeParse(value);
  const names = Object.keys(parsed.data ?? {}).sort();
  const wanted = columns.map(({ name }) => name).sort();
  if (!parsed.success || names.join('\0') !== wanted.join('\0')) {
    throw new Failure('different', `row ${key}: its columns are not those of ${qualified(shape)} any more`, {
      hint: 'restore the table into another database, and bring the rows over by SQL',
    });
  }
  return columns.map(({ name }) => parsed.data[name] ?? null);
}

async function mergeBatch(
  session: Session,
  shape: Shape,
  batch: readonly Values[],
  mode: MergeMode,
  sum: { missing: number; different: number; same: number; applied: number },
): Promise<void> {
  if (batch.length === 0) return;
  const at = new Map(shape.columns.map(({ name }, i) => [name, i]));
  const keyOf = (values: Values): string => JSON.stringify(shape.key.map((name) => values[at.get(name) ?? -1]));
  const live = new Map((await liveRows(session, shape, batch)).map((values) => [keyOf(values), values]));
  const missing = batch.filter((values) => !live.has(keyOf(values)));
  const different = batch.filter((values) => {
    const now = live.get(keyOf(values));
    return now?.some((value, i) => value !== values[i]);
  });
  sum.missing += missing.length;
  sum.different += different.length;
  sum.same += batch.length - missing.length - different.length;
  if (mode === 'preview') return;
  sum.applied += await insert(session, shape, mode === 'overwrite' ? [...missing, ...different] : missing, mode);
}

/** The live rows of these keys, written as the point's are. */
async function liveRows(session: Session, shape: Shape, batch: readonly Values[]): Promise<Values[]> {
  const typed = shape.columns.filter(({ name }) => shape.key.includes(name));
  const names = typed.map(({ name }) => quoted(name)).join(', ');
  const list = shape.columns.map(({ name }) => `t.${quoted(name)}`).join(', ');
  const match = typed.map(({ name }) => `t.${quoted(name)} = u.${quoted(name)}`).join(' and ');
  return await session.texts(
    `select ${list} from (${unnested(typed)}) u (${names}) join ${sqlName(shape)} t on ${match}`,
    columnArrays(shape, typed, batch),
  );
}

async function insert(session: Session, shape: Shape, batch: readonly Values[], mode: MergeMode): Promise<number> {
  if (batch.length === 0) return 0;
  const names = shape.columns.map(({ name }) => quoted(name));
  const others = shape.columns
    .filter(({ name }) => ![...shape.key, ...shape.always].includes(name))
    .map(({ name }) => quoted(name));
  const change =
    mode !== 'overwrite' || others.length === 0
      ? 'nothing'
      : `update set ${others.map((name) => `${name} = excluded.${name}`).join(', ')}`;
  const key = shape.key.map(quoted).join(', ');
  const done = await session.rows(
    z.unknown(),
    `insert into ${sqlName(shape)} (${names.join(', ')}) overriding system value
      ${unnested(shape.columns)} on conflict (${key}) do ${change} returning 1`,
    columnArrays(shape, shape.columns, batch),
  );
  return done.length;
}

/** One array of texts a column, each cast by the server to what the column is. */
function unnested(columns: Shape['columns']): string {
  const casts = columns.map(({ type }, i) => `c${i}::${type}`).join(', ');
  const arrays = columns.map((_, i) => `$${i + 1}::text[]`).join(', ');
  return `select ${casts} from unnest(${arrays}) v (${columns.map((_, i) => `c${i}`).join(', ')})`;
}
function columnArrays(shape: Shape, columns: Shape['columns'], batch: readonly Values[]): (string | null)[][] {
  return columns.map((column) => {
    const at = shape.columns.indexOf(column);
    return batch.map((values) => values[at] ?? null);
  });
}

async function shapeOf(session: Session, server: Server, table: string): Promise<Shape> {
  const { schema, name } = parseTableName(table);
  const found = await session.rows(
    z.object({
      schema: z.string(),
      name: z.string(),
      columns: z.array(z.string()),
      types: z.array(z.string()),
      key: z.array(z.string()),
      always: z.array(z.string()),
    }),
    `select n.nspname as schema, c.relname as name,
        array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
          and a.attgenerated = '' order by a.attnum) as columns,
        array(select format_type(a.atttypid, a.atttypmod) from pg_attribute a where a.attrelid = c.oid and a.attnum > 0
          and not a.attisdropped and a.attgenerated = '' order by a.attnum) as types,
        array(select a.attname::text from pg_index i cross join lateral unnest(i.indkey::int2[]) with ordinality k (n, o)
          join pg_attribute a on a.attrelid = c.oid and a.attnum = k.n where i.indrelid = c.oid and i.indisprimary
          order by k.o) as key,
        array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attidentity = 'a') as always
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p') and c.relname = $1 and ($2::text is null or n.nspname = $2)
        and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'`,
    [name, schema],
  );
  const [only, ...more] = found;
  if (!only) throw new Failure('settings-invalid', `${place(server, session.database)}: there is no table ${table}`);
  if (more.length > 0) {
    throw new Failure('ambiguous', `table ${table} could be ${found.map(qualified).join(' or ')}`, {
      hint: 'name its schema too',
    });
  }
  return { ...only, columns: only.columns.map((column, i) => ({ name: column, type: only.types[i] ?? 'text' })) };
}

/** One number, by a query that can change nothing. */
export async function measureNumber(ctx: Context, server: Server, database: string, query: string): Promise<number> {
  await using session = await connect(ctx, server, database);
  await session.run(`begin read only; set local statement_timeout = ${QUERY_MS_MAX}; set local search_path to default`);
  const where = place(server, database);
  let rows: (string | null)[][];
  try {
    rows = await session.texts(query);
  } catch (error) {
    if (!isFailure(error, 'query-failed')) throw error;
    throw new Failure('query-failed', `a check of ${error.message}`, { cause: error });
  }
  const [value] = rows[0] ?? [];
  const number =
    rows.length === 1 && rows[0]?.length === 1 && value !== null && value !== '' ? Number(value) : Number.NaN;
  if (Number.isNaN(number)) throw new Failure('query-failed', `${where}: a check must give one number, and gave none`);
  return number;
}
