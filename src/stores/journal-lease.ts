// Who writes a journal, or prunes it. One at a time for each component; locks of a whole repository would keep backups
// and prunes waiting for as long as somebody follows.

import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { outliving } from '../core/context.ts';
import { Failure, isFailure, messageOf } from '../core/errors.ts';
import { identityOf, type ProcessIdentity, processIdentitySchema, stateOf } from '../core/liveness.ts';
import type { Context } from '../core/model.ts';
import { isThere } from '../core/objects.ts';
import type { ObjectInfo } from '../core/storage.ts';
import { inTime } from '../core/times.ts';
import type { JournalVault } from './journal-names.ts';

const REFRESH_MS = 60_000;
/** Who was not heard of for so long may be taken for dead. */
const STALE_MS = 10 * 60_000;
/** What takes longer than this must not count before the lease was looked at again. */
const SURE_MS_MAX = STALE_MS / 2;
const LOOK_MS = 20_000;
const CLEANUP_MS_MAX = 30_000;

const leaseSchema = z.object({ owner: processIdentitySchema.nullable(), at: z.iso.datetime({ offset: true }) });
type LeaseJson = z.output<typeof leaseSchema>;

export interface Lease extends AsyncDisposable {
  /** Refreshes it when that is due, and tells whether it was. 'lease-lost' when somebody else has taken over. */
  touch(ctx: Context): Promise<boolean>;
  /** Looks only when it was away for so long that somebody may have taken over. */
  assertHeld(ctx: Context): Promise<void>;
}

/** Those of this very process: any other one that names it was left behind. */
const held = new Set<string>();

/** 'locked' when somebody else has it. */
export async function acquireLease(ctx: Context, vault: JournalVault, folder: string): Promise<Lease> {
  const owner = await identityOf(process.pid);
  const key = `${folder}${randomUUID()}.json`;
  held.add(key);
  try {
    // Ours first, then a look at the others: of two at the same time at least one sees the other.
    await putLease(ctx, vault, key, owner);
    const { modifiedAt } = await vault.bucket.head(ctx, key);
    await refuseOthers(ctx, vault, folder, key, modifiedAt);
  } catch (error) {
    await dropLease(outliving(ctx, CLEANUP_MS_MAX), vault, key);
    throw error;
  }
  return heldLease(ctx, vault, folder, key, owner);
}

function heldLease(
  ctx: Context,
  vault: JournalVault,
  folder: string,
  key: string,
  owner: ProcessIdentity | null,
): Lease {
  let seen = { at: ctx.now().getTime(), monotonicMs: ctx.monotonicMs() };
  let lost: Failure | undefined;
  let queue: Promise<unknown> = Promise.resolve();

  /** By the clock that stands still while the machine sleeps, and by the one that may jump: whichever says more. */
  function sinceMs(within: Context): number {
    const wallMs = within.now().getTime() - seen.at;
    return wallMs < 0 ? STALE_MS : Math.max(wallMs, within.monotonicMs() - seen.monotonicMs);
  }
  async function refresh(within: Context): Promise<void> {
    if (lost) throw lost;
    const now = { at: within.now().getTime(), monotonicMs: within.monotonicMs() };
    const takeover = await takeoverOf(within, sinceMs(within) >= SURE_MS_MAX);
    if (takeover !== null) {
      const what = `${vault.bucket.url}: who holds ${key} was taken for dead: ${takeover}`;
      throw (lost = new Failure('lease-lost', what, { hint: 'see that one process at a time follows this component' }));
    }
    seen = now;
  }
  /** Null when nobody has taken over, which nobody may while this is refreshed in time. */
  async function takeoverOf(within: Context, isOverdue: boolean): Promise<string | null> {
    if (!(await isThere(within, vault.bucket, key))) return 'it is gone';
    await putLease(within, vault, key, owner);
    if (!isOverdue) return null;
    // Who takes over puts his own, then looks at ours: one of the two sees the other.
    for await (const other of vault.bucket.list(within, folder)) if (other.key !== key) return `there is ${other.key}`;
    return null;
  }
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = queue.then(work);
    queue = turn.catch(() => {}); // its caller hears of it; the next one has a try of its own
    return turn;
  }
  const touch = async (within: Context): Promise<boolean> => {
    const isDue = lost !== undefined || sinceMs(within) >= REFRESH_MS;
    if (isDue) await refresh(within);
    return isDue;
  };

  // Keeps it alive while nothing is written. What goes wrong here is found again by the next touch.
  const timer = setInterval(() => void inTurn(() => touch(ctx)).catch(() => {}), LOOK_MS).unref();
  return {
    touch: (within) => inTurn(() => touch(within)),
    assertHeld: (within) =>
      inTurn(async () => {
        if (lost || sinceMs(within) >= SURE_MS_MAX) await refresh(within);
      }),
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await queue;
      await dropLease(outliving(ctx, CLEANUP_MS_MAX), vault, key);
    },
  };
}

async function putLease(ctx: Context, vault: JournalVault, key: string, owner: ProcessIdentity | null): Promise<void> {
  await vault.putDocument(ctx, key, { owner: owner && { ...owner }, at: ctx.now().toISOString() });
}

async function dropLease(ctx: Context, vault: JournalVault, key: string): Promise<void> {
  held.delete(key); // first: if the deletion fails, whoever comes next can see that it is left behind
  try {
    await vault.bucket.delete(ctx, key);
  } catch (error) {
    ctx.log.warn('a lease was left behind; it counts until it is proved dead', { key, error: messageOf(error) });
  }
}

/** Removes what is proved to be left behind; 'locked' names the first that is not. Looks again after that. */
async function refuseOthers(
  ctx: Context,
  vault: JournalVault,
  folder: string,
  own: string,
  bucketNow: Date,
): Promise<void> {
  for (let round = 0; round < 2; round++) {
    for await (const object of vault.bucket.list(ctx, folder)) {
      if (object.key === own) continue;
      const lease = await readLease(ctx, vault, object.key);
      if (lease === 'gone') continue;
      const { is, leftMs } = await isLeftBehind(ctx, object, lease, bucketNow);
      if (!is) throw inUse(vault, object, lease, leftMs === null ? undefined : after(ctx, leftMs));
      await vault.bucket.delete(ctx, object.key);
    }
  }
}

/** Null when it can't be read: then only its age tells. */
async function readLease(ctx: Context, vault: JournalVault, key: string): Promise<LeaseJson | null | 'gone'> {
  try {
    return leaseSchema.safeParse(await vault.getDocument(ctx, key)).data ?? null;
  } catch (error) {
    if (isFailure(error, 'missing')) return 'gone';
    if (isFailure(error, 'checksum') || isFailure(error, 'malformed')) return null;
    throw error;
  }
}

interface LeftBehind {
  readonly is: boolean;
  /** For how long it still counts where nothing is heard of it; null while its process is known to live. */
  readonly leftMs: number | null;
}

async function isLeftBehind(
  ctx: Context,
  { key, modifiedAt }: ObjectInfo,
  lease: LeaseJson | null,
  bucketNow: Date,
): Promise<LeftBehind> {
  const silentMs = bucketNow.getTime() - modifiedAt.getTime(); // one clock, the bucket's
  const saysMs = lease ? ctx.now().getTime() - Date.parse(lease.at) : silentMs;
  const leftMs = STALE_MS - Math.min(silentMs, saysMs);
  if (leftMs < 0) return { is: true, leftMs: null };
  if (!lease?.owner) return { is: false, leftMs };
  const state = await stateOf(lease.owner, modifiedAt);
  const isOurs = lease.owner.pid === process.pid && !held.has(key);
  const is = state === 'dead' || (state === 'alive' && isOurs);
  return { is, leftMs: state === 'unknown' ? leftMs : null };
}

function after(ctx: Context, ms: number): Date {
  return new Date(ctx.now().getTime() + ms);
}

function inUse({ bucket }: JournalVault, { key }: ObjectInfo, lease: LeaseJson | null, until?: Date): Failure {
  const who = lease?.owner ? `process ${lease.owner.pid} on ${lease.owner.host} since ${lease.at}` : key;
  const counts = until ? `, as far as can be told from here: it counts until ${inTime(until.getTime())}` : '';
  return new Failure('locked', `${bucket.url}: ${who} works on this journal${counts}`, {
    until,
    hint: 'one process at a time follows a component; a lease that nobody refreshes counts for ten minutes',
  });
}
