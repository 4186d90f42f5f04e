// What the tests of following share: a journal in memory that is fed as the engine would feed it.

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { unprivilegedUser } from '../../../../test/servers/install.ts';
import type { Postgres } from '../../../../test/servers/postgres.ts';
import { memoryBucket } from '../../../buckets/memory/bucket.ts';
import { ERRORS, type Failure, isFailure } from '../../../core/errors.ts';
import type { Feed, FeedBase, Journal, JournalRange, JournalWriter } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';
import type { Bucket, Store } from '../../../core/storage.ts';
import { liveContext, memoryParts, type TestContext } from '../../../core/testing.ts';
import { plainFormat } from '../../../stores/plain/store.ts';
import { openServer } from '../driver.ts';
import { sql } from '../testing.ts';
import { segmentName } from './files.ts';
import { lsnAt, placeOf, positionAt, positionOf, sourceIn } from './positions.ts';

export const COMPONENT = 'main-db';
const SEGMENT_BYTES = 16 * 1024 * 1024;
const SETTINGS = { stack: 'shop' };
const DEADLINE_MS = 60_000;
const exec = promisify(execFile);

export async function journalStore(ctx: Context, bucket: Bucket = memoryBucket()): Promise<Store> {
  await plainFormat.create(ctx, bucket, SETTINGS);
  return await plainFormat.open(ctx, bucket, SETTINGS);
}

export interface Follower extends AsyncDisposable {
  readonly ctx: TestContext;
  readonly journal: Journal;
  readonly writer: JournalWriter;
  readonly bases: readonly FeedBase[];
  /** What follow has failed with. */
  readonly failures: readonly Failure[];
}

export interface FollowerOptions {
  readonly store?: Store;
  /** In place of the ones of the writer. */
  feed?(feed: Feed): Partial<Feed>;
}

/** Calls `follow` as the engine does: again after what may pass. */
export async function follow(settings: unknown, options: FollowerOptions = {}): Promise<Follower> {
  const stop = new AbortController();
  const ctx = liveContext({ signal: stop.signal });
  const store = options.store ?? (await journalStore(liveContext()));
  const journal = store.journal(COMPONENT);
  const writer = await journal.write(liveContext());
  const component = openServer(settings);
  const bases: FeedBase[] = [];
  const failures: Failure[] = [];
  const feed: Feed = {
    ...writer,
    async base(within) {
      const { journal: point } = await component.capture(within, memoryParts().sink);
      assert.ok(point);
      bases.push({ point: `point-${bases.length}`, ...point });
      return bases.at(-1)?.point ?? '';
    },
    bases: async () => bases,
    leads: () => assert.fail('each lineage has a base of its own'),
    read: (within, position) => journal.read(within, { lineage: writer.lineage()?.id ?? '', position }, null),
    open: async (_within, point) => assert.fail(`nobody opens ${point}`),
  };
  const run = async (): Promise<void> => {
    for (;;) {
      try {
        await component.follow(ctx, { ...feed, ...options.feed?.(feed) });
      } catch (error) {
        if (stop.signal.aborted) return;
        if (!isFailure(error)) throw error;
        failures.push(error);
        if (!ERRORS[error.code].retry) return;
        await ctx.sleep(100).catch(() => undefined);
      }
    }
  };
  const ended = run();
  ended.catch(() => undefined); // who ends it is told
  return {
    ctx,
    journal,
    writer,
    bases,
    failures,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
      await writer[Symbol.asyncDispose]();
    },
  };
}

/** Asks again and again. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const ctx = liveContext();
  const begunMs = ctx.monotonicMs();
  while (!(await isSo())) {
    assert.ok(ctx.monotonicMs() - begunMs < DEADLINE_MS, `${what}: not within ${DEADLINE_MS} ms`);
    await ctx.sleep(50);
  }
}

/** Where the server's log ends now. */
export async function endOf(server: Postgres): Promise<string> {
  const [row] = (await sql(server, 'postgres', 'select pg_current_wal_flush_lsn()::text as lsn')) as { lsn: string }[];
  return positionOf(row?.lsn ?? '');
}

/** As journals have times. */
export async function clockOf(server: Postgres): Promise<string> {
  const [row] = (await sql(server, 'postgres', 'select clock_timestamp() as now')) as { now: Date }[];
  return row?.now.toISOString() ?? '';
}

/** All that was written so far is in the journal. */
export async function caughtUp(server: Postgres, { writer }: Pick<Follower, 'writer'>): Promise<void> {
  const end = await endOf(server);
  await until('the journal has caught up', () => (writer.durable()?.position ?? '') >= end);
}

export interface Piece {
  readonly timeline: number;
  readonly from: number;
  readonly bytes: Buffer;
  readonly ranges: readonly JournalRange[];
}

/** What the journal has, lineage by lineage. */
export async function piecesOf(ctx: Context, journal: Journal): Promise<Piece[]> {
  const pieces: Piece[] = [];
  for await (const { lineage, from, to, gap } of journal.stretches(ctx)) {
    if (gap !== null) continue;
    const place = { lineage: lineage.id, position: from.position };
    const ranges = await Array.fromAsync(journal.read(ctx, place, to.position), (range) => {
      return { ...range, body: Buffer.from(range.body) };
    });
    const timeline = sourceIn(lineage.source)?.timeline ?? 0;
    const bytes = Buffer.concat(ranges.map(({ body }) => body));
    assert.equal(positionAt(placeOf(from.position) + bytes.length), to.position);
    pieces.push({ timeline, from: placeOf(from.position), bytes, ranges });
  }
  return pieces;
}

/** The server's own files have these bytes there. */
export function assertOnDisk(server: Pick<Postgres, 'dir'>, { timeline, from, bytes }: Piece): void {
  assert.ok(bytes.length > 0);
  for (let taken = 0; taken < bytes.length; ) {
    const place = from + taken;
    const offset = place % SEGMENT_BYTES;
    const name = segmentName(timeline, place, SEGMENT_BYTES);
    const file = readFileSync(join(server.dir, 'pg_wal', name)).subarray(offset);
    const ours = bytes.subarray(taken, taken + file.length);
    assert.ok(file.subarray(0, ours.length).equals(ours), `${name} from ${offset} on`);
    taken += ours.length;
  }
}

/** What PostgreSQL's own program reads in it. */
export async function dumpOf(ctx: Context, { bin }: Postgres, { timeline, from, bytes }: Piece): Promise<string> {
  const dir = mkdtempSync(join(ctx.scratch, 'segments-'));
  try {
    assert.equal(from % SEGMENT_BYTES, 0, 'no program reads a segment without its first page');
    for (let taken = 0; taken < bytes.length; taken += SEGMENT_BYTES) {
      const segment = Buffer.alloc(SEGMENT_BYTES);
      bytes.copy(segment, 0, taken);
      writeFileSync(join(dir, segmentName(timeline, from + taken, SEGMENT_BYTES)), segment);
    }
    const range = [`--start=${lsnAt(from)}`, `--end=${lsnAt(from + bytes.length)}`];
    const args = [`--path=${dir}`, `--timeline=${timeline}`, ...range];
    const { stdout } = await exec(join(bin, 'pg_waldump'), args, { maxBuffer: 2 ** 30 });
    return stdout;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** A directory that a standby of the server starts on. */
export async function standbyDir(server: Postgres, dir: string): Promise<string> {
  const { host, port, user, password, bin } = server;
  const where = ['-h', host, '-p', String(port), '-U', user, '-D', dir];
  const env = { PGPASSWORD: password };
  await exec(join(bin, 'pg_basebackup'), [...where, '-R', '-c', 'fast', '--no-sync'], { ...unprivilegedUser(), env });
  return dir;
}

export interface Sender {
  readonly pid: number;
  /** What the server was told, and from where on it keeps the log. */
  readonly flushed: string;
  readonly held: string;
}

/** Who streams from a slot of ours. */
export async function senders(server: Postgres): Promise<Sender[]> {
  const rows = await sql(
    server,
    'postgres',
    `select pid, flush_lsn::text as flushed, restart_lsn::text as held
      from pg_stat_replication join pg_replication_slots on active_pid = pid where not temporary`,
  );
  return (rows as Sender[]).map(({ pid, flushed, held }) => {
    return { pid, flushed: positionOf(flushed), held: positionOf(held) };
  });
}

/** The part of a piece that lies behind a position. */
export function since(piece: Piece, position: string): Piece {
  const from = placeOf(position);
  return { ...piece, from, bytes: piece.bytes.subarray(from - piece.from) };
}

/** One that nobody has fed yet. */
export async function strayFeed(): Promise<Feed> {
  const ctx = liveContext();
  const store = await journalStore(ctx);
  const nobody = (): never => assert.fail('nobody reads it');
  const writer = await store.journal(COMPONENT).write(ctx);
  return { ...writer, base: async () => 'none', bases: async () => [], leads: nobody, read: nobody, open: nobody };
}

/** What a server has while it stands still, as somebody would copy it to start a second one. */
export async function copiedAside(server: Postgres, dir: string): Promise<void> {
  await server.stop();
  execFileSync('cp', ['-a', `${server.dir}/.`, dir]);
  await server.start();
}
