// Telling a dead process from a living one with proof: its number alone proves nothing, since numbers are used again,
// and another container or host has numbers of its own.

import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { z } from 'zod';
import { systemCode } from './errors.ts';
import type { Context } from './model.ts';

const DYING_POLL_MS = 20;
const DYING_POLLS_MAX = 250;
const UNSEEN_MS_MAX = 24 * 3_600_000;

export const processIdentitySchema = z.strictObject({
  host: z.string(),
  boot: z.string(),
  namespace: z.string(),
  pid: z.number().int().positive(),
  /** In clock ticks since the boot. */
  start: z.string(),
});
/** One process of all that ever ran. */
export type ProcessIdentity = z.output<typeof processIdentitySchema>;

/** Null when there is no such process, or when this system can't tell (it has no /proc). */
export async function identityOf(pid: number): Promise<ProcessIdentity | null> {
  const [start, here] = await Promise.all([startOf(pid), thisSystem()]);
  return start === null || here === null ? null : { ...here, pid, start };
}

/**
 * 'unknown' unless there is proof: a process of another host, or of another container, can't be judged from here. One
 * of another boot has died with it, unless it was alive (`seenAt`) after this boot: it runs on a clone of this host.
 */
export async function stateOf(process: ProcessIdentity, seenAt?: Date): Promise<'alive' | 'dead' | 'unknown'> {
  const here = await thisSystem();
  if (here === null || here.host !== process.host) return 'unknown';
  if (here.boot !== process.boot) return seenAt && seenAt.getTime() >= (await bootedMs()) ? 'unknown' : 'dead';
  if (here.namespace !== process.namespace) return 'unknown';
  return (await startOf(process.pid)) === process.start ? 'alive' : 'dead';
}

/**
 * Whether who has left a note at that time is gone: for certain, or for a day without anybody here being able to see
 * it, as with a job whose every run is another container.
 */
export async function isGone(owner: ProcessIdentity | null, notedAt: Date, now: Date): Promise<boolean> {
  const state = owner ? await stateOf(owner, notedAt) : 'unknown';
  return state === 'dead' || (state === 'unknown' && now.getTime() - notedAt.getTime() > UNSEEN_MS_MAX);
}

/** Ends a process that an earlier run left behind, with its children. True when it is not there any more. */
export async function endLeftover(ctx: Context, leftover: ProcessIdentity): Promise<boolean> {
  if ((await stateOf(leftover)) === 'alive') {
    for (const pid of await withDescendants(leftover.pid)) kill(pid);
  }
  // It dies when the kernel comes to it.
  for (let polls = 0; polls < DYING_POLLS_MAX && (await stateOf(leftover)) === 'alive'; polls++) {
    await ctx.sleep(DYING_POLL_MS);
  }
  return (await stateOf(leftover)) === 'dead';
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
  }
}

async function withDescendants(pid: number): Promise<number[]> {
  const all = [pid];
  for (const each of all) {
    const text = await readIfThere(`/proc/${each}/task/${each}/children`);
    all.push(...(text ?? '').split(' ').filter(Boolean).map(Number));
  }
  return all;
}

async function thisSystem(): Promise<{ host: string; boot: string; namespace: string } | null> {
  const boot = await readIfThere('/proc/sys/kernel/random/boot_id');
  if (boot === null) return null;
  return { host: hostname(), boot: boot.trim(), namespace: await readlink('/proc/self/ns/pid') };
}

/** Before all times when the system does not say. */
async function bootedMs(): Promise<number> {
  const [, seconds] = /^btime (\d+)$/m.exec((await readIfThere('/proc/stat')) ?? '') ?? [];
  return seconds === undefined ? Number.NEGATIVE_INFINITY : Number(seconds) * 1000;
}

/** A zombie has ended: it only waits for its parent to notice. */
async function startOf(pid: number): Promise<string | null> {
  const text = await readIfThere(`/proc/${pid}/stat`);
  if (text === null) return null;
  // The second field, the program's name, is in brackets and may hold anything.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null);
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'ENOTDIR'].includes(systemCode(error))) return null;
    throw error;
  }
}
