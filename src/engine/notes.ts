// Notes that a run leaves in its stores of what is still to be done when it is killed. A store may hold one that is
// damaged, and one that forbids deletion keeps all of them: neither may stand in the way of the runs that come after.

import { z } from 'zod';
import { outliving } from '../core/context.ts';
import { ERRORS, isFailure, messageOf } from '../core/errors.ts';
import type { Context, Json } from '../core/model.ts';
import type { RecordKind, Store } from '../core/storage.ts';

const STRIKE_MS_MAX = 10_000;
const struckSchema = z.strictObject({ struck: z.literal(true) });

interface NoteRef {
  readonly kind: RecordKind;
  readonly id: string;
}

/** Null for what is no note any more: struck meanwhile, or damaged. */
export async function readNote<T>(
  ctx: Context,
  { records, url }: Store,
  { kind, id }: NoteRef,
  schema: z.ZodType<T>,
): Promise<T | null> {
  let found: unknown;
  try {
    found = await records.get(ctx, kind, id);
  } catch (error) {
    if (!isFailure(error) || !ERRORS[error.code].lost) throw error;
    if (error.code !== 'missing') warn(ctx, { store: url, note: `${kind}/${id}`, reason: error.message });
    return null;
  }
  if (struckSchema.safeParse(found).success) return null;
  const parsed = schema.safeParse(found);
  if (parsed.success) return parsed.data;
  warn(ctx, { store: url, note: `${kind}/${id}`, reason: 'it is not what was put there' });
  return null;
}

function warn(ctx: Context, fields: { store: string; note: string; reason: string }): void {
  ctx.log.warn('a damaged note of an earlier run is passed over', fields);
}

/** It is done. Never throws, and is done for a user who has broken off, too: else the next run does it again. */
export async function strikeNote(ctx: Context, { records, url }: Store, { kind, id }: NoteRef): Promise<void> {
  const within = (): Context => outliving(ctx, STRIKE_MS_MAX);
  const struck: Json = { struck: true } satisfies z.output<typeof struckSchema>;
  try {
    await records.delete(within(), kind, id);
  } catch (error) {
    const fields = { store: url, note: `${kind}/${id}`, reason: messageOf(error) };
    try {
      await records.put(within(), kind, id, struck);
      ctx.log.debug('note struck that can not be deleted', fields);
    } catch {
      ctx.log.warn('a note of what is done can not be deleted, and the next run does it again', fields);
    }
  }
}
