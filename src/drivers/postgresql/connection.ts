// Sessions with a server, for queries and rows to be copied. Other bulk data goes through PostgreSQL's own programs.

import { readFile } from 'node:fs/promises';
import { getDefaultHighWaterMark } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Client, ClientConfig, QueryResult } from 'pg';
import { z } from 'zod';
import { interruption } from '../../core/context.ts';
import { Failure, isFailure, messageOf, systemCode } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';
import { passwordFor } from './passfile.ts';
import type { Server } from './settings.ts';

const CONNECT_MS_MAX = 15_000;
/** What a socket holds before it lets us wait. */
const SOCKET_BYTES = getDefaultHighWaterMark(false);

export interface Session extends AsyncDisposable {
  readonly database: string;
  readonly pid: number;
  /** The major of the server: 16. */
  readonly major: number;
  /** Rows, each parsed by `schema`. */
  rows<S extends z.ZodType>(schema: S, text: string, values?: readonly unknown[]): Promise<z.output<S>[]>;
  /** The only row. */
  row<S extends z.ZodType>(schema: S, text: string, values?: readonly unknown[]): Promise<z.output<S>>;
  /** Values as the server writes them, NULL as null. */
  texts(text: string, values?: readonly unknown[]): Promise<(string | null)[][]>;
  /** The same, with the names of their columns. */
  table(text: string): Promise<{ readonly columns: string[]; readonly rows: (string | null)[][] }>;
  /** One or more statements without parameters. */
  run(text: string): Promise<void>;
  /** `COPY … FROM stdin` of these bytes. What they fail with is thrown as it is. */
  copy(text: string, rows: Bytes): Promise<void>;
}

/** Nothing that a server, role or database is set to may change how values are written or who sees which rows. */
const FIXED = {
  statement_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
  client_encoding: 'UTF8',
  timezone: 'UTC',
  datestyle: 'ISO, YMD',
  intervalstyle: 'postgres',
  extra_float_digits: '1',
  bytea_output: 'hex',
  xmlbinary: 'base64',
  lc_monetary: 'C',
  lc_numeric: 'C',
  search_path: 'pg_catalog',
  row_security: 'off',
  standard_conforming_strings: 'on',
  quote_all_identifiers: 'off',
  // What we take of the server is bounded by our sessions, not multiplied behind them.
  max_parallel_workers_per_gather: '0',
  jit: 'off',
} as const;

/** Opens a session. Aborting the context cancels what it is doing and ends it. */
export async function connect(ctx: Context, server: Server, database: string): Promise<Session> {
  ctx.signal.throwIfAborted();
  const refused = (error: unknown): Failure => connectFailure(error, place(server, database), server);
  const { client, config } = await connected(server, await clientConfig(ctx, server, database), refused);
  let pid = 0;
  const onAbort = (): void => void cancel(config, client, pid);
  ctx.signal.addEventListener('abort', onAbort, { once: true });
  const forget = (): void => ctx.signal.removeEventListener('abort', onAbort);
  try {
    // Functions by their full names alone: until the search path is ours, the owner of the database may have made the
    // operators and types that are found.
    const { rows } = await client.query(
      "select pg_catalog.pg_backend_pid() as pid, pg_catalog.current_setting('server_version_num') as version",
    );
    const said = z.object({ pid: z.number(), version: z.string() }).parse(rows[0]);
    const facts = { pid: said.pid, major: Math.floor(Number(said.version) / 10_000) };
    pid = facts.pid;
    const wanted = Object.entries({ ...FIXED, lock_timeout: String(server.lockTimeoutMs) });
    const later = facts.major >= 17 ? ['set transaction_timeout = 0'] : [];
    await client.query([...wanted.map(([name, value]) => `set ${name} = '${value}'`), ...later].join(';'));
    return sessionOf(ctx, { client, database, ...facts }, place(server, database), forget);
  } catch (error) {
    forget();
    await client.end();
    throw ctx.signal.aborted ? interruption(ctx.signal) : failureOf(error, place(server, database));
  }
}

interface Facts {
  readonly client: Client;
  readonly database: string;
  readonly pid: number;
  readonly major: number;
}

const textRows = z.array(z.array(z.string().nullable()));

function sessionOf(ctx: Context, facts: Facts, where: string, forget: () => void): Session {
  const { client, ...told } = facts;
  const query = async (config: { text: string; values?: unknown[]; raw?: boolean }): Promise<QueryResult> => {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    try {
      const { text, values = [], raw = false } = config;
      const asArrays = raw ? { rowMode: 'array', types: { getTypeParser: () => String } } : {};
      // The extended protocol: one statement, never two, whatever stands in the text.
      const wanted = { text, values, queryMode: 'extended', ...asArrays };
      return await client.query(wanted);
    } catch (error) {
      if (ctx.signal.aborted) throw interruption(ctx.signal);
      throw failureOf(error, where);
    }
  };
  const session: Session = {
    ...told,
    rows: async (schema, text, values = []) => {
      const { rows } = await query({ text, values: [...values] });
      return rows.map((row) => schema.parse(row));
    },
    async row(schema, text, values) {
      const [row, ...more] = await session.rows(schema, text, values);
      if (row === undefined || more.length > 0) throw new Error(`one row expected from ${text}`);
      return row;
    },
    texts: async (text, values = []) => {
      const { rows } = await query({ text, values: [...values], raw: true });
      return textRows.parse(rows);
    },
    table: async (text) => {
      const { fields, rows } = await query({ text, raw: true });
      return { columns: fields.map(({ name }) => name), rows: textRows.parse(rows) };
    },
    run: async (text) => {
      try {
        if (ctx.signal.aborted) throw interruption(ctx.signal);
        await client.query(text);
      } catch (error) {
        if (ctx.signal.aborted) throw interruption(ctx.signal);
        throw failureOf(error, where);
      }
    },
    copy: async (text, rows) => await copyInto(ctx, client, { text, rows, where }),
    async [Symbol.asyncDispose]() {
      forget();
      await client.end();
    },
  };
  return session;
}

/** A statement that takes bytes. What they fail with is thrown as it is. */
export async function copyInto(
  ctx: Context,
  client: Client,
  { text, rows, where }: { readonly text: string; readonly rows: Bytes; readonly where: string },
): Promise<void> {
  const { from } = await import('pg-copy-streams');
  let failed: { readonly error: unknown } | undefined;
  try {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    const reading = lasting(rows, (error) => (failed = { error }));
    await pipeline(reading, client.query(from(text)));
  } catch (error) {
    if (failed) throw failed.error;
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    throw failureOf(error, where);
  }
}

/**
 * Chunks are borrowed, and a socket says that it took a small one while it still holds it; for a large one it lets us
 * wait until it has written all.
 */
async function* lasting(body: Bytes, onError: (error: unknown) => void): Bytes {
  try {
    for await (const chunk of body) yield chunk.length <= SOCKET_BYTES ? Buffer.from(chunk) : chunk;
  } catch (error) {
    onError(error);
    throw error;
  }
}

interface Connected {
  readonly client: Client;
  /** What it was connected with: encryption may have been given up. */
  readonly config: ClientConfig;
}

/** `refused` says what a refusal means. */
export async function connected(
  server: Server,
  config: ClientConfig,
  refused: (error: unknown) => Failure,
): Promise<Connected> {
  const { default: pg } = await import('pg');
  const attempt = async (ssl: ClientConfig['ssl']): Promise<Connected> => {
    const tried = { ...config, ssl: ssl ?? false };
    const client = new pg.Client(tried);
    client.on('error', () => undefined); // the query that is running, or the next one, is told
    try {
      await client.connect();
      return { client, config: tried };
    } catch (error) {
      await client.end().catch(() => undefined); // it never was connected
      throw error;
    }
  };
  try {
    return await attempt(config.ssl);
  } catch (error) {
    const mayPlain = server.tls.mode === 'prefer' && messageOf(error).includes('does not support SSL');
    if (!mayPlain) throw refused(error);
  }
  try {
    return await attempt(false);
  } catch (error) {
    throw refused(error);
  }
}

export async function clientConfig(ctx: Context, server: Server, database: string): Promise<ClientConfig> {
  const password = await passwordFor(ctx, server, database);
  return {
    host: server.host,
    port: server.port,
    user: server.user,
    database,
    // A function, because the library asks the environment when it is given none.
    password: () => password ?? '',
    options: ' ',
    ssl: await tlsOptions(server),
    client_encoding: 'UTF8',
    application_name: 'lifeboat',
    connectionTimeoutMillis: CONNECT_MS_MAX,
    keepAlive: true,
  };
}

async function tlsOptions({ tls, host }: Server): Promise<ClientConfig['ssl']> {
  if (tls.mode === 'disable' || host.startsWith('/')) return false;
  const file = async (path: string | null): Promise<Buffer | undefined> => {
    if (path === null) return undefined;
    try {
      return await readFile(path);
    } catch (cause) {
      throw new Failure('settings-invalid', `postgresql: ${path} can not be read (${systemCode(cause)})`, { cause });
    }
  };
  const [ca, cert, key] = await Promise.all([file(tls.ca), file(tls.cert), file(tls.key)]);
  const verified = tls.mode === 'verify-ca' || tls.mode === 'verify-full';
  return {
    rejectUnauthorized: verified,
    ...(ca ? { ca } : {}),
    ...(cert ? { cert } : {}),
    ...(key ? { key } : {}),
    ...(tls.mode === 'verify-ca' ? { checkServerIdentity: () => undefined } : {}),
  };
}

/** Ends what a session is doing: a backend does not notice by itself that its client has gone. */
async function cancel(config: ClientConfig, client: Client, pid: number): Promise<void> {
  const { default: pg } = await import('pg');
  const other = new pg.Client(config);
  other.on('error', () => undefined);
  try {
    await other.connect();
    await other.query('select pg_catalog.pg_cancel_backend($1)', [pid]);
  } catch {
    // The server is gone or full: then the socket's end has to do.
  } finally {
    await other.end().catch(() => undefined); // nothing more can be done about it
    await client.end().catch(() => undefined);
  }
}

export function place(server: Server, database: string): string {
  return `postgresql at ${server.host}:${server.port}, database ${database}`;
}

/** The server's SQLSTATE, '' when it is none of its errors. */
export function sqlState(error: unknown): string {
  const cause = isFailure(error) ? error.cause : error;
  return /^(?=.*\d)[0-9A-Z]{5}$/.test(systemCode(cause)) ? systemCode(cause) : ''; // not EPIPE
}

export function connectFailure(error: unknown, where: string, server: Server): Failure {
  const state = sqlState(error);
  const said = messageOf(error);
  const failure = (code: Failure['code'], hint?: string): Failure =>
    new Failure(code, `${where}: ${said}`, { cause: error, hint });
  if (state === '28P01') return failure('wrong-password', 'see user and password of the component');
  if (state === '28000') return failure('denied', `let ${server.user} in by pg_hba.conf`);
  if (state === '3D000') return failure('settings-invalid', 'name a database that is there');
  if (state === '42501') return failure('privileges', `grant ${server.user} CONNECT on the database`);
  if (state === '53300') return failure('unreachable', 'take fewer jobs, or allow more connections');
  // The server is there, and it is this database that does not open.
  if (state !== '' && !/^(53|57|08)/.test(state)) return failure('query-failed');
  const hint = state === '' ? 'see that it runs, and that the component names its host and port' : undefined;
  return new Failure('unreachable', `${where}: ${said || systemCode(error) || 'no answer'}`, { cause: error, hint });
}

const CODE_OF_STATE: Readonly<Record<string, Failure['code']>> = {
  '42501': 'privileges',
  '55P03': 'blocked',
  '57014': 'timeout',
  '53100': 'no-space',
  '53300': 'unreachable',
  '57P01': 'unreachable',
  '57P02': 'unreachable',
  '57P03': 'unreachable',
  '55006': 'blocked',
  '42P04': 'exists',
};

export function failureOf(error: unknown, where: string): Failure {
  const state = sqlState(error);
  const code = state === '' ? 'unreachable' : (CODE_OF_STATE[state] ?? 'query-failed');
  const told = z.object({ hint: z.string().optional(), where: z.string().optional() }).safeParse(error).data;
  // Of the row itself, no more than the message says.
  const [line] = /^COPY .+?, line \d+/m.exec(told?.where ?? '') ?? [];
  const said = line === undefined ? messageOf(error) : `${line}: ${messageOf(error)}`;
  return new Failure(code, `${where}: ${said}`, { cause: error, hint: told?.hint });
}
