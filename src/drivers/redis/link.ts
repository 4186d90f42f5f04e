// The link of a replica: a copy where one is needed, and everything that is done after, for as long as it stands.

import { interruption } from '../../core/context.ts';
import { Failure, systemCode } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';
import { connect } from './connection.ts';
import { introduce, type LogPlace, psync, rdbOf } from './replica.ts';
import { encodeCommand } from './resp.ts';
import type { ServerFacts } from './server.ts';
import type { Endpoint } from './settings.ts';

export interface Link extends AsyncDisposable, LogPlace {
  readonly where: string;
  readonly server: ServerFacts;
  /** The RDB that comes first, to be read once; null where the log goes on from where it was asked. */
  readonly copy: Bytes | null;
  /** Settles when all of the copy has been read; without one it has. */
  readonly copied: Promise<void>;
  /** What is done after, as it comes; read once, after the copy. It has no end: it throws. */
  readonly stream: AsyncIterable<Buffer>;
  /** Tells the server up to where we have it, and that we live. The stream begins with the first one. */
  acknowledge(offset: bigint): void;
}

/** A server says something each 10 s at least, unless `repl-ping-replica-period` is another. */
const SILENT_MS_MIN = 60_000;

/** `from` null asks for a copy, which costs the server a fork; so it does when it no longer has what follows. */
export async function openLink(ctx: Context, endpoint: Endpoint, from: LogPlace | null): Promise<Link> {
  const connection = await connect(ctx, endpoint);
  const { where, socket } = connection;
  const onAbort = (): void => void socket.destroy(interruption(ctx.signal));
  const leave = (): void => {
    ctx.signal.removeEventListener('abort', onAbort);
    socket.destroy();
  };
  try {
    const server = await introduce(connection);
    const answer = await psync(connection, endpoint, from);
    const pieces = connection.detach().pieces(ctx, Math.max(endpoint.timeoutMs, SILENT_MS_MIN), where);
    const unclosed = keptOpen(pieces as AsyncIterable<Buffer>);
    ctx.signal.addEventListener('abort', onAbort, { once: true });
    const copied = Promise.withResolvers<void>();
    copied.promise.catch(() => {}); // told to who reads the copy
    if (answer.kind === 'continue') copied.resolve();
    let rest: Buffer = Buffer.alloc(0);
    return {
      ...{ where, server, replicationId: answer.replicationId, offset: answer.offset, copied: copied.promise },
      copy: answer.kind === 'continue' ? null : copyOf(rdbOf(where, unclosed, keepRest), copied),
      stream: streamOf(where, unclosed, () => rest),
      acknowledge: (offset) => void socket.write(encodeCommand(['REPLCONF', 'ACK', `${offset}`])),
      [Symbol.asyncDispose]: async () => leave(),
    };
    function keepRest(bytes: Buffer): void {
      rest = Buffer.from(bytes);
    }
  } catch (error) {
    leave();
    throw error;
  }
}

/** Can be read on by somebody else where one has stopped. */
function keptOpen(pieces: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  const iterator = pieces[Symbol.asyncIterator]();
  return { [Symbol.asyncIterator]: () => ({ next: () => iterator.next() }) };
}

async function* copyOf(rdb: Bytes, copied: PromiseWithResolvers<void>): Bytes {
  try {
    yield* rdb;
    copied.resolve();
  } finally {
    copied.reject(new Failure('unreachable', 'the copy was not read to its end'));
  }
}

async function* streamOf(where: string, pieces: AsyncIterable<Buffer>, rest: () => Buffer): AsyncIterable<Buffer> {
  const hint =
    'its log says why; its client-output-buffer-limit for replicas may be too small for a store as slow as this';
  try {
    if (rest().length > 0) yield rest();
    yield* pieces;
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    throw new Failure('unreachable', `${where}: the link broke off (${systemCode(cause)})`, { cause, hint });
  }
  throw new Failure('unreachable', `${where}: the server ended the link`, { hint });
}
