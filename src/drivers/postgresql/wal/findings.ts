// For doctor: how well the slot of follow is, and what it may do to the server; and whether what the server hands over
// arrives. Nothing where nobody follows.

import { z } from 'zod';
import type { Finding } from '../../../core/model.ts';
import type { Session } from '../connection.ts';
import { literal } from '../names.ts';
import type { Server } from '../settings.ts';
import { type SlotState, slotState } from './slot.ts';

const MIB = 1024 * 1024;

export async function followFindings(session: Session, { slot }: Server): Promise<readonly Finding[]> {
  const state = await slotState(session, slot);
  const ofSlot = state ? [lossFinding(slot, state), useFinding(slot, state), limitFinding(slot, state)] : [];
  return [...ofSlot, ...(await archiveFindings(session))];
}

const archiverRow = z.object({ failed: z.boolean(), wal: z.string().nullable(), at: z.string().nullable() });

/** A segment that can't be handed over is tried for ever, and all of the log stays with it. */
async function archiveFindings(session: Session): Promise<readonly Finding[]> {
  const [archiver] = await session.rows(
    archiverRow,
    `select last_failed_time is not null and last_failed_time >= coalesce(last_archived_time, '-infinity') as failed,
      last_failed_wal as wal, to_char(last_failed_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as at
      from pg_stat_archiver
      where current_setting('archive_mode') <> 'off' and current_setting('archive_command') like '%wal-push%'`,
  );
  if (!archiver) return [];
  const check = 'what the server archives is taken by lifeboat wal-push';
  if (!archiver.failed) return [{ check, verdict: 'pass', detail: 'the last time it was' }];
  const detail = `${archiver.wal} was not, at ${archiver.at}, and the server keeps it and all that came since`;
  const hint = "its log says why; the server's user must be able to read the configuration and to write to the store";
  return [{ check, verdict: 'fail', detail, hint }];
}

function lossFinding(slot: string, { isLost }: SlotState): Finding {
  const check = `the slot ${slot} holds the log that is not stored yet`;
  if (!isLost) return { check, verdict: 'pass', detail: 'it is whole' };
  const detail = 'it held more than the server lets it, and its log was removed';
  const hint = 'run lifeboat follow: it makes the slot anew, notes the gap, and takes a base; free the store before';
  return { check, verdict: 'fail', detail, hint };
}

function useFinding(slot: string, { pid, heldBytes }: SlotState): Finding {
  const check = `somebody follows by the slot ${slot}`;
  const held = `it holds ${mebibytes(heldBytes)} of log`;
  if (pid !== null) return { check, verdict: 'pass', detail: `process ${pid} of the server; ${held}` };
  const hint = `run lifeboat follow, or give it back: select pg_drop_replication_slot(${literal(slot)})`;
  return { check, verdict: 'fail', detail: `nobody does; ${held}, and ever more`, hint };
}

function limitFinding(slot: string, { heldBytes, allowedBytes }: SlotState): Finding {
  const check = `the slot ${slot} can not fill the disk of the server`;
  if (allowedBytes === null) {
    const detail = 'max_slot_wal_keep_size is -1: while the store takes nothing, it holds all that is written';
    const hint =
      "alter system set max_slot_wal_keep_size = '…GB', as much as there is room for; select pg_reload_conf()";
    return { check, verdict: 'unknown', detail, hint };
  }
  const detail = `it holds ${mebibytes(heldBytes)} of ${mebibytes(allowedBytes)}`;
  if (heldBytes < allowedBytes / 2) return { check, verdict: 'pass', detail };
  const hint = 'see why the store takes nothing; beyond that the server removes log that is not stored';
  return { check, verdict: 'fail', detail: `${detail}: more than half`, hint };
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / MIB)} MiB`;
}
