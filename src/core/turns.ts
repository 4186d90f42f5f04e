import { setImmediate } from 'node:timers/promises';
import type { Context } from './model.ts';

/** What else waits for this thread, signals and the renewing of locks, waits no longer than this and one call. */
const TURN_MS = 10;

/** Asked before each of many direct calls: lets others have the thread when it is time, and throws when it must end. */
export function turns(ctx: Context): () => Promise<void> {
  let turnedMs = ctx.monotonicMs();
  return async () => {
    if (ctx.monotonicMs() - turnedMs >= TURN_MS) {
      await setImmediate();
      turnedMs = ctx.monotonicMs();
    }
    ctx.signal.throwIfAborted();
  };
}
