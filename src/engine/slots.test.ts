import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { testContext } from '../core/testing.ts';
import { type BackUpRequest, backUp } from './backup.ts';
import { lastSlot, missedSince, missedText, slotsBetween } from './slots.ts';
import { kv, kvServer } from './testing.ts';
import { disk, named } from './testing-store.ts';

const DAILY = { schedule: '0 2 * * *', timezone: 'UTC' };
const BERLIN = { schedule: '30 2 * * *', timezone: 'Europe/Berlin' };

function at(text: string): Date {
  return new Date(`2026-${text}Z`);
}

/** Of one plan, into a store of its own. */
function rig(timetable = DAILY) {
  const on = disk();
  const components = [kv('db', kvServer({ a: '1' })), kv('cache', kvServer({ c: '3' }))];
  const run = (now: string, more: Partial<BackUpRequest> = {}) => {
    const slot = lastSlot(timetable.schedule, timetable.timezone, at(now));
    const request = { stack: 'shop', plan: 'nightly', components, stores: [named('a', on)], timetable };
    return backUp(testContext({ now: () => at(now) }), { ...request, slot, ...more });
  };
  return { on, components, run };
}

describe('the scheduled times of a plan', () => {
  test('fault 46: each is run once, however often and late it is started', async () => {
    const { on, components, run } = rig();
    const first = await run('11-21T02:00:01');
    assert.equal(first.point?.id, '2026-11-21-020000');
    for (const now of ['11-21T02:00:02', '11-21T17:00:00', '11-22T01:59:59']) {
      const again = await run(now);
      assert.deepEqual([again.point, again.complete], [null, true], now);
      assert.deepEqual(again.holder, { id: '2026-11-21-020000', state: 'done' });
    }
    assert.deepEqual([...on.points.keys()], ['2026-11-21-020000']);
    assert.deepEqual([on.drafts.size, on.records.size], [0, 0]);
    // Another plan, stack, a run of nobody's schedule, more components than it held: none of these was run.
    const others: Partial<BackUpRequest>[] = [
      { plan: 'often' },
      { stack: 'other' },
      { slot: undefined },
      { components: [...components, kv('more', kvServer({ m: '1' }))] },
    ];
    for (const other of others)
      assert.ok((await run('11-21T02:00:30', other)).point, JSON.stringify(Object.keys(other)));
    assert.equal((await run('11-22T02:00:01')).point?.id, '2026-11-22-020000');
  });

  test('fault 46: of two that begin one at the same time, one goes on', async () => {
    for (let delay = 0; delay < 5; delay++) {
      const { on, run } = rig();
      // Who comes first has claimed the id for a while before it notes what it runs.
      on.fault = async (step) => {
        if (step === 'record captures/2026-11-21-020000')
          for (let n = 0; n < delay; n++) await new Promise(setImmediate);
      };
      const both = await Promise.all([run('11-21T02:00:01'), run('11-21T02:00:01')]);
      assert.deepEqual(both.map(({ point }) => point?.id ?? null).toSorted(), ['2026-11-21-020000', null], `${delay}`);
      assert.deepEqual([...on.points.keys()], ['2026-11-21-020000']);
      assert.deepEqual([on.drafts.size, on.records.size], [0, 0]);
    }
  });

  test('fault 46: what was missed is told by the next run, and stands in its point', async () => {
    const { run } = rig();
    assert.equal((await run('11-18T02:00:01')).point?.missed, null, 'nothing was run before');
    assert.equal((await run('11-19T02:00:01')).point?.missed, null);
    const late = await run('11-20T09:00:00'); // late is not missed
    assert.deepEqual([late.point?.id, late.point?.missed], ['2026-11-20-020000', null]);
    const next = await run('11-23T02:00:01');
    const missed = { count: 2, first: '2026-11-21T02:00:00.000Z', last: '2026-11-22T02:00:00.000Z' };
    assert.deepEqual(next.point?.missed, missed);
    assert.ok(next.warnings.includes(`plan nightly ${missedText(missed)}`), next.warnings.join());
    assert.equal(next.complete, true);
  });

  test('fault 46: where clocks change, each day has one', async () => {
    const { on, run } = rig(BERLIN);
    // 2:30 does not exist on the 29th of March, and comes twice on the 25th of October.
    for (const month of [
      ['03-28T01:30:01', '03-29T00:30:01', '03-29T01:00:01', '03-29T01:30:01', '03-30T00:30:01'],
      ['10-24T00:30:01', '10-25T00:30:01', '10-25T01:30:01', '10-26T01:30:01'],
    ]) {
      const ids: string[] = [];
      for (const now of month) ids.push((await run(now)).point?.id.slice(5, 10) ?? 'none');
      const days = [...new Set(month.map((now) => now.slice(0, 5)))];
      assert.deepEqual(
        ids.filter((id) => id !== 'none'),
        days,
      );
    }
    assert.deepEqual(
      [...on.points.values()].map(({ point }) => point.missed?.count ?? 0).filter((n) => n > 1),
      [207],
    );
  });

  test('are missed by status when they came and went, the newest not before it is an hour old', () => {
    const [run, hourly] = [at('11-20T02:00:05'), { schedule: '0 * * * *', timezone: 'UTC' }];
    assert.equal(missedSince(DAILY, run, at('11-21T02:59:59')), null);
    assert.equal(missedSince(DAILY, run, at('11-21T03:00:00'))?.count, 1);
    assert.equal(missedSince(DAILY, run, at('11-22T02:10:00'))?.last, '2026-11-21T02:00:00.000Z');
    assert.equal(missedSince(hourly, run, at('11-20T03:59:00')), null);
    assert.equal(missedSince(hourly, run, at('11-20T04:00:01'))?.last, '2026-11-20T03:00:00.000Z');
  });

  test('are counted between two of them, but for these', () => {
    assert.equal(slotsBetween(DAILY, at('11-20T02:00:00'), at('11-21T02:00:00')), null);
    assert.equal(slotsBetween(DAILY, at('11-20T02:00:00'), at('11-21T02:00:01'))?.count, 1);
    assert.equal(slotsBetween(DAILY, at('11-20T01:59:59'), at('11-21T02:00:00'))?.count, 1);
    const each = slotsBetween({ schedule: '* * * * *', timezone: 'UTC' }, at('01-01T00:00:00'), at('11-21T02:00:00'));
    assert.equal(each?.count, 10_000);
  });
});
