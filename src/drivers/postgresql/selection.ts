// Which entries of an archive make up some tables: their rows, what hangs on them, and what they need to exist.

import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { nearest } from '../../core/settings.ts';
import type { Toc, TocEntry } from './archive.ts';
import { qualified } from './catalogue.ts';
import { connect, place, type Session } from './connection.ts';
import { unquoted } from './globals.ts';
import type { Item } from './item.ts';
import { quoted } from './names.ts';
import type { Server } from './settings.ts';

/** What comes along with a table. Foreign keys only when the table that they point to comes too. */
const HANGS_ON = new Set([
  'TABLE DATA',
  'DEFAULT',
  'CONSTRAINT',
  'CHECK CONSTRAINT',
  'FK CONSTRAINT',
  'INDEX',
  'INDEX ATTACH',
  'TABLE ATTACH',
  'TRIGGER',
  'RULE',
  'POLICY',
  'ROW SECURITY',
  'STATISTICS',
  'SEQUENCE',
  'SEQUENCE OWNED BY',
  'SEQUENCE SET',
  'COMMENT',
  'ACL',
]);

/** Names as users write them: `orders`, `public.orders`, `"Odd ""name"""`. */
export function parseTableName(text: string): { schema: string | null; name: string } {
  const part = '("(?:[^"]|"")+"|[^".]+)';
  const [, first, second] = new RegExp(`^${part}(?:\\.${part})?$`, 's').exec(text) ?? [];
  if (first === undefined) throw new Failure('settings-invalid', `${text} is no name of a table`);
  return second === undefined
    ? { schema: null, name: unquoted(first) }
    : { schema: unquoted(first), name: unquoted(second) };
}

export async function chosenEntries(
  ctx: Context,
  server: Server,
  { item, toc, control, tables }: { item: Item; toc: Toc; control: Session; tables: readonly string[] },
): Promise<TocEntry[]> {
  const byId = new Map(toc.entries.map((entry) => [entry.id, entry]));
  const chosen = withPartitions(
    toc,
    tables.map((table) => tableEntry(toc, table)),
  );
  const ids = new Set(chosen.map(({ id }) => id));
  addDependents(toc, byId, ids);
  const tableIds = new Set(ids);
  addPrerequisites(byId, ids);
  await using session = await connect(ctx, server, item.target);
  await assertAbsent(server, session, chosen);
  const there = await presentAlready(
    session,
    toc.entries.filter(({ id }) => ids.has(id) && !tableIds.has(id)),
  );
  const roles = new Set(
    (await control.rows(z.object({ n: z.string() }), 'select rolname as n from pg_roles')).map(({ n }) => n),
  );
  // Grants name roles: where one is missing, the table is worth more than its grants.
  const needless = (entry: TocEntry): boolean =>
    there.has(entry.id) || (entry.what === 'ACL' && !roles.has(entry.owner));
  return toc.entries.filter((entry) => ids.has(entry.id) && !needless(entry));
}

function tableEntry(toc: Toc, text: string): TocEntry {
  const { schema, name } = parseTableName(text);
  const found = toc.entries.filter(
    (each) => each.what === 'TABLE' && each.name === name && (schema === null || each.schema === schema),
  );
  const [entry, ...others] = found;
  if (!entry) throw noTable(toc, text, name);
  if (others.length > 0) {
    throw new Failure('ambiguous', `table ${text} could be ${found.map(qualified).join(' or ')}`, {
      hint: 'name its schema too',
    });
  }
  return entry;
}

function noTable(toc: Toc, text: string, name: string): Failure {
  const tables = toc.entries.filter(({ what }) => what === 'TABLE').map((each) => each.name);
  const near = nearest(name, tables);
  return new Failure('missing', `the archive of database ${toc.database} has no table ${text}`, {
    hint: near === null || near === name ? undefined : `did you mean ${near}?`,
  });
}

/** The rows of a partitioned table are in its partitions. */
function withPartitions(toc: Toc, tables: readonly TocEntry[]): TocEntry[] {
  const chosen = new Map(tables.map((table) => [table.id, table]));
  const attachments = toc.entries.filter(({ what }) => what === 'TABLE ATTACH');
  const named = new Map(toc.entries.filter(({ what }) => what === 'TABLE').map((entry) => [qualified(entry), entry]));
  for (let before = -1; before !== chosen.size; ) {
    before = chosen.size;
    for (const attachment of attachments) {
      const partition = named.get(qualified(attachment));
      if (!partition || chosen.has(partition.id)) continue;
      if (attachment.needs.some((id) => chosen.has(id))) chosen.set(partition.id, partition);
    }
  }
  return [...chosen.values()];
}

function addDependents(toc: Toc, byId: ReadonlyMap<number, TocEntry>, ids: Set<number>): void {
  const isTable = (id: number): boolean => byId.get(id)?.what === 'TABLE';
  for (let before = -1; before !== ids.size; ) {
    before = ids.size;
    for (const { id, what, needs } of toc.entries) {
      if (ids.has(id) || !HANGS_ON.has(what) || !needs.some((need) => ids.has(need))) continue;
      if (needs.some((need) => isTable(need) && !ids.has(need))) continue;
      ids.add(id);
    }
  }
}

function addPrerequisites(byId: ReadonlyMap<number, TocEntry>, ids: Set<number>): void {
  const open = [...ids];
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    for (const need of byId.get(id)?.needs ?? []) {
      if (ids.has(need) || !byId.has(need) || byId.get(need)?.what === 'TABLE DATA') continue;
      ids.add(need);
      open.push(need);
    }
  }
}

async function assertAbsent(server: Server, session: Session, tables: readonly TocEntry[]): Promise<void> {
  for (const table of tables) {
    if (!(await exists(session, 'to_regclass', `${quoted(table.schema)}.${quoted(table.name)}`))) continue;
    throw new Failure('target-not-empty', `${place(server, session.database)}: table ${qualified(table)} is there`, {
      hint: 'bring back rows with extract, or restore into another database',
    });
  }
}

/** What the tables need and the target has: it is left as it is. */
async function presentAlready(session: Session, entries: readonly TocEntry[]): Promise<Set<number>> {
  const there = new Set<number>();
  for (const { id, what, schema, name } of entries) {
    const full = `${quoted(schema)}.${quoted(name)}`;
    const found =
      what === 'SCHEMA'
        ? await exists(session, 'to_regnamespace', quoted(name))
        : what === 'SEQUENCE' || what === 'TABLE'
          ? await exists(session, 'to_regclass', full)
          : what === 'TYPE' || what === 'DOMAIN'
            ? await exists(session, 'to_regtype', full)
            : what === 'FUNCTION' || what === 'PROCEDURE' || what === 'AGGREGATE'
              ? await exists(session, 'to_regprocedure', `${quoted(schema)}.${name}`)
              : what === 'EXTENSION' && (await hasExtension(session, name));
    if (found) there.add(id);
  }
  return there;
}

async function exists(session: Session, lookup: string, name: string): Promise<boolean> {
  const schema = z.object({ there: z.boolean() });
  return (await session.row(schema, `select ${lookup}($1) is not null as there`, [name])).there;
}

async function hasExtension(session: Session, name: string): Promise<boolean> {
  const schema = z.object({ there: z.boolean() });
  const text = 'select exists (select from pg_extension where extname = $1) as there';
  return (await session.row(schema, text, [name])).there;
}
