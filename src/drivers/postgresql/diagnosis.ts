// Why one of PostgreSQL's programs failed, in our words: it says so in a text, and the server knows more.

import { z } from 'zod';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { connect, place } from './connection.ts';
import type { Server } from './settings.ts';

/**
 * The failure of a program as a better failure, where its text or the server tells the cause. `line` is its first error
 * where that is known: the statement that it ends with may be long, and have passwords in it.
 */
export async function explained(
  ctx: Context,
  server: Server,
  database: string,
  error: unknown,
  line?: string,
): Promise<unknown> {
  if (!isFailure(error, 'program-failed') || ctx.signal.aborted) return error;
  const said = line ?? error.message;
  const where = place(server, database);
  const failure = (code: Failure['code'], why: string, hint?: string): Failure =>
    new Failure(code, `${where}: ${why}`, { cause: error, hint });
  const last = said.split('\n').find((line) => /error:|ERROR:/.test(line) && !isOfNewerProgram(line)) ?? said;
  if (/lock timeout|could not obtain lock/i.test(said)) return await blocked(ctx, server, database, error);
  if (/invalid memory alloc request size|cannot enlarge string buffer|out of memory/i.test(said)) {
    const [, table] = /contents of table "((?:[^"]|"")+)"/.exec(said) ?? [];
    const whose = table === undefined ? 'a table' : `table ${table}`;
    return failure(
      'value-too-large',
      `pg_dump can not write a row of ${whose}: its text is longer than 1 GB`,
      TOO_LARGE,
    );
  }
  if (/out of shared memory/i.test(said)) return failure('program-failed', last, 'raise max_locks_per_transaction');
  if (/permission denied|row-level security/i.test(said)) return failure('privileges', last, 'grant pg_read_all_data');
  if (/password authentication failed/.test(said)) return failure('wrong-password', last);
  if (/server version mismatch/.test(said)) return failure('version-mismatch', last);
  if (/No space left on device|disk full/i.test(said)) return failure('no-space', last);
  if (/too many (clients|connections)|remaining connection slots/i.test(said)) {
    return failure('unreachable', last, 'take fewer jobs, or allow more connections');
  }
  if (/connection to server|server closed the connection|terminating connection|Connection refused/i.test(said)) {
    return failure('unreachable', last);
  }
  if (/unexpected end of file|end of file|unexpected block ID|magic string|corrupt|not a valid archive/i.test(said)) {
    return failure('malformed', last);
  }
  return line === undefined ? error : failure('program-failed', line);
}

/** `SET transaction_timeout = 0` is what pg_restore 17 and newer say to every server, and go on when it is refused. */
export function isOfNewerProgram(line: string): boolean {
  return /unrecognized configuration parameter "transaction_timeout"/.test(line);
}

const TOO_LARGE = 'store values of more than 500 MB as large objects or files: no logical backup can hold them';

/** Names who stands in the way of a read: only ACCESS EXCLUSIVE does, held or waited for. */
export async function blocked(ctx: Context, server: Server, database: string, cause: unknown): Promise<Failure> {
  const where = place(server, database);
  const after = `after ${server.lockTimeoutMs} ms`;
  await using session = await connect(ctx, server, database);
  const rows = await session.rows(
    z.object({ pid: z.number(), name: z.string(), who: z.string() }),
    `select l.pid, l.relation::regclass::text as name,
        concat_ws(', ', a.usename, nullif(a.application_name, ''), 'since ' || date_trunc('second', a.xact_start)) as who
      from pg_locks l join pg_stat_activity a on a.pid = l.pid
      where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock' and l.pid <> pg_backend_pid() and l.relation >= 16384
        and l.database = (select oid from pg_database where datname = current_database())
      order by l.granted desc, a.xact_start limit 5`,
  );
  const [first] = rows;
  if (!first) return new Failure('blocked', `${where}: a table was locked ${after}; it is free again`, { cause });
  const names = rows.map(({ pid, name, who }) => `${name} by process ${pid} (${who})`).join('; ');
  return new Failure('blocked', `${where}: locked ${after}: ${names}`, {
    cause,
    hint: `wait for it, or end it: select pg_terminate_backend(${first.pid})`,
  });
}

/** What the server says: 'invalid page in block 7 of relation base/5/16385'; 18 quotes it and counts pages. */
const PAGE =
  /invalid pages? (?:in block|among blocks) (\d+(?:\.\.\d+)?) of relation "?|could not read blocks? (\d+(?:\.\.\d+)?) in file "/;
const FILE = /^((?:base|global|pg_tblspc)\/[^\s":]+)/;

export interface DamagedPage {
  /** '7', '7..9' */
  readonly blocks: string;
  readonly file: string;
}

/** The page that could not be read, where that is what a failure says. */
export function damagedPage(said: string): DamagedPage | null {
  const found = PAGE.exec(said);
  if (!found) return null;
  const [, file] = FILE.exec(said.slice(found.index + found[0].length)) ?? [];
  return file === undefined ? null : { blocks: found[1] ?? found[2] ?? '', file };
}

/** Names the table whose page it is. Its data is on no backup that is made from now on, so the older ones count. */
export async function damaged(
  ctx: Context,
  server: Server,
  { database, page, cause }: { database: string; page: DamagedPage; cause: unknown },
): Promise<Failure> {
  const [, space = '0', node = '0'] = /^(?:global|base\/\d+|pg_tblspc\/(\d+)\/[^/]+\/\d+)\/(\d+)/.exec(page.file) ?? [];
  const filenode = [page.file.startsWith('global/') ? '1664' : space, node];
  const blocks = page.blocks.includes('..') ? `among blocks ${page.blocks}` : `block ${page.blocks}`;
  let whose = 'a relation';
  let unanswered = '';
  try {
    whose = (await relationOf(ctx, server, database, filenode)) ?? whose;
  } catch (error) {
    // The damage is the news, and it may be what keeps the server from telling more.
    unanswered = `; whose it is is not known: ${messageOf(error)}`;
  }
  const said = `${blocks} of ${whose} (${page.file}) can not be read${unanswered}`;
  return new Failure('source-damaged', `${place(server, database)}: ${said}`, {
    cause,
    hint: 'look at the disk, and restore that table from the newest point with restore --select table=NAME',
  });
}

/** What is beside a table, its large values or an index, is told by the table. */
async function relationOf(
  ctx: Context,
  server: Server,
  database: string,
  filenode: readonly string[],
): Promise<string | undefined> {
  await using session = await connect(ctx, server, database);
  const [found] = await session.rows(
    z.object({ name: z.string() }),
    `select concat_ws(' of ', c.oid::regclass, o.oid::regclass) as name from pg_class c
      left join pg_index i on i.indexrelid = c.oid left join pg_class o on o.oid = i.indrelid or o.reltoastrelid = c.oid
      where c.oid = pg_filenode_relation($1, $2)`,
    filenode,
  );
  return found?.name;
}
