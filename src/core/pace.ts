// What the kernel has in memory is had directly within microseconds: less than it takes to ask another thread. As soon
// as answers take long, because a busy disk or a network is behind them, threads are asked for the next ones, several
// at a time.

import type { Context } from './model.ts';

/** A single pause may be the scheduler's. */
const CALLS_AVERAGED = 16;
const CALLS_AFTER_SLOW = 256;

export interface Pace {
  /** True when the next call is one for a thread. */
  isSlow(): boolean;
  /** Makes a direct call, and minds how long it takes. */
  timed<R>(ctx: Context, call: () => R): R;
  /** One of several calls that others made took so long on average. */
  took(ms: number): void;
}

/** `slowMs` is what a call may take on average before threads are asked. */
export function paceOf(slowMs: number): Pace {
  let byThreads = 0;
  let averageMs = 0;
  function took(ms: number): void {
    averageMs += (ms - averageMs) / CALLS_AVERAGED;
    if (averageMs <= slowMs) return;
    byThreads = CALLS_AFTER_SLOW;
    averageMs = 0;
  }
  return {
    isSlow() {
      if (byThreads === 0) return false;
      byThreads -= 1;
      return true;
    },
    timed(ctx, call) {
      const begun = ctx.monotonicMs();
      try {
        return call();
      } finally {
        took(ctx.monotonicMs() - begun);
      }
    },
    took,
  };
}
