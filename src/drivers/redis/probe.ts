// What doctor wants to know of a server. Changes nothing and asks for no copy.

import type { Context, Finding, Probe } from '../../core/model.ts';
import { serverTime } from './capture.ts';
import { type Connection, connect } from './connection.ts';
import { psyncRefusal } from './replica.ts';
import { isError } from './resp.ts';
import { heldData, type ServerFacts, serverFacts } from './server.ts';
import type { Settings } from './settings.ts';

/** Minutes of what most servers write. */
const BACKLOG_BYTES_GOOD = 64 * 1024 * 1024;

export async function probe(ctx: Context, settings: Settings): Promise<Probe> {
  await using connection = await connect(ctx, settings);
  const server = await serverFacts(connection);
  const before = ctx.now().getTime();
  const theirs = await serverTime(ctx, connection);
  const ours = (before + ctx.now().getTime()) / 2;
  return {
    version: server.version,
    identity: server.runId,
    bytes: server.usedBytes,
    holdsData: await heldData(connection, server, settings.databases),
    clockSkewMs: Math.round(theirs - ours),
    findings: [
      await replicationFinding(connection, settings),
      modeFinding(server),
      roleFinding(server),
      persistenceFinding(server),
      backlogFinding(server),
    ].filter((finding) => finding !== null),
  };
}

/** An offset that is no number: whoever may not ask at all is told so first, and nobody gets a copy. */
async function replicationFinding(connection: Connection, settings: Settings): Promise<Finding> {
  const check = 'the user may replicate (PSYNC, REPLCONF)';
  for (const command of [
    ['REPLCONF', 'capa', 'eof'],
    ['PSYNC', '?', 'none'],
  ]) {
    const reply = await connection.ask(...command);
    if (isError(reply) && !reply.error.includes('not an integer')) {
      const { message, hint } = psyncRefusal(connection.where, settings, reply.error);
      return { check, verdict: 'fail', detail: message, ...(hint === undefined ? {} : { hint }) };
    }
  }
  return { check, verdict: 'pass', detail: `user ${settings.username ?? 'default'}` };
}

function modeFinding({ mode }: ServerFacts): Finding {
  const check = 'the server holds all of its data itself';
  if (mode === 'cluster') {
    return {
      check,
      verdict: 'fail',
      detail: 'a node of a cluster: a capture holds its own slots only, and a restore into it is refused',
      hint: 'name each master of the cluster as a component; restore them into single servers',
    };
  }
  if (mode === 'sentinel') {
    return {
      check,
      verdict: 'fail',
      detail: 'it is a sentinel, which holds no data',
      hint: 'name the server it watches',
    };
  }
  return { check, verdict: 'pass', detail: mode };
}

function roleFinding({ masterAt, info }: ServerFacts): Finding | null {
  if (masterAt === null) return null;
  const check = 'the server follows its master';
  if (info.get('master_link_status') === 'up') return { check, verdict: 'pass', detail: `replica of ${masterAt}` };
  return {
    check,
    verdict: 'fail',
    detail: `it is a replica of ${masterAt}, and the link is down: it gives no copy`,
    hint: 'if a restore was interrupted here, send it REPLICAOF NO ONE',
  };
}

function persistenceFinding({ info }: ServerFacts): Finding {
  const check = 'the last save of the server itself succeeded';
  const failures = ['rdb_last_bgsave_status', 'aof_last_bgrewrite_status', 'aof_last_write_status'].filter((name) => {
    return info.has(name) && info.get(name) !== 'ok';
  });
  if (failures.length === 0) return { check, verdict: 'pass', detail: 'ok' };
  return {
    check,
    verdict: 'fail',
    detail: `INFO says so: ${failures.join(', ')}`,
    hint: 'look into the log of the server',
  };
}

/** Never wrong by itself: how long a break may last depends on how much is written. */
function backlogFinding({ info }: ServerFacts): Finding | null {
  const bytes = Number(info.get('repl_backlog_size'));
  if (!Number.isFinite(bytes)) return null;
  const kept = `repl-backlog-size keeps ${Math.round(bytes / 1024)} KiB`;
  const detail = `${kept}: whoever follows and is away for more of it than that needs another full copy`;
  const check = 'the log outlives a short break';
  if (bytes >= BACKLOG_BYTES_GOOD) return { check, verdict: 'pass', detail };
  return { check, verdict: 'pass', detail, hint: 'before following it: CONFIG SET repl-backlog-size 64mb' };
}
