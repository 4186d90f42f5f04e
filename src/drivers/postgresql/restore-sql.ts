// SQL text back into a database. It is hostile until proved otherwise: it is read to its end before anything is run,
// and then run as a role that owns the new database and nothing else.

import { createHash, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context, Source } from '../../core/model.ts';
import { connect, type Session, sqlState } from './connection.ts';
import { connectAside } from './databases.ts';
import { decoded } from './encodings.ts';
import { createPlaceholders, rolesOf, STAND_IN, unquoted } from './globals.ts';
import type { Item } from './item.ts';
import { literal, quoted } from './names.ts';
import type { Server } from './settings.ts';
import { type SqlItem, sqlItems } from './sqltext.ts';

const IDENT = '(?:"(?:[^"]|"")+"|[A-Za-z_\\u0080-\\uffff][\\w$\\u0080-\\uffff]*)';
/** What an owner is set of, and nothing else: no other action may stand before it. */
const NAMED = `(?:only )?(?:\\d+|(?:${IDENT}\\.)?(?:${IDENT}|[-+*/<>=~!@#%^&|?\`]+)(?: ?\\((?:[^"()';]|"(?:[^"]|"")*")*\\))?(?: using ${IDENT})?)`;
const OWNER = new RegExp(
  `^alter (?:table|sequence|view|materialized view|foreign table|function|procedure|aggregate|schema|type|domain|` +
    `collation|conversion|operator|operator class|operator family|statistics|large object|text search configuration|` +
    `text search dictionary|publication|foreign data wrapper|server|event trigger) ${NAMED} owner to (${IDENT})$`,
  'i',
);
const DEFAULTS_FOR = new RegExp(`^alter default privileges for role (${IDENT}) `, 'i');
const GRANTEE = new RegExp(`^(?:grant|revoke) [\\s\\S]+ (?:to|from) (${IDENT})(?: with grant option)?$`, 'i');
const POLICY_TO = new RegExp(`^create policy [\\s\\S]+? to (${IDENT}(?:, ?${IDENT})*)`, 'i');
const EXTENSION = new RegExp(`^create extension (?:if not exists )?(${IDENT})(?: with schema (${IDENT}))?`, 'i');
const ABOUT_EXTENSION = /^comment on extension /i;
/** What one dump makes us remember, at most. */
const REMEMBERED_MAX = 500_000;

/** What has to be done by more than the owner of a database. */
interface Found {
  readonly roles: Set<string>;
  readonly extensions: Map<string, string | null>; // with their schema
  readonly later: { text: string; role: string }[];
}

export async function restoreSql(
  ctx: Context,
  server: Server,
  { source, item, control }: { source: Source; item: Item; control: Session },
): Promise<{ bytes: number; warnings: string[] }> {
  await using own = await connect(ctx, server, item.target);
  const items = (): AsyncIterable<SqlItem> =>
    sqlItems(source.get(ctx, item.part.name), (bytes, encoding) => decoded(own, bytes, encoding));
  const found = await surveyed(items());
  if (!(await mayMakeRoles(control, item.target))) {
    await assertHarmless(control, server, item);
    await using session = await connect(ctx, server, item.target);
    await feed(session, items(), (text) => ABOUT_EXTENSION.test(text));
    const warning = `the SQL text of ${item.database} was run with all rights of ${server.user}, who may make no role with fewer`;
    return { bytes: item.part.bytes, warnings: [warning] };
  }
  const warnings = await createPlaceholders(control, found.roles);
  const made = await createExtensions(own, found.extensions);
  const handedOver = await asTemporaryRole(ctx, server, item.target, async (login) => {
    {
      await using session = await connect(ctx, { ...server, ...login }, item.target);
      await feed(session, items(), (text) => isLater(text) || isMade(text, made));
    }
    warnings.push(...(await settleOwners(control, own, found.later)));
  });
  warnings.push(...handedOver);
  return { bytes: item.part.bytes, warnings };
}

/** Who can make a role of its own for the text, and give it the database for a while. */
async function mayMakeRoles(control: Session, database: string): Promise<boolean> {
  const { may } = await control.row(
    z.object({ may: z.boolean() }),
    `select r.rolsuper or (r.rolcreaterole and r.rolcreatedb and pg_has_role(d.datdba, 'USAGE')) as may
      from pg_roles r cross join pg_database d where r.rolname = current_user and d.datname = $1`,
    [database],
  );
  return may;
}

/** Text with all rights of this role can then do no more than harm what is its own. */
async function assertHarmless(control: Session, { user }: Server, { target, database }: Item): Promise<void> {
  const mighty = await mightyRoles(control);
  // The text may become whatever role it belongs to.
  const within = "select rolname as name from pg_roles where pg_has_role($1, oid, 'MEMBER')";
  const mine = await control.rows(z.object({ name: z.string() }), within, [user]);
  if (!mine.some(({ name }) => mighty.has(name))) return;
  const why = `${user} has rights beyond its databases, and can make no role with fewer that owns ${target}`;
  throw new Failure('denied', `the SQL text of ${database} is not run: ${why}`, {
    hint: 'restore as a superuser, as a role with CREATEROLE and CREATEDB, or as one that has no such rights',
  });
}

/** The whole text, before any of it is run. */
async function surveyed(items: AsyncIterable<SqlItem>): Promise<Found> {
  const found: Found = { roles: new Set(), extensions: new Map(), later: [] };
  for await (const { text, data } of items) {
    if (data) for await (const _ of data);
    else survey(text, found);
    if (found.later.length + found.roles.size > REMEMBERED_MAX) throw new RangeError('too many owners in the SQL text');
  }
  return found;
}

function survey(text: string, { roles, extensions, later }: Found): void {
  const owner = (OWNER.exec(text) ?? DEFAULTS_FOR.exec(text))?.[1];
  if (owner !== undefined) later.push({ text, role: unquoted(owner) });
  const named = owner ?? GRANTEE.exec(text)?.[1];
  if (named !== undefined) roles.add(unquoted(named));
  for (const [name] of POLICY_TO.exec(text)?.[1]?.matchAll(new RegExp(IDENT, 'g')) ?? []) roles.add(unquoted(name));
  const [, extension, schema] = EXTENSION.exec(text) ?? [];
  if (extension !== undefined) extensions.set(unquoted(extension), schema === undefined ? null : unquoted(schema));
}

function isLater(text: string): boolean {
  return OWNER.test(text) || DEFAULTS_FOR.test(text) || ABOUT_EXTENSION.test(text);
}
function isMade(text: string, made: ReadonlySet<string>): boolean {
  const name = EXTENSION.exec(text)?.[1];
  return name !== undefined && made.has(unquoted(name));
}

/** Runs the statements and copies the rows, in order. A statement that fails ends it. */
async function feed(
  session: Session,
  items: AsyncIterable<SqlItem>,
  skipped: (text: string) => boolean,
): Promise<void> {
  await session.run("set search_path to default; set row_security to default; set client_encoding to 'UTF8'");
  for await (const item of items) {
    if (item.data) await session.copy(item.text, item.data);
    else if (!skipped(item.text)) await runStatement(session, item);
  }
}

async function runStatement(session: Session, { text }: SqlItem): Promise<void> {
  try {
    await session.run(text);
  } catch (error) {
    // A newer pg_dump sets what an older server does not know.
    if (/^set [a-z_]+ = /i.test(text) && sqlState(error) === '42704') return;
    throw error;
  }
}

/** Those that only a superuser may create, where their schema is there before the text makes any. */
async function createExtensions(own: Session, wanted: ReadonlyMap<string, string | null>): Promise<Set<string>> {
  const made = new Set<string>();
  for (const [name, schema] of wanted) {
    if (schema !== null && schema !== 'public' && schema !== 'pg_catalog') continue;
    const where = schema === null ? '' : ` with schema ${quoted(schema)}`;
    await own.run(`create extension if not exists ${quoted(name)}${where}`);
    made.add(name);
  }
  return made;
}

interface Login {
  readonly user: string;
  readonly password: string;
}

/** A role that owns the database while `work` runs. What it still owns then goes to the database's owner. */
async function asTemporaryRole(
  ctx: Context,
  server: Server,
  database: string,
  work: (login: Login) => Promise<void>,
): Promise<string[]> {
  // One name per database, so that what a killed restore left behind is found.
  const user = `lifeboat_restore_${createHash('sha256').update(database).digest('hex').slice(0, 12)}`;
  const login = { user, password: randomBytes(24).toString('base64url') };
  // The role must go also when all else is stopped.
  const steady = { ...ctx, signal: new AbortController().signal };
  const { owner, warnings } = await begun(steady, server, database, login);
  try {
    await work(login);
  } catch (error) {
    // Why the text failed is what is to be told; a role that stays because the server died is dropped by the next try.
    await handOver(steady, server, { database, user, owner }).catch(() => undefined);
    throw error;
  }
  return [...warnings, ...(await handOver(steady, server, { database, user, owner }))];
}

async function handOver(
  ctx: Context,
  server: Server,
  { database, user, owner }: { database: string; user: string; owner: string },
): Promise<string[]> {
  await using control = await connectAside(ctx, server, new Set([database]));
  await using own = await connect(ctx, server, database);
  await endSessions(control, user);
  await control.run(`alter database ${quoted(database)} owner to ${quoted(owner)}`);
  const { heir, warnings } = await heirOf(own, { user, owner, database });
  await own.run(`reassign owned by ${quoted(user)} to ${quoted(heir)}; drop owned by ${quoted(user)}`);
  await control.run(`drop role ${quoted(user)}`);
  return warnings;
}

/** A statement that was stopped may still run. */
async function endSessions(control: Session, user: string): Promise<void> {
  const ended = 'select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = $1';
  await control.rows(z.unknown(), ended, [user]);
}

async function begun(
  ctx: Context,
  server: Server,
  database: string,
  { user, password }: Login,
): Promise<{ owner: string; warnings: string[] }> {
  await using control = await connectAside(ctx, server, new Set([database]));
  const { owner, self, superuser } = await control.row(
    z.object({ owner: z.string(), self: z.string(), superuser: z.boolean() }),
    `select pg_get_userbyid(datdba) as owner, current_user::text as self,
      (select rolsuper from pg_roles where rolname = current_user) as superuser from pg_database where datname = $1`,
    [database],
  );
  if (owner === user) {
    // Of a restore that was killed: whose the database was is known no more, and what is in it is of half a text.
    await endSessions(control, user);
    await control.run(`alter database ${quoted(database)} owner to ${quoted(self)}`);
    await using own = await connect(ctx, server, database);
    await own.run(`drop owned by ${quoted(user)}`);
  }
  const rights = `login nosuperuser nocreatedb nocreaterole noreplication ${superuser ? 'bypassrls' : ''}`;
  await control.run(`begin; drop role if exists ${quoted(user)};
    create role ${quoted(user)} ${rights} password ${literal(password)};
    ${superuser ? '' : `grant ${quoted(user)} to current_user;`}
    alter database ${quoted(database)} owner to ${quoted(user)}; commit`);
  if (owner !== user) return { owner, warnings: [] };
  const warning = `database ${database}: a restore that was killed took it from its owner, and it went to ${self}: set its owner`;
  return { owner: self, warnings: [warning] };
}

/** Never a superuser: functions, indexes and views act with the rights of their owner, long after the restore. */
async function heirOf(
  own: Session,
  { user, owner, database }: { user: string; owner: string; database: string },
): Promise<{ heir: string; warnings: string[] }> {
  const { left } = await own.row(
    z.object({ left: z.number() }),
    `select count(*)::int as left from pg_shdepend where deptype = 'o' and refclassid = 'pg_authid'::regclass
      and refobjid = to_regrole(quote_ident($1)) and dbid = (select oid from pg_database where datname = current_database())`,
    [user],
  );
  const mighty = await mightyRoles(own);
  if (left === 0 || !mighty.has(owner)) return { heir: owner, warnings: [] };
  if (!(await rolesOf(own)).has(STAND_IN)) await own.run(`create role ${quoted(STAND_IN)} nologin`);
  else if (mighty.has(STAND_IN)) {
    throw new Failure('denied', `role ${STAND_IN} has rights that it must not have`, {
      hint: 'rename it, or take them',
    });
  }
  // Only who belongs to a role can give it things.
  const { belongs } = await own.row(z.object({ belongs: z.boolean() }), "select pg_has_role($1, 'USAGE') as belongs", [
    STAND_IN,
  ]);
  if (!belongs) await own.run(`grant ${quoted(STAND_IN)} to current_user`);
  const warning = `database ${database}: ${left} objects belong to role ${STAND_IN}, because SQL text gives nothing to superusers`;
  return { heir: STAND_IN, warnings: [warning] };
}

/**
 * Superusers, and who can run programs and touch files on the server, which is the same; up to 15 also who may make
 * roles, which can make itself a member of those.
 */
async function mightyRoles(session: Session): Promise<Set<string>> {
  const rows = await session.rows(
    z.object({ name: z.string() }),
    `select rolname as name from pg_roles where rolsuper ${session.major < 16 ? 'or rolcreaterole' : ''}
      or pg_has_role(oid, 'pg_execute_server_program', 'MEMBER') or pg_has_role(oid, 'pg_read_server_files', 'MEMBER')
      or pg_has_role(oid, 'pg_write_server_files', 'MEMBER')`,
  );
  return new Set(rows.map(({ name }) => name));
}

/**
 * Gives things to whom the text says, one statement of a known form each, while they still belong to the temporary
 * role. The mighty get nothing this way: what they own can act for them.
 */
async function settleOwners(control: Session, own: Session, later: Found['later']): Promise<string[]> {
  const mighty = await mightyRoles(control);
  const there = await rolesOf(control);
  await own.run('set search_path to default');
  const refused: string[] = [];
  for (const { text, role } of later) {
    if (!there.has(role) || (mighty.has(role) && OWNER.test(text))) continue;
    try {
      await own.rows(z.unknown(), text); // the extended protocol runs one statement, never two
    } catch (error) {
      if (!isFailure(error, 'query-failed') && !isFailure(error, 'privileges')) throw error;
      refused.push(text);
    }
  }
  return refused.length === 0
    ? []
    : [`${refused.length} owners could not be set, the first: ${refused[0]?.slice(0, 80)}`];
}
