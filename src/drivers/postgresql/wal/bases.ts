// The base backups that a followed log is replayed on: each lineage gets one by itself.

import { takeBase } from '../../../core/bases.ts';
import { withSignal } from '../../../core/context.ts';
import type { Feed, Lineage } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';

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

  async function takeAll(): Promise<void> {
    try {
      for (let lineage = wanted; lineage; ) {
        const joint = { source: lineage.source, from: lineage.from.position };
        await takeBase(within, feed, 'no base of this log was there', () => joint);
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
