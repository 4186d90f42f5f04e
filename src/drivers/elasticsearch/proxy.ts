// A proxy before a server of the tests, which does to each request what it is told.

import assert from 'node:assert/strict';
import { request as ask, createServer, type Server, type ServerResponse } from 'node:http';
import type { Cluster } from './testing.ts';

/** What happens to a request: it passes, its answer is a status or a body, it is lost before or after it was done. */
export type Fate = 'pass' | 'lost' | 'answer lost' | 'cut' | 'stuck' | number | object | `<${string}`;
export interface Meddler extends AsyncDisposable {
  readonly url: string;
  readonly seen: string[];
  /** Also what the test itself does first is done before the request passes. */
  fate: (path: string, body: string, method: string) => Fate | Promise<Fate>;
}

export async function proxyTo(cluster: Cluster): Promise<Meddler> {
  const seen: string[] = [];
  const server: Server = createServer((from, to) => {
    const chunks: Buffer[] = [];
    from.on('data', (chunk) => chunks.push(chunk));
    from.on('end', async () => {
      const body = Buffer.concat(chunks);
      const path = from.url ?? '';
      seen.push(`${from.method} ${path}`);
      const fate = await proxy.fate(path, body.toString(), from.method ?? '');
      if (fate === 'stuck') return;
      if (fate === 'lost') return void to.socket?.destroy();
      if (typeof fate === 'number') return void to.writeHead(fate).end('{"error":{"reason":"canary-password"}}');
      if (typeof fate === 'object') return void to.end(JSON.stringify(fate));
      if (fate.startsWith('<')) return void to.end(fate);
      const { method = 'GET', headers } = from;
      const passed = ask(cluster.url + path, { method, headers }, (reply) => {
        if (fate === 'answer lost') return void reply.on('end', () => to.socket?.destroy()).resume();
        to.writeHead(reply.statusCode ?? 500, reply.headers);
        if (fate === 'cut') reply.once('data', (chunk) => void to.write(chunk.subarray(0, 10), () => cutOff(to)));
        else reply.pipe(to);
      });
      passed.on('error', () => to.socket?.destroy());
      passed.end(body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(typeof address === 'object' && address);
  const proxy: Meddler = {
    url: `http://127.0.0.1:${address.port}`,
    seen,
    fate: () => 'pass',
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}

function cutOff(to: ServerResponse): void {
  to.socket?.destroy();
}
