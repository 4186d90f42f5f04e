// One writer for all who write at the same time, so that what one stores is known to the others.

import { interruption } from '../../core/context.ts';
import type { Context } from '../../core/model.ts';
import type { Writer } from './writer.ts';

export interface SharedWriter extends AsyncDisposable {
  /** Giving it back for the last time closes it. It ends early only when everybody who has it was aborted. */
  borrow(ctx: Context): Promise<Writer>;
}

interface Lent {
  readonly writer: Promise<Writer>;
  readonly end: AbortController;
  readonly borrowers: Set<{ readonly signal: AbortSignal }>;
}

export function sharedWriter(open: (ctx: Context) => Promise<Writer>): SharedWriter {
  let current: Lent | undefined;

  function lend(ctx: Context): Lent {
    const end = new AbortController();
    return { writer: open({ ...ctx, signal: end.signal }), end, borrowers: new Set() };
  }
  /** Whoever comes next gets another one. */
  function endIfAbandoned(lent: Lent): void {
    const borrowers = [...lent.borrowers];
    if (!borrowers.every(({ signal }) => signal.aborted)) return;
    if (current === lent) current = undefined;
    lent.end.abort(borrowers[0]?.signal.reason);
  }

  return {
    async borrow(ctx) {
      if (ctx.signal.aborted) throw interruption(ctx.signal);
      const lent = (current ??= lend(ctx));
      const borrower = { signal: ctx.signal };
      const onAbort = (): void => endIfAbandoned(lent);
      lent.borrowers.add(borrower);
      ctx.signal.addEventListener('abort', onAbort, { once: true });
      async function giveBack(): Promise<void> {
        if (!lent.borrowers.delete(borrower)) return;
        ctx.signal.removeEventListener('abort', onAbort);
        endIfAbandoned(lent);
        if (lent.borrowers.size === 0) await close(lent.writer);
      }
      try {
        return { ...(await lent.writer), [Symbol.asyncDispose]: giveBack };
      } catch (error) {
        await giveBack();
        throw error;
      }
    },
    [Symbol.asyncDispose]: () => close(current?.writer),
  };
}

/** Of something that is being opened, or was, or could not be. */
export async function close(opening: Promise<AsyncDisposable> | undefined): Promise<void> {
  const opened = await opening?.catch(() => undefined); // who asked has heard of it, and there is nothing to close
  await opened?.[Symbol.asyncDispose]();
}
