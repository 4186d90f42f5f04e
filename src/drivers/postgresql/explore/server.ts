// A server on a restored directory that stops where its log is to end and lets queries in there: on loopback and by a
// socket of its own, with settings of ours alone. It outlives Ctrl-C, so that it is ended in order.

import { join } from 'node:path';
import { z } from 'zod';
import { withSignal } from '../../../core/context.ts';
import { Failure, isFailure } from '../../../core/errors.ts';
import type { Context } from '../../../core/model.ts';
import { LOOPBACK } from '../../../core/ports.ts';
import { type Running, run, start } from '../../../core/process.ts';
import { connectSomewhere } from '../databases.ts';
import { QUIET } from '../physical/sandbox.ts';
import { cleanContext } from '../programs.ts';
import type { Server } from '../settings.ts';
import { placeOfLsn } from '../wal/positions.ts';
import type { Needs, Place } from './control.ts';

/** In the data directory, as long as it is explored: what only the owner of that may use. */
export const OWN = 'lifeboat';
const POLL_MS = 100;
/** It writes what it has in memory before it ends. */
const END_MS_MAX = 120_000;
const PROMOTE_S_MAX = 600;

export interface State {
  readonly recovers: boolean;
  /** It has reached its target, or can't go on. */
  readonly isPaused: boolean;
  /** All before it is replayed. */
  readonly place: number;
  readonly lastChange: string | null;
  /** That it writes itself. */
  readonly timeline: number | null;
}

/** What lies in its own folder. By the socket whoever may open that comes in; by the network with a password. */
export const OWN_FILES: Readonly<Record<string, string>> = {
  'postgresql.conf': '',
  'pg_hba.conf': `local all all trust\nhost all all ${LOOPBACK}/32 md5\n`,
  'pg_ident.conf': '',
};

const CONF: Readonly<Record<string, string>> = {
  listen_addresses: LOOPBACK,
  unix_socket_permissions: '0700',
  hot_standby: 'on',
  recovery_target_action: 'pause',
  recovery_min_apply_delay: '0',
  archive_mode: 'off',
  max_logical_replication_workers: '0', // a subscription must not reach its publisher
  shared_buffers: '128MB',
  lc_messages: 'C',
  log_min_messages: 'warning',
};

/** It has to be waited for. */
export function startServer(ctx: Context, { path, owner, postgres }: Place, port: number, needs: Needs): Running {
  const { restore_command: _, recovery_end_command: __, ...quiet } = QUIET; // those of the restore hold
  const files = { config_file: 'postgresql.conf', hba_file: 'pg_hba.conf', ident_file: 'pg_ident.conf' };
  const conf = {
    ...quiet,
    ...CONF,
    ...needs,
    ...Object.fromEntries(Object.entries(files).map(([name, file]) => [name, join(path, OWN, file)])),
    unix_socket_directories: `"${join(path, OWN).replaceAll('"', '""')}"`,
    ...(postgres.major >= 17 ? { summarize_wal: 'off' } : {}),
  };
  const settings = Object.entries(conf).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const args = ['-D', path, '-p', String(port), ...settings];
  const env = { LC_ALL: 'C', TZ: 'UTC' };
  const command = { program: postgres.path, args, env, cwd: path, ...(owner ? { user: owner } : {}) };
  const lasting = { ...cleanContext(ctx), signal: new AbortController().signal };
  return start(lasting, command, { killAfterMs: END_MS_MAX });
}

/** Until it stands somewhere, or has ended its recovery. Throws its last words when it ends before. */
export async function untilStanding(ctx: Context, server: Server, running: Running): Promise<State> {
  const died = new AbortController();
  void running.succeeded().then(
    () => died.abort(new Failure('program-failed', 'the server has ended before it stood anywhere')),
    (error: unknown) => died.abort(error),
  );
  void discard(running);
  const watched = withSignal(ctx, died.signal);
  for (;;) {
    try {
      const state = await stateOf(watched, server);
      if (!state.recovers || state.isPaused) return state;
    } catch (error) {
      if (ctx.signal.aborted || !isFailure(error, 'unreachable'))
        throw died.signal.aborted ? died.signal.reason : error;
    }
    if (died.signal.aborted) throw died.signal.reason;
    await ctx.sleep(POLL_MS);
  }
}

/** What it prints is of no use, but a full pipe would stop it. */
async function discard(running: Running): Promise<void> {
  for await (const _ of running.stdout);
}

const state = z.object({
  recovers: z.boolean(),
  pause: z.string(),
  lsn: z.string().nullable(),
  at: z.string().nullable(),
  file: z.string().nullable(),
});

export async function stateOf(ctx: Context, server: Server): Promise<State> {
  await using session = await connectSomewhere(ctx, server);
  const { recovers, pause, lsn, at, file } = await session.row(
    state,
    `select pg_is_in_recovery() as recovers, pg_last_wal_replay_lsn()::text as lsn,
      case when pg_is_in_recovery() then pg_get_wal_replay_pause_state() else '' end as pause,
      case when pg_is_in_recovery() then null else pg_walfile_name(pg_current_wal_lsn()) end as file,
      to_char(pg_last_xact_replay_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at`,
  );
  const place = placeOfLsn(lsn ?? '') ?? 0;
  const timeline = file === null ? null : Number.parseInt(file.slice(0, 8), 16);
  return { recovers, isPaused: pause === 'paused', place, lastChange: at, timeline };
}

/** It ends its recovery where it stands. */
export async function promoteServer(ctx: Context, { path, owner, postgres }: Place): Promise<void> {
  const args = ['-D', path, '-w', '-t', String(PROMOTE_S_MAX), 'promote'];
  const command = { program: join(postgres.dir, 'pg_ctl'), args, cwd: path, ...(owner ? { user: owner } : {}) };
  await run(cleanContext(ctx), command, { deadlineMs: PROMOTE_S_MAX * 1000 });
}
