// Requests whose answers fit into memory, over connections that stay open. A handler of our own instead of streams:
// with objects of a few KiB, what is done for each request is all that there is.

import { readFileSync } from 'node:fs';
import { rootCertificates } from 'node:tls';
import { Agent, type Dispatcher } from 'undici';
import { Failure, messageOf } from '../../core/errors.ts';

const CONNECT_MS = 10_000;
const IDLE_MS = 30_000;

export interface HttpRequest {
  readonly origin: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | undefined;
  readonly signal: AbortSignal;
  /** More is no answer to it. */
  readonly bytesMax: number;
}
export interface HttpAnswer {
  readonly status: number;
  /** Names in lower case; values one character per byte. */
  readonly headers: Readonly<Record<string, string>>;
  readonly chunks: readonly Buffer[];
  readonly bytes: number;
}
export interface Http {
  send(request: HttpRequest): Promise<HttpAnswer>;
  close(): Promise<void>;
}
export interface HttpOptions {
  readonly connections: number;
  /** How long nothing may come. */
  readonly timeoutMs: number;
  readonly caFile: string | null;
}

export function openHttp({ connections, timeoutMs, caFile }: HttpOptions): Http {
  const stops = stopping();
  const agent = new Agent({
    connections,
    keepAliveTimeout: IDLE_MS,
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    connect: { timeout: CONNECT_MS, ...(caFile === null ? {} : { ca: authorities(caFile) }) },
  });
  return {
    send: (request) => new Promise((resolve, reject) => dispatch(agent, stops, request, resolve, reject)),
    close: () => agent.close(),
  };
}

/** What is to be stopped with a signal, which hears of one listener however many requests there are. */
type Stops = (signal: AbortSignal) => Set<() => void>;

function stopping(): Stops {
  const known = new WeakMap<AbortSignal, Set<() => void>>();
  return (signal) => {
    const found = known.get(signal);
    if (found) return found;
    const stops = new Set<() => void>();
    known.set(signal, stops);
    signal.addEventListener('abort', () => {
      for (const stop of [...stops]) stop();
    });
    return stops;
  };
}

function dispatch(
  agent: Agent,
  stopsOf: Stops,
  { origin, method, path, headers, body, signal, bytesMax }: HttpRequest,
  resolve: (answer: HttpAnswer) => void,
  reject: (error: unknown) => void,
): void {
  let controller: Dispatcher.DispatchController | undefined;
  const abort = (): void => {
    controller?.abort(new Error('stopped'));
    reject(signal.reason);
  };
  if (signal.aborted) {
    abort();
    return;
  }
  const stops = stopsOf(signal);
  stops.add(abort);
  const chunks: Buffer[] = [];
  let status = 0;
  let answered: Readonly<Record<string, string>> = {};
  let bytes = 0;
  agent.dispatch(
    { origin, method, path, headers, body: body ?? null },
    {
      onRequestStart(given) {
        controller = given;
        if (signal.aborted) abort();
      },
      onResponseStart(_controller, code, said) {
        status = code;
        answered = said as Readonly<Record<string, string>>;
      },
      onResponseData(given, chunk) {
        bytes += chunk.length;
        if (bytes > bytesMax) given.abort(new RangeError(`an answer of more than ${bytesMax} bytes`));
        else chunks.push(chunk);
      },
      onResponseEnd() {
        stops.delete(abort);
        resolve({ status, headers: answered, chunks, bytes });
      },
      onResponseError(_controller, error) {
        stops.delete(abort);
        reject(error);
      },
    },
  );
}

function authorities(path: string): string[] {
  try {
    return [...rootCertificates, readFileSync(path, 'utf8')];
  } catch (cause) {
    throw new Failure('settings-invalid', `s3: ca_file: ${path} can't be read: ${messageOf(cause)}`, { cause });
  }
}
