// Restoring as the target's master: it becomes our replica, loads the RDB at full speed, and is promoted again.

import { setTimeout } from 'node:timers/promises';
import { interruption, withDeadline } from '../../core/context.ts';
import { Failure, messageOf } from '../../core/errors.ts';
import type { Context, Source } from '../../core/model.ts';
import { RDB_PART } from './capture.ts';
import { type Connection, connect, readInfo, refusal } from './connection.ts';
import { type Master, serveAsMaster } from './master.ts';
import { isError } from './resp.ts';
import type { ServerFacts } from './server.ts';
import type { Settings } from './settings.ts';

/** A target that can reach us calls within a second. */
const CALL_BACK_MS = 10_000;
const POLL_MS = 50;
/** The link may be down for a moment after the copy; longer means that the copy was not taken. */
const LINK_DOWN_MS = 5_000;
const LOADING_MS_MAX = 15 * 60_000;

export interface Promotion {
  readonly settings: Settings;
  readonly connection: Connection;
  readonly server: ServerFacts;
  readonly source: Source;
  readonly bytes: number;
  /** Nothing was there before: on failure nothing may be there after. */
  readonly empty: boolean;
  /** What was done after it, up to the moment that is wanted. */
  readonly log: AsyncIterable<Buffer> | null;
}

/** Null when it is done; what stood against it when it could not begin, and nothing was changed. */
export async function restoreAsMaster(ctx: Context, work: Promotion): Promise<Failure | null> {
  const { settings, connection, server, source, bytes } = work;
  const { localAddress = '', remoteAddress = '' } = connection.socket;
  if (settings.frozen) await connection.call('DEBUG', 'SET-ACTIVE-EXPIRE', '0');
  await using master = await serveAsMaster({
    address: localAddress,
    peer: remoteAddress,
    replicationId: server.replicationId,
    bytes,
    timeoutMs: settings.timeoutMs,
    body: () => source.get(ctx, RDB_PART),
  });
  const reply = await connection.ask('REPLICAOF', localAddress, master.port);
  if (isError(reply))
    return refusal({ where: connection.where, username: settings.username }, 'replicaof', reply.error);
  try {
    const silent = await calledBack(ctx, connection.where, master);
    if (silent) {
      await promote(ctx, work, { discard: false });
      return silent;
    }
    await Promise.race([master.sent, aborted(ctx)]);
    await loaded(ctx, connection);
    if (work.log) await replayed(ctx, work, master, work.log);
  } catch (error) {
    await promote(ctx, work, { discard: work.empty });
    throw error;
  }
  await promote(ctx, work, { discard: false });
  return null;
}

/** Null when the target asks for the copy; why it can't, when it does not. */
async function calledBack(ctx: Context, where: string, master: Master): Promise<Failure | null> {
  try {
    await withDeadline(ctx, CALL_BACK_MS, 'the call back', async (inner) => {
      await Promise.race([master.asked, aborted(inner)]);
    });
    return null;
  } catch (cause) {
    if (ctx.signal.aborted || !(cause instanceof Failure)) throw cause;
    if (cause.code !== 'timeout') return cause;
    const what = `${where} did not call back within ${CALL_BACK_MS / 1000} s to be our replica`;
    return new Failure('denied', what, { cause });
  }
}

/** Resolves when the copy is the target's data, and no more than it may hold. */
async function loaded(ctx: Context, connection: Connection): Promise<void> {
  let downSince: number | null = null;
  for (;;) {
    const info = await readInfo(connection);
    if (info.get('master_link_status') === 'up') {
      const limit = Number(info.get('maxmemory') ?? 0);
      if (limit === 0 || Number(info.get('used_memory')) <= limit) return;
      throw new Failure('no-space', `${connection.where}: the data takes more memory than maxmemory allows`, {
        hint: 'raise maxmemory of that server, or restore into a larger one',
      });
    }
    const busy = info.get('loading') === '1' || info.get('master_sync_in_progress') === '1';
    const now = ctx.monotonicMs();
    downSince = busy ? null : (downSince ?? now);
    if (downSince !== null && now - downSince > LINK_DOWN_MS) {
      throw new Failure('program-failed', `${connection.where} did not load the copy; its log says why`);
    }
    await ctx.sleep(POLL_MS);
  }
}

/** Resolves when the target has done all of it, as a replica does: keys pass away when the log says so. */
async function replayed(
  ctx: Context,
  { settings, connection }: Promotion,
  master: Master,
  log: AsyncIterable<Buffer>,
): Promise<void> {
  const refusedBefore = refusals(await readInfo(connection));
  const offset = await Promise.race([master.follow(log), aborted(ctx)]);
  let [done, sinceMs] = [-1, ctx.monotonicMs()];
  for (;;) {
    const info = await readInfo(connection);
    const now = Number(info.get('slave_repl_offset') ?? 0);
    if (now >= offset) break;
    if (now > done) [done, sinceMs] = [now, ctx.monotonicMs()];
    if (info.get('master_link_status') !== 'up' || ctx.monotonicMs() - sinceMs > settings.timeoutMs) {
      throw new Failure('program-failed', `${connection.where} ended at byte ${now} of ${offset} of the log`, {
        hint: 'its own log says why',
      });
    }
    await ctx.sleep(POLL_MS);
  }
  await loaded(ctx, connection);
  const refused = refusals(await readInfo(connection)) - refusedBefore;
  if (refused === 0) return;
  throw new Failure('version-mismatch', `${connection.where} refused ${refused} commands of the log`, {
    hint: 'its own log names them; restore into a server of the version that was followed, with the same modules',
  });
}

/** What a replica could not do of what its master told it. */
function refusals(info: ReadonlyMap<string, string>): number {
  return Number(info.get('unexpected_error_replies') ?? 0);
}

/** Over a connection of its own, also when the restore was stopped: the target must not stay our replica. */
async function promote(
  ctx: Context,
  { settings, connection: { where } }: Promotion,
  { discard }: { discard: boolean },
): Promise<void> {
  try {
    await using connection = await connect({ ...ctx, signal: new AbortController().signal }, settings);
    const since = ctx.monotonicMs();
    // While it loads, it listens to nothing else; a large copy takes its time.
    let reply = await connection.ask('REPLICAOF', 'NO', 'ONE');
    while (isError(reply) && reply.error.startsWith('LOADING') && ctx.monotonicMs() - since < LOADING_MS_MAX) {
      await setTimeout(POLL_MS);
      reply = await connection.ask('REPLICAOF', 'NO', 'ONE');
    }
    if (isError(reply)) throw refusal({ where, username: settings.username }, 'replicaof', reply.error);
    if (discard) await connection.call('FLUSHALL');
  } catch (cause) {
    throw new Failure('unreachable', `${where} could not be promoted after the restore: ${messageOf(cause)}`, {
      cause,
      hint: 'when it runs again, send it REPLICAOF NO ONE; until then it looks for a master that is gone',
    });
  }
}

function aborted({ signal }: Context): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(interruption(signal));
    else signal.addEventListener('abort', () => reject(interruption(signal)), { once: true });
  });
}
