// What the owner of a stack wants done around a capture or a restore: stop a queue, flush a cache, tell somebody. What
// was begun before is always ended after: when the work fails, when the user breaks off, and by the next run after a
// kill.

import { withDeadline } from '../core/context.ts';
import { Failure, messageOf } from '../core/errors.ts';
import type { Context } from '../core/model.ts';

export interface Hook {
  /** For messages, without secrets: 'pause the queue', 'run /usr/local/bin/pause'. */
  readonly name: string;
  readonly deadlineMs: number;
  run(ctx: Context): Promise<void>;
}
export interface Around {
  readonly before: readonly Hook[];
  readonly after: readonly Hook[];
}
export const NO_HOOKS: Around = { before: [], after: [] };
export interface HookFailure {
  readonly hook: string;
  readonly error: unknown;
}

/**
 * Runs `before`, then `work`, then `after`, each list in its order. One of `before` that fails is 'hook-failed' and
 * keeps the work from being done. All of `after` are run whatever happened, each for as long as its deadline; those
 * that fail are told to `failed`, since the work is done by then.
 */
export async function around<T>(
  ctx: Context,
  { before, after }: Around,
  failed: (failure: HookFailure) => void,
  work: () => Promise<T>,
): Promise<T> {
  try {
    for (const hook of before) await runHook(ctx, hook);
    return await work();
  } finally {
    await runAll(ctx, after, failed);
  }
}

/** Each of them, also for a user who has broken off: a queue that stays paused is worse than a late prompt. */
export async function runAll(
  ctx: Context,
  hooks: readonly Hook[],
  failed: (failure: HookFailure) => void,
): Promise<void> {
  const unstoppable: Context = { ...ctx, signal: new AbortController().signal };
  for (const hook of hooks) {
    await runHook(unstoppable, hook).catch((error: unknown) => failed({ hook: hook.name, error }));
  }
}

async function runHook(ctx: Context, hook: Hook): Promise<void> {
  ctx.signal.throwIfAborted();
  try {
    await withDeadline(ctx, hook.deadlineMs, hook.name, (within) => hook.run(within));
  } catch (cause) {
    if (ctx.signal.aborted) throw cause;
    throw new Failure('hook-failed', `hook ${hook.name}: ${messageOf(cause)}`, { cause });
  }
}
