// The folder that a server takes its log from, filled ahead of it. The server is one here that only takes.

import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { smallDisk } from '../../../../test/servers/disks.ts';
import type { AheadRequest } from '../../../core/driver.ts';
import type { Journal } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';
import { liveContext } from '../../../core/testing.ts';
import { fetchAhead } from './ahead.ts';
import { fetchLogFile } from './fetch.ts';
import { dataDir, feed, journalOf, logBytes, named, SEGMENT, start } from './log-testing.ts';

const FIRST = 3;
const LAST = 42;
const MOST = 16;
const ctx = liveContext();
const home = mkdtempSync(join(tmpdir(), 'lifeboat-ahead-'));
after(() => rmSync(home, { recursive: true, force: true }));

const journal = await journalOf(async (writer) => {
  await writer.begin(ctx, start(FIRST * SEGMENT));
  const ends = Array.from({ length: 13 }, (_, at) => Math.floor((FIRST + 3.1 * (at + 1)) * SEGMENT));
  await feed(writer, FIRST * SEGMENT, ends);
});

interface Place {
  readonly dir: string;
  readonly path: string;
  readonly spool: string;
}
function placeIn(dir = dataDir(home)): Place {
  return { dir, path: join(dir, 'pg_wal/RECOVERYXLOG'), spool: join(dir, 'pg_wal/lifeboat') };
}
async function ahead(number: number, { path, spool }: Place, within: Context = ctx, of: Journal = journal) {
  const ask: AheadRequest['ask'] = (inner, request) => fetchLogFile(inner, of, request);
  return await fetchAhead(within, of, { file: named(number), path, spool, ask });
}
function there({ spool }: Place): string[] {
  return readdirSync(spool).sort();
}
function segments(place: Place): string[] {
  return there(place).filter((name) => /^[0-9A-F]{24}$/.test(name));
}
function range(from: number, count: number): string[] {
  return Array.from({ length: count }, (_, at) => named(from + at));
}

/** As the script of a server does; false where nothing is coming. */
async function take(number: number, { spool, path }: Place): Promise<boolean> {
  const name = join(spool, named(number));
  while (!existsSync(name)) {
    if (!existsSync(`${name}.coming`) && !existsSync(name)) return false;
    await ctx.sleep(5);
  }
  renameSync(name, path);
  assert.ok(readFileSync(path).equals(logBytes(number * SEGMENT, (number + 1) * SEGMENT)), named(number));
  return true;
}
/** What is told there, but for what is worked on and was wanted. */
function told(place: Place): string[] {
  return there(place).filter((name) => !name.startsWith('ahead-') && !/wanted|absent/.test(name));
}

/** As the script of a server does: null where nobody answers. */
async function asked(name: string, { spool, path }: Place): Promise<boolean | null> {
  writeFileSync(join(spool, `${name}.wanted`), '');
  while (existsSync(join(spool, 'serving'))) {
    if (existsSync(join(spool, `${name}.absent`))) return false;
    if (existsSync(join(spool, name))) {
      renameSync(join(spool, name), path);
      return true;
    }
    await ctx.sleep(5);
  }
  return null;
}
async function until(is: () => boolean): Promise<void> {
  while (!is()) await ctx.sleep(5);
}

test('whole segments lie there ahead of the server, never more than sixteen, and none that is not whole', async () => {
  const place = placeIn();
  const filling = ahead(FIRST, place);
  await until(() => segments(place).length === MOST);
  assert.ok(existsSync(join(place.spool, `${named(FIRST + MOST)}.coming`)));
  assert.ok(await take(FIRST, place));
  assert.equal(await asked(named(FIRST), place), true, 'what it has just taken');
  assert.equal(await asked('00000002.history', place), false);
  rmSync(join(place.spool, '00000002.history.absent'));
  for (let number = FIRST + 1; number <= LAST; number++) {
    assert.ok(await take(number, place));
    assert.ok(segments(place).length <= MOST);
  }
  assert.deepEqual(told(place), ['serving'], 'the last one is not whole, and does not lie there before it is wanted');
  assert.equal(await take(LAST + 1, place), false);
  for (const again of [LAST, LAST + 1]) assert.equal(await asked(named(again), place), true);
  assert.ok(
    readFileSync(place.path)
      .subarray(0, 9)
      .equals(logBytes((LAST + 1) * SEGMENT, (LAST + 1) * SEGMENT + 9)),
  );
  for (const absent of [named(LAST + 2), '00000002.history']) assert.equal(await asked(absent, place), false, absent);
  assert.equal(await asked(named(FIRST), place), null, 'who starts again has another one come');
  assert.ok(await filling);
  assert.deepEqual(told(place), []);
  assert.equal(await ahead(LAST + 1, place), false);
  assert.equal(await ahead(LAST + 9, place), false);
});

test('a server that takes nothing for long is left alone, and goes on later', async () => {
  const place = placeIn();
  let at = 0;
  assert.ok(await ahead(FIRST, place, liveContext({ monotonicMs: () => (at += 30_000) })));
  assert.deepEqual(there(place), range(FIRST, MOST), 'nothing is announced that nobody works on');
  for (let number = FIRST; number < FIRST + MOST; number++) assert.ok(await take(number, place));
  assert.equal(await take(FIRST + MOST, place), false);
  assert.ok(await fetchLogFile(ctx, journal, { file: named(FIRST + MOST), ...place }));
  const again = ahead(FIRST + MOST + 1, place);
  for (let number = FIRST + MOST + 1; number <= LAST; number++) assert.ok(await take(number, place));
  rmSync(place.spool, { recursive: true });
  assert.ok(await again);
});

test('a server that was started again asks for what came before: who fills is followed by another', async () => {
  const place = placeIn();
  const first = ahead(FIRST + 10, place);
  await until(() => segments(place).length === MOST);
  assert.ok(await fetchLogFile(ctx, journal, { file: named(FIRST), ...place }));
  assert.deepEqual(there(place), [`${named(FIRST + 1)}.coming`]);
  assert.ok(await first, 'it ends without a word');
  assert.deepEqual(there(place), [`${named(FIRST + 1)}.coming`], 'and leaves alone what is not its own');
  const second = ahead(FIRST + 1, place);
  for (let number = FIRST + 1; number <= LAST; number++) assert.ok(await take(number, place));
  assert.deepEqual(told(place), ['serving']);
  rmSync(place.spool, { recursive: true });
  assert.ok(await second);
});

test('of two that fill one folder the later one goes on', async () => {
  const place = placeIn();
  const first = ahead(FIRST, place);
  await until(() => segments(place).length === MOST);
  const second = ahead(FIRST + MOST, place);
  assert.ok(await first);
  for (let number = FIRST; number <= LAST; number++) assert.ok(await take(number, place));
  assert.deepEqual(told(place), ['serving']);
  rmSync(place.spool, { recursive: true });
  assert.ok(await second);
});

test('when the server has recovered, or its directory is gone, nobody fills or makes the folder', async () => {
  for (const gone of ['pg_wal/lifeboat', '.']) {
    const place = placeIn();
    const filling = ahead(FIRST, place);
    await until(() => segments(place).length === MOST);
    rmSync(join(place.dir, gone), { recursive: true });
    assert.ok(await filling);
    assert.ok(!existsSync(place.spool));
  }
  const place = placeIn();
  rmSync(place.spool, { recursive: true });
  assert.ok(await ahead(FIRST, place));
  assert.ok(!existsSync(place.spool));
});

test('what was killed is cleared away, and what lies there stays as it is', async () => {
  const place = placeIn();
  mkdirSync(join(place.spool, 'ahead-killed'));
  writeFileSync(join(place.spool, 'ahead-killed/unfinished'), 'half');
  writeFileSync(join(place.spool, named(FIRST + 1)), 'of another');
  const filling = ahead(FIRST, place);
  await until(() => segments(place).length === MOST);
  assert.ok(!existsSync(join(place.spool, 'ahead-killed')));
  assert.equal(readFileSync(join(place.spool, named(FIRST + 1)), 'utf8'), 'of another');
  rmSync(place.spool, { recursive: true });
  await filling;
});

test('a store that fails leaves nothing announced', async () => {
  const place = placeIn();
  const failing: Journal = {
    ...journal,
    async *read(...args) {
      let given = 0;
      for await (const each of journal.read(...args)) {
        if (++given > 2) throw new Error('the store is broken');
        yield each;
      }
    },
  };
  await assert.rejects(ahead(FIRST, place, ctx, failing), /the store is broken/);
  assert.deepEqual(there(place), segments(place));
  assert.ok(segments(place).length > 0);
});

test('a disk that fills up is left to the server', async (t: TestContext) => {
  const disk = smallDisk(t, 14 * SEGMENT);
  if (!disk) return;
  const place = placeIn(dataDir(disk.dir));
  assert.ok(await ahead(FIRST, place));
  const put = segments(place);
  assert.ok(put.length > 0 && put.length < 8, String(put.length));
  assert.deepEqual(there(place), put);
  disk.fill(4 * SEGMENT);
  assert.ok(await ahead(FIRST + put.length, place));
  assert.deepEqual(there(place), put, 'not one more');
  assert.ok(await take(FIRST, place));
  assert.ok(await fetchLogFile(ctx, journal, { file: named(FIRST + put.length), ...place }), 'as long as one fits');
});
