// The recovery kit is what its owner keeps elsewhere: the password, the configuration, the places of the stores. A
// store notes by which of its keys a kit opens it, so that drills can tell whether it still would. A key never changes:
// while it is there whole, the password of the day when the kit was made opens it.

import { z } from 'zod';
import { isFailure, messageOf } from '../core/errors.ts';
import type { Context, Finding } from '../core/model.ts';
import type { Store } from '../core/storage.ts';

const RECORD = 'recovery';
const KEY_SHOWN = 8;
const kitSchema = z.object({ format: z.literal(1), made_at: z.string(), key: z.string() });
type Kit = z.output<typeof kitSchema>;

/**
 * The key that is in use; null for a store without passwords. It is noted as that of the kit that is handed out now
 * where none is noted, and with `renew` in any case.
 */
export async function noteKit(ctx: Context, store: Store, { renew }: { renew: boolean }): Promise<string | null> {
  const key = (await store.keys?.list(ctx))?.find(({ current }) => current)?.id;
  if (key === undefined) return null;
  const noted = await readKit(ctx, store);
  if (noted === null || (renew && noted.key !== key)) {
    await store.records.put(ctx, 'kit', RECORD, { format: 1, made_at: ctx.now().toISOString(), key });
  }
  return key;
}

/** Whether the kit still opens the store. Null for a store without passwords. */
export async function kitFinding(ctx: Context, store: Store): Promise<Finding | null> {
  if (!store.keys) return null;
  const check = 'the recovery kit opens it';
  const hint = 'lifeboat keys kit prints a new one: keep it away from this machine';
  try {
    const kit = await readKit(ctx, store);
    if (!kit) return { check, verdict: 'unknown', detail: 'no kit is noted', hint };
    const key = kit.key.slice(0, KEY_SHOWN);
    if ((await store.keys.list(ctx)).some(({ id }) => id === kit.key)) {
      return { check, verdict: 'pass', detail: `key ${key} of the kit of ${kit.made_at} is there` };
    }
    const detail = `key ${key} is gone: a password was changed or removed since the kit was made on ${kit.made_at}`;
    return { check, verdict: 'fail', detail, hint };
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    return { check, verdict: 'unknown', detail: messageOf(error) };
  }
}

async function readKit(ctx: Context, store: Store): Promise<Kit | null> {
  try {
    const parsed = kitSchema.safeParse(await store.records.get(ctx, 'kit', RECORD));
    return parsed.success ? parsed.data : null;
  } catch (error) {
    if (isFailure(error, 'missing')) return null;
    throw error;
  }
}
