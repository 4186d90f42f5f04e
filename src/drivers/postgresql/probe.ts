// A look at a server that changes nothing: what is there, and whether it can be captured.

import { z } from 'zod';
import { isFailure, messageOf } from '../../core/errors.ts';
import type { Context, Finding, Probe } from '../../core/model.ts';
import { serverFacts } from './capture.ts';
import { qualified, tablesOf } from './catalogue.ts';
import { measureClock } from './clock.ts';
import { connect, type Session } from './connection.ts';
import { connectSomewhere, heldBy, namesOnServer, POSTGRES } from './databases.ts';
import { ident, quoted } from './names.ts';
import { physicalFindings } from './physical/probe.ts';
import { findProgram } from './programs.ts';
import type { Server } from './settings.ts';

/** A row longer than this as text is more than the server can put into one message. */
const ROW_TEXT_BYTES_MAX = 1_000_000_000;
/** A table that keeps less than this outside of its rows has no value that large, however well it was compressed. */
const TOAST_BYTES_MIN = 2 * 1024 * 1024;
const LOOK_MS_MAX = 20_000;

export async function probeServer(ctx: Context, server: Server): Promise<Probe> {
  await using control = await connectSomewhere(ctx, server);
  const { version, identity } = await serverFacts(control);
  const { clock } = await measureClock(ctx, control);
  const there = await namesOnServer(control);
  const names = server.databases === 'all' ? there : server.databases.filter((name) => there.includes(name));
  const { bytes } = await control.row(
    z.object({ bytes: z.coerce.number() }),
    `select coalesce(sum(case when has_database_privilege(oid, 'CONNECT') then pg_database_size(oid) end), 0) as bytes
      from pg_database where datname = any ($1::text[])`,
    [names],
  );
  const held: string[] = [];
  const logical = server.methods.includes('logical');
  const findings: Finding[] = [
    ...(logical ? [...(await programFindings(ctx, server, control.major)), await passwordFinding(control)] : []),
    ...(server.methods.includes('physical') ? await physicalFindings(ctx, server, control) : []),
  ];
  if (logical && server.databases !== 'all' && names.length < server.databases.length) {
    const absent = server.databases.filter((name) => !there.includes(name)).map(ident);
    const hint = `a capture needs it; there are: ${there.map(ident).join(', ')}`;
    findings.push({ check: 'every database is there', verdict: 'fail', detail: `no ${absent.join(', ')}`, hint });
  }
  for (const name of names) {
    try {
      const holds = await heldBy(ctx, server, name);
      if (holds !== null) held.push(`${holds} in database ${ident(name)}`);
      if (logical && (holds !== null || name !== POSTGRES))
        findings.push(...(await databaseFindings(ctx, server, name)));
    } catch (error) {
      // One that is damaged does not hide the others, and is nothing to overwrite unasked.
      if (!isFailure(error) || ctx.signal.aborted) throw error;
      held.push(`database ${ident(name)}, which can not be read`);
      const check = `database ${ident(name)} can be read`;
      if (logical) findings.push({ check, verdict: 'fail', detail: error.message });
    }
  }
  const holdsData = held.length === 0 ? null : held.join('; ');
  return { version, identity, bytes, holdsData, clockSkewMs: clock.aheadMs, findings };
}

async function programFindings(ctx: Context, server: Server, major: number): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const name of ['pg_dump', 'pg_dumpall', 'pg_restore']) {
    const check = `${name} fits the server`;
    try {
      const found = await findProgram(ctx, { name, major, orNewer: true, binDir: server.binDir });
      findings.push({ check, verdict: 'pass', detail: `${found.path}, of PostgreSQL ${found.major}` });
    } catch (error) {
      if (!isFailure(error, 'program-missing')) throw error;
      findings.push({ check, verdict: 'fail', detail: error.message, ...(error.hint ? { hint: error.hint } : {}) });
    }
  }
  return findings;
}

async function passwordFinding(session: Session): Promise<Finding> {
  const { full } = await session.row(
    z.object({ full: z.boolean() }),
    "select has_table_privilege('pg_authid', 'SELECT') as full",
  );
  const check = 'passwords of roles can be captured';
  if (full) return { check, verdict: 'pass', detail: 'pg_authid can be read' };
  return { check, verdict: 'unknown', detail: 'pg_authid can not be read: restored roles have no password' };
}

async function databaseFindings(ctx: Context, server: Server, database: string): Promise<Finding[]> {
  await using session = await connect(ctx, server, database);
  const tables = await tablesOf(session);
  const closed = tables.filter(({ readable }) => !readable).map(qualified);
  const check = `every table of ${ident(database)} can be read`;
  const rights: Finding =
    closed.length === 0
      ? { check, verdict: 'pass', detail: tables.length === 1 ? '1 table' : `${tables.length} tables` }
      : {
          check,
          verdict: 'fail',
          detail: `${closed.length} can not be read: ${closed.slice(0, 5).join(', ')}`,
          hint: `grant pg_read_all_data to ${quoted(server.user)}`,
        };
  return [rights, ...(await lockFindings(session, database)), await largeFinding(session, database)];
}

/** A dump locks every table and sequence at once, in a space that the server sets aside when it starts. */
async function lockFindings(session: Session, database: string): Promise<Finding[]> {
  const { room, relations } = await session.row(
    z.object({ room: z.number(), relations: z.number() }),
    `select current_setting('max_locks_per_transaction')::int
        * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int) as room,
      (select count(*)::int from pg_class where relkind in ('r', 'p', 'S') and oid >= 16384) as relations`,
  );
  if (relations < room / 2) return [];
  const check = `a dump of ${ident(database)} finds room for its locks`;
  const detail = `${relations} tables and sequences; ${room} locks are set aside for all sessions`;
  return [{ check, verdict: 'unknown', detail, hint: 'raise max_locks_per_transaction' }];
}

/**
 * Rows whose text is longer than 1 GB can be stored but not dumped: a bytea is written as two digits per byte. The
 * lengths are in the rows, so the large values themselves are not read.
 */
async function largeFinding(session: Session, database: string): Promise<Finding> {
  const check = `every row of ${ident(database)} can be dumped`;
  const candidates = await session.rows(
    z.object({ schema: z.string(), name: z.string(), length: z.string() }),
    `select n.nspname as schema, c.relname as name,
        string_agg(format(case when a.atttypid = 17 then 'coalesce(octet_length(%I)::int8 * 2, 0)'
          else 'coalesce(octet_length(%I)::int8, 0)' end, a.attname), ' + ') as length
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
      where c.relkind = 'r' and n.nspname !~ '^pg_' and c.reltoastrelid <> 0 and a.atttypid in (17, 25, 1043)
        and pg_relation_size(c.reltoastrelid) >= ${TOAST_BYTES_MIN} and has_table_privilege(c.oid, 'SELECT')
      group by c.oid, n.nspname, c.relname`,
  );
  const found: string[] = [];
  try {
    await session.run(`set statement_timeout = ${LOOK_MS_MAX}`);
    for (const { schema, name, length } of candidates) {
      const { longest } = await session.row(
        z.object({ longest: z.coerce.number() }),
        `select coalesce(max(${length}), 0) as longest from only ${quoted(schema)}.${quoted(name)}`,
      );
      if (longest > ROW_TEXT_BYTES_MAX) found.push(`${ident(schema)}.${ident(name)}`);
    }
  } catch (error) {
    if (!isFailure(error) || !['timeout', 'blocked', 'privileges'].includes(error.code)) throw error;
    return { check, verdict: 'unknown', detail: `its largest tables were not looked through: ${messageOf(error)}` };
  }
  if (found.length === 0) return { check, verdict: 'pass', detail: `tables with large values: ${candidates.length}` };
  const detail = `pg_dump can not write rows of more than 1 GB as text, and there are some in ${found.join(', ')}`;
  return { check, verdict: 'fail', detail, hint: 'store such values as large objects or files' };
}
