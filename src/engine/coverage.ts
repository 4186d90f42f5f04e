// Which of the data a sampled verification has read, and what the next one reads, so that all of it is read in turn.

import { z } from 'zod';
import { isFailure } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import type { Store } from '../core/storage.ts';

/** The shares that a store splits its bytes into. */
const SHARES = 100;
const RECORD = 'read-data';

const recordSchema = z.object({
  format: z.literal(1),
  /** Where the next run goes on. */
  next: z
    .number()
    .int()
    .min(0)
    .max(SHARES - 1),
  /** When each share was last read; null for never. */
  read_at: z.array(z.string().nullable()).length(SHARES),
});
type CoverageRecord = z.output<typeof recordSchema>;

export interface Turn {
  readonly from: number;
  readonly shares: number;
}

export interface Coverage {
  /** What this run read. */
  readonly turn: Turn;
  /** How many of the 100 shares have been read at all. */
  readonly sharesRead: number;
  /** All data has been read since then; null while some of it never was. */
  readonly allReadSince: string | null;
  /** Runs of this size that read everything. */
  readonly runsForAll: number;
}

/** What a run that reads `share` (0 to 1) of the data reads next. */
export async function nextTurn(ctx: Context, store: Store, share: number): Promise<Turn> {
  const { next } = await read(ctx, store);
  return { from: next, shares: Math.min(SHARES, Math.max(1, Math.ceil(share * SHARES))) };
}

/** Goes on to the next turn, and notes that this one was read just now, if all of it was. */
export async function noteTurn(ctx: Context, store: Store, turn: Turn, wasRead: boolean): Promise<Coverage> {
  const record = await read(ctx, store);
  const now = ctx.now().toISOString();
  const readAt = [...record.read_at];
  for (let each = 0; wasRead && each < turn.shares; each++) readAt[(turn.from + each) % SHARES] = now;
  await store.records.put(ctx, 'coverage', RECORD, {
    format: 1,
    next: (turn.from + turn.shares) % SHARES,
    read_at: readAt,
  });
  const known = readAt.filter((at) => at !== null).toSorted();
  return {
    turn,
    sharesRead: known.length,
    allReadSince: known.length === SHARES ? (known[0] ?? null) : null,
    runsForAll: Math.ceil(SHARES / turn.shares),
  };
}

/** Nothing is known where there is no record, or none that can be read: then all of it is to be read again. */
async function read(ctx: Context, store: Store): Promise<CoverageRecord> {
  const unread: CoverageRecord = { format: 1, next: 0, read_at: Array.from({ length: SHARES }, () => null) };
  try {
    const parsed = recordSchema.safeParse(await store.records.get(ctx, 'coverage', RECORD));
    return parsed.success ? parsed.data : unread;
  } catch (error) {
    if (isFailure(error, 'missing') || isFailure(error, 'checksum') || isFailure(error, 'malformed')) return unread;
    throw error;
  }
}
