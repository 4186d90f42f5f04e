// Points that a followed log is replayed on: one that can't be taken must not stop the log from being stored.

import { isDeepStrictEqual } from 'node:util';
import { isFailure } from './errors.ts';
import type { Feed } from './journal.ts';
import type { Context, Json } from './model.ts';

const RETRY_MS = 60_000;
const RETRY_MS_MAX = 3_600_000;

/** What a point has to join: a log, from this position on. */
interface Joint {
  readonly source: Json | undefined;
  readonly from: string;
}

/** Takes one unless some point joins there already, and again after a while when that failed. */
export async function takeBase(
  ctx: Context,
  feed: Pick<Feed, 'base' | 'bases'>,
  why: string,
  joint: () => Joint,
): Promise<void> {
  for (let waitMs = RETRY_MS; ; waitMs = Math.min(2 * waitMs, RETRY_MS_MAX)) {
    try {
      if (!(await isJoined(ctx, feed, joint()))) await feed.base(ctx, why);
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

/** What lies before does not lead into the log without a break. */
async function isJoined(ctx: Context, feed: Pick<Feed, 'bases'>, { source, from }: Joint): Promise<boolean> {
  const bases = await feed.bases(ctx);
  return bases.some((base) => isDeepStrictEqual(base.source, source) && base.from >= from);
}
