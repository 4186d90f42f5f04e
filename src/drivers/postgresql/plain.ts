// PostgreSQL in folders of plain files: how captures look there, and which files the old scripts wrote.

import type { Recognised } from '../../core/driver.ts';
import { Failure } from '../../core/errors.ts';
import type { Bytes, Context, Rendition, Sink } from '../../core/model.ts';
import { start } from '../../core/process.ts';
import { ARCHIVE_SUFFIX, databaseOfPart, databasePart, GLOBALS_PART, SQL_SUFFIX } from './names.ts';
import { cleanContext, commandOf, findProgram, type Program, piped } from './programs.ts';

const WORD = 'postgres';
/** The database of a file that does not name one. */
const UNNAMED = 'postgres';
/** What tells a dump lies within so many bytes of either end. */
const EDGE_BYTES = 4096;
const FIRST_LINE = /^-- PostgreSQL database (cluster )?dump\s*$/m;
const CLUSTER_END = '\n-- PostgreSQL database cluster dump complete';
const LAST_LINES = /\n-- PostgreSQL database (?:cluster )?dump complete\s+--\s*(?:\\unrestrict \w+\s*)?$/;

/** The same sink for a capture of these databases, told of their plain forms. */
export function withPlainForms(sink: Sink, databases: readonly string[], dump: Program): Sink {
  const names = [GLOBALS_PART, ...databases.map((database) => databasePart(database, ARCHIVE_SUFFIX))];
  const forms = renditionsOf(names, String(dump.major), dump.dir);
  return {
    ...sink,
    put: (ctx, name, body, meta = {}) => {
      const rendition = forms.get(name);
      return sink.put(ctx, name, body, rendition ? { ...meta, rendition } : meta);
    },
  };
}

/** Archives as SQL text, as `pg_dump | gzip` would have written it. */
export function renditionsOf(
  names: readonly string[],
  serverVersion: string,
  binDir: string | null = null,
): ReadonlyMap<string, Rendition> {
  const forms = new Map<string, Rendition>();
  const databases = names.flatMap((name) => databaseOfPart(name, ARCHIVE_SUFFIX) ?? []);
  let restorer: Program | undefined; // one for all of them
  const common = { word: WORD, suffix: '.sql', gzip: true } as const;
  for (const name of names) {
    const database = databaseOfPart(name, ARCHIVE_SUFFIX);
    if (name === GLOBALS_PART) {
      // Told by its end: a database may be called globals.
      forms.set(name, { ...common, name, item: null, alone: databases.length === 1, suffix: '-globals.sql' });
    }
    if (database === null) continue;
    forms.set(name, {
      ...common,
      name: databasePart(database, SQL_SUFFIX),
      item: database,
      alone: databases.length === 1,
      async *transform(ctx, body) {
        restorer ??= await restorerOf(ctx, Number.parseInt(serverVersion, 10), binDir);
        yield* asSql(ctx, body, restorer);
      },
    });
  }
  return forms;
}

async function restorerOf(ctx: Context, major: number, binDir: string | null): Promise<Program> {
  return await piped(ctx, await findProgram(ctx, { name: 'pg_restore', major, orNewer: true, binDir }), 'input');
}

async function* asSql(ctx: Context, body: Bytes, restorer: Program): Bytes {
  const command = commandOf(restorer, ['--file=-', '--format=custom']);
  const running = start(cleanContext(ctx), command, { stdin: 'pipe' });
  const fed = running.feed(body);
  fed.catch(() => running.stop()); // awaited below, where it throws
  try {
    yield* running.stdout;
    await fed;
    await running.succeeded();
  } finally {
    await running.stop();
  }
}

/**
 * 'postgres-2024-02-23-020000.sql.gz' and 'postgres_shop_20260128_120000.sql.gz', and the roles beside them. The first
 * does not tell its database: a single one goes into a single one, whatever their names.
 */
export function recogniseFile(fileName: string): Recognised | null {
  const [, stamp, globals] =
    /^postgres[-_](\d{4}-\d{2}-\d{2}-\d{6}|\d{8}_\d{6})(-globals)?\.sql\.gz$/.exec(fileName) ?? [];
  const unnamed = globals ? GLOBALS_PART : databasePart(UNNAMED, SQL_SUFFIX);
  if (stamp !== undefined) return { part: unnamed, stamp, checked: wholeDump };
  const [, database, at] = /^postgres_(.+)_(\d{8}_\d{6})\.sql\.gz$/s.exec(fileName) ?? [];
  if (database === undefined || at === undefined) return null;
  return { part: databasePart(unescaped(database), SQL_SUFFIX), stamp: at, checked: wholeDump };
}

/**
 * `pg_dump | gzip` ends well whatever pg_dump met with. Its own last line tells: text that begins as pg_dump's or
 * pg_dumpall's must end as one of them, for a script may have put the roles before or after its database. Within
 * pg_dumpall's text databases end as well, so that its own end must have come. Other text does not say where it ends.
 */
async function* wholeDump(_ctx: Context, body: Bytes): Bytes {
  let [head, tail, clusterEnded] = [Buffer.alloc(0), Buffer.alloc(0), false];
  for await (const chunk of body) {
    head = Buffer.concat([head, chunk.subarray(0, EDGE_BYTES - head.length)]);
    const read = Buffer.concat([tail, chunk]);
    clusterEnded ||= read.includes(CLUSTER_END);
    tail = read.subarray(-EDGE_BYTES);
    yield chunk;
  }
  if (head.length === 0) throw new Failure('malformed', 'it holds nothing: the dump ended before it began');
  const begun = FIRST_LINE.exec(head.toString('latin1'));
  if (!begun) return;
  const isWhole = LAST_LINES.test(tail.toString('latin1')) && (begun[1] === undefined || clusterEnded);
  if (!isWhole) throw new Failure('malformed', 'it does not end as a dump does: it was cut short when it was made');
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a script's own name, with a '%' that escapes nothing
  }
}
