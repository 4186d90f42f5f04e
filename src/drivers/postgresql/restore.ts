// A restore: each database of the point into one of the server that is missing, empty, or to be replaced.

import { z } from 'zod';
import type { Chain } from '../../core/component.ts';
import { withDeadline } from '../../core/context.ts';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { Context, Restored, RestoreOptions, Source } from '../../core/model.ts';
import { refuseForeign } from '../../core/selection.ts';
import { connect, place, type Session, sqlState } from './connection.ts';
import { connectAside, type DatabaseFacts, heldBy, namesOnServer, propertyStatements } from './databases.ts';
import { restoreRoles, rolesOf } from './globals.ts';
import type { Item } from './item.ts';
import { ARCHIVE_SUFFIX, databaseOfPart, literal, quoted, SQL_SUFFIX } from './names.ts';
import { PHYSICAL_PREFIX } from './physical/names.ts';
import { restoreArchive } from './restore-archive.ts';
import { restoreSql } from './restore-sql.ts';
import type { Server } from './settings.ts';
import { type DatabaseToc, readToc } from './toc-part.ts';

const UNFINISHED = 'lifeboat: a restore into this database was not finished';
/** Of a database that was there before: what else it is used for we can't know, so it is never dropped unasked. */
const UNFINISHED_IN_YOURS = `${UNFINISHED}; it was there before`;

export async function restoreServer(
  ctx: Context,
  server: Server,
  { base }: Chain,
  options: RestoreOptions,
  names: ReadonlyMap<string, string> | null = null,
): Promise<Restored> {
  refuseForeign(
    'postgresql',
    options.select ?? {},
    ['database', 'tables'],
    'choose tables, or one database of several',
  );
  const what = `restore into postgresql at ${server.host}:${server.port}`;
  return await withDeadline(ctx, server.deadlineMs, what, (limited) =>
    restoreAll(limited, server, base, options, names),
  );
}

async function restoreAll(
  ctx: Context,
  server: Server,
  source: Source,
  options: RestoreOptions,
  names: ReadonlyMap<string, string> | null,
): Promise<Restored> {
  const items = await itemsOf(ctx, server, source, options, names);
  await using control = await connectAside(ctx, server, new Set(items.map(({ target }) => target)));
  for (const { known, database } of items) assertVersion(control, database, known);
  await assertExtensions(control, items);
  // Everything is looked at before anything is touched.
  const states = new Map<string, State>();
  for (const item of items) states.set(item.target, await stateOf(ctx, server, control, item, options));
  const warnings = await restoreRoles(ctx, control, source);
  let bytes = 0;
  for (const item of items) {
    const state = states.get(item.target) ?? 'missing';
    const made = await prepare(control, item, state, options);
    const restored =
      item.sort === 'archive'
        ? await restoreArchive(ctx, server, { source, item, control, options })
        : await restoreSql(ctx, server, { source, item, control });
    warnings.push(...made, ...restored.warnings);
    bytes += restored.bytes;
    if (options.select?.tables) await unmarked(control, item, state);
    else warnings.push(...(await finish(ctx, server, control, item)));
  }
  const method = items.every(({ sort }) => sort === 'sql') ? 'sql' : 'pg_restore';
  return { bytes, method, warnings };
}

/** What is to be restored, and where to. */
export async function itemsOf(
  ctx: Context,
  server: Server,
  source: Source,
  { select = {} }: RestoreOptions,
  names: ReadonlyMap<string, string> | null,
): Promise<Item[]> {
  const found: Omit<Item, 'target'>[] = [];
  for await (const part of source.parts(ctx, 'databases/')) {
    const archive = databaseOfPart(part.name, ARCHIVE_SUFFIX);
    const database = archive ?? databaseOfPart(part.name, SQL_SUFFIX);
    if (database === null || (select.database !== undefined && database !== select.database)) continue;
    const known = await readToc(ctx, source, database);
    found.push({ database, part, sort: archive === null ? 'sql' : 'archive', known });
  }
  if (found.length === 0) await refuseFiles(ctx, source);
  const wanted = server.databases;
  const [only, ...more] = found;
  // One database may go into one of another name.
  if (only && more.length === 0 && wanted !== 'all' && wanted.length === 1 && !names) {
    return [{ ...only, target: wanted[0] ?? only.database }];
  }
  const chosen = found.filter(({ database }) => wanted === 'all' || wanted.includes(database));
  if (chosen.length === 0 && found.length + (select.database === undefined ? 0 : 1) > 0) {
    const asked = select.database ?? (wanted === 'all' ? 'any' : wanted.join(', '));
    throw new Failure('missing', `${source.point}/${source.component} holds no database ${asked}`, {
      hint: `it holds: ${found.map(({ database }) => database).join(', ') || 'none'}`,
    });
  }
  return chosen.map((each) => ({ ...each, target: names?.get(each.database) ?? each.database }));
}

/** Files of a data directory are of no use to a server that runs. */
export async function refuseFiles(ctx: Context, source: Source): Promise<void> {
  for await (const part of source.parts(ctx)) {
    if (databaseOfPart(part.name, ARCHIVE_SUFFIX) ?? databaseOfPart(part.name, SQL_SUFFIX)) return;
    if (!part.name.startsWith(PHYSICAL_PREFIX)) continue;
    const where = `${source.point}/${source.component}`;
    throw new Failure('missing', `${where} holds a data directory (capture: [physical]), and nothing for a server`, {
      hint: `restore it into an empty directory: --to ${source.component}=/path`,
    });
  }
}

function assertVersion(control: Session, database: string, known: DatabaseToc | null): void {
  const major = Number.parseInt(known?.toc.server ?? '0', 10);
  if (major <= control.major) return;
  throw new Failure(
    'version-mismatch',
    `database ${database} is of PostgreSQL ${major}, the target is ${control.major}`,
    {
      hint: `restore into PostgreSQL ${major} or newer`,
    },
  );
}

/** An extension that the target has not installed is no fault of the point. */
async function assertExtensions(control: Session, items: readonly Item[]): Promise<void> {
  const needed = items.flatMap(({ known }) => known?.toc.entries.filter(({ what }) => what === 'EXTENSION') ?? []);
  if (needed.length === 0) return;
  const rows = await control.rows(z.object({ name: z.string() }), 'select name from pg_available_extensions');
  const there = new Set(rows.map(({ name }) => name));
  const absent = needed.map(({ name }) => name).filter((name) => !there.has(name));
  if (absent.length === 0) return;
  throw new Failure('program-missing', `the target server has no extension ${[...new Set(absent)].join(', ')}`, {
    hint: 'install its package on the server',
  });
}

type State = 'missing' | 'empty' | 'unfinished' | 'full';

async function stateOf(
  ctx: Context,
  server: Server,
  control: Session,
  { target }: Item,
  { replace = false, select }: RestoreOptions,
): Promise<State> {
  if (!(await namesOnServer(control)).includes(target)) {
    await assertNoTemplate(control, server, target);
    return 'missing';
  }
  const held = await heldBy(ctx, server, target).catch((error: unknown) => {
    if (replace && isFailure(error) && !ctx.signal.aborted) return 'what can not be read'; // damaged: it goes anyway
    throw error;
  });
  if (held === null) return 'empty';
  if (select?.tables) return 'full'; // its tables are looked at one by one
  const { comment } = await control.row(
    z.object({ comment: z.string().nullable() }),
    "select shobj_description(oid, 'pg_database') as comment from pg_database where datname = $1",
    [target],
  );
  if (comment === UNFINISHED) return 'unfinished';
  if (replace) return 'full';
  const what = comment === UNFINISHED_IN_YOURS ? `${held} of a restore that was not finished` : held;
  throw new Failure('target-not-empty', `${place(server, target)}: it holds ${what}`, {
    hint: 'restore into another database, in place, or ask for its replacement by name',
  });
}

async function assertNoTemplate(control: Session, server: Server, target: string): Promise<void> {
  const found = await control.rows(z.object({}), 'select 1 from pg_database where datname = $1', [target]);
  if (found.length === 0) return;
  throw new Failure('denied', `${place(server, target)}: it is a template, or lets no sessions in`);
}

/** Makes the target an empty database that says that it is not finished. */
async function prepare(
  control: Session,
  { target, known, database }: Item,
  state: State,
  { terminateConnections = false, select }: RestoreOptions,
): Promise<string[]> {
  if (state === 'full' && select?.tables) return [];
  const warnings: string[] = [];
  if (state === 'full' || state === 'unfinished') await dropDatabase(control, target, terminateConnections);
  if (state !== 'empty') warnings.push(...(await createDatabase(control, target, known?.facts ?? null)));
  else warnings.push(...(await unlike(control, target, known?.facts ?? null)));
  if (state === 'unfinished') warnings.push(`an unfinished restore of ${database} was cleared away`);
  const mark = state === 'empty' ? UNFINISHED_IN_YOURS : UNFINISHED;
  await allowed(() => control.run(`comment on database ${quoted(target)} is ${literal(mark)}`));
  return warnings;
}

export async function dropDatabase(control: Session, name: string, terminate: boolean): Promise<void> {
  await unlessInUse(control, name, terminate, async () => {
    await control.run(`drop database ${quoted(name)}${terminate ? ' with (force)' : ''}`);
  });
}

/**
 * 'blocked', with who is connected. Asked first, because the server waits for them; and told when it finds new ones.
 */
export async function unlessInUse(
  control: Session,
  name: string,
  terminate: boolean,
  work: () => Promise<void>,
): Promise<void> {
  const sessions = async (): Promise<string[]> => {
    const rows = await control.rows(
      z.object({ who: z.string() }),
      `select concat_ws(' ', 'process', pid, usename, nullif(application_name, '')) as who from pg_stat_activity
        where datname = $1 and pid <> pg_backend_pid() and backend_type <> 'autovacuum worker' limit 5`,
      [name],
    );
    return rows.map(({ who }) => who);
  };
  const inUse = (who: readonly string[], cause?: unknown): Failure =>
    new Failure('blocked', `database ${name} is in use by ${who.join(', ') || 'somebody who has left meanwhile'}`, {
      cause,
      hint: 'stop the application, or let the sessions be ended with --terminate-connections',
    });
  const before = terminate ? [] : await sessions();
  if (before.length > 0) throw inUse(before);
  try {
    await work();
  } catch (error) {
    throw sqlState(error) === '55006' ? inUse(await sessions(), error) : error;
  }
}

async function createDatabase(control: Session, name: string, facts: DatabaseFacts | null): Promise<string[]> {
  const create = `create database ${quoted(name)} template template0`;
  if (!facts) {
    await created(control, name, create);
    return [];
  }
  const { clause, warnings } = await tablespaceFor(control, name, facts);
  const encoding = ` encoding ${literal(facts.encoding)}`;
  try {
    await created(control, name, create + encoding + localeClause(facts, control.major) + clause);
    return warnings;
  } catch (error) {
    // 22023, 42809: a locale that this machine has not.
    if (!['22023', '42809', '0A000'].includes(sqlState(error))) throw error;
    await created(control, name, `${create}${encoding} lc_collate 'C' lc_ctype 'C'${clause}`);
    return [...warnings, `database ${name}: created with locale C, because ${messageOf(error)}`];
  }
}

async function created(control: Session, name: string, statement: string): Promise<void> {
  try {
    await control.run(statement);
  } catch (cause) {
    if (!isFailure(cause, 'privileges')) throw cause;
    const hint = `restore as a role with CREATEDB, or create database ${quoted(name)} for this one beforehand`;
    throw new Failure('privileges', cause.message, { cause, hint });
  }
}

/** A tablespace is a place on a machine: it is used where there is one of that name, and never made. */
async function tablespaceFor(
  control: Session,
  name: string,
  { tablespace }: DatabaseFacts,
): Promise<{ clause: string; warnings: string[] }> {
  if (tablespace === null) return { clause: '', warnings: [] };
  const usable = "select from pg_tablespace where spcname = $1 and has_tablespace_privilege(oid, 'CREATE')";
  const found = await control.rows(z.object({}), usable, [tablespace]);
  if (found.length > 0) return { clause: ` tablespace ${quoted(tablespace)}`, warnings: [] };
  const warning = `database ${name}: it is in the default tablespace, there is no ${tablespace} that may be used`;
  return { clause: '', warnings: [warning] };
}

function localeClause({ locale }: DatabaseFacts, major: number): string {
  const libc = ` lc_collate ${literal(locale.collate)} lc_ctype ${literal(locale.ctype)}`;
  if (locale.provider === 'libc' || locale.locale === null) return ` locale_provider libc${libc}`;
  const rules = locale.rules === null || major < 16 ? '' : ` icu_rules ${literal(locale.rules)}`;
  if (locale.provider === 'icu') return `${libc} locale_provider icu icu_locale ${literal(locale.locale)}${rules}`;
  return `${libc} locale_provider builtin builtin_locale ${literal(locale.locale)}`;
}

/** A database that is there already and empty is used as it is; how it differs is told. */
async function unlike(control: Session, name: string, facts: DatabaseFacts | null): Promise<string[]> {
  if (!facts) return [];
  const now = await control.row(
    z.object({ encoding: z.string(), collate: z.string() }),
    'select pg_encoding_to_char(encoding) as encoding, datcollate as collate from pg_database where datname = $1',
    [name],
  );
  const differs = (what: string, was: string, is: string): string[] =>
    was === is ? [] : [`database ${name}: it was there with ${what} ${is}, the point has ${was}`];
  return [
    ...differs('encoding', facts.encoding, now.encoding),
    ...differs('collation', facts.locale.collate, now.collate),
  ];
}

/** Owner, grants, settings and comment of the database; the comment last, because until then it says unfinished. */
async function finish(ctx: Context, server: Server, control: Session, { target, known }: Item): Promise<string[]> {
  if (!known) {
    await allowed(() => control.run(withoutComment(target)));
    return [];
  }
  const warnings: string[] = [];
  if (!known.publicSchema) await dropPublic(ctx, server, target);
  const statements = propertyStatements(target, known.facts, await rolesOf(control));
  // A point of a half-restored database must not make this one look half-restored: it would be cleared away.
  if (known.facts.properties.comment?.startsWith(UNFINISHED)) statements.push(withoutComment(target));
  for (const statement of statements) {
    const refused = await allowed(() => control.run(statement));
    // Without the value, which may be a secret of the application.
    if (refused !== null) warnings.push(`${statement.replace(/ (to|is) .*$/s, '')}: ${refused}`);
  }
  return warnings;
}

/** Some tables alone do not bring the properties of their database along. */
async function unmarked(control: Session, { target }: Item, state: State): Promise<void> {
  if (state !== 'full') await allowed(() => control.run(withoutComment(target)));
}
function withoutComment(database: string): string {
  return `comment on database ${quoted(database)} is null`;
}

/** Every new database has this schema; one whose schema had been dropped gets it from nowhere else. */
async function dropPublic(ctx: Context, server: Server, target: string): Promise<void> {
  await using session = await connect(ctx, server, target);
  await session.run('drop schema if exists public restrict');
}

/** 42704, 22023: a setting or a value of one that this server does not know. */
const UNKNOWN_HERE = ['42704', '22023'];

/** Runs what a restore can do without; resolves to the server's words when it does not take it. */
async function allowed(work: () => Promise<void>): Promise<string | null> {
  try {
    await work();
    return null;
  } catch (error) {
    if (isFailure(error, 'privileges') || UNKNOWN_HERE.includes(sqlState(error))) return messageOf(error);
    throw error;
  }
}
