// The threads that do what costs time, for all stores that are open in this process. They start when there is work for
// them, so that little work is quick, and end with the last store.

import { availableParallelism } from 'node:os';
import { startThread, type Thread } from '../../core/thread.ts';
import type { Answers, Question } from './pool-jobs.ts';

/** What the collector may leave lying in each is bounded by bin/lifeboat, whose flag goes before limits of a thread. */
const THREADS_MAX = 4;

export interface Threads {
  /** The most that work at once. */
  readonly size: number;
  /** Whoever is going to ask them says so, and when that is over. The last one to leave ends them. */
  enter(): void;
  leave(): Promise<void>;
  /** The one that has the least before it, or always the same for `first`. */
  choose(first: boolean): BusyThread;
}
export interface BusyThread {
  /** `cost` is in bytes to go through. */
  ask(question: Question, cost: number): Promise<Answers>;
  /** Of what waits. */
  cost(): number;
  isAlive(): boolean;
  stop(): Promise<void>;
}

/** Those of this process. */
export const sharedThreads = threadsOf();

export function threadsOf(
  size = Math.min(THREADS_MAX, availableParallelism()),
  script = new URL('./blobs.worker.ts', import.meta.url),
): Threads {
  let threads: BusyThread[] = [];
  let users = 0;
  return {
    size,
    enter() {
      users += 1;
    },
    async leave() {
      users -= 1;
      if (users > 0) return;
      const ending = threads;
      threads = [];
      await Promise.all(ending.map(({ stop }) => stop()));
    },
    choose(first) {
      threads = threads.filter(({ isAlive }) => isAlive());
      const [oldest] = threads;
      if (first && oldest) return oldest;
      let least = oldest;
      for (const thread of threads) if (least && thread.cost() < least.cost()) least = thread;
      if (least && (least.cost() === 0 || threads.length >= size)) return least;
      const started = busyThread(startThread(script, 'a thread of the store'));
      threads.push(started);
      return started;
    },
  };
}

function busyThread(thread: Thread<Question, Answers>): BusyThread {
  let costs = 0;
  return {
    ...thread,
    cost: () => costs,
    async ask(question, cost) {
      costs += cost;
      try {
        return await thread.ask(question);
      } finally {
        costs -= cost;
      }
    },
  };
}
