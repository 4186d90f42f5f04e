// What digests of all rows would take, told from a piece of the largest table: only the server itself knows its rate.

import { Failure, messageOf } from '../../core/errors.ts';
import type { Context, Finding } from '../../core/model.ts';
import { qualified, type Table } from './catalogue.ts';
import type { Session } from './connection.ts';
import { countPiece } from './digests.ts';
import { ident } from './names.ts';

/** 8 MiB of it: some tens of milliseconds. */
const SAMPLE_PAGES = 1024;
const PAGE_BYTES = 8192;
const LOOK_MS_MAX = 10_000;

/** What `inventory: full` adds to `counts`, read by so many sessions at a time. */
export async function digestCost(
  ctx: Context,
  session: Session,
  { database, tables, sessions }: { database: string; tables: readonly Table[]; sessions: number },
): Promise<Finding> {
  const check = `what digests of all rows of ${ident(database)} take`;
  const bytes = tables.reduce((sum, table) => sum + table.bytes, 0);
  const sampled = largestOf(tables);
  if (!sampled) return { check, verdict: 'pass', detail: 'next to nothing: no table is large enough to measure it' };
  try {
    await session.run(`set statement_timeout = ${LOOK_MS_MAX}`);
    const piece = { table: sampled, from: 0, to: SAMPLE_PAGES };
    const timed = async (level: 'full' | 'counts'): Promise<number> => {
      const startedMs = ctx.monotonicMs();
      await countPiece(session, piece, level);
      return ctx.monotonicMs() - startedMs;
    };
    await timed('counts'); // the pages come into memory
    const addedMs = Math.max(1, (await timed('full')) - (await timed('counts')));
    const rate = (SAMPLE_PAGES * PAGE_BYTES) / addedMs; // bytes in a millisecond
    const seconds = bytes / rate / sessions / 1000;
    const detail = `inventory 'full' adds about ${secondsText(seconds)} to 'counts', and holds a snapshot as long`;
    const how = `${Math.round(bytes / 1e6)} MB of tables, ${sessions} sessions at ${Math.round(rate / 1000)} MB/s`;
    return { check, verdict: 'pass', detail: `${detail} (${how}, measured on ${qualified(sampled)})` };
  } catch (error) {
    if (!(error instanceof Failure) || ctx.signal.aborted) throw error;
    return { check, verdict: 'unknown', detail: `it could not be measured: ${messageOf(error)}` };
  }
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
