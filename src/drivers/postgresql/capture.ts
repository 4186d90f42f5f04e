// A capture: every database as pg_dump's archive, with an inventory of the very snapshot that was dumped; the server's
// files by a base backup; or both, one after the other.

import { z } from 'zod';
import { bytesOf } from '../../core/bytes.ts';
import { withDeadline, withSignal } from '../../core/context.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import { byKindAndName, putInventory } from '../../core/inventory.ts';
import { merged } from '../../core/merged.ts';
import type { Bytes, Capture, Context, Cut, InventoryLine, JournalPoint, Sink, Source } from '../../core/model.ts';
import { type Running, run, start } from '../../core/process.ts';
import { archiveReader, type Toc } from './archive.ts';
import { qualified } from './catalogue.ts';
import { type Session, sqlState } from './connection.ts';
import { chosenDatabases, connectSomewhere, type DatabaseFacts, factsOf } from './databases.ts';
import { blocked, damaged, damagedPage, explained } from './diagnosis.ts';
import { withNames } from './encodings.ts';
import { type Contents, contentsOf, databaseLines, roleLines, type Snapshot, takeSnapshot } from './inventory.ts';
import { ARCHIVE_SUFFIX, conninfo, databasePart, GLOBALS_PART } from './names.ts';
import type { LogPosition } from './physical/base-backup.ts';
import { type CapturedBackup, captureBackup } from './physical/capture.ts';
import { earlierBackup } from './physical/earlier-backup.ts';
import { withPlainForms } from './plain.ts';
import { cleanContext, commandFor, findProgram, type Program, piped } from './programs.ts';
import type { Server } from './settings.ts';
import { putToc } from './toc-part.ts';
import { positionOf, sourceJson } from './wal/positions.ts';

export async function captureServer(ctx: Context, server: Server, sink: Sink, previous?: Source): Promise<Capture> {
  return await withDeadline(
    ctx,
    server.deadlineMs,
    `capture of postgresql at ${server.host}:${server.port}`,
    (limited) => captureAll(limited, server, sink, previous),
  );
}

async function captureAll(ctx: Context, server: Server, sink: Sink, previous?: Source): Promise<Capture> {
  await using control = await connectSomewhere(ctx, server);
  const about = await serverFacts(control);
  const logical = server.methods.includes('logical') ? await captureDatabases(ctx, server, control, sink) : null;
  const at: { last: string | null } = { last: null };
  const onLast = async (): Promise<void> => void (at.last = (await control.row(cutRow, CUT)).at);
  await using physical = server.methods.includes('physical')
    ? await captureBackup(ctx, server, sink, {
        identity: about.identity,
        earlier: await earlierBackup(ctx, server, control, previous),
        onLast,
      })
    : null;
  const lines = [...(physical ? [physical.lines] : []), ...(logical ? [inBatches(logical.lines)] : [])];
  await putInventory(ctx, sink, flat(merged(lines, byKindAndName)));
  // Of both, the cut is the earlier one; where the log of the other begins and ends is in its inventory.
  const ended = physical && at.last !== null ? { position: positionText(physical.end), at: at.last } : null;
  const cut = logical?.cut ?? ended;
  if (!cut) throw new Failure('malformed', `postgresql at ${server.host}:${server.port}: its backup has no end`);
  return {
    cut,
    method: [...(logical ? ['logical'] : []), ...(physical ? ['physical'] : [])].join(', '),
    serverVersion: about.version,
    identity: about.identity,
    inventoryLevel: logical ? server.inventory : 'full',
    totals: { ...(logical ? totalsOf(logical.lines) : {}), ...physical?.totals },
    warnings: [...(logical?.warnings ?? []), ...(physical?.warnings ?? [])],
    ...(physical ? { journal: journalPointOf(about.identity, physical) } : {}),
  };
}

function journalPointOf(system: string, { start, end }: Pick<CapturedBackup, 'start' | 'end'>): JournalPoint {
  const source = sourceJson({ system, timeline: start.timeline });
  return { source, from: positionOf(start.lsn), to: positionOf(end.lsn) };
}

function positionText({ lsn, timeline }: LogPosition): string {
  return `${lsn} on timeline ${timeline}`;
}

async function* inBatches<T>(items: readonly T[]): AsyncIterable<readonly T[]> {
  yield items;
}
async function* flat<T>(batches: AsyncIterable<readonly T[]>): AsyncIterable<T> {
  for await (const batch of batches) yield* batch;
}

interface Databases {
  readonly cut: Cut;
  readonly lines: readonly InventoryLine[];
  readonly warnings: readonly string[];
}

async function captureDatabases(ctx: Context, server: Server, control: Session, given: Sink): Promise<Databases> {
  const names = await chosenDatabases(ctx, server, control);
  const programs = await programsFor(ctx, server, control.major);
  const sink = withPlainForms(given, names, programs.dump);
  await using held = new AsyncDisposableStack();
  // All snapshots first: the databases of one server are then as of nearly one moment, however long the dumps take.
  const snapshots: Snapshot[] = [];
  const { at, lsn } = await control.row(cutRow, CUT);
  for (const name of names) snapshots.push(held.use(await takeSnapshot(ctx, server, name)));
  const { lines, warnings } = await putGlobals(ctx, server, { control, dumpall: programs.dumpall, sink });
  for (const snapshot of snapshots) {
    const facts = await factsOf(control, snapshot.database);
    const task = { snapshot, facts, dump: programs.dump, sink };
    lines.push(...(await whyItFailed(ctx, server, snapshot, () => captureDatabase(ctx, server, task))));
    await snapshot[Symbol.asyncDispose](); // it holds back the server's vacuum
  }
  return { cut: { position: lsn, at }, lines: lines.sort(byKindAndName), warnings };
}

const cutRow = z.object({ at: z.string(), lsn: z.string() });
/** The server's clock, and where its log stands: on a standby, what it has replayed. */
const CUT = `select to_char(clock_timestamp(), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at,
  (case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end)::text as lsn`;

export async function serverFacts(session: Session): Promise<{ version: string; identity: string }> {
  return await session.row(
    z.object({ version: z.string(), identity: z.string() }),
    `select split_part(current_setting('server_version'), ' ', 1) as version,
      (select system_identifier::text from pg_control_system()) as identity`,
  );
}

interface Programs {
  readonly dump: Program;
  readonly dumpall: Program;
}
async function programsFor(ctx: Context, server: Server, major: number): Promise<Programs> {
  const dump = await findProgram(ctx, { name: 'pg_dump', major, orNewer: true, binDir: server.binDir });
  const dumpall = await findProgram(ctx, { name: 'pg_dumpall', major, orNewer: true, binDir: dump.dir });
  return { dump: await piped(ctx, dump, 'output'), dumpall };
}

/** Roles with their passwords where this role may read them, tablespaces, and what is granted on parameters. */
async function putGlobals(
  ctx: Context,
  server: Server,
  { control, dumpall, sink }: { control: Session; dumpall: Program; sink: Sink },
): Promise<{ lines: InventoryLine[]; warnings: string[] }> {
  const { full, spaces } = await control.row(
    z.object({ full: z.boolean(), spaces: z.array(z.string()) }),
    `select has_table_privilege('pg_authid', 'SELECT') as full,
      array(select spcname::text from pg_tablespace where spcname !~ '^pg_' order by 1) as spaces`,
  );
  const which = ['--globals-only', '--encoding=UTF8', `--dbname=${conninfo(control.database)}`];
  const args = [...which, ...(full ? [] : ['--no-role-passwords'])];
  const command = await commandFor(ctx, server, dumpall, { database: control.database, args });
  const before = await roleLines(control);
  // A few lines per role. Read whole, so that a failure is seen before anything is put.
  const text = await run(cleanContext(ctx), command, { deadlineMs: server.deadlineMs }).catch(
    async (error: unknown) => {
      throw await explained(ctx, server, control.database, error);
    },
  );
  await sink.put(ctx, GLOBALS_PART, bytesOf(text), {});
  const { lines, changed } = steady(before, await roleLines(control));
  const passwords = full ? [] : [`the passwords of roles are not in it: ${server.user} may not read pg_authid`];
  const places =
    spaces.length === 0 || server.methods.includes('physical')
      ? []
      : [`tablespaces are noted, not captured: ${spaces.join(', ')}`];
  const moved = changed.length === 0 ? [] : [`roles that changed during the capture: ${changed.join(', ')}`];
  return { lines, warnings: [...passwords, ...places, ...moved] };
}

/** Roles are outside of snapshots: how the dump has them is known only of those that stayed as they were. */
function steady(
  before: readonly InventoryLine[],
  after: readonly InventoryLine[],
): { lines: InventoryLine[]; changed: string[] } {
  const was = new Map(before.map(({ name, digest }) => [name, digest]));
  const now = new Map(after.map(({ name, digest }) => [name, digest]));
  const all = new Map([...before, ...after].map((line) => [line.name, line]));
  const changed = new Set([...all.keys()].filter((name) => was.get(name) !== now.get(name)));
  const lines = [...all.values()].map((line) => (changed.has(line.name) ? { ...line, digest: null } : line));
  return { lines, changed: [...changed] };
}

/** A lock that was not given in time, or a page that can't be read: who holds it and whose it is, the server knows. */
async function whyItFailed<T>(
  ctx: Context,
  server: Server,
  { database }: Snapshot,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const page = isFailure(error) && !ctx.signal.aborted ? damagedPage(error.message) : null;
    if (page) throw await damaged(ctx, server, { database, page, cause: error });
    throw isFailure(error, 'blocked') && sqlState(error) !== '' ? await blocked(ctx, server, database, error) : error;
  }
}

async function captureDatabase(
  ctx: Context,
  server: Server,
  { snapshot, facts, dump, sink }: { snapshot: Snapshot; facts: DatabaseFacts; dump: Program; sink: Sink },
): Promise<InventoryLine[]> {
  const name = snapshot.database;
  const contents = await contentsOf(ctx, server, snapshot, name);
  const stop = new AbortController();
  const both = withSignal(ctx, stop.signal);
  // Whichever fails first ends the other; its own reason is what is told.
  let first: { error: unknown } | undefined;
  const noted = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      first ??= { error };
      stop.abort(error);
      throw error;
    }
  };
  const [dumped, counted] = await Promise.allSettled([
    noted(putArchive(both, server, { snapshot, contents, dump, sink })),
    noted(databaseLines(both, server, { snapshot, contents, facts, as: name })),
  ]);
  if (first) throw first.error;
  if (dumped.status === 'rejected') throw dumped.reason;
  if (counted.status === 'rejected') throw counted.reason;
  await putToc(ctx, sink, { facts, toc: dumped.value, publicSchema: contents.publicSchema });
  return counted.value;
}

async function putArchive(
  ctx: Context,
  server: Server,
  { snapshot, contents, dump, sink }: { snapshot: Snapshot; contents: Contents; dump: Program; sink: Sink },
): Promise<Toc> {
  const args = [
    '--format=custom',
    '--compress=0',
    `--snapshot=${snapshot.id}`,
    `--lock-wait-timeout=${server.lockTimeoutMs}`,
  ];
  const command = await commandFor(ctx, server, dump, { database: snapshot.database, args });
  const reader = archiveReader();
  const running = start(cleanContext(ctx), command);
  let toc: Toc | undefined;
  async function* body(): Bytes {
    for await (const chunk of running.stdout) {
      reader.push(chunk);
      yield chunk;
    }
    await succeeded(ctx, server, snapshot.database, running);
    toc = await withNames(ctx, server, snapshot.database, reader.end());
    assertComplete(toc, contents);
  }
  try {
    await sink.put(ctx, databasePart(snapshot.database, ARCHIVE_SUFFIX), body());
  } finally {
    await running.stop(); // when the store did not read to the end
  }
  if (!toc) throw new Failure('program-failed', `the archive of ${snapshot.database} was not read to its end`);
  return toc;
}

async function succeeded(ctx: Context, server: Server, database: string, running: Running): Promise<void> {
  try {
    const { stderr } = await running.succeeded();
    // It warns of nothing that may be ignored when the same snapshot is to be compared with what comes back.
    const error = stderr.split('\n').find((line) => line.includes('error:'));
    if (error !== undefined) throw new Failure('program-failed', `pg_dump ended well but said: ${error}`);
  } catch (error) {
    throw await explained(ctx, server, database, error);
  }
}

/** Every table that the snapshot holds has its data in the archive: a dump that left one out is no backup. */
function assertComplete(toc: Toc, contents: Contents): void {
  const there = new Set(toc.entries.filter((each) => each.data).map(qualified));
  const left = contents.tables.filter((table) => !table.empty && !there.has(qualified(table))).map(qualified);
  if (left.length === 0) return;
  throw new Failure(
    'malformed',
    `the archive lacks the data of ${left.slice(0, 5).join(', ')} (${left.length} in all)`,
  );
}

function totalsOf(lines: readonly InventoryLine[]): Record<string, number> {
  const of = (kind: string): InventoryLine[] => lines.filter((line) => line.kind === kind);
  return {
    databases: of('database').length,
    tables: of('table').length,
    rows: of('table').reduce((sum, { count }) => sum + (count ?? 0), 0),
    large_objects: of('large-objects').reduce((sum, { count }) => sum + (count ?? 0), 0),
  };
}

/** What is in the service now, in the same words. */
export async function liveLines(
  ctx: Context,
  server: Server,
  names: ReadonlyMap<string, string> | null,
): Promise<InventoryLine[]> {
  await using control = await connectSomewhere(ctx, server);
  const lines: InventoryLine[] = await roleLines(control);
  const databases = names ?? new Map((await chosenDatabases(ctx, server, control)).map((name) => [name, name]));
  for (const [as, database] of databases) {
    await using snapshot = await takeSnapshot(ctx, server, database);
    const facts = await factsOf(control, database);
    const contents = await contentsOf(ctx, server, snapshot, as);
    lines.push(...(await databaseLines(ctx, server, { snapshot, contents, facts, as })));
  }
  return lines.sort(byKindAndName);
}
