// The server's clock, measured against ours.

import { z } from 'zod';
import type { Clock, Context } from '../../core/model.ts';
import type { Session } from './connection.ts';

const clockRow = z.object({ at: z.coerce.number() });

/** In one round trip; `at` is what the server's clock said meanwhile. */
export async function measureClock(ctx: Context, session: Session): Promise<{ clock: Clock; at: Date }> {
  const [before, begunMs] = [ctx.now().getTime(), ctx.monotonicMs()];
  const { at } = await session.row(clockRow, 'select extract(epoch from clock_timestamp()) * 1000 as at');
  const halfMs = (ctx.monotonicMs() - begunMs) / 2;
  return { clock: { aheadMs: Math.round(at - before - halfMs), errorMs: Math.ceil(halfMs) }, at: new Date(at) };
}
