// A restore that goes on by the log: planned before anything is touched, set up when the files are there, and done by
// the server that starts on them.

import type { Replay } from '../../../core/component.ts';
import { Failure } from '../../../core/errors.ts';
import type { Context, Restored } from '../../../core/model.ts';
import type { Dir } from '../../beneath.ts';
import type { BackupFacts } from '../physical/inventory.ts';
import type { Owner } from '../physical/target.ts';
import { isSegmentSize } from '../wal/files.ts';
import { placeOfLsn, sourceIn } from '../wal/positions.ts';
import { type Aim, aimOf, type Extent, refuseTarget } from './aim.ts';
import { fillSpool, handOver } from './hand-over.ts';

export interface Recovery {
  readonly replay: Replay;
  readonly aim: Aim;
  readonly base: Extent;
  readonly system: string;
}

/** Throws what can be told beforehand: a target that is not there, a journal of another server. */
export async function planRecovery(
  ctx: Context,
  replay: Replay,
  { start, end }: BackupFacts,
  segmentBytes: number,
): Promise<Recovery> {
  const [from, to] = [placeOfLsn(start.lsn), placeOfLsn(end.lsn)];
  if (from === null || to === null || !isSegmentSize(segmentBytes)) {
    throw new Failure('malformed', 'the point does not tell where its base backup lies in the log');
  }
  const base = { from, to, segmentBytes };
  return { replay, aim: await aimOf(ctx, replay, base), base, system: await systemOf(ctx, replay) };
}

/** The same as far as it takes no reading of the log, for the preview. */
export function refuseRecovery(replay: Replay, { end }: BackupFacts): void {
  const to = placeOfLsn(end.lsn);
  if (to !== null) refuseTarget(replay, { to });
}

async function systemOf(ctx: Context, { ranges }: Replay): Promise<string> {
  for await (const { lineage } of ranges(ctx)) {
    const source = sourceIn(lineage.source);
    if (source) return source.system;
  }
  throw new Failure('missing', 'the journal has nothing of the log that the point needs');
}

interface Place {
  /** The data directory. */
  readonly root: Dir;
  readonly owner: Owner | null;
  readonly task: string;
}

/** The log is handed over by this process until `settle`, unless there is a command for it. */
export async function beginRecovery(
  ctx: Context,
  { root, owner, task }: Place,
  { replay, aim, base }: Recovery,
): Promise<{ readonly notes: readonly string[]; readonly result: Pick<Restored, 'reached' | 'settle'> }> {
  const job = { replay, aim, base, root, owner, task };
  const reached = aim.reached ? { reached: aim.reached } : {};
  if (replay.command) {
    await fillSpool(ctx, job);
    const next = 'start a server on it: it fetches the log by itself, stops at the target, and is then a primary';
    return { notes: [...aim.notes, next], result: reached };
  }
  const handing = handOver(ctx, job);
  return { notes: aim.notes, result: { ...reached, settle: () => handing.stop() } };
}
