// A connection to a Redis server: signed in, commands answered in their order, refusals turned into failures that say
// what to do. The one client for everything: commands, bulk loading, and the begin of replication.

import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { interruption } from '../../core/context.ts';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { noConnection, whenConnected } from '../../core/socket.ts';
import { type Inflow, inflow } from './inflow.ts';
import { type Argument, encodeCommand, isError, type Reply, replyReader, textOf } from './resp.ts';
import { type Endpoint, tlsOptions } from './settings.ts';

export interface Connection extends AsyncDisposable {
  /** 'redis at host:port', for messages. */
  readonly where: string;
  readonly socket: Socket;
  /** Throws what the server refuses. */
  call(...command: readonly Argument[]): Promise<Reply>;
  /** Like `call`, but a refusal is returned as the error reply that it is. */
  ask(...command: readonly Argument[]): Promise<Reply>;
  /** Sends commands that are encoded already; `onReply` gets each answer. Resolves when more may be sent. */
  send(commands: Uint8Array, replies: number, onReply: (reply: Reply) => void): Promise<void>;
  /** Gives the socket away: what follows is no reply. Nothing may be asked after. */
  detach(): Inflow;
}

interface Waiting {
  replies: number;
  readonly onReply: (reply: Reply) => void;
  readonly onBreak: (failure: Failure) => void;
}

/** Memory that is read into, again and again. */
const READ_BYTES = 256 * 1024;

interface Wire {
  readonly socket: Socket;
  /** What was read, borrowed for the call. False: nothing more until the socket is resumed. */
  onBytes: (bytes: Buffer) => boolean;
}

/** Connects and signs in. */
export async function connect(ctx: Context, endpoint: Endpoint): Promise<Connection> {
  const wire = await open(ctx, endpoint);
  const { socket } = wire;
  const connection = speak(ctx, endpoint, wire);
  try {
    const { username, password, database } = endpoint;
    if (password !== undefined) await connection.call('AUTH', ...(username === undefined ? [] : [username]), password);
    if (database > 0) await connection.call('SELECT', database);
    return connection;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

async function open(ctx: Context, endpoint: Endpoint): Promise<Wire> {
  const { host, port, timeoutMs } = endpoint;
  const where = `redis at ${host}:${port}`;
  if (ctx.signal.aborted) throw interruption(ctx.signal);
  const tls = tlsOptions(endpoint);
  const memory = Buffer.allocUnsafeSlow(READ_BYTES);
  const callback = (bytes: number): boolean => wire.onBytes(memory.subarray(0, bytes));
  const options = { host, port, onread: { buffer: memory, callback } };
  const socket = tls ? connectTls({ ...options, ...tls }) : connectTcp(options);
  const wire: Wire = { socket, onBytes: () => true };
  await whenConnected(ctx, socket, { where, timeoutMs });
  return wire;
}

function unreadable(where: string, cause: unknown): Failure {
  if (!(cause instanceof Failure))
    return new Failure('unreachable', `${where}: what answers there is no Redis server`, { cause });
  return new Failure(cause.code, `${where}: ${cause.message}`, { cause, hint: cause.hint });
}

function speak(ctx: Context, { host, port, username, timeoutMs }: Endpoint, wire: Wire): Connection {
  const { socket } = wire;
  const where = `redis at ${host}:${port}`;
  const reader = replyReader();
  const waiting: Waiting[] = [];
  let broken: Failure | null = null;

  function breakOff(failure: Failure): void {
    broken ??= failure;
    ctx.signal.removeEventListener('abort', onAbort);
    socket.destroy();
    for (const each of waiting.splice(0)) each.onBreak(broken);
  }
  function hear(): void {
    try {
      for (let first = waiting[0]; first; first = waiting[0]) {
        const reply = reader.next();
        if (reply === undefined) return;
        if (--first.replies === 0) waiting.shift();
        first.onReply(reply);
      }
      socket.setTimeout(0);
    } catch (cause) {
      breakOff(unreadable(where, cause));
    }
  }
  const onAbort = (): void => breakOff(interruption(ctx.signal));
  wire.onBytes = (bytes) => {
    reader.push(Buffer.from(bytes)); // a copy: replies are parts of what was pushed
    hear();
    return true;
  };
  const onError = (cause: Error): void => breakOff(noConnection(where, cause));
  const onClose = (): void => breakOff(new Failure('unreachable', `${where}: the server closed the connection`));
  const onTimeout = (): void => breakOff(new Failure('timeout', `${where}: no answer in ${timeoutMs} ms`));
  ctx.signal.addEventListener('abort', onAbort, { once: true });
  socket.on('error', onError).on('close', onClose).on('timeout', onTimeout);

  function expect(each: Waiting): void {
    if (broken) throw broken;
    waiting.push(each);
    socket.setTimeout(timeoutMs);
  }
  async function ask(...command: readonly Argument[]): Promise<Reply> {
    return await new Promise((resolve, reject) => {
      expect({ replies: 1, onReply: resolve, onBreak: reject });
      socket.write(encodeCommand(command));
    });
  }
  return {
    where,
    socket,
    ask,
    async call(...command) {
      const reply = await ask(...command);
      if (isError(reply)) throw refusal({ where, username }, String(command[0]), reply.error);
      return reply;
    },
    async send(commands, replies, onReply) {
      await new Promise<void>((resolve, reject) => {
        // The answers of one batch arrive long after the next may be sent; a break is told to both.
        if (replies > 0) expect({ replies, onReply, onBreak: reject });
        else if (broken) throw broken;
        if (socket.write(commands)) {
          resolve();
          return;
        }
        const done = (): void => {
          socket.off('drain', done).off('close', done);
          if (broken) reject(broken);
          else resolve();
        };
        socket.on('drain', done).on('close', done);
      });
    },
    detach() {
      ctx.signal.removeEventListener('abort', onAbort);
      socket.off('error', onError).off('close', onClose).off('timeout', onTimeout);
      const flow = inflow(socket, reader.rest());
      wire.onBytes = flow.take;
      return flow;
    },
    async [Symbol.asyncDispose]() {
      broken ??= new Failure('unreachable', `${where}: the connection was closed`);
      ctx.signal.removeEventListener('abort', onAbort);
      socket.destroy();
    },
  };
}

/** What a server said no to, as a failure. The words after a command's name are left out: they may be a password. */
export function refusal(who: { where: string; username?: string | undefined }, command: string, said: string): Failure {
  const { where, username = 'default' } = who;
  const name = command.toLowerCase();
  const words = said.replace(/,? with args beginning with.*$/s, '').slice(0, 300);
  const what = `${where} refuses ${name}: ${words}`;
  switch (said.split(' ', 1)[0]) {
    case 'NOAUTH':
    case 'WRONGPASS':
      return new Failure('wrong-password', what, { hint: 'see username and password of the component' });
    case 'NOPERM':
      return new Failure('privileges', what, { hint: `let the user do it: ACL SETUSER ${username} +${name}` });
    case 'OOM':
      return new Failure('no-space', what, { hint: 'raise maxmemory of that server, or restore into a larger one' });
    case 'LOADING':
    case 'BUSY':
      return new Failure('blocked', what);
    default:
      return new Failure(/invalid password|AUTH/.test(said) && name === 'auth' ? 'wrong-password' : 'denied', what);
  }
}

/** The fields of INFO. */
export async function readInfo(connection: Connection): Promise<ReadonlyMap<string, string>> {
  const text = textOf(await connection.call('INFO', 'everything'));
  return new Map([...text.matchAll(/^([^#:\r\n]+):([^\r\n]*)/gm)].map(([, name = '', value = '']) => [name, value]));
}
