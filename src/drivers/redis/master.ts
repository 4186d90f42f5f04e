// A master to the target: it asks us for a full copy and gets the RDB. For one server that proves that it is the
// target, once, on a port of the moment.

import assert from 'node:assert/strict';
import { createServer, type Server, type Socket } from 'node:net';
import { Failure } from '../../core/errors.ts';
import type { Bytes } from '../../core/model.ts';
import { type Reply, replyReader, textOf } from './resp.ts';

export interface MasterOptions {
  /** Our address as the target sees it, and the target's as we do. */
  readonly address: string;
  readonly peer: string;
  /** Only the target knows it: it asks to go on from its own history. */
  readonly replicationId: string;
  readonly bytes: number;
  readonly body: () => Bytes;
  /** How long the target may take nothing of it. */
  readonly timeoutMs: number;
}
export interface Master extends AsyncDisposable {
  readonly port: number;
  /** The target has begun to ask. Rejects when it can't be served: with 'denied' when another way may do. */
  readonly asked: Promise<void>;
  /** All of the RDB is on its way. */
  readonly sent: Promise<void>;
  /** Sends what was done after, once the RDB is loaded. To the offset at which the target has all of it. */
  follow(log: AsyncIterable<Buffer>): Promise<number>;
}

const FIRST_OFFSET = 1;
const REPLICATION_ID = '1'.repeat(40);
const TLS_HANDSHAKE = 0x16;
const CONNECTIONS_MAX = 8;

export async function serveAsMaster(options: MasterOptions): Promise<Master> {
  const asked = Promise.withResolvers<void>();
  const sent = Promise.withResolvers<void>();
  asked.promise.catch(() => {}); // awaited later
  sent.promise.catch(() => {}); // awaited later
  const sockets = new Set<Socket>();
  let served: Socket | null = null;
  const fail = (error: unknown): void => {
    asked.reject(error);
    sent.reject(error);
  };
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy()); // a copy that breaks off is told by `deliver`
    if (!sameAddress(socket.remoteAddress, options.peer) || sockets.size > CONNECTIONS_MAX) {
      socket.destroy();
      return;
    }
    const serve = (): void => {
      asked.resolve();
      server.close();
      served = socket;
      deliver(socket, options).then(sent.resolve, fail);
    };
    converse(socket, options, { serve, fail });
  });
  await listen(server, options.address);
  const address = server.address();
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    asked: asked.promise,
    sent: sent.promise,
    async follow(log) {
      assert(served, 'the target has loaded a copy');
      return FIRST_OFFSET + (await forward(served, log, options.timeoutMs));
    },
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function listen(server: Server, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new Failure('denied', `no port of ${address} can be opened for the target to call back`, { cause }));
    });
    server.listen(0, address, resolve);
  });
}

/** Answers what a replica says until it asks for the copy; what it says after is only that it lives. */
function converse(
  socket: Socket,
  { replicationId }: MasterOptions,
  to: { serve: () => void; fail: (error: Failure) => void },
): void {
  const reader = replyReader();
  let served = false;
  socket.on('data', (chunk: Buffer) => {
    if (served) return;
    if (chunk[0] === TLS_HANDSHAKE) {
      socket.destroy();
      to.fail(new Failure('denied', 'the target replicates over TLS only, for which we have no certificate'));
      return;
    }
    reader.push(chunk);
    for (let request = next(reader); request && !served; request = next(reader)) {
      const [name = '', id = ''] = request;
      if (name === 'PING') socket.write('+PONG\r\n');
      else if (name === 'AUTH' || name === 'REPLCONF') socket.write('+OK\r\n');
      else if (name === 'PSYNC' && id === replicationId) {
        served = true;
        to.serve();
      } else {
        socket.end('-ERR not for you\r\n');
        return;
      }
    }
  });
}

function next(reader: ReturnType<typeof replyReader>): string[] | null {
  let request: Reply | undefined;
  try {
    request = reader.next();
  } catch {
    return ['?']; // whatever speaks like that is not our target
  }
  if (request === undefined) return null;
  const [name = '', ...words] = Array.isArray(request) ? request.map(textOf) : ['?'];
  return [name.toUpperCase(), ...words];
}

async function deliver(socket: Socket, { bytes, body, timeoutMs }: MasterOptions): Promise<void> {
  socket.write(`+FULLRESYNC ${REPLICATION_ID} ${FIRST_OFFSET}\r\n$${bytes}\r\n`);
  let sent = 0;
  for await (const chunk of body()) {
    sent += chunk.length;
    if (sent > bytes) throw new Failure('malformed', `the RDB has more than the ${bytes} bytes it should have`);
    // Chunks are borrowed, and a socket keeps what it could not send yet.
    if (!socket.write(Buffer.from(chunk))) await writable(socket, timeoutMs);
    if (socket.destroyed) throw new Failure('unreachable', `the target broke off after ${sent} of ${bytes} bytes`);
  }
  if (sent < bytes) throw new Failure('malformed', `the RDB has ${sent} instead of ${bytes} bytes`);
}

async function forward(socket: Socket, log: AsyncIterable<Buffer>, timeoutMs: number): Promise<number> {
  let sent = 0;
  for await (const chunk of log) {
    sent += chunk.length;
    if (!socket.write(chunk)) await writable(socket, timeoutMs);
    if (socket.destroyed) throw new Failure('unreachable', `the target broke off after ${sent} bytes of the log`);
  }
  return sent;
}

/** Resolves when more may be sent, or the socket is gone; the time of a store that is slow does not count. */
function writable(socket: Socket, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      socket.setTimeout(0);
      socket.off('drain', done).off('close', done).off('timeout', stuck);
      resolve();
    };
    const stuck = (): void => {
      reject(new Failure('timeout', `the target has taken nothing of its copy for ${timeoutMs} ms`));
      socket.destroy();
    };
    socket.on('drain', done).on('close', done).on('timeout', stuck).setTimeout(timeoutMs);
    if (socket.destroyed) done();
  });
}

function sameAddress(a: string | undefined, b: string): boolean {
  const plain = (address: string): string => address.replace(/^::ffff:/, '');
  return a !== undefined && plain(a) === plain(b);
}
