// What the tests of recovery share: a journal that is fed with a server's own log, cut where no segment ends.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Postgres, type PostgresMajor, startPostgresOn } from '../../../../test/servers/postgres.ts';
import { memoryBucket } from '../../../buckets/memory/bucket.ts';
import type { Replay } from '../../../core/component.ts';
import type { Journal, JournalPlace, JournalWriter } from '../../../core/journal.ts';
import type { Context, Cut, Restored, Source } from '../../../core/model.ts';
import { plainFormat } from '../../../stores/plain/store.ts';
import { postgresqlDriver } from '../driver.ts';
import { differencesIn, type TestDirs } from '../physical/testing.ts';
import { sql } from '../testing.ts';
import { logFileName } from '../wal/files.ts';
import { placeOfLsn, positionAt } from '../wal/positions.ts';

const SEGMENT_BYTES = 16 * 1024 * 1024;
/** So that what a test has not shipped yet is still there. */
export const KEEPING = { wal_keep_size: '1GB', max_wal_size: '2GB' } as const;
/** No divisor of anything. */
const RANGE_BYTES = 5_000_011;

/** In memory. */
export async function emptyJournal(ctx: Context): Promise<Journal> {
  const bucket = memoryBucket();
  await plainFormat.create(ctx, bucket, { stack: 's' });
  return (await plainFormat.open(ctx, bucket, { stack: 's' })).journal('main-db');
}

export interface Shipping {
  /** All that the server has written, and when that was. */
  ship(): Promise<Cut>;
  readonly lineage: string;
}
export interface ShippingFrom {
  readonly timeline?: number;
  readonly from?: number;
  readonly parent?: JournalPlace;
  readonly segmentBytes?: number;
}

export async function shipping(
  ctx: Context,
  writer: JournalWriter,
  server: Postgres,
  { timeline = 1, from, parent, segmentBytes = SEGMENT_BYTES }: ShippingFrom = {},
): Promise<Shipping> {
  const { system } = await row<{ system: string }>(
    server,
    'select system_identifier::text as system from pg_control_system()',
  );
  const now = await standing(server);
  const begin = { at: now.at, position: positionAt(from ?? now.place) };
  const source = { system, timeline };
  const why = parent ? 'promoted' : 'first';
  const { id } = await writer.begin(ctx, { from: begin, base: null, why, source, parent: parent ?? null });
  let reached = begin;
  return {
    lineage: id,
    async ship() {
      const { at, place } = await standing(server);
      for (let next = Number.parseInt(reached.position, 16); next < place; ) {
        const end = Math.min(next + RANGE_BYTES, place);
        const body = logBytes(server, { timeline, from: next, to: end, segmentBytes });
        const to = { position: positionAt(end), at };
        await writer.append(ctx, { from: reached, to, at, body });
        reached = to;
        next = end;
      }
      return reached;
    },
  };
}

export async function standing(server: Postgres): Promise<{ at: string; place: number; lsn: string }> {
  const { lsn, at } = await row<{ lsn: string; at: string }>(
    server,
    `select pg_current_wal_flush_lsn()::text as lsn,
      to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at`,
  );
  return { at, lsn, place: placeOfLsn(lsn) ?? 0 };
}

async function row<T>(server: Postgres, query: string): Promise<T> {
  return (await sql(server, 'postgres', query))[0] as T;
}

/** Straight from where the server keeps it. */
function logBytes(
  { dir }: Postgres,
  { timeline, from, to, segmentBytes }: { timeline: number; from: number; to: number; segmentBytes: number },
): Buffer {
  const body = Buffer.alloc(to - from);
  for (let at = from; at < to; ) {
    const number = Math.floor(at / segmentBytes);
    const bytes = Math.min(to, (number + 1) * segmentBytes) - at;
    const fd = openSync(join(dir, 'pg_wal', logFileName({ timeline, number }, segmentBytes)), 'r');
    try {
      if (readSync(fd, body, at - from, bytes, at - number * segmentBytes) !== bytes) throw new Error('cut short');
    } finally {
      closeSync(fd);
    }
    at += bytes;
  }
  return body;
}

export interface Recovered extends AsyncDisposable {
  readonly server: Postgres;
  readonly restored: Restored;
  readonly dir: string;
}
export interface Recovering {
  readonly source: Source;
  readonly replay: Replay;
  readonly major: PostgresMajor;
  readonly dirs: TestDirs;
  readonly bin: string;
}

let made = 0;

/** A server on what was restored, as soon as it has recovered and takes writes. */
export async function recovered(ctx: Context, recovering: Recovering): Promise<Recovered> {
  const { major, bin } = recovering;
  const { restored, dir } = await restoredTo(ctx, recovering);
  try {
    const server = await startPostgresOn(major, dir);
    while ((await row<{ is: boolean }>(server, 'select pg_is_in_recovery() as is')).is) await ctx.sleep(50);
    assert.equal(server.bin, bin);
    return { server, restored, dir, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
  } finally {
    await restored.settle?.(ctx);
  }
}

export async function restoredTo(
  ctx: Context,
  { source, replay, dirs, bin }: Recovering,
): Promise<{ readonly restored: Restored; readonly dir: string }> {
  const dir = dirs.absent(`recovered ${++made}`);
  const settings = { data_directory: dir, tablespaces: { '*': dirs.absent(`spaces ${made}`) }, bin_dir: bin };
  const target = postgresqlDriver.open(settings);
  const restored = await target.restore(ctx, { base: source, replay });
  try {
    assert.deepEqual(await differencesIn(ctx, source, target), []);
  } catch (error) {
    await restored.settle?.(ctx);
    throw error;
  }
  return { restored, dir };
}

/** What pg_dump makes of a database, but for what it draws by lot. */
export async function dumpOf({ bin, host, port, user, password }: Postgres, database: string): Promise<string> {
  const args = ['-h', host, '-p', String(port), '-U', user, '-d', database];
  const env = { ...process.env, PGPASSWORD: password };
  const { stdout } = await promisify(execFile)(join(bin, 'pg_dump'), args, { env, maxBuffer: 2 ** 30 });
  return stdout.replaceAll(/^\\(un)?restrict .*\n/gm, '');
}
