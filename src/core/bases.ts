// Points that a followed log is replayed on: one that can't be taken must not stop the log from being stored.

import { isFailure } from './errors.ts';
import type { Feed } from './journal.ts';
import type { Context } from './model.ts';

const RETRY_MS = 60_000;
const RETRY_MS_MAX = 3_600_000;

/** Takes one unless it `isThere`, and again after a while when that failed. */
export async function takeBase(
  ctx: Context,
  feed: Pick<Feed, 'base'>,
  why: string,
  isThere: () => Promise<boolean>,
): Promise<void> {
  for (let waitMs = RETRY_MS; ; waitMs = Math.min(2 * waitMs, RETRY_MS_MAX)) {
    try {
      if (!(await isThere())) await feed.base(ctx, why);
      return;
    } catch (error) {
      if (!isFailure(error) || ctx.signal.aborted) throw error;
      ctx.log.warn('a base could not be taken: the log is followed, and can not be replayed without one', {
        reason: error.message,
        againInSeconds: waitMs / 1000,
      });
      await ctx.sleep(waitMs);
    }
  }
}
