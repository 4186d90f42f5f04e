// What a restore replaces is kept first, as a point of its own.

import { interruption } from '../core/context.ts';
import { Failure, isFailure, messageOf } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import { backUp } from './backup.ts';
import { SAFETY_PLAN } from './model.ts';
import type { RestorePlan, RestoreRequest } from './restore-plan.ts';

export interface Safety {
  readonly point: string | null;
  readonly error: unknown;
  readonly warnings: readonly string[];
}

/** What is about to be replaced becomes a point, if it can: data that can't be captured must not stand in the way. */
export async function takeSafety(ctx: Context, request: RestoreRequest, plan: RestorePlan): Promise<Safety | null> {
  const replaced = plan.steps.filter(({ way, targetHolds }) => way === 'replace' && targetHolds !== null);
  if (replaced.length === 0) return null;
  try {
    const done = await backUp(ctx, {
      stack: request.point.stack,
      plan: SAFETY_PLAN,
      components: replaced.map(({ item }) => item),
      stores: request.safety ?? [request.from],
      others: request.others,
      parallel: request.parallel,
    });
    return { point: done.point?.id ?? null, error: done.failures[0]?.error ?? null, warnings: done.warnings };
  } catch (error) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    ctx.log.warn('no safety point', { reason: messageOf(error) });
    return { point: null, error, warnings: [] };
  }
}

/** Who has lost data must learn where it is. */
export function withSafety(error: unknown, safety: Safety | null): unknown {
  if (!isFailure(error) || !safety?.point) return error;
  const hint = [`what was replaced is point ${safety.point}`, error.hint].filter((each) => each !== undefined);
  return new Failure(error.code, error.message, { cause: error, hint: hint.join('; ') });
}
