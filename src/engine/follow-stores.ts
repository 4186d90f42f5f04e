// The stores that follow copies to. A log is of use where its points are: what they lack of those is copied, too.

import { messageOf } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import type { RecoveryPoint } from '../core/point.ts';
import type { Drivers } from './copy.ts';
import { type FollowStore, pauses } from './follow-views.ts';
import type { NamedStore } from './model.ts';
import { copyOwed } from './owed.ts';

/** Opened when it is first needed, and again when that failed. */
export interface OtherStore extends AsyncDisposable {
  readonly name: string;
  get(ctx: Context): Promise<NamedStore>;
  /** It may lack a point. */
  owe(): void;
  /** Brings it the points that the first store notes that it lacks, until the signal. */
  settle(ctx: Context, first: NamedStore, drivers: Drivers): Promise<void>;
}

export function otherStore({ name, open }: FollowStore): OtherStore {
  let opened: Promise<NamedStore & AsyncDisposable> | null = null;
  let owed = Promise.withResolvers<void>();
  const get = async (ctx: Context): Promise<NamedStore> => {
    opened ??= open(ctx);
    const tried = opened;
    return await tried.catch((error: unknown) => {
      if (opened === tried) opened = null;
      throw error;
    });
  };
  owed.resolve(); // nobody knows what was owed before
  return {
    name,
    get,
    owe: () => owed.resolve(),
    async settle(ctx, first, drivers) {
      const stopped = new Promise<void>((resolve) =>
        ctx.signal.addEventListener('abort', () => resolve(), { once: true }),
      );
      const pause = pauses();
      while (!ctx.signal.aborted) {
        await Promise.race([owed.promise, stopped]);
        if (ctx.signal.aborted) return;
        owed = Promise.withResolvers();
        try {
          await settleWith(ctx, first, await get(ctx), drivers);
          pause.reset();
        } catch (error) {
          if (ctx.signal.aborted) return;
          ctx.log.info('another store may lack points', { store: name, reason: messageOf(error) });
          owed.resolve();
          await pause.wait(ctx).catch(() => {}); // the signal is looked at next
        }
      }
    },
    async [Symbol.asyncDispose]() {
      await (await opened?.catch(() => null))?.[Symbol.asyncDispose]();
    },
  };
}

/** Points with other kinds of components are left to backups, which know how those look in every store. */
async function settleWith(ctx: Context, first: NamedStore, other: NamedStore, drivers: Drivers): Promise<void> {
  const isKnown = ({ components }: RecoveryPoint): boolean =>
    Object.values(components).every(({ kind }) => drivers.has(kind));
  const copies = await copyOwed(ctx, [first, other], drivers, isKnown);
  const failed = copies.find(({ error }) => error !== null);
  if (failed) throw failed.error;
}
