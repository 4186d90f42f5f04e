// Data for tests: odd names, empty and null data, large data, rights, sequence counters, ephemerals.

import { connect as connectTo, createServer, type Socket } from 'node:net';
import type { Context } from '../../core/model.ts';
import { type Client, connect } from './client.ts';
import { type Acl, type NodeKind, OP, OPEN_ACL, request } from './protocol.ts';
import { readSettings } from './settings.ts';
import { frameCutter } from './wire.ts';

export async function openClient(ctx: Context, settings: object): Promise<Client> {
  return await connect(ctx, readSettings(settings));
}

export interface Making {
  readonly data?: Buffer | string | null;
  readonly acl?: readonly Acl[];
  readonly kind?: NodeKind;
}

export async function make(client: Client, path: string, { data = '', acl = OPEN_ACL, kind }: Making = {}) {
  const bytes = typeof data === 'string' ? Buffer.from(data) : data;
  await client.call('create', path, request.create(path, bytes, acl, kind));
}

/** Also what the session could read without any right. */
export async function fill(client: Client, root: string): Promise<void> {
  await make(client, root, { data: 'the root' });
  await make(client, `${root}/empty`);
  await make(client, `${root}/null`, { data: null });
  await make(client, `${root}/binary`, { data: Buffer.from([0, 255, 254, 10, 13]) });
  await make(client, `${root}/schlüssel 日本 "'\\{}`, { data: 'odd' });
  for (const name of ['a', 'a-b', 'a.b', 'a0']) await make(client, `${root}/${name}`, { data: name });
  for (const name of ['a/x', 'a/x/y', 'a/x/y/z', 'a-b/x', 'a0/x'])
    await make(client, `${root}/${name}`, { data: name });
  await make(client, `${root}/large`, { data: Buffer.alloc(300_000, 'large ') });
  await make(client, `${root}/many`);
  const many = Array.from({ length: 600 }, (_, n) => make(client, `${root}/many/n${n}`, { data: `value ${n}` }));
  await Promise.all(many);
  const acl = [
    { perms: 31, scheme: 'digest', id: 'app:0wSLPjiKTiPcmD6O0cxzEFRgEqg=' },
    { perms: 1, scheme: 'world', id: 'anyone' },
  ];
  await make(client, `${root}/rights`, { data: 'of one user', acl });
  await make(client, `${root}/rights/below`, { data: 'secret', acl: acl.slice(0, 1) });
  await make(client, `${root}/queue`);
  for (let n = 0; n < 5; n++) await make(client, `${root}/queue/item-${n}`);
  for (let n = 0; n < 3; n++) await remove(client, `${root}/queue/item-${n}`);
}

export async function remove(client: Client, path: string): Promise<void> {
  await client.call('delete', path, request.delete(path));
}

export async function set(client: Client, path: string, data: string): Promise<void> {
  await client.call('setData', path, request.setData(path, Buffer.from(data)));
}

/** Stands between us and a server, and does what networks do. */
export interface Proxy extends AsyncDisposable {
  readonly hosts: string;
  /** Hands on what each side says in pieces of so many bytes. */
  pieces(bytes: number): void;
  /** Ends the connections once the server has said so much more. */
  cutAfter(bytes: number): void;
  /** The server hears nothing more of connections that are there, and of so many to come. */
  swallow(more?: number): void;
  /** How many were made. */
  connections(): number;
  /** What was asked on each, in order, without its greeting and pings. */
  asked(): readonly (readonly string[])[];
}

export async function proxyTo(port: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  const asked: string[][] = [];
  let [pieceBytes, left, made] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, 0];
  let swallowed = 0;
  const handOn = (from: Socket, to: Socket, onBytes: (bytes: number) => boolean): void => {
    from.on('data', (data) => {
      for (let at = 0; at < data.length; at += pieceBytes) {
        const piece = data.subarray(at, at + Math.min(pieceBytes, data.length));
        if (onBytes(piece.length)) to.write(piece);
      }
    });
  };
  const server = createServer((client) => {
    const number = ++made;
    const upstream = connectTo({ host: '127.0.0.1', port, noDelay: true });
    const end = (): void => void [client, upstream].map((socket) => socket.destroy());
    for (const socket of [client.setNoDelay(), upstream]) {
      sockets.add(socket);
      socket.on('error', end).on('close', () => sockets.delete(socket) && end());
    }
    handOn(client, upstream, () => number > swallowed);
    client.on('data', listener(asked));
    handOn(upstream, client, (bytes) => {
      left -= bytes;
      if (left >= 0) return true;
      left = Number.POSITIVE_INFINITY;
      end();
      return false;
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  return {
    hosts: `127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`,
    pieces: (bytes) => void (pieceBytes = bytes),
    cutAfter: (bytes) => void (left = bytes),
    swallow: (more = 0) => void (swallowed = made + more),
    connections: () => made,
    asked: () => asked,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((done) => server.close(done));
    },
  };
}

/** Notes what a new connection asks. */
function listener(connections: string[][]): (data: Buffer) => void {
  const names = new Map<number, string>(Object.entries(OP).map(([name, code]) => [code, name]));
  const own: string[] = [];
  connections.push(own);
  let isGreeted = false;
  const hear = (frame: Buffer): void => {
    const name = isGreeted ? (names.get(frame.readInt32BE(4)) ?? 'unknown') : 'ping';
    if (name !== 'ping') own.push(name);
    isGreeted = true;
  };
  return frameCutter(
    () => Number.POSITIVE_INFINITY,
    hear,
    () => undefined,
  );
}
