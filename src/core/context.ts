import { setTimeout as delay } from 'node:timers/promises';
import { Failure } from './errors.ts';
import type { Context } from './model.ts';

/** The same context with another signal besides its own. */
export function withSignal(ctx: Context, signal: AbortSignal): Context {
  return { ...ctx, signal: AbortSignal.any([ctx.signal, signal]) };
}

/** For what must be done even after the user has broken off: the same context, its signal aside, for so long. */
export function outliving(ctx: Context, ms: number): Context {
  return { ...ctx, signal: AbortSignal.timeout(ms) };
}

/** The same context, whose signal comes so much later: what was begun may still be ended. */
export function lingering(ctx: Context, ms: number): { readonly ctx: Context } & Disposable {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const onAbort = (): void => {
    timer = setTimeout(() => controller.abort(interruption(ctx.signal)), ms);
  };
  if (ctx.signal.aborted) onAbort();
  else ctx.signal.addEventListener('abort', onAbort, { once: true });
  return {
    ctx: { ...ctx, signal: controller.signal },
    [Symbol.dispose]() {
      ctx.signal.removeEventListener('abort', onAbort);
      clearTimeout(timer);
    },
  };
}

/** The `sleep` of real contexts: who sleeps in one with another signal is woken by that one. */
export async function sleep(this: Context, ms: number): Promise<void> {
  await delay(ms, undefined, { signal: this.signal }).catch(() => {
    throw interruption(this.signal);
  });
}

/**
 * Runs `work` for at most `ms`; then aborts it and throws 'timeout' with `what`. The work must honour its signal.
 */
export async function withDeadline<T>(
  ctx: Context,
  ms: number,
  what: string,
  work: (ctx: Context) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new Failure('timeout', `${what}: no end after ${ms} ms`)), ms);
  try {
    return await work(withSignal(ctx, controller.signal));
  } catch (error) {
    if (controller.signal.aborted && !ctx.signal.aborted) throw controller.signal.reason;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** What an aborted signal throws, as a Failure. */
export function interruption(signal: AbortSignal): Failure {
  const reason: unknown = signal.reason;
  return reason instanceof Failure ? reason : new Failure('interrupted', 'stopped on request', { cause: reason });
}
