// A thread that does the jobs of all pools of its process.

import { answerQuestions } from '../../core/thread.ts';
import { type Answers, jobRunner, type Question } from './pool-jobs.ts';

const runners = new Map<number, ReturnType<typeof jobRunner>>();

answerQuestions<Question, Answers>(
  ({ pool, settings, job }) => {
    if (job === null) {
      runners.delete(pool);
      return { packs: [] };
    }
    let run = runners.get(pool);
    if (!run) runners.set(pool, (run = jobRunner(settings)));
    return run(job);
  },
  (answer) =>
    'packs' in answer ? answer.packs.map(({ buffer }) => buffer).filter((buffer) => buffer instanceof ArrayBuffer) : [],
);
