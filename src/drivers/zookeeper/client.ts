// One session with one server of an ensemble: requests are answered in their order, many on their way at a time.

import type { Socket } from 'node:net';
import { interruption } from '../../core/context.ts';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { noConnection, UNREACHABLE_HINT } from '../../core/socket.ts';
import { juteReader, juteWriter } from './jute.ts';
import { grantedMs, type Op, request, wordsFor, XID_EVENT, XID_PING } from './protocol.ts';
import { type Reply, requestQueue } from './queue.ts';
import type { Host, Settings } from './settings.ts';
import { frameCutter, open, outgoingOf, whereOf } from './wire.ts';

/** A server answers with more than it takes: the names of a million children. */
const FRAME_BYTES_MAX = 256 * 1024 * 1024;
const FIRST_FRAME_BYTES_MAX = 1024;
const GREETING_MS = 2000;
/** Of answers that wait to be taken away; beyond it nothing more is read. */
const HELD_BYTES_MAX = 16 * 1024 * 1024;
type OnChange = (path: string, kind: 'data' | 'made or gone') => void;
export interface Client extends AsyncDisposable {
  /** 'zookeeper at host:port', for messages. */
  readonly where: string;
  readonly host: Host;
  /** The last change that the server had made when it gave its latest answer. */
  zxid(): bigint;
  /** Requests are sent in the order of the calls; a refusal is returned. */
  ask(op: Op, body: Buffer): Promise<Reply>;
  /** Throws what the server refuses. */
  call(op: Op, path: string, body: Buffer): Promise<Reply>;
  /** Of the watch that was asked for: paths as the server knows them. A refused watch is a number. */
  watch(path: string, onChange: OnChange): Promise<number>;
  /** The connection is lost, and the session with it. */
  isBroken(): boolean;
  /** So much of an answer is kept in memory until what this gives is called. */
  hold(bytes: number): () => void;
}

/** The first of the hosts that takes us. */
export async function connect(ctx: Context, settings: Settings): Promise<Client> {
  const failures: Failure[] = [];
  for (const host of settings.hosts) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    try {
      return await connectTo(ctx, settings, host);
    } catch (error) {
      if (ctx.signal.aborted) throw interruption(ctx.signal);
      if (!(error instanceof Failure) || error.code === 'wrong-password') throw error;
      failures.push(error);
    }
  }
  const [only] = failures;
  if (only && failures.length === 1) throw only;
  const each = failures.map(messageOf).join('; ');
  throw new Failure('unreachable', `no server of the ensemble answers: ${each}`, {
    cause: only,
    hint: UNREACHABLE_HINT,
  });
}
/** A server that is just starting takes connections and forgets them: the first answer is awaited anew. */
async function connectTo(ctx: Context, settings: Settings, host: Host): Promise<Client> {
  const begun = ctx.monotonicMs();
  for (let patienceMs = GREETING_MS; ; patienceMs *= 2) {
    const leftMs = settings.timeoutMs - (ctx.monotonicMs() - begun);
    try {
      return await sessionWith(ctx, settings, host, Math.min(patienceMs, Math.max(1, leftMs)));
    } catch (error) {
      if (ctx.signal.aborted || patienceMs >= leftMs || !isFailure(error, 'timeout')) throw error;
    }
  }
}

async function sessionWith(ctx: Context, settings: Settings, host: Host, patienceMs: number): Promise<Client> {
  const where = whereOf(host);
  const socket = await open(ctx, host, settings);
  const session = sessionOn(ctx, socket, { where, host, timeoutMs: settings.timeoutMs });
  try {
    const granted = grantedMs(await session.greet(request.connect(settings.timeoutMs), patienceMs));
    if (granted <= 0) throw new Failure('unreachable', `${where} gives no session`, { hint: UNREACHABLE_HINT });
    session.keepAlive(granted / 3);
    if (settings.user) {
      const { name, password } = settings.user;
      const { error } = await session.client.ask('auth', request.auth('digest', `${name}:${password}`));
      if (error !== 0) throw new Failure('wrong-password', `${where} refuses user ${name}: ${wordsFor(error)}`);
    }
    return session.client;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

interface Session {
  readonly client: Client;
  /** The first frames of either side have no header. */
  greet(frame: Buffer, patienceMs: number): Promise<Buffer>;
  keepAlive(everyMs: number): void;
}

interface Peer {
  readonly where: string;
  readonly host: Host;
  readonly timeoutMs: number;
}

function sessionOn(ctx: Context, socket: Socket, { where, host, timeoutMs }: Peer): Session {
  const outgoing = outgoingOf(socket);
  const silence = silenceOn(socket, timeoutMs, () => breakOff(noAnswer(where, timeoutMs)));
  const queue = requestQueue(outgoing, silence.busy);
  let broken: Failure | null = null;
  let greeted: PromiseWithResolvers<Buffer> | null = null;
  let onChange: OnChange | null = null;
  let latest = 0n;
  let pinging: NodeJS.Timeout | undefined;

  function end(failure: Failure): void {
    broken ??= failure;
    ctx.signal.removeEventListener('abort', onAbort);
    clearInterval(pinging);
  }
  function breakOff(failure: Failure): void {
    end(failure);
    silence.end();
    socket.destroy();
    greeted?.reject(failure);
    queue.fail(failure);
  }
  const onAbort = (): void => breakOff(interruption(ctx.signal));
  ctx.signal.addEventListener('abort', onAbort, { once: true });

  function hear(frame: Buffer): void {
    if (greeted) {
      greeted.resolve(frame);
      greeted = null;
      return;
    }
    const body = juteReader(frame);
    const [id, zxid, error] = [body.int(), body.long(), body.int()];
    if (id === XID_EVENT) {
      const [kind, , path] = [body.int(), body.int(), body.text()];
      if (kind >= 1 && kind <= 3) onChange?.(path, kind === 3 ? 'data' : 'made or gone');
    } else if (id !== XID_PING) {
      latest = zxid;
      silence.heard();
      queue.answer(id, { zxid, error, body }, frame.length);
    }
  }
  const bytesMax = (): number => (greeted ? FIRST_FRAME_BYTES_MAX : FRAME_BYTES_MAX);
  listen(socket, { where, cut: frameCutter(bytesMax, hear, silence.heard), breakOff });

  const ask = (op: Op, body: Buffer): Promise<Reply> => (broken ? Promise.reject(broken) : queue.add(op, body));
  const client: Client = {
    where,
    host,
    zxid: () => latest,
    ask,
    async call(op, path, body) {
      const reply = await ask(op, body);
      if (reply.error !== 0) throw refusal(where, op, path, reply.error);
      return reply;
    },
    async watch(path, change) {
      onChange = change;
      return (await ask('addWatch', request.addWatch(path))).error;
    },
    isBroken: () => broken !== null,
    hold: silence.hold,
    async [Symbol.asyncDispose]() {
      if (!broken) outgoing.send('closeSession', 0, NOTHING); // else its watches live on until it expires
      outgoing.flush();
      end(new Failure('unreachable', `${where}: the session was closed`));
      socket.end();
      socket.unref();
    },
  };
  return {
    client,
    async greet(frame, patienceMs) {
      greeted = Promise.withResolvers<Buffer>();
      socket.setTimeout(patienceMs, () => breakOff(noAnswer(where, timeoutMs)));
      socket.write(Buffer.concat([juteWriter().int(frame.length).done(), frame]));
      return await greeted.promise;
    },
    keepAlive(everyMs) {
      socket.setTimeout(0);
      pinging = setInterval(() => outgoing.send('ping', XID_PING, NOTHING), everyMs).unref();
    },
  };
}
const NOTHING = Buffer.alloc(0);

interface Silence {
  /** Something is awaited of the server. */
  busy(busy: boolean): void;
  /** An answer, or a piece of a large one. */
  heard(): void;
  hold(bytes: number): () => void;
  end(): void;
}

/**
 * Who awaits an answer waits so long for it, except while it is us who do not read. A timeout of the socket would begin
 * anew with each ping.
 */
function silenceOn(socket: Socket, timeoutMs: number, onSilence: () => void): Silence {
  let isBusy = false;
  let held = 0;
  let timer: NodeJS.Timeout | undefined;
  const isFull = (): boolean => held > HELD_BYTES_MAX;
  function mind(): void {
    clearTimeout(timer);
    timer = isBusy && !isFull() ? setTimeout(onSilence, timeoutMs) : undefined;
  }
  function add(bytes: number): void {
    const wasFull = isFull();
    held += bytes;
    if (wasFull === isFull()) return;
    if (wasFull) socket.resume();
    else socket.pause();
    mind();
  }
  return {
    busy(busy) {
      isBusy = busy;
      mind();
    },
    heard: () => void timer?.refresh(),
    hold(bytes) {
      add(bytes);
      return () => add(-bytes);
    },
    end() {
      isBusy = false;
      mind();
    },
  };
}

interface Hearing {
  readonly where: string;
  readonly cut: (chunk: Buffer) => void;
  readonly breakOff: (failure: Failure) => void;
}

function listen(socket: Socket, { where, cut, breakOff }: Hearing): void {
  socket.on('data', (chunk: Buffer) => {
    try {
      cut(chunk);
    } catch (cause) {
      const what = `${where}: what answers there is no ZooKeeper (${messageOf(cause)})`;
      breakOff(new Failure('unreachable', what, { cause, hint: UNREACHABLE_HINT }));
    }
  });
  socket.on('error', (cause) => breakOff(noConnection(where, cause)));
  const closed = `${where}: the server closed the connection`;
  socket.on('close', () => breakOff(new Failure('unreachable', closed, { hint: UNREACHABLE_HINT })));
}

function noAnswer(where: string, ms: number): Failure {
  return new Failure('timeout', `${where}: no answer in ${ms} ms`, { hint: UNREACHABLE_HINT });
}

/** What a server said no to. */
export function refusal(where: string, op: Op, path: string, error: number): Failure {
  const what = `${where} refuses ${op} of ${path}: ${wordsFor(error)}`;
  if (error === -101) return new Failure('missing', what);
  if (error === -102) {
    return new Failure('privileges', what, { hint: 'give the user of the component rights in the ACL, or use super' });
  }
  if (error === -112 || error === -118 || error === -4) return new Failure('unreachable', what);
  return new Failure('denied', what);
}
