// What is told of who follows, while it goes on.

import type { Context, Cut } from '../core/model.ts';
import type { NamedStore } from './model.ts';

/** What can be lost grows while nobody asks, and to ask costs little. */
const PAUSE_MS = { first: 1_000, max: 15_000 };

/** The plan of the points that follow takes. */
export const FOLLOW_PLAN = 'follow';

/** Opened for its journals once and kept open; anew for each point, so that what that takes is given back. */
export interface FollowStore {
  readonly name: string;
  open(ctx: Context): Promise<NamedStore & AsyncDisposable>;
}

/** The copy of a journal in one of the other stores. */
export interface CopyView {
  readonly store: string;
  /** Why nothing can be copied now; null when all is well. */
  readonly error: unknown;
  /** It has not all that the first store has, and catches up. */
  readonly behind: boolean;
}

export interface FollowView {
  readonly component: string;
  /** 'waiting': for what `error` says. 'ended': for good, for what `error` says, or because it was stopped. */
  readonly state: 'starting' | 'following' | 'waiting' | 'ended';
  /** Null when all is well. */
  readonly error: unknown;
  /** A point is taken meanwhile. */
  readonly takesPoint: boolean;
  /** Up to where all is stored; null without a journal. */
  readonly durable: Cut | null;
  /** When the last of that came, by our clock; null when nothing came since the start. */
  readonly cameAt: string | null;
  /** Since the start, as they came. */
  readonly bytes: number;
  readonly ranges: number;
  readonly copies: readonly CopyView[];
}

/** Waits a second, then twice as long each time, 15 seconds at most. */
export function pauses(): { wait(ctx: Context): Promise<void>; next(): number; reset(): void } {
  let nextMs = PAUSE_MS.first;
  return {
    next: () => nextMs,
    reset: () => void (nextMs = PAUSE_MS.first),
    async wait(ctx) {
      const ms = nextMs;
      nextMs = Math.min(PAUSE_MS.max, nextMs * 2);
      await ctx.sleep(ms);
    },
  };
}
