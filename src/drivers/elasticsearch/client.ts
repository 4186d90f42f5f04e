// HTTP to a cluster: answers are read whole and bounded, what may pass by itself is tried again, and a refusal becomes
// a failure that says what was asked of whom.

import { Pool } from 'undici';
import type { z } from 'zod';
import { type ReusedMemory, reusedMemory } from '../../core/bytes.ts';
import { interruption } from '../../core/context.ts';
import { type ErrorCode, Failure, messageOf, systemCode } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { exchange } from './exchange.ts';
import { loginOf, type Settings, secretsOf, tlsOptions } from './settings.ts';

const CONNECTIONS_MAX = 16;
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
/** What is overloaded gets time; a server that was there and is gone gets less. */
const BUSY_MS_MAX = 15 * 60_000;
const GONE_MS_MAX = 20_000;
const FIRST_WAIT_MS = 200;
const WAIT_MS_MAX = 30_000;
/** No shard was even asked: a node has gone, or the index is red. */
const WITHOUT_SHARDS = /: all shards failed$/;
const LATE: readonly string[] = ['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT'];
const BUSY: readonly number[] = [408, 429, 502, 503, 504];

export interface Request {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'HEAD';
  /** Beginning with '/', encoded; with its query. */
  readonly path: string;
  /** JSON; lines of JSON where it is bytes. */
  readonly body?: string | Uint8Array;
  readonly bytesMax?: number;
  /** What the answer is received into. */
  readonly memory?: ReusedMemory;
  /** Asked once: who asks knows what to do when there is no answer. */
  readonly once?: boolean;
}
export interface Reply {
  readonly status: number;
  readonly body: Buffer;
  /** It was asked more than once: what was asked for may have been done before. */
  readonly again: boolean;
}
export interface Client extends AsyncDisposable {
  /** For messages. */
  readonly where: string;
  /** Any status but those of a server that is too busy. */
  send(ctx: Context, request: Request): Promise<Reply>;
  /** A status of success, or a failure that says that `what` was refused. */
  ask<S extends z.ZodType>(ctx: Context, what: string, request: Request, schema: S): Promise<z.output<S>>;
  /** As `ask`; null when the server says that there is no such thing. */
  find<S extends z.ZodType>(ctx: Context, what: string, request: Request, schema: S): Promise<z.output<S> | null>;
  refusal(what: string, reply: Reply): Failure;
}

export function connect(settings: Settings): Client {
  const { url, timeoutMs } = settings;
  const where = `elasticsearch at ${url.host}`;
  const pool = new Pool(url.origin, {
    connections: CONNECTIONS_MAX,
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    connect: { timeout: Math.min(timeoutMs, 10_000), ...tlsOptions(settings) },
  });
  const prefix = url.pathname.replace(/\/$/, '');
  const authorization = authorizationOf(settings);
  const secrets = secretsOf(settings);
  const refusal = (what: string, reply: Reply): Failure => refusalOf(where, secrets, what, reply);
  let reached = false;

  async function once(ctx: Context, request: Request): Promise<Reply> {
    const { method, path, body, bytesMax = ANSWER_BYTES_MAX, memory = reusedMemory(bytesMax) } = request;
    const type = typeof body === 'string' ? 'application/json' : 'application/x-ndjson';
    const headers = { ...authorization, ...(body === undefined ? {} : { 'content-type': type }) };
    const answer = await exchange(pool, {
      options: { method, path: prefix + path, headers, body: body ?? null },
      signal: ctx.signal,
      memory,
      bytesMax,
      tooLarge: () => new Failure('value-too-large', `${where}: an answer of more than ${bytesMax} bytes`),
    });
    reached = true;
    return { ...answer, again: false };
  }

  async function send(ctx: Context, request: Request): Promise<Reply> {
    let waitedMs = 0;
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(waitMs * 2, WAIT_MS_MAX)) {
      let trouble: Failure;
      let maxMs = BUSY_MS_MAX;
      try {
        const reply = await once(ctx, request);
        if (!BUSY.includes(reply.status)) return { ...reply, again: waitedMs > 0 };
        trouble = refusal(`${request.method} ${request.path.replace(/\?.*/, '')}`, reply);
        if (WITHOUT_SHARDS.test(trouble.message)) maxMs = GONE_MS_MAX;
      } catch (error) {
        if (ctx.signal.aborted) throw interruption(ctx.signal);
        if (error instanceof Failure) throw error;
        trouble = connectionFailure(where, error, timeoutMs);
        maxMs = reached && trouble.code === 'unreachable' ? GONE_MS_MAX : 0;
      }
      const pauseMs = waitMs * (0.5 + Math.random() / 2);
      waitedMs += pauseMs;
      if (request.once || waitedMs > maxMs) throw trouble;
      ctx.log.debug('the server is asked again', { reason: trouble.message });
      await ctx.sleep(pauseMs);
    }
  }

  async function find<S extends z.ZodType>(
    ctx: Context,
    what: string,
    request: Request,
    schema: S,
  ): Promise<z.output<S> | null> {
    const reply = await send(ctx, request);
    if (reply.status === 404) return null;
    if (reply.status >= 300) throw refusal(what, reply);
    return parsed(schema, reply.body, `${where}: the answer to ${what}`);
  }

  return {
    where,
    send,
    refusal,
    find,
    async ask(ctx, what, request, schema) {
      const found = await find(ctx, what, request, schema);
      if (found === null) throw new Failure('missing', `${where}: ${what}: there is no such thing`);
      return found;
    },
    async [Symbol.asyncDispose]() {
      await pool.destroy();
    },
  };
}

function refusalOf(where: string, secrets: readonly string[], what: string, { status, body }: Reply): Failure {
  const said = reasonOf(body, (text) => secrets.reduce((left, secret) => left.replaceAll(secret, '…'), text));
  const message = `${where}: ${what} was refused: ${said === '' ? `status ${status}` : said}`;
  return new Failure(codeOf(status), message, { hint: hintOf(status, said) });
}

export function parsed<S extends z.ZodType>(schema: S, body: Uint8Array, what: string): z.output<S> {
  try {
    return schema.parse(JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.length).toString('utf8')));
  } catch (cause) {
    throw new Failure('malformed', `${what} is not what was expected`, { cause });
  }
}

/** Of an answer that can be done without: undefined when it is no JSON. */
export function jsonOf(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}

function authorizationOf(settings: Settings): Record<string, string> {
  const { api_key } = settings;
  if (api_key !== undefined) return { authorization: `ApiKey ${api_key}` };
  const login = loginOf(settings);
  return login === undefined ? {} : { authorization: `Basic ${login}` };
}

function connectionFailure(where: string, error: unknown, timeoutMs: number): Failure {
  const code = systemCode(error);
  if (LATE.includes(code)) return new Failure('timeout', `${where} said nothing for ${timeoutMs} ms`, { cause: error });
  const why = code === 'ECONNREFUSED' ? 'nobody listens there' : messageOf(error) || code;
  return new Failure('unreachable', `${where} gives no answer: ${why}`, {
    cause: error,
    hint: 'see that it runs and can be reached from here',
  });
}

/** {"error":{"type":…,"reason":…,"root_cause":[…]}}, {"error":"…"}, or what a proxy says; `clean` before it is cut. */
function reasonOf(body: Buffer, clean: (text: string) => string): string {
  const text = body.toString('utf8').slice(0, 100_000);
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    return clean(typeof error === 'string' ? error : deepest(error)).slice(0, 500);
  } catch {
    return clean(text)
      .replace(/<[^>]*>|\s+/g, ' ')
      .trim()
      .slice(0, 200);
  }
}

function deepest(error: unknown, depth = 0): string {
  if (typeof error !== 'object' || error === null) return '';
  const { reason, root_cause: causes, caused_by: cause } = error as Record<string, unknown>;
  const inner = depth < 8 ? deepest(cause, depth + 1) : '';
  const root = depth < 8 && Array.isArray(causes) ? deepest(causes[0], depth + 1) : '';
  const own = typeof reason === 'string' ? reason : '';
  const [first = '', ...more] = new Set([own, inner, root].filter((each) => each !== ''));
  return [first, ...more.filter((each) => !first.includes(each))].join(': ');
}

function codeOf(status: number): ErrorCode {
  if (status === 401) return 'wrong-password';
  if (status === 403) return 'privileges';
  if (status === 404) return 'missing';
  if (status === 413) return 'value-too-large';
  return BUSY.includes(status) ? 'unreachable' : 'denied';
}

function hintOf(status: number, said: string): string | undefined {
  if (status === 401) return 'look at username and password, or api_key, of the component';
  if (status === 403 && /read.only/i.test(said)) return 'the cluster blocks writes: is its disk full';
  if (status === 403) return 'docs/drivers/elasticsearch.md lists the rights that the user needs';
  return undefined;
}
