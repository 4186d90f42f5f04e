// SQL text back into a database. It is hostile until proved otherwise: it is read to its end before anything is run,
// and then run as a role that owns the new database and nothing else.

import { randomBytes } from 'node:crypto';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { isFailure } from '../../core/errors.ts';
import type { Context, Source } from '../../core/model.ts';
import { connect, type Session, sqlState } from './connection.ts';
import { createPlaceholders, rolesOf, unquoted } from './globals.ts';
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
  const found = await surveyed(source.get(ctx, item.part.name));
  const { superuser } = await control.row(
    z.object({ superuser: z.boolean() }),
    'select rolsuper as superuser from pg_roles where rolname = current_user',
  );
  if (!superuser) {
    // It has no more rights than the role that asked for it.
    await using session = await connect(ctx, server, item.target);
    await feed(session, source.get(ctx, item.part.name), (text) => ABOUT_EXTENSION.test(text));
    return { bytes: item.part.bytes, warnings: [] };
  }
  const warnings = await createPlaceholders(control, found.roles);
  await using own = await connect(ctx, server, item.target);
  const made = await createExtensions(own, found.extensions);
  await using role = await temporaryRole(control, own, item.target);
  {
    await using session = await connect(ctx, { ...server, user: role.name, password: role.password }, item.target);
    await feed(session, source.get(ctx, item.part.name), (text) => isLater(text) || isMade(text, made));
  }
  warnings.push(...(await settleOwners(control, own, found.later)));
  return { bytes: item.part.bytes, warnings };
}

/** The whole text, before any of it is run. */
async function surveyed(body: AsyncIterable<Uint8Array>): Promise<Found> {
  const found: Found = { roles: new Set(), extensions: new Map(), later: [] };
  for await (const { text, data } of sqlItems(body)) {
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
  body: AsyncIterable<Uint8Array>,
  skipped: (text: string) => boolean,
): Promise<void> {
  const { from } = await import('pg-copy-streams');
  await session.run("set search_path to default; set row_security to default; set client_encoding to 'UTF8'");
  for await (const item of sqlItems(body)) {
    if (item.data) await pipeline(item.data, session.client.query(from(item.text)));
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

interface TemporaryRole extends AsyncDisposable {
  readonly name: string;
  readonly password: string;
}

/** Owns the database while the text runs. What it made goes to the database's owner, and then it is gone. */
async function temporaryRole(control: Session, own: Session, database: string): Promise<TemporaryRole> {
  const name = `lifeboat_restore_${randomBytes(6).toString('hex')}`;
  const password = randomBytes(24).toString('base64url');
  const { owner } = await control.row(
    z.object({ owner: z.string() }),
    'select pg_get_userbyid(datdba) as owner from pg_database where datname = $1',
    [database],
  );
  await control.run(
    `create role ${quoted(name)} login nosuperuser nocreatedb nocreaterole noreplication bypassrls
      password ${literal(password)}`,
  );
  await control.run(`alter database ${quoted(database)} owner to ${quoted(name)}`);
  return {
    name,
    password,
    async [Symbol.asyncDispose]() {
      await control.run(`alter database ${quoted(database)} owner to ${quoted(owner)}`);
      await own.run(`reassign owned by ${quoted(name)} to ${quoted(owner)}; drop owned by ${quoted(name)}`);
      await control.run(`drop role ${quoted(name)}`);
    },
  };
}

/**
 * Gives things to whom the text says, one statement of a known form each, while they still belong to the temporary
 * role. Superusers get nothing this way: what they own can act for them.
 */
async function settleOwners(control: Session, own: Session, later: Found['later']): Promise<string[]> {
  const superusers = await control.rows(
    z.object({ name: z.string() }),
    'select rolname as name from pg_roles where rolsuper',
  );
  const mighty = new Set(superusers.map(({ name }) => name));
  const there = await rolesOf(control);
  await own.run('set search_path to default');
  const refused: string[] = [];
  for (const { text, role } of later) {
    if (!there.has(role) || (mighty.has(role) && OWNER.test(text))) continue;
    try {
      await own.rows(z.unknown(), text); // the extended protocol runs one statement, never two
    } catch (error) {
      if (!isFailure(error, 'query-failed')) throw error;
      refused.push(text);
    }
  }
  return refused.length === 0
    ? []
    : [`${refused.length} owners could not be set, the first: ${refused[0]?.slice(0, 80)}`];
}
