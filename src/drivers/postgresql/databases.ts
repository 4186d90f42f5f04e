// The databases of a server, and what belongs to one but lies outside of it.

import { z } from 'zod';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { connect, place, type Session } from './connection.ts';
import { literal, quoted } from './names.ts';
import type { Server } from './settings.ts';

/** A part of a point carries them, so what is read here may come from anywhere. */
export const databaseFacts = z.object({
  name: z.string().min(1),
  encoding: z.string().regex(/^[A-Za-z0-9_]+$/),
  locale: z.object({
    provider: z.enum(['builtin', 'libc', 'icu']),
    collate: z.string(),
    ctype: z.string(),
    locale: z.string().nullable(),
    rules: z.string().nullable(),
  }),
  owner: z.string(),
  /** Null for the server's default one. */
  tablespace: z.string().nullable(),
  properties: z.object({
    connections: z.number().int(),
    comment: z.string().nullable(),
    grants: z.array(z.object({ to: z.string().nullable(), privilege: z.string(), grantable: z.boolean() })),
    settings: z.array(z.object({ role: z.string().nullable(), name: z.string(), value: z.string() })),
  }),
});
export type DatabaseFacts = z.output<typeof databaseFacts>;

export const POSTGRES = 'postgres';
/** Databases that are always there: one of them lets us look at the server when ours is not. */
const MAINTENANCE = [POSTGRES, 'template1'];

/** A session with whatever database lets us in: for questions about the server. */
export async function connectSomewhere(ctx: Context, server: Server): Promise<Session> {
  return await connectFirst(ctx, server, [...ownOf(server).slice(0, 1), ...MAINTENANCE]);
}

/** A session with a database that is none of the targets: a database can't be dropped from within. */
export async function connectAside(ctx: Context, server: Server, targets: ReadonlySet<string>): Promise<Session> {
  const aside = [...MAINTENANCE, ...ownOf(server)].filter((name) => !targets.has(name));
  return await connectFirst(ctx, server, [...aside, ...targets]);
}

function ownOf({ databases }: Server): readonly string[] {
  return databases === 'all' ? [] : databases;
}

/** With the first that lets us in; why the first one did not, when none does. */
async function connectFirst(ctx: Context, server: Server, databases: readonly string[]): Promise<Session> {
  let refusal: unknown;
  for (const database of databases) {
    try {
      return await connect(ctx, server, database);
    } catch (error) {
      if (!isOfDatabase(error)) throw error;
      refusal ??= error;
    }
  }
  throw refusal;
}

/** One database can't be opened, which says nothing about the others. */
function isOfDatabase(error: unknown): boolean {
  return isFailure(error) && ['settings-invalid', 'privileges', 'denied', 'query-failed'].includes(error.code);
}

/** Names of the databases that let sessions in, templates left out. */
export async function namesOnServer(session: Session): Promise<string[]> {
  const rows = await session.rows(
    z.object({ name: z.string() }),
    `select datname as name from pg_database where datallowconn and not datistemplate order by datname collate "C"`,
  );
  return rows.map(({ name }) => name);
}

/**
 * The databases that the settings mean. With `all`, the one called postgres counts when it holds something: every
 * server has it.
 */
export async function chosenDatabases(ctx: Context, server: Server, session: Session): Promise<string[]> {
  const there = await namesOnServer(session);
  if (server.databases !== 'all') {
    const absent = server.databases.filter((name) => !there.includes(name));
    if (absent.length === 0) return [...server.databases];
    throw new Failure('settings-invalid', `${place(server, absent.join(', '))}: there is no such database`, {
      hint: `there are: ${there.join(', ')}`,
    });
  }
  const empty = there.includes(POSTGRES) && (await heldBy(ctx, server, POSTGRES)) === null;
  return there.filter((name) => name !== POSTGRES || !empty);
}

export async function factsOf(session: Session, database: string): Promise<DatabaseFacts> {
  const locale = session.major >= 17 ? 'datlocale' : 'daticulocale';
  const rules = session.major >= 16 ? 'daticurules' : 'null';
  return await session.row(
    databaseFacts,
    `select datname as name, pg_encoding_to_char(encoding) as encoding, pg_get_userbyid(datdba) as owner,
        (select nullif(spcname, 'pg_default') from pg_tablespace s where s.oid = d.dattablespace) as tablespace,
        json_build_object('provider', case datlocprovider when 'b' then 'builtin' when 'i' then 'icu' else 'libc' end,
          'collate', datcollate, 'ctype', datctype, 'locale', ${locale}, 'rules', ${rules}) as locale,
        json_build_object('connections', datconnlimit, 'comment', shobj_description(oid, 'pg_database'),
          'grants', (select coalesce(json_agg(json_build_object('to', case grantee when 0 then null
              else pg_get_userbyid(grantee) end, 'privilege', privilege_type, 'grantable', is_grantable)
              order by grantee = 0, pg_get_userbyid(grantee) collate "C", privilege_type collate "C"), '[]')
            from aclexplode(coalesce(datacl, acldefault('d', datdba)))),
          'settings', (select coalesce(json_agg(json_build_object('role', case setrole when 0 then null
              else pg_get_userbyid(setrole) end, 'name', split_part(o, '=', 1),
              'value', substr(o, strpos(o, '=') + 1)) order by setrole = 0, pg_get_userbyid(setrole) collate "C", o
              collate "C"), '[]')
            from pg_db_role_setting cross join lateral unnest(setconfig) o where setdatabase = d.oid)) as properties
      from pg_database d where datname = $1`,
    [database],
  );
}

/** What users made in a database: '12 tables'; null when nothing, or when there is no such database. */
export async function heldBy(ctx: Context, server: Server, database: string): Promise<string | null> {
  let session: Session;
  try {
    session = await connect(ctx, server, database);
  } catch (error) {
    if (isFailure(error, 'settings-invalid')) return null;
    throw error;
  }
  await using held = session;
  const made = (catalogue: string, schema: string): string =>
    `(select count(*) from ${catalogue} x join pg_namespace n on n.oid = x.${schema}
      where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and not exists (select from pg_depend e
        where e.classid = '${catalogue}'::regclass and e.objid = x.oid and e.deptype = 'e'))::int`;
  const { relations, functions, objects, schemas } = await held.row(
    z.object({ relations: z.number(), functions: z.number(), objects: z.number(), schemas: z.number() }),
    `select ${made('pg_class', 'relnamespace')} as relations, ${made('pg_proc', 'pronamespace')} as functions,
      (select count(*) from pg_largeobject_metadata)::int as objects,
      (select count(*) from pg_namespace n where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'public')
        and not exists (select from pg_depend e where e.objid = n.oid and e.deptype = 'e'))::int as schemas`,
  );
  const found = Object.entries({ relations, functions, 'large objects': objects, schemas }).filter(
    ([, count]) => count > 0,
  );
  return found.length === 0
    ? null
    : found.map(([what, count]) => `${count} ${count === 1 ? what.slice(0, -1) : what}`).join(', ');
}

/** Statements that give a new database what the old one had around it. Roles that are not there are left out. */
export function propertyStatements(
  name: string,
  { properties, owner }: DatabaseFacts,
  roles: ReadonlySet<string>,
): string[] {
  const database = `database ${quoted(name)}`;
  const known = (role: string | null): boolean => role === null || roles.has(role);
  const statements = [`alter ${database} connection limit ${properties.connections}`];
  if (roles.has(owner)) statements.push(`alter ${database} owner to ${quoted(owner)}`);
  statements.push(`revoke all on ${database} from public`);
  for (const { to, privilege, grantable } of properties.grants.filter((each) => known(each.to))) {
    if (!/^[A-Z]+$/.test(privilege)) throw new Failure('malformed', `${privilege} is no privilege on a database`);
    const option = grantable ? ' with grant option' : '';
    statements.push(`grant ${privilege} on ${database} to ${to === null ? 'public' : quoted(to)}${option}`);
  }
  for (const { role, name: setting, value } of properties.settings.filter((each) => known(each.role))) {
    const whose = role === null ? database : `role ${quoted(role)} in ${database}`;
    statements.push(`alter ${whose} set ${settingName(setting)} to ${settingValue(setting, value)}`);
  }
  // Last, because it takes the place of the mark of an unfinished restore.
  statements.push(`comment on ${database} is ${properties.comment === null ? 'null' : literal(properties.comment)}`);
  return statements;
}

/** The server keeps these as lists of identifiers that are quoted already where they need it. */
const LISTS = ['search_path', 'temp_tablespaces', 'session_preload_libraries', 'local_preload_libraries'];

function settingName(name: string): string {
  return name.split('.').map(quoted).join('.');
}
function settingValue(name: string, value: string): string {
  if (!LISTS.includes(name.toLowerCase())) return literal(value);
  const names = [...value.matchAll(/"((?:[^"]|"")*)"|([^",\s]+)/g)].map(
    ([, inner, plain]) => inner?.replaceAll('""', '"') ?? plain ?? '',
  );
  return names.length === 0 ? "''" : names.map(literal).join(', ');
}
