// Files of the log out of a journal that is made here: a page header is all that tells them from noise.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { memoryBucket } from '../../../buckets/memory/bucket.ts';
import type { Journal, JournalWriter, LineageStart } from '../../../core/journal.ts';
import type { Cut } from '../../../core/model.ts';
import { testContext } from '../../../core/testing.ts';
import { plainFormat } from '../../../stores/plain/store.ts';
import { logFileName } from '../wal/files.ts';
import { positionAt } from '../wal/positions.ts';
import { fetchLogFile } from './fetch.ts';

const SEGMENT = 2 ** 20;
const SYSTEM = '7710993605400964491';
const ctx = testContext();
const home = mkdtempSync(join(tmpdir(), 'lifeboat-fetch-'));
after(() => rmSync(home, { recursive: true, force: true }));

function cut(at: number): Cut {
  return { position: positionAt(at), at: '2026-01-01T00:00:00Z' };
}

/** Of a log in which each timeline has other bytes, from `from` to `to`. */
function logBytes(from: number, to: number, timeline = 1, system = SYSTEM): Buffer {
  const bytes = Buffer.alloc(to - from);
  for (let at = from; at < to; at++) bytes[at - from] = (at * 7 + Math.floor(at / 256) * timeline) % 251;
  for (let at = Math.floor(from / SEGMENT) * SEGMENT; at < to; at += SEGMENT) {
    const head = Buffer.alloc(40);
    head.writeBigUInt64LE(BigInt(at), 8);
    head.writeBigUInt64LE(BigInt(system), 24);
    head.writeUInt32LE(SEGMENT, 32);
    for (const [i, byte] of head.entries()) if (at + i >= from && at + i < to) bytes[at + i - from] = byte;
  }
  return bytes;
}

async function feed(writer: JournalWriter, at: number, ends: readonly number[], timeline = 1, system = SYSTEM) {
  let from = at;
  for (const end of ends) {
    const to = Math.abs(end);
    if (end < 0) await writer.gap(ctx, { from: cut(from), to: cut(to), at: cut(to).at, reason: 'the slot was lost' });
    else {
      const body = logBytes(from, to, timeline, system);
      await writer.append(ctx, { from: cut(from), to: cut(to), at: cut(to).at, body });
    }
    from = to;
  }
}
function start(at: number, timeline = 1, parent: LineageStart['parent'] = null): LineageStart {
  return { from: cut(at), base: null, why: 'first', source: { system: SYSTEM, timeline }, parent };
}

async function journalOf(fill: (writer: JournalWriter) => Promise<unknown>): Promise<Journal> {
  const bucket = memoryBucket();
  await plainFormat.create(ctx, bucket, { stack: 's' });
  const journal = (await plainFormat.open(ctx, bucket, { stack: 's' })).journal('main-db');
  await using writer = await journal.write(ctx);
  await fill(writer);
  return journal;
}

/** A data directory with the segments that its base backup brought. */
function dataDir(...own: readonly { name: string; bytes: Buffer }[]): string {
  const dir = mkdtempSync(join(home, 'data-'));
  for (const folder of ['global', 'pg_wal', 'pg_wal/lifeboat']) mkdirSync(join(dir, folder));
  const control = Buffer.alloc(8);
  control.writeBigUInt64LE(BigInt(SYSTEM));
  writeFileSync(join(dir, 'global/pg_control'), control);
  for (const { name, bytes } of [{ name: `${'0'.repeat(23)}1`, bytes: Buffer.alloc(SEGMENT) }, ...own]) {
    writeFileSync(join(dir, 'pg_wal', name), bytes);
  }
  return dir;
}
function named(number: number, timeline = 1): string {
  return logFileName({ timeline, number }, SEGMENT);
}

/** What it gives, or null. */
async function fetched(journal: Journal, file: string, dir = dataDir()): Promise<Buffer | null> {
  const path = join(dir, 'pg_wal/RECOVERYXLOG');
  const isGiven = await fetchLogFile(ctx, journal, { file, path });
  assert.ok(
    readdirSync(join(dir, 'pg_wal')).every((name) => !/lifeboat-/.test(name)),
    'nothing is left lying',
  );
  return isGiven ? readFileSync(path) : null;
}

test('a segment is joined from ranges that begin and end anywhere, and the last is filled up (fault 31)', async () => {
  const ends = [3.3, 3.4, 5.5, 6.7].map((each) => Math.floor(each * SEGMENT));
  const journal = await journalOf(async (writer) => {
    await writer.begin(ctx, start(3 * SEGMENT));
    await feed(writer, 3 * SEGMENT, ends);
  });
  for (const number of [3, 4, 5]) {
    const whole = logBytes(number * SEGMENT, (number + 1) * SEGMENT);
    assert.ok((await fetched(journal, named(number)))?.equals(whole), named(number));
  }
  const last = (await fetched(journal, named(6))) ?? Buffer.alloc(0);
  const there = logBytes(6 * SEGMENT, ends[3] ?? 0);
  assert.equal(last.length, SEGMENT);
  assert.ok(last.subarray(0, there.length).equals(there) && last.subarray(there.length).every((byte) => byte === 0));
  assert.equal(await fetched(journal, named(7)), null);
  assert.equal(await fetched(journal, named(7, 2)), null);
  assert.equal(await fetched(journal, '00000002.history'), null);
  assert.equal(await fetched(journal, `${named(3)}.00000028.backup`), null);
});

test('whole segments that come next go into the spool, and none that is not whole', async () => {
  const journal = await journalOf(async (writer) => {
    await writer.begin(ctx, start(3 * SEGMENT));
    await feed(
      writer,
      3 * SEGMENT,
      [4.5, 20.5, 21.5].map((each) => each * SEGMENT),
    );
  });
  const dir = dataDir();
  const [path, spool] = [join(dir, 'pg_wal/RECOVERYXLOG'), join(dir, 'pg_wal/lifeboat')];
  const ask = async (number: number): Promise<string[]> => {
    assert.ok(await fetchLogFile(ctx, journal, { file: named(number), path, spool }));
    return readdirSync(spool).sort();
  };
  const ahead = Array.from({ length: 15 }, (_, at) => named(4 + at));
  assert.deepEqual(await ask(3), ahead);
  assert.ok(readFileSync(join(spool, named(18))).equals(logBytes(18 * SEGMENT, 19 * SEGMENT)));
  assert.deepEqual(await ask(19), [...ahead, named(20)]);
  assert.deepEqual(await ask(21), [...ahead, named(20)]);
});

test('fault 25: a gap, and what lies before the journal, is never told as the end of the log', async () => {
  const journal = await journalOf(async (writer) => {
    await writer.begin(ctx, start(3 * SEGMENT));
    await feed(
      writer,
      3 * SEGMENT,
      [4.5, -6.5, 8].map((each) => each * SEGMENT),
    );
  });
  assert.ok(await fetched(journal, named(3)));
  for (const number of [4, 5, 6]) {
    await assert.rejects(fetched(journal, named(number)), { code: 'missing', message: /gap .*the slot was lost/ });
  }
  assert.ok(await fetched(journal, named(7)));
  await assert.rejects(fetched(journal, named(2)), { code: 'missing', message: /has what lies behind it/ });
  await assert.rejects(fetched(journal, named(7, 2)), { code: 'missing' });
  const own = dataDir({ name: named(2), bytes: logBytes(2 * SEGMENT, 3 * SEGMENT) });
  assert.equal(await fetched(journal, named(2), own), null, 'the server has it from its base backup');
});

test('the beginning of a segment may be that of the base backup, or of the timeline before', async () => {
  const [within, parted] = [Math.floor(3.2 * SEGMENT), Math.floor(5.6 * SEGMENT)];
  const journal = await journalOf(async (writer) => {
    const { id } = await writer.begin(ctx, start(within));
    await feed(writer, within, [Math.floor(5.9 * SEGMENT)]);
    await writer.begin(ctx, start(parted, 2, { lineage: id, position: positionAt(parted) }));
    await feed(writer, parted, [7 * SEGMENT], 2);
  });
  const whole = logBytes(3 * SEGMENT, 4 * SEGMENT);
  const own = dataDir({ name: named(3), bytes: whole });
  assert.ok((await fetched(journal, named(3), own))?.equals(whole));
  await assert.rejects(fetched(journal, named(3)), { code: 'missing', message: /begins within/ });
  const both = Buffer.concat([logBytes(5 * SEGMENT, parted), logBytes(parted, 6 * SEGMENT, 2)]);
  assert.ok((await fetched(journal, named(5, 2)))?.equals(both));
  assert.ok((await fetched(journal, named(6, 2)))?.equals(logBytes(6 * SEGMENT, 7 * SEGMENT, 2)));
  assert.equal(await fetched(journal, named(6)), null, 'the old timeline ends before');
  assert.match(String(await fetched(journal, '00000002.history')), /^1\t0\/599999\t/);
});

test('fault 33: a segment that says that it is of another server is given to none', async () => {
  const journal = await journalOf(async (writer) => {
    await writer.begin(ctx, start(3 * SEGMENT));
    await feed(writer, 3 * SEGMENT, [5 * SEGMENT], 1, '42');
  });
  await assert.rejects(fetched(journal, named(3)), { code: 'different', message: /of system 42/ });
});

test('the log of another system is none of the server, and not the end of its own', async () => {
  const journal = await journalOf(async (writer) => {
    await writer.begin(ctx, { ...start(3 * SEGMENT), source: { system: '42', timeline: 1 } });
    await feed(writer, 3 * SEGMENT, [5 * SEGMENT], 1, '42');
  });
  for (const file of [named(3), named(9), '00000002.history']) {
    await assert.rejects(fetched(journal, file), { code: 'missing', message: new RegExp(SYSTEM) });
  }
});
