// What tests that look for secrets are made of: canaries, and everywhere that one might come out.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { join } from 'node:path';
import { Admin, Producer } from '@platformatic/kafka';
import type { Kafka } from '../servers/kafka.ts';

export type Secrets = Readonly<Record<string, string>>;

/** As root, sandboxes run as somebody else, who must get to what is below. */
export function reachableDir(prefix: string): string {
  const made = mkdtempSync(prefix);
  chmodSync(made, 0o711);
  return made;
}

/** Looks at the command line of every process that this machine starts from now on, until stopped. */
export function watchCommandLines(): { stop(): readonly string[] } {
  const seen = new Set<string>();
  const older = new Set(readdirSync('/proc'));
  const look = (): void => {
    for (const pid of readdirSync('/proc')) {
      if (older.has(pid)) continue;
      try {
        seen.add(readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' '));
      } catch {
        // it has ended meanwhile
      }
    }
  };
  const timer = setInterval(look, 20).unref();
  return {
    stop() {
      clearInterval(timer);
      assert.ok(seen.size > 0, 'programs were started meanwhile');
      return [...seen];
    },
  };
}

export function filesUnder(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

export function assertClean(text: string, where: string, secrets: Secrets): void {
  for (const [name, canary] of Object.entries(secrets)) {
    assert.ok(!text.includes(canary), `the ${name} secret is in ${where}`);
    const encoded = Buffer.from(canary).toString('base64').slice(0, -4);
    assert.ok(!text.includes(encoded), `the ${name} secret is in ${where}, in base64`);
  }
}

export function assertCleanFiles(root: string, secrets: Secrets): void {
  const files = filesUnder(root);
  assert.ok(files.length > 0, root);
  for (const file of files) assertClean(readFileSync(file, 'latin1'), file, secrets);
}

/** Lets in who has the login ('Bearer …'), and quotes whom it does not, as some gateways do. */
export async function gatewayTo(url: string, login: string): Promise<AsyncDisposable & { readonly url: string }> {
  const server = createServer((asked, answer) => {
    const { authorization = '' } = asked.headers;
    if (authorization !== login) return void answer.writeHead(401).end(`not you: ${authorization}`);
    const { authorization: _, host: _host, ...headers } = asked.headers;
    const passed = request(`${url}${asked.url}`, { method: asked.method, headers }, (given) => {
      answer.writeHead(given.statusCode ?? 502, given.headers);
      given.pipe(answer);
    });
    passed.on('error', (error) => answer.destroy(error));
    asked.pipe(passed);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return {
    url: `http://127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A topic of one record; the user admin has this password. */
export async function fillOrders({ brokers, caFile }: Kafka, password: string): Promise<void> {
  const sasl = { mechanism: 'PLAIN', username: 'admin', password } as const;
  const tls = caFile === null ? {} : { tls: { ca: readFileSync(caFile) } };
  const options = { clientId: 'filling', bootstrapBrokers: [brokers], sasl, ...tls };
  const admin = new Admin(options);
  await admin.createTopics({ topics: ['orders'], partitions: 1, replicas: 1 });
  await admin.close();
  const producer = new Producer({ ...options, idempotent: true });
  await producer.send({ messages: [{ topic: 'orders', value: Buffer.from('an order') }] });
  await producer.close();
}
