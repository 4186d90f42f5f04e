// What the control file of a data directory says, as PostgreSQL's own program reads it.

import { join } from 'node:path';
import { Failure } from '../../../core/errors.ts';
import type { Context } from '../../../core/model.ts';
import { run } from '../../../core/process.ts';
import type { Owner } from '../physical/target.ts';
import { cleanContext, type Program } from '../programs.ts';
import { placeOfLsn } from '../wal/positions.ts';

const CONTROL_MS_MAX = 30_000;
/** What a server that lets queries in while it recovers needs as much of as who wrote the log, by the file's labels. */
const NEEDS = {
  max_connections: 'max_connections setting',
  max_worker_processes: 'max_worker_processes setting',
  max_wal_senders: 'max_wal_senders setting',
  max_prepared_transactions: 'max_prepared_xacts setting',
  max_locks_per_transaction: 'max_locks_per_xact setting',
} as const;

export interface Place {
  /** The data directory. */
  readonly path: string;
  readonly owner: Owner | null;
  readonly postgres: Program;
}
export type Needs = Readonly<Record<keyof typeof NEEDS, number>>;
export interface Control {
  /** Of the last checkpoint: its record, and where a recovery that begins with it begins to replay. */
  readonly checkpoint: number;
  readonly redo: number;
  readonly needs: Needs;
}

export async function controlOf(ctx: Context, { path, owner, postgres }: Place): Promise<Control> {
  const program = join(postgres.dir, 'pg_controldata');
  const command = { program, args: ['-D', path], cwd: path, ...(owner ? { user: owner } : {}) };
  const text = await run(cleanContext(ctx), command, { deadlineMs: CONTROL_MS_MAX });
  const told = new Map([...text.matchAll(/^([^:]+): +(.*)$/gm)].map(([, label = '', value = '']) => [label, value]));
  const lsn = (label: string): number => numberOf(label, placeOfLsn(told.get(label) ?? ''));
  const needs = Object.entries(NEEDS).map(([name, label]) => [name, numberOf(label, Number(told.get(label)))]);
  return {
    checkpoint: lsn('Latest checkpoint location'),
    redo: lsn("Latest checkpoint's REDO location"),
    needs: Object.fromEntries(needs) as Needs,
  };
}

function numberOf(label: string, value: number | null): number {
  if (value !== null && Number.isSafeInteger(value)) return value;
  throw new Failure('malformed', `pg_controldata does not tell: ${label}`);
}

/** Who wrote the log was given more since the server was started. */
export function isMore(now: Needs, then: Needs): boolean {
  return Object.entries(now).some(([name, value]) => value > then[name as keyof Needs]);
}
