// For doctor: how well the slot of follow is, whether one is left that nobody needs, and whether what the server hands
// over arrives, and where.

import { z } from 'zod';
import type { FollowUse } from '../../../core/component.ts';
import { isFailure } from '../../../core/errors.ts';
import type { Context, Finding } from '../../../core/model.ts';
import type { Session } from '../connection.ts';
import { connectSomewhere } from '../databases.ts';
import { literal } from '../names.ts';
import type { Server } from '../settings.ts';
import { type SlotState, slotState, slotsLeft } from './slot.ts';

const MIB = 1024 * 1024;

export async function followFindings(ctx: Context, server: Server, use: FollowUse): Promise<readonly Finding[]> {
  await using session = await connectSomewhere(ctx, server);
  return [
    ...(await slotFindings(session, server, use.isFollowed)),
    ...(await strayFindings(session, server)),
    ...(await archiveFindings(session, use)),
  ];
}

async function slotFindings(session: Session, server: Server, isFollowed: boolean): Promise<readonly Finding[]> {
  const { slot } = server;
  try {
    const state = await slotState(session, slot);
    if (!state) return isFollowed ? [absentFinding(server)] : [];
    if (!isFollowed && state.pid === null) return state.isLost ? [] : [leftFinding(slot, state)];
    return [lossFinding(slot, state), useFinding(slot, state), limitFinding(slot, state)];
  } catch (error) {
    if (!isFailure(error, 'settings-invalid')) throw error;
    if (!isFollowed) return []; // somebody else's
    const { message: detail, hint = '' } = error;
    return [{ check: `the slot ${slot} can be used to follow`, verdict: 'fail', detail, hint }];
  }
}

function absentFinding({ slot, methods }: Server): Finding {
  const check = `the slot ${slot} holds the log that is not stored yet`;
  const detail = 'there is none: follow: true is set, and nobody has followed yet, or it was dropped since';
  const hint = methods.includes('physical')
    ? 'run lifeboat follow: it makes the slot, and takes a base where it needs one'
    : 'set capture: [physical], then run lifeboat follow: a log can only be replayed on a base backup';
  return { check, verdict: 'fail', detail, hint };
}

function leftFinding(slot: string, { heldBytes }: SlotState): Finding {
  const detail = `nobody follows by it, follow is not set, and it holds ${mebibytes(heldBytes)} of log, and ever more`;
  const hint = 'give it back by lifeboat follow --drop with the name of this component, or set follow: true';
  return { check: `no slot fills the disk of the server`, verdict: 'fail', detail: `${slot}: ${detail}`, hint };
}

/** Those of ours under other names: of a configuration that is gone, or of one whose follower is down. */
async function strayFindings(session: Session, { slot: own }: Server): Promise<readonly Finding[]> {
  const left = await slotsLeft(session, own);
  return left.map(({ name, heldBytes }) => ({
    check: `somebody follows by the slot ${name}`,
    verdict: 'fail',
    detail: `nobody does, this configuration does not name it, and it holds ${mebibytes(heldBytes)} of log, and ever more`,
    hint: `where no other configuration has it: select pg_drop_replication_slot(${literal(name)})`,
  }));
}

const archiverRow = z.object({ failed: z.boolean(), wal: z.string().nullable(), at: z.string().nullable() });

/** A segment that can't be handed over is tried for ever, and all of the log stays with it. */
async function archiveFindings(session: Session, use: FollowUse): Promise<readonly Finding[]> {
  const [archiver] = await session.rows(
    archiverRow,
    `select last_failed_time is not null and last_failed_time >= coalesce(last_archived_time, '-infinity') as failed,
      last_failed_wal as wal, to_char(last_failed_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as at
      from pg_stat_archiver
      where current_setting('archive_mode') <> 'off' and current_setting('archive_command') like '%wal-push%'`,
  );
  if (!archiver) return [];
  const check = 'what the server archives is taken by lifeboat wal-push';
  const elsewhere = copyFinding(use);
  if (!archiver.failed) return [{ check, verdict: 'pass', detail: 'the last time it was' }, ...elsewhere];
  const detail = `${archiver.wal} was not, at ${archiver.at}, and the server keeps it and all that came since`;
  const hint = "its log says why; the server's user must be able to read the configuration and to write to the store";
  return [{ check, verdict: 'fail', detail, hint }, ...elsewhere];
}

/** Each segment is a process of its own: opening every store for it would cost more than storing it. */
function copyFinding({ isFollowed, stores: [first = '', ...others] }: FollowUse): readonly Finding[] {
  if (others.length === 0) return [];
  const check = 'what the server archives comes to every store';
  if (isFollowed) return [{ check, verdict: 'pass', detail: 'lifeboat follow copies it' }];
  const copies = others.map((to) => `lifeboat copy --from ${first} --to ${to}`).join(' and ');
  const detail = `wal-push stores it in ${first} alone, or in the one that --store names`;
  const hint = `set follow: true and run lifeboat follow, which copies it, or run ${copies} often enough`;
  return [{ check, verdict: 'unknown', detail, hint }];
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
