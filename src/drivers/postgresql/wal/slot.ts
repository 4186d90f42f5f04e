// The slot that holds a server's log until it is stored.

import { z } from 'zod';
import { Failure, isFailure } from '../../../core/errors.ts';
import type { Context } from '../../../core/model.ts';
import { type Session, sqlState } from '../connection.ts';
import { quoted } from '../names.ts';
import type { Server } from '../settings.ts';
import { positionOf } from './positions.ts';

const slotRow = z.object({
  physical: z.boolean(),
  pid: z.number().nullable(),
  restart: z.string().nullable(),
  status: z.string().nullable(),
  held: z.coerce.number(),
  allowed: z.coerce.number(),
});

export interface SlotState {
  /** Who streams from it. */
  readonly pid: number | null;
  /** From here on the log is held; null when nothing is. */
  readonly restart: string | null;
  /** Its log was removed: it is of no use any more. */
  readonly isLost: boolean;
  /** What it holds of the log. */
  readonly heldBytes: number;
  /** How much it may hold before it is lost; null without a limit. */
  readonly allowedBytes: number | null;
}

/** Null when there is none. */
export async function slotState(session: Session, name: string): Promise<SlotState | null> {
  const [slot] = await session.rows(
    slotRow,
    `select slot_type = 'physical' as physical, active_pid as pid, restart_lsn::text as restart, wal_status as status,
      coalesce(pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end,
        restart_lsn), 0) as held,
      pg_size_bytes(current_setting('max_slot_wal_keep_size')) as allowed
      from pg_replication_slots where slot_name = $1`,
    [name],
  );
  if (!slot) return null;
  if (!slot.physical) {
    throw new Failure('settings-invalid', `the slot ${name} is a logical one, which somebody else uses`, {
      hint: 'set slot of the component to another name',
    });
  }
  return {
    pid: slot.pid,
    restart: slot.restart === null ? null : positionOf(slot.restart),
    isLost: slot.status === 'lost',
    heldBytes: slot.held,
    allowedBytes: slot.allowed < 0 ? null : slot.allowed,
  };
}

/** How the names of our slots begin that hold log, unless the settings name others. */
const OURS = 'lifeboat_';

/** Slots by such a name, besides `own`, that hold log for nobody. */
export async function slotsLeft(
  session: Session,
  own: string,
): Promise<readonly { readonly name: string; readonly heldBytes: number }[]> {
  const rows = await session.rows(
    z.object({ name: z.string(), held: z.coerce.number() }),
    `select slot_name::text as name,
      coalesce(pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end,
        restart_lsn), 0) as held
      from pg_replication_slots
      where slot_type = 'physical' and starts_with(slot_name, $2) and slot_name <> $1 and not active
        and restart_lsn is not null and wal_status <> 'lost' order by 1`,
    [own, OURS],
  );
  return rows.map(({ name, held }) => ({ name, heldBytes: held }));
}

export interface HeldSlot {
  readonly restart: string;
  /** What was with it before: it may be why the server has removed its log. */
  readonly was: 'there' | 'lost' | 'not there';
}

/** Makes the slot where there is none, and anew where it is lost. */
export async function holdSlot(ctx: Context, session: Session, server: Server): Promise<HeldSlot> {
  const { slot: name } = server;
  const before = await slotState(session, name);
  if (before?.restart && !before.isLost) return { restart: before.restart, was: 'there' };
  if (before) {
    ctx.log.warn('the slot holds no log any more: it is made anew', { slot: name, lost: before.isLost });
    await dropped(session, name, before);
  }
  const made = await asked(server, () =>
    session.row(
      z.object({ lsn: z.string() }),
      'select lsn::text from pg_create_physical_replication_slot($1, immediately_reserve => true)',
      [name],
    ),
  );
  return { restart: positionOf(made.lsn), was: before ? 'lost' : 'not there' };
}

/** Names what it removed. */
export async function dropSlot(session: Session, { slot: name }: Server): Promise<readonly string[]> {
  const state = await slotState(session, name);
  if (!state) return [];
  await dropped(session, name, state);
  return [`slot ${name}`];
}

async function dropped(session: Session, name: string, { pid }: SlotState): Promise<void> {
  try {
    await session.texts('select pg_drop_replication_slot($1)', [name]);
  } catch (error) {
    if (isFailure(error, 'blocked')) throw inUse(name, pid, error);
    throw error;
  }
}

/** Somebody streams from it: only one can. */
export function inUse(name: string, pid: number | null, cause: unknown): Failure {
  const who = pid === null ? 'somebody' : `process ${pid}`;
  return new Failure('blocked', `the slot ${name} is in use by ${who} of the server`, {
    cause,
    hint: 'one that follows was ended a moment ago, or another configuration follows: set slot there to another name',
  });
}

async function asked<T>(server: Server, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (isFailure(cause, 'privileges')) {
      const hint = `alter role ${quoted(server.user)} replication`;
      throw new Failure('privileges', cause.message, { cause, hint });
    }
    // 53400: all of them are in use.
    if (!isFailure(cause) || sqlState(cause) !== '53400') throw cause;
    const hint = 'raise max_replication_slots and restart the server, or drop a slot that nobody uses';
    throw new Failure('blocked', cause.message, { cause, hint });
  }
}
