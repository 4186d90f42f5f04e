// The base backups that a followed log is replayed on: each lineage gets one by itself.

import { isDeepStrictEqual } from 'node:util';
import { withSignal } from '../../../core/context.ts';
import { isFailure } from '../../../core/errors.ts';
import type { Feed, Lineage } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';

const RETRY_MS = 60_000;
const RETRY_MS_MAX = 3_600_000;

export interface BaseKeeper extends AsyncDisposable {
  /** Takes one meanwhile, unless there is one that joins. One that fails is taken again after a while. */
  want(lineage: Lineage): void;
  isTaking(): boolean;
  /** Throws what is a defect of ours. */
  check(): void;
}

export function keepBases(ctx: Context, feed: Pick<Feed, 'base' | 'bases'>): BaseKeeper {
  const stop = new AbortController();
  const within = withSignal(ctx, stop.signal);
  let wanted: Lineage | null = null;
  let taking: Promise<void> | null = null;
  let broken: { readonly error: unknown } | null = null;

  async function takeOne(lineage: Lineage): Promise<void> {
    for (let waitMs = RETRY_MS; ; waitMs = Math.min(2 * waitMs, RETRY_MS_MAX)) {
      try {
        if (!(await hasBase(within, feed, lineage))) await feed.base(within, 'no base of this log was there');
        return;
      } catch (error) {
        if (!isFailure(error) || within.signal.aborted) throw error;
        ctx.log.warn('a base could not be taken: the log is followed, and can not be replayed without one', {
          reason: error.message,
          againInSeconds: waitMs / 1000,
        });
        await within.sleep(waitMs);
      }
    }
  }
  async function takeAll(): Promise<void> {
    try {
      for (let lineage = wanted; lineage; ) {
        await takeOne(lineage);
        lineage = lineage === wanted ? null : wanted; // it goes on elsewhere by now
      }
    } catch (error) {
      if (!within.signal.aborted) broken = { error };
    } finally {
      taking = null;
    }
  }
  return {
    want(lineage) {
      if (wanted?.id === lineage.id) return;
      wanted = lineage;
      taking ??= takeAll();
    },
    isTaking: () => taking !== null,
    check() {
      if (broken) throw broken.error;
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await taking;
    },
  };
}

/** What lies before the lineage begins does not lead into it without a break. */
async function hasBase(ctx: Context, feed: Pick<Feed, 'bases'>, lineage: Lineage): Promise<boolean> {
  const bases = await feed.bases(ctx);
  return bases.some(({ source, from }) => isDeepStrictEqual(source, lineage.source) && from >= lineage.from.position);
}
