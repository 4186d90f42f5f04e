// A replica to the server: it asks for a full copy and takes it as a stream. Nothing of the server's disk is touched.

import type { Socket } from 'node:net';
import { interruption } from '../../core/context.ts';
import { Failure, systemCode } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';
import { type Connection, connect, refusal } from './connection.ts';
import { isError, textOf } from './resp.ts';
import { type ServerFacts, serverFacts } from './server.ts';
import type { Endpoint } from './settings.ts';

export interface Copy {
  readonly server: ServerFacts;
  /** Of the data set, and how far it had been changed at the cut. */
  readonly replicationId: string;
  readonly offset: string;
  /** The RDB. Ends when all of it has come; anything less throws. */
  readonly body: Bytes;
}
/** Disposed unread, it gives the connection back. */
export interface FullSync extends Copy, AsyncDisposable {}

const MARK_BYTES = 40;
const LINE_BYTES_MAX = 1024;
const LF = 10;

/** Asks once. A copy that breaks off is not asked for again: each one costs the server a fork of all its memory. */
export async function fullSync(ctx: Context, endpoint: Endpoint): Promise<FullSync> {
  const connection = await connect(ctx, endpoint);
  const { where } = connection;
  try {
    const server = await introduce(connection);
    // Spares the server a buffer of later changes.
    await connection.ask('REPLCONF', 'rdb-only', '1');
    const answer = await psync(connection, endpoint, null);
    if (answer.kind !== 'full') throw noCopy(where);
    const { replicationId, offset } = answer;
    const pieces = connection.detach().pieces(ctx, endpoint.timeoutMs, where);
    return {
      ...{ server, replicationId, offset, body: copyOf(ctx, where, connection.socket, pieces) },
      async [Symbol.asyncDispose]() {
        connection.socket.destroy();
      },
    };
  } catch (error) {
    connection.socket.destroy();
    throw error;
  }
}

/** Says that a replica is speaking, which can take what the server would send to its own kind. */
export async function introduce(connection: Connection): Promise<ServerFacts> {
  const server = await serverFacts(connection);
  // Valkey 9.1 writes for the version that its replica has: its own, or it fails on what older ones don't know.
  await connection.ask('REPLCONF', 'version', server.version.replace(/^\w+ /, ''));
  // The first lets the server send without writing a file before.
  await connection.ask('REPLCONF', 'capa', 'eof', 'capa', 'psync2');
  return server;
}

/** Where in which log. Offsets are those of the last byte that is known. */
export interface LogPlace {
  readonly replicationId: string;
  readonly offset: string;
}
export type Answer =
  | ({ readonly kind: 'full' } & LogPlace)
  /** From there on; the id is another one when the server was promoted or started again since. */
  | ({ readonly kind: 'continue' } & LogPlace);

/** Asks for what follows that place, or for a copy where that is null or not there any more. */
export async function psync(connection: Connection, endpoint: Endpoint, from: LogPlace | null): Promise<Answer> {
  const next = from ? [from.replicationId, `${BigInt(from.offset) + 1n}`] : ['?', '-1'];
  const reply = await connection.ask('PSYNC', ...next);
  if (isError(reply)) throw psyncRefusal(connection.where, endpoint, reply.error);
  const text = textOf(reply);
  const [, replicationId, offset] = /^FULLRESYNC (\S+) (\d+)/.exec(text) ?? [];
  if (replicationId !== undefined && offset !== undefined) return { kind: 'full', replicationId, offset };
  const [said, continued = from?.replicationId] = /^CONTINUE(?: ([0-9a-f]{40}))?\s*$/.exec(text) ?? [];
  if (said === undefined || !from || continued === undefined) throw noCopy(connection.where);
  return { kind: 'continue', replicationId: continued, offset: from.offset };
}

function noCopy(where: string): Failure {
  return new Failure('denied', `${where} answers PSYNC with something else than a full copy`);
}

/** What a server that gives no copy says, as a failure that says what would help. */
export function psyncRefusal(where: string, { username = 'default' }: Endpoint, said: string): Failure {
  const failure = refusal({ where, username }, 'psync', said);
  if (failure.code === 'privileges') {
    const hint = `ACL SETUSER ${username} +psync +replconf +ping +info +time`;
    return new Failure('privileges', failure.message, { hint });
  }
  if (/unknown command/i.test(said)) {
    return new Failure('denied', failure.message, {
      hint: 'a capture needs PSYNC and REPLCONF; here they are renamed or forbidden (some managed services do that)',
    });
  }
  if (/NOMASTERLINK|MASTERDOWN/.test(said)) return new Failure('blocked', failure.message);
  return failure;
}

async function* copyOf(ctx: Context, where: string, socket: Socket, pieces: Bytes): Bytes {
  const onAbort = (): void => void socket.destroy(interruption(ctx.signal));
  ctx.signal.addEventListener('abort', onAbort, { once: true });
  try {
    yield* rdbOf(where, pieces as AsyncIterable<Buffer>);
  } finally {
    ctx.signal.removeEventListener('abort', onAbort);
    socket.destroy();
  }
}

/**
 * Newlines while the server prepares, then '$bytes' or '$EOF:mark', then the RDB. Anything less than all of it throws;
 * `onRest` gets what has come behind it.
 */
export async function* rdbOf(
  where: string,
  pieces: AsyncIterable<Buffer>,
  onRest: (rest: Buffer) => void = () => {},
): Bytes {
  let bytes = 0;
  try {
    let framing: Framing | null = null;
    let head = Buffer.alloc(0);
    for await (const chunk of pieces) {
      let data = chunk;
      if (!framing) {
        head = Buffer.concat([head, chunk]);
        const line = headLine(where, head);
        if (!line) continue;
        framing = framingOf(where, line.text);
        data = line.rest;
      }
      const { pieces, rest } = framing(data);
      for (const piece of pieces) {
        bytes += piece.length;
        yield piece;
      }
      if (!rest) continue;
      onRest(rest);
      return;
    }
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    throw new Failure('unreachable', `${where}: the copy broke off (${systemCode(cause)})`, { cause });
  }
  throw new Failure('unreachable', `${where}: the copy broke off after ${bytes} bytes`, {
    hint: 'the log of the server says why; its client-output-buffer-limit for replicas may be too small',
  });
}

/** `rest`: what follows the RDB, once it has ended. */
type Framing = (chunk: Buffer) => { readonly pieces: readonly Buffer[]; readonly rest: Buffer | null };

function headLine(where: string, head: Buffer): { text: string; rest: Buffer } | null {
  let start = 0;
  while (head[start] === LF) start += 1;
  const end = head.indexOf(LF, start);
  if (end >= 0) return { text: head.toString('latin1', start, end - 1), rest: head.subarray(end + 1) };
  if (head.length - start > LINE_BYTES_MAX) throw new Failure('denied', `${where}: a copy without a beginning`);
  return null;
}

function framingOf(where: string, line: string): Framing {
  if (line.startsWith('-')) throw refusal({ where }, 'psync', line.slice(1));
  const [, mark, digits] = /^\$(?:EOF:(.{40})|(\d{1,15}))$/.exec(line) ?? [];
  if (mark !== undefined) return untilMark(Buffer.from(mark, 'latin1'));
  if (digits !== undefined) return untilLength(Number(digits));
  throw new Failure('denied', `${where}: a copy without a length`);
}

function untilLength(total: number): Framing {
  let left = total;
  return (chunk) => {
    const body = chunk.subarray(0, left);
    left -= body.length;
    return { pieces: [body], rest: left === 0 ? chunk.subarray(body.length) : null };
  };
}

/** The mark is the last that is sent before we answer, so what may be its beginning is held back. */
function untilMark(mark: Buffer): Framing {
  let held: Buffer = Buffer.alloc(0);
  return (chunk) => {
    // A large chunk goes on as it is: only its end is copied.
    const large = chunk.length >= MARK_BYTES;
    const data = large ? chunk : Buffer.concat([held, chunk]);
    const before = large ? held : Buffer.alloc(0);
    const end = Math.max(0, data.length - MARK_BYTES);
    const ended = data.subarray(end).equals(mark);
    held = ended ? Buffer.alloc(0) : Buffer.from(data.subarray(end));
    return { pieces: [before, data.subarray(0, end)], rest: ended ? held : null };
  };
}
