// How one open store has its work done: by the threads of the process, which keep its open packs apart from those of
// others, and by the caller's own while that is quicker.

import { Failure } from '../../core/errors.ts';
import type { MasterKey } from './crypto.ts';
import { type Answers, type Job, type JobKind, type JobSettings, type Jobs, jobRunner } from './pool-jobs.ts';
import { type BusyThread, sharedThreads, type Threads } from './threads.ts';

/** To start a thread takes longer than to hash, compress and seal so much. */
const OWN_BYTES_MAX = 256 * 1024;

export interface Pool extends AsyncDisposable {
  /** The most threads that work at once. */
  readonly size: number;
  /**
   * Rejects with the Failure of the job, or with why its thread has died. `cost` is in bytes to go through: the thread
   * that has the least before it gets the job, unless it is one for `first`.
   */
  run<K extends JobKind>(
    kind: K,
    job: Jobs[K]['job'],
    options: { readonly cost: number; readonly first?: boolean },
  ): Promise<Jobs[K]['answer']>;
  /**
   * Seals a piece whose id nobody knows yet. It is in no pack, and in memory, until somebody says whether it is new:
   * the thread that has it puts it into its pack then, or forgets it.
   */
  hold(
    pieces: Jobs['hold']['job'],
    cost: number,
  ): Promise<{ readonly id: Uint8Array; settle(isNew: boolean): Promise<Jobs['settle']['answer']> }>;
  /** The same job once for everyone that had one before. */
  runAll<K extends JobKind>(kind: K, job: Jobs[K]['job']): Promise<Jobs[K]['answer'][]>;
}

let pools = 0;

export function openPool(options: { key: MasterKey; compressionLevel: number; threads?: Threads }): Pool {
  const { key, compressionLevel, threads = sharedThreads } = options;
  const settings = settingsOf(key, compressionLevel);
  const pool = pools++;
  /** One that died stays: the pack that it was filling is lost, and `finish` must not say that all is well. */
  const asked = new Set<BusyThread>();
  const waiting = new Set<(why: Failure) => void>();
  let own: ReturnType<typeof jobRunner> | undefined;
  let ownBytes = 0;
  let closed: Failure | undefined;
  threads.enter();

  async function ask(thread: BusyThread, job: Job, cost: number): Promise<Answers> {
    if (closed) throw closed;
    asked.add(thread);
    const ended = Promise.withResolvers<Answers>();
    waiting.add(ended.reject);
    try {
      thread.ask({ pool, settings, job }, cost).then(ended.resolve, ended.reject);
      return await ended.promise;
    } finally {
      waiting.delete(ended.reject);
    }
  }
  /** Null for the caller's own. */
  function threadFor(cost: number, first: boolean): BusyThread | null {
    if (closed) throw closed;
    if (asked.size > 0 || ownBytes + cost > OWN_BYTES_MAX) return threads.choose(first);
    ownBytes += cost;
    return null;
  }
  async function answer(job: Job, cost: number, thread: BusyThread | null): Promise<Answers> {
    if (thread) return await ask(thread, job, cost);
    if (closed) throw closed;
    return (own ??= jobRunner(settings))(job);
  }

  return {
    size: threads.size,
    async run(kind, job, { cost, first = false }) {
      return (await answer({ kind, job } as Job, cost, threadFor(cost, first))) as Jobs[typeof kind]['answer'];
    },
    async hold(job, cost) {
      const thread = threadFor(cost, false);
      const { id, held } = (await answer({ kind: 'hold', job }, cost, thread)) as Jobs['hold']['answer'];
      return {
        id,
        async settle(isNew) {
          const settling: Job = { kind: 'settle', job: { held, isNew } };
          return (await answer(settling, 0, thread)) as Jobs['settle']['answer'];
        },
      };
    },
    async runAll(kind, job) {
      if (closed) throw closed;
      const each = { kind, job } as Job;
      const here = own ? [own(each)] : [];
      const there = await Promise.all([...asked].map((thread) => ask(thread, each, 0)));
      return [...here, ...there] as Jobs[typeof kind]['answer'][];
    },
    async [Symbol.asyncDispose]() {
      if (closed) return;
      closed = new Failure('interrupted', 'the store was closed while it was in use');
      for (const reject of waiting) reject(closed);
      // What they keep for this pool goes; those that died keep nothing.
      for (const thread of asked) void thread.ask({ pool, settings, job: null }, 0).catch(() => {});
      await threads.leave();
    },
  };
}

/** Goes along with each job, so its arrays have memory of their own: a message takes all that a view is one of. */
function settingsOf({ encrypt, macK, macR }: MasterKey, compressionLevel: number): JobSettings {
  const key = { encrypt: Uint8Array.from(encrypt), macK: Uint8Array.from(macK), macR: Uint8Array.from(macR) };
  return { key, compressionLevel };
}
