// A thread that does the jobs of its pool.

import { parentPort, workerData } from 'node:worker_threads';
import { type ErrorCode, isFailure } from '../../core/errors.ts';
import { type Job, type JobKind, type Jobs, jobRunner } from './pool-jobs.ts';

export interface Numbered {
  readonly number: number;
  readonly job: Job;
}
/** Which job it answers is told by its number. */
export type Answer =
  | { readonly number: number; readonly answer: Jobs[JobKind]['answer'] }
  | {
      readonly number: number;
      readonly error: unknown;
      readonly code: ErrorCode | null;
      readonly hint: string | undefined;
    };

const port = parentPort;
if (port) {
  const run = jobRunner(workerData);
  port.on('message', ({ number, job }: Numbered) => {
    try {
      const answer = run(job);
      const packs = 'packs' in answer ? answer.packs : []; // their memory is handed over, not copied
      port.postMessage(
        { number, answer } satisfies Answer,
        packs.map((pack) => pack.buffer),
      );
    } catch (error) {
      const known = isFailure(error) ? { code: error.code, hint: error.hint } : { code: null, hint: undefined };
      port.postMessage({ number, error, ...known } satisfies Answer);
    }
  });
}
