// One S3 server: signed requests, tried again where that may help.

import { hash } from 'node:crypto';
import { releaseLarge } from '../../core/bytes.ts';
import { interruption } from '../../core/context.ts';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { gate } from '../../core/parallel.ts';
import { signers } from './credentials.ts';
import { broken, isPassing, refused, statusOf, wordOf } from './failures.ts';
import { type HttpAnswer, openHttp } from './http.ts';
import type { Settings } from './settings.ts';
import { EMPTY_SHA256 } from './sigv4.ts';
import { pathEncoded, percentEncoded } from './text.ts';
import { type Element, parseXml } from './xml.ts';

const PATIENCE_MS = 15 * 60_000;
const DELAY_MIN_MS = 200;
const DELAY_MAX_MS = 30_000;
/** Whoever waits for longer is told why, once. */
const TOLD_AFTER_MS = 5_000;
const told = new WeakSet<Settings>();
/** A server that says 500 again and again means this request, not its own state: that would be 503. */
const ATTEMPTS_AT_500 = 6;
/** Of an answer that is no object: a listing of a thousand keys of 1024 bytes, all of them encoded, has 4 MiB. */
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;

export interface Request {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  readonly bucket?: string;
  readonly key?: string;
  readonly query?: Readonly<Record<string, string>>;
  /** Names in lower case; values one character per byte. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Of the body, in hex, where it is known. */
  readonly sha256?: string;
  readonly bytesMax?: number;
  /** Asked before a request is repeated whose answer was lost: it may have been done. Null: it was not. */
  readonly done?: () => Promise<HttpAnswer | null>;
}
export interface Client extends AsyncDisposable {
  /** For messages; without secrets. */
  readonly where: string;
  readonly settings: Settings;
  readonly region: string;
  /** What the server calls itself; '' before it answered. */
  server(): string;
  /** Its clock minus ours; null before it answered. */
  clockSkewMs(): number | null;
  /** 'what' begins the message of a failure: 'reading photos/a.jpg'. */
  send(ctx: Context, what: string, request: Request): Promise<HttpAnswer>;
}

export function openClient(ctx: Context, settings: Settings): Client {
  const region = settings.region ?? (ctx.env.AWS_REGION || ctx.env.AWS_DEFAULT_REGION || 'us-east-1');
  const http = openHttp(settings);
  const requests = gate(settings.connections);
  const signerAt = signers(ctx, settings, region);
  const base = settings.endpoint ?? `https://s3.${region}.amazonaws.com`;
  const placeOf = placesAt(base, settings.pathStyle);
  let server = '';
  let date = '';
  let skewMs: number | null = null;
  /** It has answered as S3 does. */
  let spoken = false;
  /** Signatures are made with the server's clock once ours was refused. */
  let correctedMs = 0;

  async function once(within: Context, what: string, request: Request): Promise<HttpAnswer> {
    const { method, headers = {}, body, bytesMax = ANSWER_BYTES_MAX } = request;
    const { origin, host, path } = placeOf(request);
    const query = queryOf(request.query ?? {});
    const sha256 = request.sha256 ?? (body ? hash('sha256', body, 'hex') : EMPTY_SHA256);
    const answer = await requests.run(async () => {
      if (within.signal.aborted) throw interruption(within.signal);
      const at = new Date(within.now().getTime() + correctedMs);
      const ready = signerAt(within.now().getTime());
      const sign = ready instanceof Promise ? await ready : ready;
      const signed = sign({ method, path, query, headers: { ...headers, host }, sha256 }, at);
      const target = query === '' ? path : `${path}?${query}`;
      try {
        return await http.send({
          origin,
          method,
          path: target,
          headers: signed,
          body,
          signal: within.signal,
          bytesMax,
        });
      } catch (error) {
        if (within.signal.aborted) throw interruption(within.signal);
        throw broken(`${what} at ${settings.endpoint ?? base}`, error);
      }
    });
    hear(within, answer.headers);
    if (answer.status >= 200 && answer.status < 300) {
      spoken = true;
      return answer;
    }
    const failure = refused(`${what} at ${base}`, answer.status, Buffer.concat(answer.chunks), method === 'HEAD');
    if (wordOf(failure) !== '') spoken = true;
    if (failure.code === 'clock-skew') correctedMs = skewMs ?? 0;
    throw failure;
  }
  function hear(within: Context, headers: HttpAnswer['headers']): void {
    server ||= headers.server ?? '';
    if (headers.date === undefined || headers.date === date) return; // once in a second is enough
    date = headers.date;
    const at = Date.parse(date);
    if (!Number.isNaN(at)) skewMs = at - within.now().getTime();
  }
  /** What never gave an answer, or never one of S3, is rather misspelt than overloaded. */
  const known = (error: Failure): boolean => (statusOf(error) === 404 ? spoken : skewMs !== null || server !== '');
  return {
    where: base,
    settings,
    region,
    server: () => server,
    clockSkewMs: () => skewMs,
    async send(within, what, request) {
      const wait = patience(within, settings, known);
      for (;;) {
        try {
          return await once(within, what, request);
        } catch (error) {
          await wait(error);
        }
        const done = await request.done?.();
        if (done) return done;
      }
    },
    [Symbol.asyncDispose]: () => http.close(),
  };
}

/** Of an answer that is XML. An error that comes with status 200 is one all the same. */
export function xmlOf(what: string, { chunks, status }: HttpAnswer, name: string): Element {
  const body = Buffer.concat(chunks);
  let root: Element;
  try {
    root = parseXml(body.toString('utf8'));
  } catch (cause) {
    throw new Failure('unreachable', `${what}: the answer was none of S3`, { cause });
  }
  if (root.name === 'Error') throw refused(what, status, body);
  releaseLarge(body);
  if (root.name === name) return root;
  throw new Failure('unreachable', `${what}: the answer was ${root.name}, not ${name}`);
}

/** As `send` of a client, for answers that are XML: what a 200 says is judged before it counts, and tried again. */
export async function askXml(
  ctx: Context,
  client: Client,
  what: string,
  request: Request,
  name: string,
): Promise<Element> {
  const wait = patience(ctx, client.settings, () => true);
  for (;;) {
    const answer = await client.send(ctx, what, request);
    try {
      return xmlOf(what, answer, name);
    } catch (error) {
      await wait(error);
    }
    const done = await request.done?.();
    if (done) return xmlOf(what, done, name);
  }
}

/** Sleeps after a failure that may pass, longer each time; throws any other, and the last one. */
function patience(
  ctx: Context,
  settings: Settings,
  known: (error: Failure) => boolean,
): (error: unknown) => Promise<void> {
  let delayMs = DELAY_MIN_MS;
  let begunMs: number | undefined;
  let attempts = 0;
  return async (error) => {
    if (!isPassing(error) || ctx.signal.aborted || !known(error)) throw error;
    begunMs ??= ctx.monotonicMs();
    const leftMs = PATIENCE_MS - (ctx.monotonicMs() - begunMs);
    attempts += 1;
    if (leftMs <= 0 || (statusOf(error) === 500 && attempts >= ATTEMPTS_AT_500)) throw error;
    const isLong = PATIENCE_MS - leftMs >= TOLD_AFTER_MS && !told.has(settings);
    if (isLong) told.add(settings);
    const fields = { reason: error.message, code: error.code, minutes_left: Math.ceil(leftMs / 60_000) };
    ctx.log[isLong ? 'warn' : 'debug']('S3 failed, will try again', fields);
    await ctx.sleep(Math.min(leftMs, delayMs * (0.5 + Math.random())));
    delayMs = Math.min(DELAY_MAX_MS, delayMs * 2);
  };
}

interface RequestPlace {
  readonly origin: string;
  readonly host: string;
  readonly path: string;
}

function placesAt(base: string, pathStyle: boolean): (request: Request) => RequestPlace {
  const { protocol, host } = new URL(base);
  const origin = `${protocol}//${host}`;
  return ({ bucket, key }) => {
    const encoded = key === undefined ? '' : pathEncoded(key);
    if (bucket === undefined) return { origin, host, path: '/' };
    // A certificate for *.host holds for no name with another dot in it.
    if (pathStyle || (protocol === 'https:' && bucket.includes('.'))) {
      return { origin, host, path: key === undefined ? `/${bucket}` : `/${bucket}/${encoded}` };
    }
    return { origin: `${protocol}//${bucket}.${host}`, host: `${bucket}.${host}`, path: `/${encoded}` };
  };
}

function queryOf(query: Readonly<Record<string, string>>): string {
  const names = Object.keys(query);
  if (names.length === 0) return '';
  return names
    .sort()
    .map((name) => `${percentEncoded(name)}=${percentEncoded(query[name] ?? '')}`)
    .join('&');
}
