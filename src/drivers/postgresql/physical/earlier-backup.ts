// The base backup of the newest earlier point, as what a server's changes are told from: it sends those alone, and what
// did not change is kept without being read.

import { z } from 'zod';
import { isFailure } from '../../../core/errors.ts';
import type { Context, Source } from '../../../core/model.ts';
import type { Session } from '../connection.ts';
import type { Server } from '../settings.ts';
import { factsIn } from './inventory.ts';
import { DATA_TREE, MANIFEST_FILE } from './names.ts';

/** The part that a server reads what it had sent from. */
export const MANIFEST_PART = DATA_TREE.parts + MANIFEST_FILE;
/** The first that tells changes from a manifest. */
const MAJOR_MIN = 17;

export interface EarlierBackup {
  readonly source: Source;
  /** Of the server's pages. */
  readonly pageBytes: number;
}

/** Null where there is none, or the server does not note what changes. */
export async function earlierBackup(
  ctx: Context,
  { incremental }: Server,
  session: Session,
  source: Source | undefined,
): Promise<EarlierBackup | null> {
  if (!incremental || !source || session.major < MAJOR_MIN) return null;
  const { summaries, page } = await session.row(
    z.object({ summaries: z.string(), page: z.coerce.number() }),
    "select current_setting('summarize_wal') as summaries, current_setting('block_size') as page",
  );
  if (summaries !== 'on' || !(await holdsBackup(ctx, source))) return null;
  return { source, pageBytes: page };
}

async function holdsBackup(ctx: Context, source: Source): Promise<boolean> {
  try {
    await factsIn(ctx, source);
    await source.part(ctx, MANIFEST_PART);
    return true;
  } catch (error) {
    if (isFailure(error, 'missing')) return false;
    throw error;
  }
}
