// The server's clock, measured against ours.

import { z } from 'zod';
import type { Clock, Context } from '../../core/model.ts';
import type { Session } from './connection.ts';

const clockRow = z.object({ at: z.coerce.number() });

/** Half a millisecond of our clock, and half a one of the result. */
const ROUNDING_MS = 1;

/** In one round trip; `at` is what the server's clock said meanwhile. */
export async function measureClock(ctx: Context, session: Session): Promise<{ clock: Clock; at: Date }> {
  const [before, begunMs] = [ctx.now().getTime(), ctx.monotonicMs()];
  const { at } = await session.row(clockRow, 'select extract(epoch from clock_timestamp()) * 1000 as at');
  return { clock: clockOf({ before, tookMs: ctx.monotonicMs() - begunMs, at }), at: new Date(at) };
}

/** `before` is ours when it was asked: of that the whole milliseconds are told, so half of one is added. */
export function clockOf({ before, tookMs, at }: { before: number; tookMs: number; at: number }): Clock {
  const halfMs = tookMs / 2;
  return { aheadMs: Math.round(at - before - halfMs - 0.5), errorMs: Math.ceil(halfMs + ROUNDING_MS) };
}
