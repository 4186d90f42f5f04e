// What is in a server at one moment: databases, tables with their rows, sequences, definitions, roles.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { Context, InventoryLevel, InventoryLine } from '../../core/model.ts';
import { assertReadable, qualified, type Sequence, sequencesOf, sqlName, type Table, tablesOf } from './catalogue.ts';
import { connect, place, type Session } from './connection.ts';
import type { DatabaseFacts } from './databases.ts';
import { definitionsOf } from './definitions.ts';
import { type Counted, countLargeObjects, countPiece, digestMethod, merged, type Piece, piecesOf } from './digests.ts';
import { ident, literal } from './names.ts';
import type { Server } from './settings.ts';

/** What reads beside the dump, so that a server under load is not loaded more. */
export const SESSIONS = 2;
const SEQUENCES_PER_QUERY = 100;
/** A transaction keeps a lock on each table that it has read, and the server has room for a few thousand. */
const PIECES_PER_TRANSACTION = 8;

/** A transaction whose snapshot others can share, held open until it is disposed. */
export interface Snapshot extends AsyncDisposable {
  readonly id: string;
  readonly database: string;
  readonly session: Session;
}

export async function takeSnapshot(ctx: Context, server: Server, database: string): Promise<Snapshot> {
  const session = await connect(ctx, server, database);
  try {
    await session.run('begin isolation level repeatable read, read only');
    const { id } = await session.row(z.object({ id: z.string() }), 'select pg_export_snapshot() as id');
    if (!/^[0-9A-F-]+$/.test(id))
      throw new Failure('malformed', `${place(server, database)}: its snapshot has no name`);
    return { id, database, session, [Symbol.asyncDispose]: () => session[Symbol.asyncDispose]() };
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}

/** The catalogue as the snapshot sees it, and the sequences as they are now: before the dump reads them. */
export interface Contents {
  readonly tables: readonly Table[];
  readonly sequences: readonly InventoryLine[];
  readonly publicSchema: boolean;
}

export async function contentsOf(ctx: Context, server: Server, snapshot: Snapshot, as: string): Promise<Contents> {
  const tables = await tablesOf(snapshot.session);
  const sequences = await sequencesOf(snapshot.session);
  assertReadable(place(server, snapshot.database), server.user, [...tables, ...sequences]);
  const { publicSchema } = await snapshot.session.row(
    z.object({ publicSchema: z.boolean() }),
    `select to_regnamespace('public') is not null as "publicSchema"`,
  );
  return { tables, publicSchema, sequences: await sequenceLines(ctx, server, snapshot.database, sequences, as) };
}

/**
 * Sequences are outside of transactions: they are read one statement at a time, which also locks none for long.
 */
async function sequenceLines(
  ctx: Context,
  server: Server,
  database: string,
  sequences: readonly Sequence[],
  as: string,
): Promise<InventoryLine[]> {
  if (sequences.length === 0) return [];
  await using session = await connect(ctx, server, database);
  const state = z.object({ i: z.number(), last: z.string(), called: z.boolean() });
  const lines: InventoryLine[] = [];
  for (let start = 0; start < sequences.length; start += SEQUENCES_PER_QUERY) {
    const some = sequences.slice(start, start + SEQUENCES_PER_QUERY);
    const selects = some.map(
      (each, i) => `select ${i} as i, last_value::text as last, is_called as called from ${sqlName(each)}`,
    );
    for (const { i, last, called } of await session.rows(state, selects.join(' union all '))) {
      const each = some[i];
      if (!each) continue;
      const detail = { last, called, increment: String(each.increment) };
      lines.push({ kind: 'sequence', name: `${ident(as)}.${qualified(each)}`, count: null, digest: null, detail });
    }
  }
  return lines;
}

/**
 * Everything that the snapshot sees, by at most two sessions that share it. `as` is the database's name in the lines.
 */
export async function databaseLines(
  ctx: Context,
  server: Server,
  { snapshot, contents, facts, as }: { snapshot: Snapshot; contents: Contents; facts: DatabaseFacts; as: string },
): Promise<InventoryLine[]> {
  const level = server.inventory;
  const prefix = ident(as);
  const method = await digestMethod(snapshot.session);
  const jobs = piecesBySize(
    contents.tables.filter((table) => !table.empty),
    level,
  );
  const counts = new Map<number, Counted>();
  const lines: InventoryLine[] = [...contents.sequences];
  const work = async (first: boolean): Promise<void> => {
    await using session = await connect(ctx, server, snapshot.database);
    if (first) {
      await within(session, snapshot, async () => {
        lines.push(...(await schemaLines(session, prefix)));
        lines.push(largeObjects(prefix, method, await countLargeObjects(session, level)));
      });
    }
    while (jobs.length > 0) {
      await within(session, snapshot, async () => {
        for (let n = 0; n < PIECES_PER_TRANSACTION; n++) {
          const piece = jobs.shift();
          if (!piece) return;
          const part = await countPiece(session, piece, level);
          const before = counts.get(piece.table.oid);
          counts.set(piece.table.oid, before ? merged(before, part) : part);
        }
      });
    }
  };
  const workers = Array.from({ length: Math.min(SESSIONS, Math.max(1, jobs.length)) }, (_, i) => work(i === 0));
  for (const end of await Promise.allSettled(workers)) if (end.status === 'rejected') throw end.reason;
  let rows = 0;
  for (const [name, [table, ...others]] of Map.groupBy(contents.tables, ({ told }) => qualified(told))) {
    if (!table) continue;
    const countedOf = ({ oid }: Table): Counted => counts.get(oid) ?? { rows: 0, sum: null, sampled: false };
    const counted = others.map(countedOf).reduce(merged, countedOf(table));
    rows += counted.rows;
    lines.push(tableLine(`${prefix}.${name}`, table, method, counted));
  }
  lines.push(databaseLine(prefix, facts, { tables: contents.tables.length, rows, major: snapshot.session.major }));
  return lines;
}

/** A transaction that sees what the snapshot sees. */
async function within(session: Session, { id }: Snapshot, work: () => Promise<void>): Promise<void> {
  await session.run(`begin isolation level repeatable read, read only; set transaction snapshot ${literal(id)}`);
  await work();
  await session.run('commit');
}

/** The largest first, so that the last one to end has little left. */
function piecesBySize(tables: readonly Table[], level: InventoryLevel): Piece[] {
  return tables.toSorted((a, b) => b.bytes - a.bytes).flatMap((table) => piecesOf(table, level));
}

function tableLine(name: string, table: Table, method: string, { rows, sum, sampled }: Counted): InventoryLine {
  const digest = digestText(method, sum);
  const detail = { ...(table.unlogged ? { unlogged: true } : {}), ...(sampled ? { sampled: digest } : {}) };
  const line = { kind: 'table', name, count: table.empty ? null : rows, digest: sampled ? null : digest };
  return Object.keys(detail).length === 0 ? line : { ...line, detail };
}

function largeObjects(prefix: string, method: string, { rows, sum }: Counted): InventoryLine {
  return { kind: 'large-objects', name: prefix, count: rows, digest: digestText(method, sum) };
}

function digestText(method: string, sum: bigint | null): string | null {
  return sum === null ? null : `${method}:${sum}`;
}

async function schemaLines(session: Session, prefix: string): Promise<InventoryLine[]> {
  const lines: InventoryLine[] = [];
  for (const { name, digest, ownership } of await definitionsOf(session)) {
    lines.push({ kind: 'definition', name: `${prefix}: ${name}`, count: null, digest });
    if (ownership === null) continue;
    const { digest: who, anySuperuser } = ownership;
    const detail = anySuperuser === null ? {} : { detail: { any_superuser: anySuperuser } };
    lines.push({ kind: 'ownership', name: `${prefix}: ${name}`, count: null, digest: who, ...detail });
  }
  return lines;
}

function databaseLine(
  prefix: string,
  { encoding, locale, properties }: DatabaseFacts,
  { tables, rows, major }: { tables: number; rows: number; major: number },
): InventoryLine {
  const digest = createHash('md5').update(JSON.stringify(properties)).digest('hex');
  const detail = { tables, rows, encoding, locale, major };
  return { kind: 'database', name: prefix, count: rows, digest, detail };
}

/** The role that a server is made with. */
const BOOTSTRAP = 10;

/** Of the whole server; `own` are those that it and we are run by. Passwords by a digest, where this role sees them. */
export async function roleLines(session: Session): Promise<InventoryLine[]> {
  const { full } = await session.row(
    z.object({ full: z.boolean() }),
    "select has_table_privilege('pg_catalog.pg_authid', 'SELECT') as full",
  );
  const rows = await session.rows(
    z.object({ name: z.string(), text: z.string(), own: z.boolean() }),
    `select quote_ident(r.rolname) as name, r.oid = ${BOOTSTRAP} or r.rolname = current_user as own, concat_ws(' ', r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb,
        r.rolcanlogin, r.rolreplication, r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil,
        (select string_agg(g.rolname, ',' order by g.rolname collate "C") from pg_auth_members m
          join pg_roles g on g.oid = m.roleid where m.member = r.oid),
        (select string_agg(o, ',' order by o collate "C") from pg_db_role_setting s cross join lateral unnest(s.setconfig) o
          where s.setrole = r.oid and s.setdatabase = 0),
        ${full ? '(select a.rolpassword from pg_authid a where a.oid = r.oid)' : "''"}) as text
      from pg_roles r where r.rolname !~ '^pg_'`,
  );
  return rows.map(({ name, text, own }) => {
    const digest = createHash('sha256').update(text).digest('hex').slice(0, 32);
    return { kind: 'role', name, count: null, digest, ...(own ? { detail: { own } } : {}) };
  });
}
