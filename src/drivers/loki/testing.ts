// Data for tests: several streams and days, structured metadata, many lines at one nanosecond.

import { once } from 'node:events';
import { createServer } from 'node:http';

export interface Place {
  readonly url: string;
  readonly tenant?: string;
}
export interface Pushed {
  readonly stream: Readonly<Record<string, string>>;
  readonly values: readonly (readonly [string, string, Readonly<Record<string, string>>?])[];
}

const now = BigInt(Date.now()) * 1_000_000n;

export function nsAgo(ms: number, more = 0): string {
  return `${now - BigInt(ms) * 1_000_000n + BigInt(more)}`;
}

export async function push({ url, tenant }: Place, streams: readonly Pushed[]): Promise<void> {
  const headers = { 'content-type': 'application/json', ...(tenant === undefined ? {} : { 'x-scope-orgid': tenant }) };
  const body = JSON.stringify({ streams });
  const answer = await fetch(`${url}/loki/api/v1/push`, { method: 'POST', headers, body });
  if (answer.status !== 204) throw new Error(`push: ${answer.status} ${await answer.text()}`);
}

export async function fill(place: Place): Promise<void> {
  const hour = 3_600_000;
  const lines = Array.from({ length: 3000 }, (_, n) => {
    return [nsAgo(30 * hour - n * 30_000), `level=info request ${n} "quoted" \\ {}`] as const;
  });
  await push(place, [{ stream: { app: 'shop', env: 'prod' }, values: lines }]);
  const same = nsAgo(2 * hour);
  const burst = Array.from({ length: 700 }, (_, n) => [same, `burst ${n}`] as const);
  await push(place, [
    {
      stream: { app: 'shop' },
      values: [[nsAgo(25 * hour), 'a day ago'], ...burst.map(([ts, line]) => [ts, line] as const)],
    },
    {
      stream: { service_name: 'worker', job: 'x"y' },
      values: [
        [nsAgo(hour), 'plain'],
        [nsAgo(hour), 'with', { trace_id: 'abc', span: '1' }],
        [nsAgo(hour, 1), 'schlüssel 日本\nsecond\tline', { detected_level: 'custom' }],
        [nsAgo(hour, 2), ''],
      ],
    },
  ]);
}

/** Before a Loki: what matches `closed` is not found; where that matches 'flags', metadata is not told apart. */
export async function gatewayTo(url: string, closed: RegExp): Promise<{ url: string } & AsyncDisposable> {
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await Array.fromAsync(request));
    if (closed.test(request.url ?? '')) return void response.writeHead(404).end('not found');
    const { 'x-scope-orgid': tenant, 'content-type': type } = request.headers;
    const headers = {
      ...(typeof tenant === 'string' ? { 'x-scope-orgid': tenant } : {}),
      ...(type === undefined ? {} : { 'content-type': type }),
      ...(closed.test('flags') ? {} : { 'x-loki-response-encoding-flags': 'categorize-labels' }),
    };
    const method = request.method ?? 'GET';
    const passed = await fetch(`${url}${request.url}`, { method, headers, ...(method === 'POST' ? { body } : {}) });
    response.writeHead(passed.status).end(Buffer.from(await passed.arrayBuffer()));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A line of any bytes, which JSON can't tell: as agents push, in protobuf, and in Snappy that packs nothing. */
export async function rawPush({ url, tenant }: Place, labels: string, ns: bigint, line: Uint8Array): Promise<void> {
  const seconds = ns / 1_000_000_000n;
  const time = Buffer.concat([number(1, seconds), number(2, ns % 1_000_000_000n)]);
  const entry = Buffer.concat([field(1, time), field(2, line)]);
  const request = field(1, Buffer.concat([field(1, Buffer.from(labels)), field(2, entry)]));
  const literal = Buffer.from([61 << 2, (request.length - 1) & 0xff, (request.length - 1) >> 8]);
  const headers = {
    'content-type': 'application/x-protobuf',
    ...(tenant === undefined ? {} : { 'x-scope-orgid': tenant }),
  };
  const body = Buffer.concat([varint(BigInt(request.length)), literal, request]);
  const answer = await fetch(`${url}/loki/api/v1/push`, { method: 'POST', headers, body });
  if (answer.status !== 204) throw new Error(`push: ${answer.status} ${await answer.text()}`);
}

function field(id: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([(id << 3) | 2]), varint(BigInt(bytes.length)), bytes]);
}
function number(id: number, value: bigint): Buffer {
  return Buffer.concat([Buffer.from([id << 3]), varint(value)]);
}
function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  for (let left = value; ; left >>= 7n) {
    const low = Number(left & 0x7fn);
    if (left < 0x80n) return Buffer.from([...bytes, low]);
    bytes.push(low | 0x80);
  }
}
