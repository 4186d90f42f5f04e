// An archive back into a database, by pg_restore.

import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { Command } from '../../core/driver.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Bytes, Context, RestoreOptions, Source } from '../../core/model.ts';
import { start } from '../../core/process.ts';
import { copyTextsOf, type Toc, type TocEntry } from './archive.ts';
import type { Session } from './connection.ts';
import { explained, isOfNewerProgram } from './diagnosis.ts';
import type { Item } from './item.ts';
import { conninfo } from './names.ts';
import { cleanContext, commandFor, findProgram, type Program, piped } from './programs.ts';
import { type CopySession, openCopies } from './restore-copy.ts';
import { restoreRows, type Steps, stepsOf } from './restore-rows.ts';
import { chosenEntries } from './selection.ts';
import type { Server } from './settings.ts';
import { roomFor, type Spool, spoolArchive, spoolTables } from './spool.ts';

export interface RestoreTask {
  readonly source: Source;
  readonly item: Item;
  readonly control: Session;
  readonly options: RestoreOptions;
}

export async function restoreArchive(
  ctx: Context,
  server: Server,
  task: RestoreTask,
): Promise<{ bytes: number; warnings: string[] }> {
  const { item, control, options } = task;
  const writer = Number.parseInt(item.known?.toc.writtenBy ?? '0', 10);
  const major = Math.max(control.major, writer);
  const program = await findProgram(ctx, { name: 'pg_restore', major, orNewer: true, binDir: server.binDir });
  const { args, warnings } = await ownershipArgs(control, item);
  const common = [`--dbname=${conninfo(item.target)}`, '--format=custom', ...args];
  // A newer pg_restore sets what an older server does not know: then errors are told apart instead of ending it.
  if (program.major <= control.major) common.push('--exit-on-error');
  const bytes = await restored(ctx, server, { ...task, program, common, jobs: options.jobs ?? server.jobs });
  return { bytes, warnings };
}

interface Prepared extends RestoreTask {
  readonly program: Program;
  readonly common: readonly string[];
  readonly jobs: number;
}

async function restored(ctx: Context, server: Server, task: Prepared): Promise<number> {
  const { source, item, jobs, program, options, control } = task;
  const { name, bytes } = item.part;
  const toc = item.known?.toc ?? null;
  if (options.select?.tables) {
    if (!toc) throw new Failure('missing', `${name} has no table of contents: single tables can not be taken from it`);
    const entries = await chosenEntries(ctx, server, { item, toc, control, tables: options.select.tables });
    await using spool = await spoolTables(ctx, source, { part: name, toc, chosen: entries });
    await pgRestore(ctx, server, task, [await listOf(spool, entries), spool.path]);
    return spool.bytes;
  }
  const steps = toc && jobs > 1 ? stepsOf(toc) : null;
  const streamed = (steps?.large ?? []).reduce((sum, { data }) => sum + (data?.bytes ?? 0), 0);
  if (!(await roomFor(ctx, bytes - streamed))) {
    ctx.log.warn('no room for the archive, restoring with one job', { database: item.database, bytes });
    const reading = { ...task, program: await piped(ctx, program, 'input') };
    await pgRestore(ctx, server, reading, [], source.get(ctx, name));
    return bytes;
  }
  if (toc && steps) return await restoreSteps(ctx, server, task, { toc, steps });
  await using spool: Spool = await spoolArchive(ctx, source, { part: name, toc, bytes, task: item.database });
  await pgRestore(ctx, server, task, [`--jobs=${jobs}`, spool.path]);
  return spool.bytes;
}

async function restoreSteps(
  ctx: Context,
  server: Server,
  task: Prepared,
  { toc, steps }: { toc: Toc; steps: Steps },
): Promise<number> {
  const { source, item, jobs } = task;
  const part = item.part.name;
  await using spool = await spoolTables(ctx, source, { part, toc, chosen: [...steps.before, ...steps.after] });
  const tables = steps.large;
  const head = source.get(ctx, part, { offset: 0, length: toc.blocksAt });
  const ids = tables.map(({ id }) => id);
  const reading = copyTextsOf(head, ids);
  reading.catch(() => {}); // told when pg_restore has ended
  await pgRestore(ctx, server, task, [`--jobs=${jobs}`, await listOf(spool, steps.before), spool.path]);
  const texts = await reading;
  const open = (stoppable: Context): Promise<CopySession> => openCopies(stoppable, server, item.target, texts);
  const bytes = await restoreRows(ctx, source, { part, tables, jobs, open });
  await pgRestore(ctx, server, task, [`--jobs=${jobs}`, await listOf(spool, steps.after), spool.path]);
  return spool.bytes + bytes;
}

/** What a program is told to restore of an archive, and in which order. One list at a time. */
async function listOf(spool: Spool, entries: readonly TocEntry[]): Promise<string> {
  const list = join(dirname(spool.path), 'list');
  await writeFile(list, entries.map(({ id }) => `${id};\n`).join(''), { mode: 0o600 });
  return `--use-list=${list}`;
}

async function pgRestore(
  ctx: Context,
  server: Server,
  { program, common, item }: Prepared,
  more: readonly string[],
  input?: Bytes,
): Promise<void> {
  const command = await commandFor(ctx, server, program, { database: item.target, args: [...common, ...more] });
  await succeed(ctx, server, item.target, command, input);
}

async function succeed(ctx: Context, server: Server, database: string, command: Command, input?: Bytes): Promise<void> {
  const errors: string[] = [];
  const running = start(cleanContext(ctx), command, {
    stdin: input ? 'pipe' : 'ignore',
    onStderr: (line) => {
      // Bounded: one database can have a hundred thousand objects that are all refused for one reason.
      if (line.includes('error: ') && errors.length < 1000) errors.push(line);
    },
  });
  try {
    // What can't be read from the store ends pg_restore too; then the store's reason is the one to tell.
    if (input) await running.feed(input);
    for await (const _ of running.stdout);
    await running.succeeded();
  } catch (error) {
    await running.stop();
    const excusable = isFailure(error, 'program-failed') && errors.length > 0 && errors.every(isOfNewerProgram);
    // 1 is how it counts errors that it went on after; killed, it says nothing.
    if (excusable && (await running.ended()).code === 1) return;
    const first = errors.find((line) => !isOfNewerProgram(line));
    throw await explained(ctx, server, database, error, first);
  }
}

/** A role that is not a superuser can give things only to roles that it belongs to. */
async function ownershipArgs(
  control: Session,
  { known, target }: Item,
): Promise<{ args: string[]; warnings: string[] }> {
  const { superuser, mine, spaces } = await control.row(
    z.object({ superuser: z.boolean(), mine: z.array(z.string()), spaces: z.array(z.string()) }),
    `select (select rolsuper from pg_roles where rolname = current_user) as superuser,
      array(select rolname::text from pg_roles where pg_has_role(current_user, oid, 'MEMBER')) as mine,
      array(select spcname::text from pg_tablespace s where has_tablespace_privilege(s.oid, 'CREATE')
        or s.oid = (select dattablespace from pg_database where datname = $1)) as spaces`,
    [target],
  );
  const entries = known?.toc.entries ?? [];
  const named = (values: readonly string[], there: readonly string[]): string[] => [
    ...new Set(values.filter((value) => value !== '' && !there.includes(value))),
  ];
  const args: string[] = [];
  const warnings: string[] = [];
  const owners = superuser
    ? []
    : named(
        entries.map(({ owner }) => owner),
        mine,
      );
  if (owners.length > 0) {
    args.push('--no-owner', '--no-privileges');
    warnings.push(
      `database ${target}: owners and privileges were left out, for want of rights on ${owners.join(', ')}`,
    );
  }
  const absent = named(
    entries.map(({ tablespace }) => tablespace),
    spaces,
  );
  if (absent.length > 0) {
    args.push('--no-tablespaces');
    const why = `there is no ${absent.join(', ')} that may be used`;
    warnings.push(`database ${target}: all is in the default tablespace, ${why}`);
  }
  return { args, warnings };
}
