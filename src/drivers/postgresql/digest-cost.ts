// What digests of all rows would take, told from a piece of the largest table: only the server itself knows its rate.

import { Failure, messageOf } from '../../core/errors.ts';
import type { Context, Finding } from '../../core/model.ts';
import { qualified, type Table, tablesOf } from './catalogue.ts';
import { connect, type Session } from './connection.ts';
import { connectSomewhere, namesOnServer } from './databases.ts';
import { countPiece } from './digests.ts';
import { SESSIONS } from './inventory.ts';
import { ident } from './names.ts';
import type { Server } from './settings.ts';

/** 8 MiB of it: some tens of milliseconds. */
const SAMPLE_PAGES = 1024;
const PAGE_BYTES = 8192;
const LOOK_MS_MAX = 10_000;

/** What `inventory: full` adds to `counts`, for each database that is there. */
export async function digestCosts(ctx: Context, server: Server): Promise<readonly Finding[]> {
  await using control = await connectSomewhere(ctx, server);
  const there = await namesOnServer(control);
  const names = server.databases === 'all' ? there : server.databases.filter((name) => there.includes(name));
  const findings: Finding[] = [];
  for (const database of names) findings.push(await digestCost(ctx, server, database));
  return findings;
}

async function digestCost(ctx: Context, server: Server, database: string): Promise<Finding> {
  const check = `what digests of all rows of ${ident(database)} take`;
  try {
    await using session = await connect(ctx, server, database);
    await session.run(`set statement_timeout = ${LOOK_MS_MAX}`);
    const tables = await tablesOf(session);
    const sampled = largestOf(tables);
    if (!sampled) return { check, verdict: 'pass', detail: 'next to nothing: no table is large enough to measure it' };
    const bytes = tables.reduce((sum, table) => sum + table.bytes, 0);
    const rate = await digestRate(ctx, session, sampled);
    const detail = `inventory 'full' adds about ${secondsText(bytes / rate / SESSIONS / 1000)} to 'counts'`;
    const how = `${Math.round(bytes / 1e6)} MB of tables, ${SESSIONS} sessions at ${Math.round(rate / 1000)} MB/s`;
    const held = 'and holds a snapshot as long';
    return { check, verdict: 'pass', detail: `${detail} ${held} (${how}, measured on ${qualified(sampled)})` };
  } catch (error) {
    if (!(error instanceof Failure) || ctx.signal.aborted) throw error;
    return { check, verdict: 'unknown', detail: `it could not be measured: ${messageOf(error)}` };
  }
}

/** Bytes in a millisecond that digests take more than counts. */
async function digestRate(ctx: Context, session: Session, table: Table): Promise<number> {
  const timed = async (level: 'full' | 'counts'): Promise<number> => {
    const startedMs = ctx.monotonicMs();
    await countPiece(session, { table, from: 0, to: SAMPLE_PAGES }, level);
    return ctx.monotonicMs() - startedMs;
  };
  await timed('counts'); // the pages come into memory
  return (SAMPLE_PAGES * PAGE_BYTES) / Math.max(1, (await timed('full')) - (await timed('counts')));
}

function largestOf(tables: readonly Table[]): Table | undefined {
  return tables
    .filter(({ readable, heap, empty, condition, pages }) => {
      return readable && heap && !empty && condition === '' && pages >= SAMPLE_PAGES;
    })
    .reduce<Table | undefined>((best, each) => (best && best.bytes >= each.bytes ? best : each), undefined);
}

function secondsText(seconds: number): string {
  return seconds < 1 ? 'a second' : seconds < 120 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}
