import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryBucket } from '../buckets/memory/bucket.ts';
import type { ReplayTarget } from '../core/component.ts';
import type { Journal, JournalWriter } from '../core/journal.ts';
import type { Context, JournalPoint } from '../core/model.ts';
import { testContext } from '../core/testing.ts';
import { plainFormat } from '../stores/plain/store.ts';
import { COMPONENT, cut, gap, start, written } from '../stores/suite/journal-rig.suite.ts';
import { replayOf } from './replay.ts';

const ctx = testContext();
const LATEST: ReplayTarget = { kind: 'latest' };

function at(seconds: number): ReplayTarget {
  return { kind: 'time', at: cut(seconds).at };
}
function point(from: number, to = from, timeline = 1): JournalPoint {
  return { source: { timeline }, from: cut(from).position, to: cut(to).position };
}
async function journalOf(fill: (ctx: Context, writer: JournalWriter) => Promise<unknown>): Promise<Journal> {
  const bucket = memoryBucket();
  await plainFormat.create(ctx, bucket, { stack: 's' });
  const store = await plainFormat.open(ctx, bucket, { stack: 's' });
  const journal = store.journal(COMPONENT);
  await using writer = await journal.write(ctx);
  await fill(ctx, writer);
  return journal;
}

/** 'lineage: from-to' of what is replayed, and what ends it. */
async function replayed(journal: Journal, base: JournalPoint, target = LATEST, from?: number): Promise<string[]> {
  const { ranges } = await replayOf(ctx, journal, base, target);
  const told: string[] = [];
  const begin = from === undefined ? [] : [cut(from).position];
  try {
    for await (const range of ranges(ctx, ...begin)) {
      const [a, b] = [range.from.position, range.until ?? range.to.position].map(Number);
      told.push(`${Number(range.lineage.id)}: ${a}-${b}`);
    }
  } catch (error) {
    told.push(error instanceof Error ? error.message : '');
  }
  return told;
}

test('the log is replayed from where a point joins it to the end, and from any place again', async () => {
  const journal = await journalOf((c, writer) => written(c, writer, start(), [10, 20, 30]));
  assert.deepEqual(await replayed(journal, point(12, 15)), ['1: 10-20', '1: 20-30']);
  assert.deepEqual(await replayed(journal, point(12, 15), LATEST, 20), ['1: 20-30']);
  assert.deepEqual(await replayed(journal, point(12, 15), LATEST, 30), []);
  assert.deepEqual(await replayed(journal, point(12, 15), at(25)), ['1: 10-20', '1: 20-30']);
  assert.deepEqual((await replayOf(ctx, journal, point(0), LATEST)).end, cut(30));
  const other = { ...point(12), source: { timeline: 2 } };
  for (const base of [other, point(31), point(25, 31)]) {
    await assert.rejects(replayOf(ctx, journal, base, LATEST), { code: 'missing', hint: /as it is/ });
  }
});

test('fault 27: a moment before the point or behind the end is refused with the earliest and the latest', async () => {
  const journal = await journalOf((c, writer) => written(c, writer, start(), [10, 20, 30]));
  await assert.rejects(replayOf(ctx, journal, point(12, 15), at(9), cut(15)), {
    message: /00:00:09.000Z.* before the point, .* earliest moment is .*00:00:15.000Z/,
    hint: /an older point, or .* up to .*00:00:30.000Z/,
  });
  await replayOf(ctx, journal, point(12, 15), at(15), cut(15));
  await assert.rejects(replayOf(ctx, journal, point(12, 15), at(31)), {
    code: 'missing',
    message: /00:00:31.000Z.*the latest moment is .*00:00:30.000Z/,
    hint: 'choose a moment up to then',
  });
  await replayOf(ctx, journal, point(12, 15), at(30));
});

test('fault 25: what lies in or behind a gap is refused with the nearest moments', async () => {
  const journal = await journalOf(async (c, writer) => {
    await written(c, writer, start(), [10, -20, 30]);
    await writer.gap(c, gap(30, 35));
  });
  const inGap = { code: 'missing', message: /gap from .*:10.000Z.* to .*:20.000Z.*slot/, hint: /up to .*:10.000Z/ };
  await assert.rejects(replayOf(ctx, journal, point(5), at(15)), inGap);
  await assert.rejects(replayOf(ctx, journal, point(5), LATEST), { ...inGap, hint: /newer point.*:10.000Z/ });
  await assert.rejects(replayOf(ctx, journal, point(5), at(25)), { message: /latest moment/, hint: /newer point/ });
  assert.deepEqual(await replayed(journal, point(5), at(8)), ['1: 0-10']);
  const byName = { kind: 'name', value: 'before' } as const;
  assert.deepEqual(await replayed(journal, point(21), byName), [
    '1: 20-30',
    `the journal has a gap from ${cut(30).at} to ${cut(35).at}: the slot was lost`,
  ]);
});

test('fault 26: a moment is looked for in the lineage of the point first, then in those that go on from it', async () => {
  const journal = await journalOf(async (c, writer) => {
    const first = await written(c, writer, start(), [10, 20]);
    const more = { source: { timeline: 2 }, base: null, why: 'failover' };
    const fork = await written(
      c,
      writer,
      start(15, { ...more, parent: { lineage: first, position: cut(15).position } }),
      [30, 40],
    );
    const parent = { lineage: fork, position: cut(40).position };
    await written(c, writer, start(40, { ...more, source: { timeline: 3 }, parent }), [50]);
  });
  assert.deepEqual(await replayed(journal, point(2, 3), at(18)), ['1: 0-10', '1: 10-20']);
  assert.deepEqual(await replayed(journal, point(2, 3), at(25)), ['1: 0-10', '1: 10-15', '2: 15-30', '2: 30-40']);
  const all = ['1: 0-10', '1: 10-15', '2: 15-30', '2: 30-40', '3: 40-50'];
  assert.deepEqual(await replayed(journal, point(2, 3)), all);
  assert.deepEqual(await replayed(journal, point(2, 3), LATEST, 30), ['2: 30-40', '3: 40-50']);
  assert.deepEqual(await replayed(journal, point(16, 17, 2)), ['2: 15-30', '2: 30-40', '3: 40-50']);
  const { lineages } = await replayOf(ctx, journal, point(2, 3), at(18));
  assert.equal(lineages.length, 3, 'what else there is can be told');
  // A base that ends behind the fork is of the old one.
  assert.deepEqual(await replayed(journal, point(14, 18)), ['1: 10-20']);
});
