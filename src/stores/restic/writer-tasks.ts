import { interruption, withSignal } from '../../core/context.ts';
import type { Context } from '../../core/model.ts';

/** Work that goes on behind the callers' backs and shares one fate: the first failure ends all of it. */
export interface Tasks extends AsyncDisposable {
  /** Aborted by the first failure, which may be that the outer context was. */
  readonly ctx: Context;
  run(work: Promise<void>): void;
  fail(error: unknown): void;
  /** Throws the first failure, or that `caller` was aborted. */
  assertAlive(caller?: Context): void;
  /** Resolves when all work begun so far has ended well. */
  settled(): Promise<void>;
}

export function sharedTasks(outer: Context, onFailure: (error: unknown) => void): Tasks {
  const controller = new AbortController();
  const running = new Set<Promise<void>>();
  let failed: { readonly error: unknown } | undefined;

  function fail(error: unknown): void {
    if (failed) return;
    failed = { error };
    controller.abort(error);
    onFailure(error);
  }
  const onAbort = (): void => fail(interruption(outer.signal));
  outer.signal.addEventListener('abort', onAbort, { once: true });
  if (outer.signal.aborted) onAbort();

  const assertAlive: Tasks['assertAlive'] = (caller) => {
    if (failed) throw failed.error;
    if (caller?.signal.aborted) throw interruption(caller.signal);
  };
  return {
    ctx: withSignal(outer, controller.signal),
    fail,
    assertAlive,
    run(work) {
      const task: Promise<void> = work.catch(fail).finally(() => running.delete(task));
      running.add(task);
    },
    async settled() {
      await Promise.all(running);
      assertAlive();
    },
    async [Symbol.asyncDispose]() {
      outer.signal.removeEventListener('abort', onAbort);
      await Promise.all(running);
    },
  };
}
