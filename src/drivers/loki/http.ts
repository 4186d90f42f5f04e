// Requests to a Loki: tried again where that helps, refusals turned into failures that say what to do.

import { request } from 'undici';
import { interruption } from '../../core/context.ts';
import { Failure, isFailure, messageOf, systemCode } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Settings } from './settings.ts';

export const PUSH = '/loki/api/v1/push';
/** The labels of hundreds of thousands of streams. */
const ANSWER_BYTES_MAX = 256 * 1024 * 1024;
const ATTEMPTS = 8;
/** Of connections that broke off: a server that has gone is not waited for long. */
const BROKEN_ATTEMPTS = 4;
const BROKEN = /^(ECONNRESET|EPIPE|UND_ERR_SOCKET)$/;
const PAUSE_MS = 250;
const PAUSE_MS_MAX = 10_000;

export interface Ask {
  /** A list is a name that comes several times. */
  readonly query?: Readonly<Record<string, string | readonly string[]>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** Makes it a POST. */
  readonly body?: string;
  /** Overloaded, restarting: once is enough for a probe. */
  readonly attempts?: number;
  /** Of an answer that to try again would not change, though its status looks so. */
  readonly isFinal?: (answer: Answer) => boolean;
  /** More than this is 'value-too-large'. */
  readonly bytesMax?: number;
}
export interface Answer {
  readonly status: number;
  readonly text: string;
  /** When it answered, by its own clock. */
  readonly date: string | null;
}

export function whereOf({ url }: Settings): string {
  return `loki at ${url}`;
}

/** Any answer that is not one to try again on. All that is asked for may come twice. */
export async function ask(ctx: Context, settings: Settings, path: string, asking: Ask = {}): Promise<Answer> {
  const attempts = asking.attempts ?? ATTEMPTS;
  for (let attempt = 1; ; attempt++) {
    const answer = await askOnce(ctx, settings, path, asking).catch((error: unknown) => {
      if (attempt >= Math.min(attempts, BROKEN_ATTEMPTS) || !brokeOff(error)) throw error;
      return null;
    });
    if (answer !== null && (attempt >= attempts || isLast(answer, asking))) return answer;
    await ctx.sleep(Math.min(PAUSE_MS_MAX, PAUSE_MS * 2 ** attempt) * (0.5 + Math.random() / 2));
  }
}

function isLast(answer: Answer, { isFinal }: Ask): boolean {
  return (answer.status !== 429 && answer.status < 500) || isTooMuch(answer) || (isFinal?.(answer) ?? false);
}

/** The parts of a server hand so much to one another and no more; or it gives no more lines at once. */
function isTooMuch({ status, text }: Answer): boolean {
  if (status === 413) return true;
  return status >= 400 && /message larger than max|max entries limit per query exceeded/.test(text);
}

function brokeOff(error: unknown): boolean {
  if (isFailure(error, 'timeout')) return true; // it may be stuck in this request only
  return isFailure(error, 'unreachable') && BROKEN.test(systemCode(error.cause));
}

/** The JSON of a good answer. */
export async function askJson(ctx: Context, settings: Settings, path: string, asking: Ask = {}): Promise<unknown> {
  const answer = await ask(ctx, settings, path, asking);
  if (answer.status !== 200) throw refusal(settings, path, answer);
  try {
    return JSON.parse(answer.text);
  } catch (cause) {
    throw new Failure('unreachable', `${whereOf(settings)}: what answers there is no Loki`, { cause, hint: HINT });
  }
}
const HINT = 'see that it runs, and that the component names its url';
/** What to do about values that are larger than a server hands on. */
export const MESSAGE_HINT = 'raise grpc_server_max_send_msg_size and grpc_server_max_recv_msg_size of that Loki';

async function askOnce(ctx: Context, settings: Settings, path: string, asking: Ask): Promise<Answer> {
  if (ctx.signal.aborted) throw interruption(ctx.signal);
  const { query = {}, headers = {}, body, bytesMax = ANSWER_BYTES_MAX } = asking;
  const pairs = Object.entries(query).flatMap(([name, each]) =>
    [each].flat().map((one) => [name, one] as [string, string]),
  );
  const search = new URLSearchParams(pairs).toString();
  try {
    const response = await request(`${settings.url}${path}${search === '' ? '' : `?${search}`}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        'cache-control': 'no-cache', // what came late into an old day would be missing
        ...settings.headers,
        ...headers,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body }),
      signal: ctx.signal,
      headersTimeout: settings.timeoutMs,
      bodyTimeout: settings.timeoutMs,
    });
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of response.body) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > bytesMax) throw tooLarge(settings, path, bytesMax);
    }
    const { date } = response.headers;
    const { statusCode: status } = response;
    const whole = Buffer.concat(chunks, bytes).toString('utf8');
    const text = status < 400 ? whole : withoutLogin(whole, settings);
    return { status, text, date: typeof date === 'string' ? date : null };
  } catch (cause) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    if (cause instanceof Failure) throw cause;
    const code = systemCode(cause);
    if (/TIMEOUT/.test(code) && code !== 'UND_ERR_CONNECT_TIMEOUT') {
      throw new Failure('timeout', `${whereOf(settings)}: no answer in ${settings.timeoutMs} ms`, { cause });
    }
    const why = code === '' ? messageOf(cause) : code;
    throw new Failure('unreachable', `${whereOf(settings)}: no connection (${why})`, { cause, hint: HINT });
  }
}

/** A gateway may quote whom it does not let in, and what it says goes into messages, manifests and evidence. */
function withoutLogin(text: string, { headers }: Settings): string {
  const [scheme, login = ''] = (headers.authorization ?? '').split(' ');
  const password =
    scheme === 'Basic'
      ? Buffer.from(login, 'base64')
          .toString()
          .replace(/^[^:]*:/, '')
      : '';
  return [login, password].filter((each) => each !== '').reduce((said, each) => said.replaceAll(each, '…'), text);
}

function tooLarge(settings: Settings, path: string, bytesMax: number): Failure {
  return new Failure('value-too-large', `${whereOf(settings)} answers ${path} with more than ${bytesMax} bytes`);
}

export function refusal(settings: Settings, path: string, answer: Answer): Failure {
  const { status, text } = answer;
  const what = `${whereOf(settings)} refuses ${path} (${status}): ${text.trim().slice(0, 300)}`;
  if (isTooMuch(answer)) return new Failure('value-too-large', what, { hint: MESSAGE_HINT });
  if (status === 401 && /no org id/.test(text)) {
    return new Failure('wrong-password', what, { hint: 'tenants are told apart there: set tenant of the component' });
  }
  if (status === 401) return new Failure('wrong-password', what, { hint: 'see username, password or token' });
  if (status === 403) return new Failure('privileges', what, { hint: 'let the user read, and for restores push' });
  if (status === 429 || status >= 500) return new Failure('unreachable', what, { hint: HINT });
  return new Failure('query-failed', what);
}
