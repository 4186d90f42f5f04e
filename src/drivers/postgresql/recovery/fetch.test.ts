// Files of the log out of a journal that is made here.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Journal } from '../../../core/journal.ts';
import { testContext } from '../../../core/testing.ts';
import { positionAt } from '../wal/positions.ts';
import { fetchLogFile } from './fetch.ts';
import { dataDir, feed, journalOf, logBytes, named, SEGMENT, SYSTEM, start } from './log-testing.ts';

const ctx = testContext();
const home = mkdtempSync(join(tmpdir(), 'lifeboat-fetch-'));
after(() => rmSync(home, { recursive: true, force: true }));

/** What it gives, or null. */
async function fetched(journal: Journal, file: string, dir = dataDir(home)): Promise<Buffer | null> {
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

test('what may be fetched next is told in the folder, and what was there for another place goes', async () => {
  const journal = await journalOf(async (writer) => {
    await writer.begin(ctx, start(3 * SEGMENT));
    await feed(writer, 3 * SEGMENT, [4.5 * SEGMENT, 20.5 * SEGMENT]);
  });
  const dir = dataDir(home);
  const [path, spool] = [join(dir, 'pg_wal/RECOVERYXLOG'), join(dir, 'pg_wal/lifeboat')];
  const ask = async (number: number): Promise<string[]> => {
    assert.ok(await fetchLogFile(ctx, journal, { file: named(number), path, spool }));
    const end = Math.min((number + 1) * SEGMENT, 20.5 * SEGMENT);
    const bytes = logBytes(number * SEGMENT, end);
    assert.ok(readFileSync(path).subarray(0, bytes.length).equals(bytes));
    return readdirSync(spool).sort();
  };
  const kept = ['00000000.history.kept', 'fetch'];
  const put = (...names: string[]): void => names.forEach((name) => void writeFileSync(join(spool, name), ''));
  put(...kept);
  assert.deepEqual(await ask(3), [kept[0], `${named(4)}.coming`, kept[1]]);
  put(named(4), named(5), named(7), `${named(9)}.coming`, `${named(3)}.first`, 'unfinished');
  assert.deepEqual(await ask(3), [kept[0], named(4), named(5), `${named(6)}.coming`, kept[1]]);
  assert.deepEqual(await ask(19), kept, 'the last is not whole');
  assert.deepEqual(await ask(20), kept);
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
  const own = dataDir(home, { name: named(2), bytes: logBytes(2 * SEGMENT, 3 * SEGMENT) });
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
  const own = dataDir(home, { name: named(3), bytes: whole });
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
