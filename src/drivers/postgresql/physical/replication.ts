// A connection of the replication protocol. The library signs in and encrypts; what is streamed afterwards is read from
// its socket by us, without the copy that it would make of every message.

import { Socket, type SocketConstructorOpts } from 'node:net';
import type { Duplex } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import type { Client, Connection } from 'pg';
import { z } from 'zod';
import { releaseLarge } from '../../../core/bytes.ts';
import { interruption } from '../../../core/context.ts';
import { Failure, messageOf } from '../../../core/errors.ts';
import type { Bytes, Context } from '../../../core/model.ts';
import { clientConfig, connected, connectFailure, copyInto, failureOf, sqlState } from '../connection.ts';
import { quoted } from '../names.ts';
import type { Server } from '../settings.ts';
import { type ByteReader, byteReader } from './reader.ts';

/** Of messages that are read whole: rows, errors, notices. */
const WHOLE_BYTES_MAX = 1024 * 1024;
const NOTICES_MAX = 20;
const HEADER_BYTES = 5;
/** Of what a socket gives at once: where less came, more is let come together. */
const SMALL_BYTES = 48 * 1024;
/** Nothing is read before it is asked for. The types don't know it. */
const UNREAD: SocketConstructorOpts & { readonly readableHighWaterMark: number } = { readableHighWaterMark: 1 };
const DATA = 0x64;
const TERMINATE = Buffer.from([0x58, 0, 0, 0, 4]);

export interface Replication extends AsyncDisposable {
  /** For messages. */
  readonly where: string;
  /** The rows that a command answers with, each parsed by `schema`. */
  rows<S extends z.ZodType>(schema: S, command: string): Promise<z.output<S>[]>;
  /** A command that takes bytes. What they fail with is thrown as it is. */
  upload(command: string, body: Bytes): Promise<void>;
  /**
   * Sends a command and gives what it answers. It is the last one. With `growingMs`, as much is left to come together
   * where little has: to be woken for each of many small messages costs more than all that is done with them.
   */
  stream(command: string, growingMs?: number): Stream;
}
export interface Stream extends Messages {
  /** A message to the server, while a copy goes both ways. */
  send(type: string, body: Uint8Array): void;
}
/** What the server sends, one message after the other. Its errors are thrown. */
export interface Messages {
  /** What is left of the one before is passed over. */
  next(): Promise<Message>;
  /**
   * Fills `target` with the data of a copy that comes next, as long as all messages begin with the byte `kind`, which
   * is left out. To how much; 0 where `next` gives something else.
   */
  fill(target: Buffer, kind: number): Promise<number>;
  /** What it has warned of meanwhile. */
  readonly notices: readonly string[];
}
export interface Message {
  /** A letter of the protocol: 'd' is data of a copy. */
  readonly type: string;
  /** All that is left of its body, in one piece. */
  whole(): Promise<Buffer>;
  /** A piece of its body, borrowed; null where nothing is left. */
  piece(bytesMax?: number): Promise<Buffer | null>;
}

export async function openReplication(ctx: Context, server: Server): Promise<Replication> {
  ctx.signal.throwIfAborted();
  const where = `postgresql at ${server.host}:${server.port}, replication`;
  const config = {
    ...(await clientConfig(ctx, server, 'replication')),
    replication: 'true',
    stream: () => new Socket(UNREAD),
  };
  const { client } = await connected(server, config, (error) => refusal(error, where, server));
  const socket = socketOf(client);
  const onAbort = (): void => void socket.destroy();
  ctx.signal.addEventListener('abort', onAbort, { once: true });
  return {
    where,
    async rows(schema, command) {
      try {
        const { rows } = await client.query(command);
        return rows.map((row) => schema.parse(row));
      } catch (error) {
        if (ctx.signal.aborted) throw interruption(ctx.signal);
        // The library rejects before the end of the refused command has come: with the next answer it has.
        await client.query('IDENTIFY_SYSTEM').catch(() => undefined);
        throw failureOf(error, where);
      }
    },
    upload: async (command, body) => await copyInto(ctx, client, { text: command, rows: body, where }),
    stream(command, growingMs = 0) {
      socket.removeAllListeners('data');
      socket.pause();
      const send = (type: string, body: Uint8Array): void => {
        const header = Buffer.alloc(HEADER_BYTES);
        header.write(type);
        header.writeInt32BE(body.length + 4, 1);
        if (socket.writable) socket.write(Buffer.concat([header, body])); // who reads is told that it is gone
      };
      send('Q', Buffer.from(`${command}\0`));
      return { ...messagesOf(chunksOf(ctx, socket, where, growingMs), where), send };
    },
    async [Symbol.asyncDispose]() {
      ctx.signal.removeEventListener('abort', onAbort);
      if (!socket.destroyed && socket.writable) await new Promise<void>((sent) => socket.end(TERMINATE, () => sent()));
      socket.destroy();
      await client.end().catch(() => undefined); // it is gone already
    },
  };
}

/** The library has it, and its types don't say so. */
function socketOf(client: Client): Duplex {
  const { connection } = client as Client & { readonly connection: Connection };
  return connection.stream;
}

function refusal(error: unknown, where: string, server: Server): Failure {
  const said = messageOf(error);
  const failure = (code: Failure['code'], hint: string): Failure =>
    new Failure(code, `${where}: ${said}`, { cause: error, hint });
  const state = sqlState(error);
  if (state === '42501') return failure('privileges', `alter role ${quoted(server.user)} replication`);
  if (state === '53300') return failure('unreachable', 'raise max_wal_senders, or end a standby or a backup');
  if (state !== '28000') return connectFailure(error, where, server);
  return failure('denied', `add to pg_hba.conf, and reload: host replication ${server.user} ADDRESS scram-sha-256`);
}

async function* chunksOf(ctx: Context, socket: Duplex, where: string, growingMs: number): Bytes {
  try {
    for await (const chunk of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      yield chunk;
      const { length } = chunk;
      releaseLarge(chunk);
      if (growingMs === 0 || length + socket.readableLength >= SMALL_BYTES) continue;
      if (!(await isBehind(socket))) await ctx.sleep(growingMs);
    }
  } catch (cause) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    throw new Failure('unreachable', `${where}: the connection broke off: ${messageOf(cause)}`, { cause });
  }
  if (ctx.signal.aborted) throw interruption(ctx.signal);
}

/** There is more than came at once: what is encrypted comes in pieces of 8 KiB, however much there is. */
async function isBehind(socket: Duplex): Promise<boolean> {
  for (let look = 0; look < 2; look++) await setImmediate(); // it is read from in between
  return socket.readableLength >= SMALL_BYTES;
}

/** Of the bytes that a server sends. */
export function messagesOf(body: Bytes, where: string): Messages {
  const closed = (): Failure => new Failure('unreachable', `${where}: the server closed the connection`);
  const bytes = byteReader(body, closed);
  const notices: string[] = [];
  let left = 0;

  async function piece(bytesMax = left): Promise<Buffer | null> {
    if (left === 0) return null;
    const some = await bytes.some(Math.min(left, bytesMax));
    if (!some) throw closed();
    left -= some.length;
    return some;
  }
  async function whole(): Promise<Buffer> {
    if (left > WHOLE_BYTES_MAX) throw new Failure('malformed', `${where}: a message of ${left} bytes`);
    const all = await wholeOf(bytes, left, closed);
    left = 0;
    return all;
  }
  async function next(): Promise<Message> {
    for (;;) {
      while (await piece());
      const header = await wholeOf(bytes, HEADER_BYTES, closed);
      const type = String.fromCharCode(header[0] ?? 0);
      left = header.readInt32BE(1) - 4;
      if (left < 0) throw new Failure('malformed', `${where}: a message of no length`);
      if (type === 'E') throw failureOf(errorIn(await whole()), where);
      if (type === 'N')
        notices.splice(0, notices.length, ...notices.slice(1 - NOTICES_MAX), errorIn(await whole()).message);
      else if (type !== 'S') return { type, whole, piece };
    }
  }
  /** The next message is one of that kind; then it is read up to its data. */
  async function enter(kind: number): Promise<boolean> {
    const head = await bytes.peek(HEADER_BYTES + 1);
    if (!head) throw closed();
    const length = head.readInt32BE(1);
    if (head[0] !== DATA || head[HEADER_BYTES] !== kind || length < 5) return false;
    bytes.ready(HEADER_BYTES + 1);
    left = length - 5;
    return true;
  }
  async function fill(target: Buffer, kind: number): Promise<number> {
    let filled = 0;
    while (filled < target.length && (left > 0 || (await enter(kind)))) {
      const bytesMax = Math.min(left, target.length - filled);
      const ready = bytes.ready(bytesMax);
      const some = ready.length > 0 || bytesMax === 0 ? ready : await bytes.some(bytesMax);
      if (!some) throw closed();
      filled += some.copy(target, filled);
      left -= some.length;
    }
    return filled;
  }
  return { next, fill, notices };
}

async function wholeOf(bytes: ByteReader, length: number, closed: () => Failure): Promise<Buffer> {
  if (length === 0) return Buffer.alloc(0);
  const all = await bytes.exactly(length);
  if (!all) throw closed();
  return all;
}

/** As the library makes them: fields of a letter and a text each. */
function errorIn(body: Buffer): Error & { code: string; hint: string | undefined } {
  const fields = new Map(
    body
      .toString('utf8')
      .split('\0')
      .map((field) => [field.slice(0, 1), field.slice(1)]),
  );
  const error = new Error(fields.get('M') ?? 'the server failed');
  return Object.assign(error, { code: fields.get('C') ?? '', hint: fields.get('H') });
}

const systemRow = z.object({ systemid: z.string(), timeline: z.coerce.number(), xlogpos: z.string() });

export type System = z.output<typeof systemRow>;

/** Which server it is, and where its log stands. */
export async function identifySystem({ rows, where }: Replication): Promise<System> {
  const [row] = await rows(systemRow, 'IDENTIFY_SYSTEM');
  if (!row) throw new Failure('malformed', `${where}: it does not say which server it is`);
  return row;
}

/** 'different' unless it is the server that sessions lead to. */
export async function identifySame(connection: Replication, identity: string): Promise<System> {
  const system = await identifySystem(connection);
  if (system.systemid === identity) return system;
  const what = `it leads to another server (${system.systemid}) than sessions do (${identity})`;
  throw new Failure('different', `${connection.where}: ${what}`, {
    hint: 'name the server itself, not a proxy or a pool before it',
  });
}
