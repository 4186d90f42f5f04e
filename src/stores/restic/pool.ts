// The worker threads of one open store. They start with the first job, so that what needs none is quick.

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { Failure, messageOf } from '../../core/errors.ts';
import type { MasterKey } from './crypto.ts';
import type { Answer, Job, JobKind, Jobs, WorkerSettings } from './blobs.worker.ts';

const WORKERS_MAX = 4;

export interface Pool extends AsyncDisposable {
  readonly size: number;
  /**
   * Rejects with the Failure of the job, or with why its thread has died. `cost` is in bytes to go through: the thread
   * that has the least before it gets the job, unless `thread` names one.
   */
  run<K extends JobKind>(
    kind: K,
    job: Jobs[K]['job'],
    options: { readonly cost: number; readonly thread?: number },
  ): Promise<Jobs[K]['answer']>;
  /** The numbers of the threads that had a job so far. */
  started(): Iterable<number>;
}

interface Waiting {
  readonly cost: number;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
}
interface Thread {
  readonly worker: Worker;
  readonly waiting: Map<number, Waiting>;
  cost: number;
  died: Failure | undefined;
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
  const threads: (Thread | undefined)[] = Array.from({ length: size }, () => undefined);
  let jobs = 0;
  let closed: Failure | undefined;

  function threadAt(number: number): Thread {
    const thread = (threads[number] ??= startThread(script, { key, compressionLevel }));
    if (thread.died) throw thread.died;
    return thread;
  }

  function leastBusy(): number {
    let best = 0;
    for (let i = 1; i < size; i++) if ((threads[i]?.cost ?? 0) < (threads[best]?.cost ?? 0)) best = i;
    return best;
  }

  return {
    size,
    async run(kind, job, { cost, thread: wanted }) {
      if (closed) throw closed;
      const thread = threadAt(wanted ?? leastBusy());
      const number = jobs++;
      const answer = await new Promise<Answer>((resolve, reject) => {
        thread.waiting.set(number, { cost, resolve, reject });
        thread.cost += cost;
        // A thread keeps the process alive while it has work, and no longer.
        thread.worker.ref();
        thread.worker.postMessage({ kind, number, job } as Job);
      });
      if ('error' in answer) throw errorOf(answer);
      return answer.answer as Jobs[typeof kind]['answer'];
    },
    *started() {
      for (const [number, thread] of threads.entries()) if (thread) yield number;
    },
    async [Symbol.asyncDispose]() {
      closed = new Failure('interrupted', 'the store was closed while it was in use');
      for (const thread of threads) if (thread) thread.died ??= closed;
      await Promise.all(threads.map((thread) => thread?.worker.terminate()));
    },
  };
}

function startThread(script: URL, settings: WorkerSettings): Thread {
  const worker = new Worker(script, { workerData: settings });
  const thread: Thread = { worker, waiting: new Map(), cost: 0, died: undefined };
  const die = (reason: string, cause?: unknown): void => {
    thread.died ??= new Failure('program-failed', `a thread of the store ended: ${reason}`, { cause });
    for (const { reject } of thread.waiting.values()) reject(thread.died);
    thread.waiting.clear();
  };
  worker.on('message', (answer: Answer) => {
    const waiting = thread.waiting.get(answer.number);
    if (!waiting) return;
    thread.waiting.delete(answer.number);
    thread.cost -= waiting.cost;
    if (thread.waiting.size === 0) worker.unref();
    waiting.resolve(answer);
  });
  worker.on('error', (error) => die(messageOf(error), error));
  worker.on('messageerror', (error) => die(messageOf(error), error));
  worker.on('exit', (code) => die(`exit code ${code}`));
  return thread;
}

function errorOf({ error, code, hint }: Extract<Answer, { error: unknown }>): unknown {
  return code === null ? error : new Failure(code, messageOf(error), { cause: error, hint });
}
