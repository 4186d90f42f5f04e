// A worker thread that answers questions, one after another.

import { setFlagsFromString } from 'node:v8';
import { parentPort, Worker } from 'node:worker_threads';
import { type ErrorCode, Failure, isFailure, messageOf } from './errors.ts';

export interface Thread<Q, A> {
  /**
   * Rejects with what answering has thrown, or with 'program-failed' when the thread has ended, which no later question
   * survives. Shared memory is the thread's until then.
   */
  ask(question: Q): Promise<A>;
  isAlive(): boolean;
  stop(): Promise<void>;
}

type Reply<A> =
  | { readonly answer: A }
  | { readonly error: unknown; readonly code: ErrorCode | null; readonly hint: string | undefined };

/**
 * How much memory threads that start from now on have for young objects, three times over. A limit of theirs alone
 * counts for nothing beside the flag that the process was started with.
 */
export function limitYoung(mib: number): void {
  for (const which of ['min', 'max']) setFlagsFromString(`--${which}-semi-space-size=${mib}`);
}
/** Of threads that deal with memory outside of their heaps. */
const YOUNG_MIB = 1;

/** `what` names it in messages. It keeps the process alive while it is asked, and no longer. */
export function startThread<Q, A>(script: URL, what: string): Thread<Q, A> {
  limitYoung(YOUNG_MIB);
  const worker = new Worker(script);
  const asked: PromiseWithResolvers<A>[] = [];
  let died: Failure | undefined;
  let stopping = false;

  function die(reason: string, cause?: unknown): void {
    died ??= new Failure('program-failed', `${what} ended: ${reason}`, { cause });
    for (const { reject } of asked.splice(0)) reject(died);
  }
  worker.on('message', (reply: Reply<A>) => {
    const first = asked.shift();
    if (asked.length === 0 && !stopping) worker.unref(); // else the process could end before the thread has
    if ('error' in reply) first?.reject(errorOf(reply));
    else first?.resolve(reply.answer);
  });
  worker.on('error', (error) => die(messageOf(error), error));
  worker.on('messageerror', (error) => {
    die(messageOf(error), error);
    void worker.terminate(); // never rejects
  });
  worker.on('exit', (code) => die(`exit code ${code}`));
  return {
    async ask(question) {
      if (died) throw died;
      worker.postMessage(question); // first: it throws when the question can not be copied
      const answer = Promise.withResolvers<A>();
      asked.push(answer);
      worker.ref();
      return await answer.promise;
    },
    isAlive: () => !died,
    async stop() {
      stopping = true;
      await worker.terminate();
    },
  };
}

/** In the thread. What `moved` names of an answer is handed over, not copied. */
export function answerQuestions<Q, A>(
  answer: (question: Q) => A,
  moved: (answer: A) => ArrayBuffer[] = () => [],
): void {
  const port = parentPort;
  port?.on('message', (question: Q) => {
    try {
      const given = answer(question);
      port.postMessage({ answer: given } satisfies Reply<A>, moved(given));
    } catch (error) {
      const known = isFailure(error) ? { code: error.code, hint: error.hint } : { code: null, hint: undefined };
      port.postMessage({ error, ...known } satisfies Reply<A>);
    }
  });
}

function errorOf({ error, code, hint }: Extract<Reply<unknown>, { error: unknown }>): unknown {
  return code === null ? error : new Failure(code, messageOf(error), { cause: error, hint });
}
