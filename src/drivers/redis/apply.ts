// The log replayed as an ordinary client, for targets that may not be our replicas. Such a target lets keys pass away
// by its own clock, which is later than the log's: until all is done, every key passes away a thousand years later.

import { Failure, isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { serverTime } from './capture.ts';
import { type Connection, refusal } from './connection.ts';
import { encodeCommand, isError, type Reply, type ReplyReader, refusedIn, replyReader, textOf } from './resp.ts';
import { serverFacts } from './server.ts';

export const LATER_MS = 1000 * 365 * 86_400_000;

const BATCH_BYTES = 256 * 1024;
const SCAN_COUNT = '1000';
/** Said to replicas, or to those who listen: nothing of it is data. */
const IS_NO_DATA = new Set(['PING', 'REPLCONF', 'PUBLISH', 'SPUBLISH']);
const FIELDS_EXPIRE = new Set(['HPEXPIREAT', 'HEXPIREAT', 'HPEXPIRE', 'HEXPIRE', 'HSETEX', 'HGETEX']);
/** Types of values in an RDB from here on: hashes whose fields may expire, and what is newer. */
const TYPE_FIELDS_EXPIRE = 22;

/** `database` is the one that the log begins in. */
export async function applyLog(
  ctx: Context,
  connection: Connection,
  log: AsyncIterable<Buffer>,
  { database, username }: { database: number; username: string | undefined },
): Promise<void> {
  let refused: Failure | null = null;
  let [batch, bytes]: [Buffer[], number] = [[], 0];
  const onReply = (reply: Reply): void => {
    const said = refusedIn(reply);
    if (said !== null) refused ??= refusal({ where: connection.where, username }, 'a command of the log', said);
  };
  async function flush(): Promise<void> {
    if (refused) throw refused;
    await connection.send(Buffer.concat(batch), batch.length, onReply);
    [batch, bytes] = [[], 0];
  }
  await connection.call('SELECT', database);
  const reader = replyReader();
  for await (const piece of log) {
    ctx.signal.throwIfAborted();
    reader.push(piece);
    for (let command = next(reader); command !== undefined; command = next(reader)) {
      const later = withLaterExpiry(argumentsOf(command));
      if (!later) continue;
      const encoded = encodeCommand(later);
      batch.push(encoded);
      bytes += encoded.length;
      if (bytes >= BATCH_BYTES) await flush();
    }
  }
  await flush();
  await connection.call('PING'); // its answer comes after all others
  if (refused) throw refused;
}

function next(reader: ReplyReader): Reply | undefined {
  try {
    return reader.next();
  } catch (cause) {
    if (!isFailure(cause, 'value-too-large')) throw new Failure('malformed', 'no commands of a Redis', { cause });
    const what = 'a command of the log is too large to be replayed on a server that may not be our replica';
    throw new Failure(cause.code, what, { cause, hint: 'allow REPLICAOF there, without TLS' });
  }
}

function argumentsOf(command: Reply): Buffer[] {
  const parts = Array.isArray(command) ? command.filter((part) => Buffer.isBuffer(part)) : [];
  if (parts.length > 0) return parts;
  throw new Failure('malformed', 'the journal does not hold the commands of a Redis');
}

/** Null of what is no data. A server tells its replicas of expiries as times only, whatever its clients said. */
function withLaterExpiry(parts: Buffer[]): Buffer[] | null {
  const name = textOf(parts[0] ?? null).toUpperCase();
  if (IS_NO_DATA.has(name)) return null;
  if (FIELDS_EXPIRE.has(name)) throw fieldExpiryFailure();
  if (name === 'PEXPIREAT') return later(parts, 2);
  if (name === 'SET') return later(parts, 1 + parts.findIndex((part, at) => at > 2 && /^PXAT$/i.test(`${part}`)));
  if (name !== 'RESTORE' && name !== 'RESTORE-ASKING') return parts;
  if ((parts[3]?.[0] ?? 0) >= TYPE_FIELDS_EXPIRE) throw fieldExpiryFailure();
  return later(parts, 2);
}

/** Zero is no expiry, and none of its own. */
function later(parts: Buffer[], at: number): Buffer[] {
  const time = Number(parts[at] ?? Number.NaN);
  return at > 0 && time > 0 ? parts.with(at, Buffer.from(String(time + LATER_MS))) : parts;
}

export function fieldExpiryFailure(): Failure {
  const what = 'fields of hashes expire in this log, which can only be replayed on a server that may be our replica';
  return new Failure('denied', what, { hint: 'allow REPLICAOF there, without TLS, or restore into another server' });
}

/** Gives all keys their own time again. To how many there were whose time has come meanwhile. */
export async function settleExpiries(ctx: Context, connection: Connection): Promise<number> {
  let passed = 0;
  const now = await serverTime(ctx, connection);
  for (const database of (await serverFacts(connection)).keys.keys()) {
    await connection.call('SELECT', database);
    let cursor = '0';
    do {
      const scanned = await connection.call('SCAN', cursor, 'COUNT', SCAN_COUNT);
      const [next = null, names = null] = Array.isArray(scanned) ? scanned : [];
      cursor = textOf(next);
      passed += await settleKeys(connection, Array.isArray(names) ? names.filter(Buffer.isBuffer) : [], now);
    } while (cursor !== '0' && cursor !== '');
  }
  return passed;
}

async function settleKeys(connection: Connection, names: readonly Buffer[], now: number): Promise<number> {
  const ask = (name: Buffer): Promise<Reply> => connection.ask('PEXPIRETIME', name);
  const times = await Promise.all(names.map(ask));
  // What is seen again was settled before.
  const own = times.map((time) => (typeof time === 'number' ? time - LATER_MS : -1));
  const wrong = times.find(isError);
  if (wrong) throw refusal(connection, 'pexpiretime', wrong.error);
  await Promise.all(
    names.map(async (name, at) => {
      const time = own[at] ?? -1;
      if (time > 0) await connection.call('PEXPIREAT', name, time);
    }),
  );
  return own.filter((time) => time > 0 && time <= now).length;
}
