// Beside the stream: a commit now and then, the server's clock, and how much its slot holds.

import type { Clock, Context } from '../../../core/model.ts';
import { measureClock } from '../clock.ts';
import type { Session } from '../connection.ts';
import type { Server } from '../settings.ts';
import { slotState } from './slot.ts';

const PULSE_MS = 10_000;
/** What a message may have been on its way before the clock that was measured is doubted. */
const DOUBT_MS = 5000;

export interface Pulse {
  /** The clock as it was measured last; undefined where messages since say that it was changed. */
  clock(): Clock | undefined;
  /** A message told the source's clock. */
  seen(at: Date): void;
  run(ctx: Context): Promise<never>;
}

export function pulseOf(ctx: Context, session: Session, server: Server, first: Clock): Pulse {
  let clock: Clock | undefined = first;
  let isWarned = false;

  async function watchSlot(): Promise<void> {
    const state = await slotState(session, server.slot);
    const isFull = state !== null && state.allowedBytes !== null && state.heldBytes >= state.allowedBytes / 2;
    if (isFull && !isWarned) {
      const { heldBytes, allowedBytes } = state;
      ctx.log.warn('the slot holds half of what it may: beyond that the server removes log that is not stored', {
        slot: server.slot,
        heldBytes,
        allowedBytes,
      });
    }
    isWarned = isFull;
  }
  return {
    clock: () => clock,
    seen(at) {
      if (!clock) return;
      const aheadMs = at.getTime() - ctx.now().getTime();
      // It was sent before it came, so the true difference is not smaller; how much larger, the way tells.
      const isAfter = aheadMs > clock.aheadMs + clock.errorMs + 1;
      if (isAfter || aheadMs < clock.aheadMs - clock.errorMs - DOUBT_MS) clock = undefined;
    },
    async run(within) {
      for (;;) {
        await beat(session);
        clock = (await measureClock(within, session)).clock;
        await watchSlot();
        await within.sleep(PULSE_MS);
      }
    },
  };
}

/**
 * A replay ends at a commit: without one, a time that has passed on an idle server could not be asked for. Nobody waits
 * for this one. A standby can't.
 */
async function beat(session: Session): Promise<void> {
  await session.run(
    `set synchronous_commit = off;
      select case when not pg_is_in_recovery() then pg_logical_emit_message(true, 'lifeboat', ''::text) end;
      reset synchronous_commit`,
  );
}
