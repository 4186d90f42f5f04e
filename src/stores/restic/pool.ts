// The worker threads of one open store. They start when there is work for them, so that little work is quick.

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { Failure, messageOf } from '../../core/errors.ts';
import type { Answer, Numbered } from './blobs.worker.ts';
import type { MasterKey } from './crypto.ts';
import { type Job, type JobKind, type JobSettings, type Jobs, jobRunner } from './pool-jobs.ts';

const WORKERS_MAX = 4;
/** Of small objects a thread makes few: what the collector may leave lying is bounded, as memory is. */
const YOUNG_MIB_MAX = 16;
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
  /** The same job once for everyone that had one before. */
  runAll<K extends JobKind>(kind: K, job: Jobs[K]['job']): Promise<Jobs[K]['answer'][]>;
}

type Runner = (job: Job, cost: number) => Promise<Jobs[JobKind]['answer']>;
interface Thread {
  readonly run: Runner;
  /** Of the jobs that wait. */
  cost(): number;
  stop(why: Failure): Promise<unknown>;
}

export function openPool(options: {
  key: MasterKey;
  compressionLevel: number;
  workers?: number | undefined;
  /** What the threads run. */
  script?: URL;
}): Pool {
  const size = options.workers ?? Math.min(WORKERS_MAX, availableParallelism());
  const { key, compressionLevel, script = new URL('./blobs.worker.ts', import.meta.url) } = options;
  const settings = { key, compressionLevel };
  /** One that died stays: the pack that it was filling is lost, and `finish` must not say that all is well. */
  const threads: Thread[] = [];
  let own: Runner | undefined;
  let ownBytes = 0;
  let closed: Failure | undefined;

  function runnerFor(cost: number, first: boolean): Runner {
    if (threads.length === 0 && ownBytes + cost <= OWN_BYTES_MAX) {
      ownBytes += cost;
      return (own ??= ownRunner(settings));
    }
    const idle = threads.find((thread) => thread.cost() === 0);
    if (threads.length === 0 || (!first && !idle && threads.length < size)) threads.push(startThread(script, settings));
    const [least] = first ? threads : threads.toSorted((a, b) => a.cost() - b.cost());
    if (!least) throw new RangeError(`a pool of ${size} threads`);
    return least.run;
  }

  return {
    size,
    async run(kind, job, { cost, first = false }) {
      if (closed) throw closed;
      return (await runnerFor(cost, first)({ kind, job } as Job, cost)) as Jobs[typeof kind]['answer'];
    },
    async runAll(kind, job) {
      if (closed) throw closed;
      const runners = [...(own ? [own] : []), ...threads.map(({ run }) => run)];
      const answers = await Promise.all(runners.map((run) => run({ kind, job } as Job, 0)));
      return answers as Jobs[typeof kind]['answer'][];
    },
    async [Symbol.asyncDispose]() {
      const why = (closed = new Failure('interrupted', 'the store was closed while it was in use'));
      await Promise.all(threads.map((thread) => thread.stop(why)));
    },
  };
}

/** Works in the caller's own thread. */
function ownRunner(settings: JobSettings): Runner {
  const run = jobRunner(settings);
  return async (job) => run(job);
}

function startThread(script: URL, settings: JobSettings): Thread {
  const worker = new Worker(script, {
    workerData: settings,
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MIB_MAX },
  });
  const waiting = new Map<number, { cost: number; resolve(answer: Answer): void; reject(error: unknown): void }>();
  let jobs = 0;
  let costs = 0;
  let died: Failure | undefined;
  const die = (why: Failure): void => {
    died ??= why;
    for (const { reject } of waiting.values()) reject(died);
    waiting.clear();
  };
  const ended = (reason: string, cause?: unknown): void =>
    die(new Failure('program-failed', `a thread of the store ended: ${reason}`, { cause }));
  worker.on('message', (answer: Answer) => {
    const job = waiting.get(answer.number);
    if (!job) return;
    waiting.delete(answer.number);
    costs -= job.cost;
    if (waiting.size === 0) worker.unref();
    job.resolve(answer);
  });
  worker.on('error', (error) => ended(messageOf(error), error));
  worker.on('messageerror', (error) => ended(messageOf(error), error));
  worker.on('exit', (code) => ended(`exit code ${code}`));
  return {
    cost: () => costs,
    async run(job, cost) {
      if (died) throw died;
      const number = jobs++;
      const answer = await new Promise<Answer>((resolve, reject) => {
        waiting.set(number, { cost, resolve, reject });
        costs += cost;
        worker.ref(); // a thread keeps the process alive while it has work, and no longer
        worker.postMessage({ number, job } satisfies Numbered);
      });
      if ('error' in answer) throw errorOf(answer);
      return answer.answer;
    },
    stop(why) {
      die(why);
      return worker.terminate();
    },
  };
}

function errorOf({ error, code, hint }: Extract<Answer, { error: unknown }>): unknown {
  return code === null ? error : new Failure(code, messageOf(error), { cause: error, hint });
}
