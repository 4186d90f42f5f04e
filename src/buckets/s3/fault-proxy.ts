// Stands between the SDK and a real S3 server and does what networks, proxies and dialects do. For tests.

import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One request: 'PUT /bucket/key?x-id=PutObject'. */
export interface Exchange {
  readonly line: string;
  readonly headers: IncomingMessage['headers'];
}
export type HttpFault =
  /** The server never hears of it. */
  | { readonly answer: number; readonly body?: string; readonly headers?: Readonly<Record<string, string>> }
  /** The server does it, and says so with other words. */
  | { readonly rewrite: (body: string) => string }
  /** The server does it, but only so many bytes of its reply arrive; then the line breaks, or goes dead. */
  | { readonly replyBytes: number; readonly thenHang?: true }
  /** Nobody ever answers. */
  | { readonly hang: true };

export interface FaultProxy extends AsyncDisposable {
  readonly endpoint: string;
  readonly exchanges: readonly Exchange[];
  /** Requests whose line matches. */
  count(line: RegExp): number;
}

/** `choose` is asked at each request what goes wrong with it. */
export async function startFaultProxy(
  target: string,
  choose: (exchange: Exchange) => HttpFault | undefined,
): Promise<FaultProxy> {
  const exchanges: Exchange[] = [];
  const server = createServer((incoming, outgoing) => {
    const exchange = { line: `${incoming.method} ${incoming.url}`, headers: incoming.headers };
    exchanges.push(exchange);
    serve(target, incoming, outgoing, choose(exchange)).catch(() => outgoing.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    exchanges,
    count: (line) => exchanges.filter((each) => line.test(each.line)).length,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** The answer of S3 to a request that it refuses. */
export function refusal(status: number, code: string): HttpFault {
  return { answer: status, body: errorBody(code), headers: { 'content-type': 'application/xml' } };
}
export function errorBody(code: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>as arranged</Message></Error>`;
}

async function serve(
  target: string,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  fault: HttpFault | undefined,
): Promise<void> {
  if (fault && 'hang' in fault) return;
  if (fault && 'answer' in fault) {
    for await (const _ of incoming);
    outgoing.writeHead(fault.answer, fault.headers).end(fault.body);
    return;
  }
  const forwarded = request(target, { path: incoming.url, method: incoming.method, headers: incoming.headers });
  // Either side may be killed in the middle: the other hears of it.
  forwarded.on('error', () => outgoing.destroy());
  outgoing.on('close', () => void (outgoing.writableFinished || forwarded.destroy()));
  incoming.pipe(forwarded);
  const [reply]: [IncomingMessage] = await (once(forwarded, 'response') as Promise<[IncomingMessage]>);
  if (!fault) {
    outgoing.writeHead(reply.statusCode ?? 0, reply.headers);
    reply.on('error', () => outgoing.destroy()).pipe(outgoing);
    return;
  }
  const body = Buffer.concat(await Array.fromAsync(reply as AsyncIterable<Buffer>));
  if ('rewrite' in fault) {
    const { 'content-length': _, 'transfer-encoding': __, ...headers } = reply.headers;
    outgoing.writeHead(reply.statusCode ?? 0, headers).end(fault.rewrite(body.toString()));
    return;
  }
  if (fault.replyBytes > 0) {
    outgoing.writeHead(reply.statusCode ?? 0, reply.headers);
    await new Promise((resolve) => outgoing.write(body.subarray(0, fault.replyBytes), resolve));
  }
  if (!fault.thenHang) outgoing.destroy();
}
