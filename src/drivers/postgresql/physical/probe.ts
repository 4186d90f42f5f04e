// What a base backup needs of a server, each with the next step where it lacks.

import { z } from 'zod';
import { isFailure, messageOf } from '../../../core/errors.ts';
import type { Context, Finding } from '../../../core/model.ts';
import type { Session } from '../connection.ts';
import { quoted } from '../names.ts';
import { findProgram } from '../programs.ts';
import type { Server } from '../settings.ts';
import { identifySystem, openReplication } from './replication.ts';
import { VERIFIER } from './verify.ts';

const factsRow = z.object({
  may: z.boolean(),
  level: z.string(),
  senders: z.coerce.number(),
  sending: z.coerce.number(),
  slots: z.coerce.number(),
  taken: z.coerce.number(),
  summaries: z.string().nullable(),
  bytes: z.coerce.number(),
});

export async function physicalFindings(ctx: Context, server: Server, session: Session): Promise<Finding[]> {
  const facts = await session.row(
    factsRow,
    `select (select rolreplication or rolsuper from pg_roles where rolname = current_user) as may,
      current_setting('wal_level') as level, current_setting('max_wal_senders') as senders,
      (select count(*) from pg_stat_activity where backend_type = 'walsender') as sending,
      current_setting('max_replication_slots') as slots, (select count(*) from pg_replication_slots) as taken,
      current_setting('summarize_wal', true) as summaries,
      (select coalesce(sum(pg_tablespace_size(oid)), 0) from pg_tablespace
        where has_tablespace_privilege(oid, 'create') or pg_has_role('pg_read_all_stats', 'usage')) as bytes`,
  );
  const wanting = lacking(server, facts);
  // What is known to be in the way would only be said again.
  const connection = wanting.length > 0 ? [] : [await connectionFinding(ctx, server)];
  return [
    ...wanting,
    ...connection,
    slotFinding(facts),
    ...summaryFinding(server, facts),
    await verifierFinding(ctx, server, session),
  ];
}

type Facts = z.output<typeof factsRow>;

function lacking(server: Server, { may, level, senders, sending }: Facts): Finding[] {
  const fail = (check: string, detail: string, hint: string): Finding => ({ check, verdict: 'fail', detail, hint });
  return [
    may ? [] : [fail(ROLE, `${server.user} has no REPLICATION`, `alter role ${quoted(server.user)} replication`)],
    level !== 'minimal'
      ? []
      : [fail(LOG, 'wal_level is minimal', 'alter system set wal_level = replica, and restart the server')],
    sending < senders
      ? []
      : [fail(SENDERS, `${sending} of ${senders} are in use`, 'raise max_wal_senders, and restart the server')],
  ].flat();
}

const ROLE = 'its role may take base backups';
const LOG = 'its log is enough for a base backup';
const SENDERS = 'a sender is free for a base backup';
const CONNECTION = 'a base backup can be taken';

async function connectionFinding(ctx: Context, server: Server): Promise<Finding> {
  try {
    await using connection = await openReplication(ctx, server);
    const { xlogpos, timeline } = await identifySystem(connection);
    return { check: CONNECTION, verdict: 'pass', detail: `the log stands at ${xlogpos} on timeline ${timeline}` };
  } catch (error) {
    if (!isFailure(error) || ctx.signal.aborted) throw error;
    return { check: CONNECTION, verdict: 'fail', detail: error.message, ...(error.hint ? { hint: error.hint } : {}) };
  }
}

function slotFinding({ slots, taken }: Facts): Finding {
  const check = 'the log of a base backup is held until it ends';
  if (taken < slots) return { check, verdict: 'pass', detail: `${taken} of ${slots} slots are in use` };
  const detail = `all ${slots} slots are in use: the log may be gone when a long backup ends, which then fails`;
  return { check, verdict: 'unknown', detail, hint: 'raise max_replication_slots, or wal_keep_size' };
}

/** No server needs it; what is saved is the reading there, and the way here. */
function summaryFinding({ incremental }: Server, { summaries, bytes }: Facts): Finding[] {
  if (summaries === null || !incremental) return [];
  const check = 'a capture reads what changed alone';
  if (summaries === 'on') return [{ check, verdict: 'pass', detail: 'summarize_wal is on' }];
  const all = bytes > 0 ? `${Math.ceil(bytes / 2 ** 20)} MiB` : 'of it';
  const detail = `summarize_wal is off: each capture reads all ${all}, also what did not change`;
  const hint = 'alter system set summarize_wal = on; select pg_reload_conf()';
  return [{ check, verdict: 'pass', detail, hint }];
}

async function verifierFinding(ctx: Context, { binDir }: Server, { major }: Session): Promise<Finding> {
  const check = `${VERIFIER} fits the server`;
  try {
    const { path } = await findProgram(ctx, { name: VERIFIER, major, orNewer: false, binDir });
    return { check, verdict: 'pass', detail: path };
  } catch (error) {
    if (!isFailure(error, 'program-missing')) throw error;
    return { check, verdict: 'pass', detail: `not here; files are compared without it (${messageOf(error)})` };
  }
}
