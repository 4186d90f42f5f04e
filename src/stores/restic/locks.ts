// Who works on the repository. The locks are restic's, so that both programs wait for one another.

import { readFile, readlink } from 'node:fs/promises';
import { hostname, userInfo } from 'node:os';
import { z } from 'zod';
import { Failure, isFailure, messageOf, systemCode } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { ObjectInfo } from '../../core/storage.ts';
import { getNamed, goTime, isId, putNamed, shaped, type Vault } from './documents.ts';

const REFRESH_MS = 5 * 60_000;
const STALE_MS = 30 * 60_000;
const LOOK_MS = 60_000;
/** A writer waits that long for one who frees space, or tries to. */
const WAIT_MS_MAX = 60_000;
const WAIT_MS_STEP = 2_000;

const lockSchema = z.object({
  time: z.iso.datetime({ offset: true }),
  exclusive: z.boolean().default(false),
  hostname: z.string().default(''),
  pid: z.int().default(0),
  boot_id: z.string().nullable().default(null),
  pid_namespace: z.string().nullable().default(null),
});
type LockJson = z.output<typeof lockSchema>;
export type LockKind = 'shared' | 'exclusive';

export interface Lock extends AsyncDisposable {
  /** When the lock was taken, by the bucket's clock. */
  readonly takenAt: Date;
  /** The bucket's clock minus ours. */
  readonly skewMs: number;
  /** Refreshes it when that is due. 'lease-lost' when somebody took it for dead meanwhile: others may be deleting. */
  touch(ctx: Context): Promise<void>;
  /** Whether `touch` would do anything, or throw. */
  isDue(ctx: Context): boolean;
  /** Throws what is known: 'lease-lost' once anybody has seen it. */
  assertNotLost(): void;
  /** As `touch`, and looks whether the lock is still there. */
  assertHeld(ctx: Context): Promise<void>;
}
export interface Locks {
  /** 'locked' when another one stands in the way; only a shared one waits for a minute. */
  acquire(ctx: Context, kind: LockKind): Promise<Lock>;
}

/** The locks that are held by this very process: any other one that names its id was left by an earlier life. */
const held = new Set<string>();

export function repositoryLocks(vault: Vault): Locks {
  return {
    async acquire(ctx, kind) {
      const patience = kind === 'shared' ? WAIT_MS_MAX : 0;
      for (let waited = 0; ; waited += WAIT_MS_STEP) {
        try {
          return await tryAcquire(ctx, vault, kind);
        } catch (error) {
          if (!isFailure(error, 'locked') || waited >= patience) throw error;
          await ctx.sleep(WAIT_MS_STEP);
        }
      }
    },
  };
}

async function tryAcquire(ctx: Context, vault: Vault, kind: LockKind): Promise<Lock> {
  const machine = await thisMachine();
  // Ours first, then a look at the others: of two at the same time at least one sees the other.
  const id = await putLock(ctx, vault, kind, machine);
  try {
    const { modifiedAt } = await vault.bucket.head(ctx, `locks/${id}`);
    await getNamed(ctx, vault, 'locks', id); // what the clocks are compared by is really what was just written
    await refuseOthers(ctx, vault, kind, { id, modifiedAt, machine });
    return heldLock(ctx, vault, kind, { id, takenAt: modifiedAt, skewMs: modifiedAt.getTime() - ctx.now().getTime() });
  } catch (error) {
    await dropLock(ctx, vault, id);
    throw error;
  }
}

function heldLock(
  ctx: Context,
  vault: Vault,
  kind: LockKind,
  first: { id: string; takenAt: Date; skewMs: number },
): Lock {
  let { id } = first;
  let refreshed = { at: ctx.now().getTime(), monotonicMs: ctx.monotonicMs() };
  let lost: Failure | undefined;
  let queue: Promise<unknown> = Promise.resolve();

  async function assertThere(within: Context): Promise<void> {
    try {
      await vault.bucket.head(within, `locks/${id}`);
    } catch (cause) {
      if (!isFailure(cause, 'missing')) throw cause;
      lost = new Failure('lease-lost', `${vault.bucket.url}: somebody took the lock of this run for dead`, {
        cause,
        hint: 'run it again; nothing was published',
      });
      throw lost;
    }
  }
  function isDue(within: Context): boolean {
    const sinceMs = within.now().getTime() - refreshed.at;
    return (
      lost !== undefined || sinceMs < 0 || Math.max(sinceMs, within.monotonicMs() - refreshed.monotonicMs) >= REFRESH_MS
    );
  }
  async function refresh(within: Context): Promise<void> {
    if (lost) throw lost;
    if (!isDue(within)) return;
    await assertThere(within);
    const old = id;
    id = await putLock(within, vault, kind, await thisMachine());
    refreshed = { at: within.now().getTime(), monotonicMs: within.monotonicMs() };
    await dropLock(within, vault, old);
  }
  function inTurn(work: () => Promise<void>): Promise<void> {
    const turn = queue.then(work);
    queue = turn.catch(() => {}); // its caller hears of it; the next one has a try of its own
    return turn;
  }

  // Keeps the lock alive while the source is slow. What goes wrong here is found again by the next touch.
  const timer = setInterval(() => void inTurn(() => refresh(ctx)).catch(() => {}), LOOK_MS).unref();
  return {
    takenAt: first.takenAt,
    skewMs: first.skewMs,
    touch: (within) => inTurn(() => refresh(within)),
    isDue,
    assertNotLost() {
      if (lost) throw lost;
    },
    assertHeld: (within) =>
      inTurn(async () => {
        await refresh(within);
        await assertThere(within);
      }),
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await queue;
      try {
        // An aborted run has to unlock as well.
        await dropLock({ ...ctx, signal: new AbortController().signal }, vault, id);
      } catch (error) {
        // What the run was for is done, or has failed for a better reason: neither must be hidden by this.
        ctx.log.warn('a lock was left behind; it counts for half an hour', { error: messageOf(error) });
      }
    },
  };
}

async function putLock(ctx: Context, vault: Vault, kind: LockKind, machine: Machine): Promise<string> {
  const { username, uid, gid } = userInfo();
  const id = await putNamed(ctx, vault, 'locks', {
    time: goTime(ctx.now()),
    exclusive: kind === 'exclusive',
    hostname: hostname(),
    username,
    pid: process.pid,
    uid: Math.max(0, uid),
    gid: Math.max(0, gid),
    boot_id: machine.boot,
    pid_namespace: machine.namespace,
  });
  held.add(id);
  return id;
}

async function dropLock(ctx: Context, vault: Vault, id: string): Promise<void> {
  held.delete(id); // first: if the deletion fails, whoever comes next can see that it is left behind
  await vault.bucket.delete(ctx, `locks/${id}`);
}

/** Removes what is proved to be left behind; 'locked' names the first that is not and stands in the way. */
async function refuseOthers(
  ctx: Context,
  vault: Vault,
  kind: LockKind,
  own: { id: string; modifiedAt: Date; machine: Machine },
): Promise<void> {
  const seen = new Set([own.id]);
  for await (const object of listTwice(ctx, vault)) {
    const id = object.key.slice('locks/'.length);
    if (seen.has(id) || !isId(id)) continue;
    seen.add(id);
    const lock = await readLock(ctx, vault, id);
    if (lock === 'gone') continue;
    if (isLeftBehind(ctx, own, object, id, lock)) {
      await vault.bucket.delete(ctx, object.key);
      continue;
    }
    if (kind === 'shared' && lock?.exclusive === false) continue;
    const whose = lock ? `process ${lock.pid} on ${lock.hostname} since ${lock.time}` : `lock ${id.slice(0, 8)}`;
    throw new Failure('locked', `${vault.bucket.url} is in use by ${whose}`, {
      hint: 'wait for it; a lock that nobody refreshes counts for half an hour',
    });
  }
}

/**
 * A lock that is refreshed has another name afterwards: a listing made meanwhile may show the old name, which is gone
 * when it is read, or neither. The next one shows the new name.
 */
async function* listTwice(ctx: Context, { bucket }: Vault): AsyncIterable<ObjectInfo> {
  yield* bucket.list(ctx, 'locks/');
  yield* bucket.list(ctx, 'locks/');
}

/** Null when it can't be read: it counts as exclusive then. */
async function readLock(ctx: Context, vault: Vault, id: string): Promise<LockJson | null | 'gone'> {
  try {
    return shaped(lockSchema, await getNamed(ctx, vault, 'locks', id), `locks/${id}`);
  } catch (error) {
    if (isFailure(error, 'missing')) return 'gone'; // released since it was listed
    if (isFailure(error, 'checksum') || isFailure(error, 'malformed')) return null;
    throw error;
  }
}

function isLeftBehind(
  ctx: Context,
  own: { modifiedAt: Date; machine: Machine },
  object: ObjectInfo,
  id: string,
  lock: LockJson | null,
): boolean {
  const silentMs = own.modifiedAt.getTime() - object.modifiedAt.getTime(); // one clock, the bucket's
  const saysMs = lock ? ctx.now().getTime() - Date.parse(lock.time) : silentMs;
  if (silentMs > STALE_MS && saysMs > STALE_MS) return true;
  if (!lock?.boot_id || !lock.pid_namespace || lock.hostname !== hostname()) return false;
  if (lock.boot_id !== own.machine.boot || lock.pid_namespace !== own.machine.namespace) return false;
  return lock.pid === process.pid ? !held.has(id) : !isAlive(lock.pid);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) !== 'ESRCH';
  }
}

interface Machine {
  readonly boot: string | null;
  readonly namespace: string | null;
}

/** What tells a process id of this machine and boot from those of others. Nulls where the system does not say. */
async function thisMachine(): Promise<Machine> {
  try {
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
    return { boot: boot.trim(), namespace: await readlink('/proc/self/ns/pid') };
  } catch (error) {
    if (systemCode(error) === '') throw error;
    return { boot: null, namespace: null };
  }
}
