// Markers: the only row of the table lifeboat.marker, in the first of the databases that the settings mean.

import { z } from 'zod';
import { Failure, isFailure } from '../../core/errors.ts';
import { type FoundMarker, type Marker, newestOf, notOurs, standsBy } from '../../core/marker.ts';
import type { Context } from '../../core/model.ts';
import { connect, place, type Session, sqlState } from './connection.ts';
import type { Server } from './settings.ts';

const TABLE = 'lifeboat.marker';
const UNDEFINED_TABLE = '42P01';
const UNDEFINED_COLUMN = '42703';

const CREATE = `create table ${TABLE} (
  id smallint primary key default 1 check (id = 1), number bigint not null, at timestamptz not null)`;

/** `databases` are those that are there, by the names that they have there. */
export async function mark(
  ctx: Context,
  server: Server,
  databases: readonly string[],
  { number, at }: Marker,
): Promise<void> {
  const [first] = databases;
  if (first === undefined) throw new Failure('missing', `${place(server, 'any')}: there is none to mark`);
  await using session = await connect(ctx, server, first);
  await needPrimary(session, server);
  const write = `insert into ${TABLE} (number, at) values ($1, $2)
    on conflict (id) do update set number = excluded.number, at = excluded.at`;
  const put = async (): Promise<unknown> => await session.texts(write, [number, at]);
  try {
    await put();
  } catch (error) {
    if (sqlState(error) !== UNDEFINED_TABLE) throw saidOf(error, server, session);
    await makeTable(session, server);
    await put();
  }
}

/** The newest of all databases: which of them is the first may change. */
export async function marker(ctx: Context, server: Server, databases: readonly string[]): Promise<FoundMarker | null> {
  const found: FoundMarker[] = [];
  for (const database of databases) {
    await using session = await connect(ctx, server, database).catch(unlessShut);
    const one = session && (await markerIn(session, server));
    if (one && one !== 'empty') found.push(one);
  }
  return newestOf(found);
}

/** Whom a database does not let in has left nothing there. */
function unlessShut(error: unknown): null {
  if (isFailure(error, 'privileges') || isFailure(error, 'denied')) return null;
  throw error;
}

export async function unmark(ctx: Context, server: Server, databases: readonly string[]): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const database of databases) {
    await using session = await connect(ctx, server, database).catch(unlessShut);
    if (!session || (await markerIn(session, server)) === null) continue;
    await needPrimary(session, server);
    const withSchema = await isAlone(session);
    // Both in one transaction.
    await session.run(`drop table ${TABLE}; ${withSchema ? 'drop schema lifeboat' : ''}`);
    removed.push(`table ${TABLE} of ${database}`, ...(withSchema ? [`schema lifeboat of ${database}`] : []));
  }
  return removed;
}

/** Null without the table, 'empty' without a row in it. */
async function markerIn(session: Session, server: Server): Promise<FoundMarker | 'empty' | null> {
  const there = `select to_regclass('${TABLE}') is not null as there`;
  if (!(await session.row(z.object({ there: z.boolean() }), there)).there) return null;
  const where = `${TABLE} of ${session.database}`;
  const query = `select number::text, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') from ${TABLE}`;
  try {
    const rows = await session.texts(query);
    const found = rows.map(([number, at]) => ({ number: Number(number), at: at ?? '', where }));
    return newestOf(found) ?? 'empty';
  } catch (error) {
    throw saidOf(error, server, session);
  }
}

async function needPrimary(session: Session, server: Server): Promise<void> {
  const { standby } = await session.row(z.object({ standby: z.boolean() }), 'select pg_is_in_recovery() as standby');
  if (standby) throw standsBy(place(server, session.database));
}

async function makeTable(session: Session, server: Server): Promise<void> {
  const { has, publication } = await session.row(
    z.object({ has: z.boolean(), publication: z.string().nullable() }),
    `select to_regnamespace('lifeboat') is not null as has,
      (select min(pubname::text) from pg_publication where puballtables) as publication`,
  );
  // A subscriber that lacks a table whose rows come stops with an error.
  if (publication !== null) {
    const what = `publication ${publication} has all tables, and a new one would stop its subscribers`;
    throw new Failure('blocked', `${place(server, session.database)}: ${what}`, {
      hint: `make the table there first, then here: ${HOW}`,
    });
  }
  try {
    await session.run(`${has ? '' : 'create schema lifeboat;'} ${CREATE}`);
  } catch (error) {
    throw saidOf(error, server, session);
  }
}

const HOW = 'docs/markers.md has the statements';

function saidOf(error: unknown, server: Server, session: Session): unknown {
  if (sqlState(error) === UNDEFINED_COLUMN) return notOurs(`${TABLE} of ${session.database}`, error);
  if (!isFailure(error, 'privileges')) return error;
  return new Failure('privileges', error.message, {
    cause: error,
    hint: `${server.user} must be able to write ${TABLE}: ${HOW}`,
  });
}

/** Nothing but the table is in the schema, and we may drop that. */
async function isAlone(session: Session): Promise<boolean> {
  const { alone } = await session.row(
    z.object({ alone: z.boolean() }),
    `select pg_has_role(n.nspowner, 'USAGE') and not exists (select from pg_depend
        where refclassid = 'pg_namespace'::regclass and refobjid = n.oid
          and not (classid = 'pg_class'::regclass and objid = '${TABLE}'::regclass)) as alone
      from pg_namespace n where n.nspname = 'lifeboat'`,
  );
  return alone;
}
