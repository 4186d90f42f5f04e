import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseSchedule, type Timetable } from '../slots.ts';
import { gapsFrom, hasSlot, slotBefore, slotsAfter } from './gaps.ts';

const HOUR_MS = 3_600_000;
const now = new Date('2026-06-10T12:34:56Z');

test('the longest time without a slot is the real one: over weekends and months, and where clocks change', () => {
  const cases: [hours: number, timezone: string, ...schedules: string[]][] = [
    [24, 'UTC', '0 2 * * *'],
    [25, 'Europe/Berlin', '0 5 * * *'], // the night in October
    [3, 'America/Denver', '0 */2 * * *'], // one o'clock comes twice in the night in November
    [6, 'UTC', '0 */6 * * *', '0 2 * * *'],
    [1 / 6, 'UTC', '*/10 * * * *'],
    [64, 'UTC', '0 9,17 * * 1-5'], // from Friday to Monday
    [31 * 24, 'UTC', '0 0 1 * *'],
    [92 * 24, 'UTC', '0 0 1 1,4,7,10 *'],
    [31 * 24 + 1, 'UTC', '0 * * 1-11 *'], // December
    [12, 'UTC', '0 1,13,23 * * *', '0 7 * * 3'], // longer on the days without the second
    [10 * 24, 'UTC', '0 0 1,11,21 * *', '0 0 25 * *'],
    [20, 'UTC', '0 2,22 * * *', '0 8,16 1-30 * *'], // on the last of the long months
  ];
  for (const [hours, timezone, ...schedules] of cases) {
    const gap = gapsFrom(now)(schedules.map((schedule) => ({ schedule, timezone })));
    assert.equal((gap?.ms ?? 0) / HOUR_MS, hours, schedules.join(' and '));
  }
});

test('no schedule, or one that never comes, has no gap', () => {
  assert.equal(gapsFrom(now)([]), null);
  assert.equal(gapsFrom(now)([{ schedule: '0 0 31 2 *', timezone: 'UTC' }]), null);
});

test('it is what looking at every slot of a year finds, whatever the schedules', () => {
  const field = (min: number, max: number): fc.Arbitrary<string> =>
    fc.oneof(
      fc.constant('*'),
      fc.uniqueArray(fc.integer({ min, max }), { minLength: 1, maxLength: 3 }).map((values) => values.join(',')),
    );
  const timetable = fc.record({
    schedule: fc
      .tuple(fc.integer({ min: 0, max: 59 }), field(0, 23), field(1, 28), field(1, 12), field(0, 6))
      .map((fields) => fields.join(' ')),
    timezone: fc.constantFrom('UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Australia/Lord_Howe'),
  });
  fc.assert(
    fc.property(fc.array(timetable, { minLength: 1, maxLength: 2 }), (schedules) => {
      const found = gapsFrom(now)(schedules)?.ms ?? 0;
      assert.equal(found / HOUR_MS, bruteForce(schedules) / HOUR_MS, JSON.stringify(schedules));
    }),
    { numRuns: 25 },
  );
});

/** Between all slots that begin within 400 days. */
function bruteForce(schedules: readonly Timetable[]): number {
  const first = new Date('2026-06-10T00:00:00Z');
  const end = first.getTime() + 400 * 24 * HOUR_MS;
  const all = schedules.flatMap(({ schedule, timezone }) => {
    const cron = parseSchedule(schedule, timezone);
    const slots: number[] = [];
    for (let slot = cron.nextRun(first); slot; slot = cron.nextRun(slot)) {
      slots.push(slot.getTime());
      if (slot.getTime() >= end) break;
    }
    return slots;
  });
  const sorted = [...new Set(all)].sort((a, b) => a - b);
  return Math.max(...sorted.slice(1).map((slot, at) => ((sorted[at] ?? 0) < end ? slot - (sorted[at] ?? 0) : 0)));
}

test('slots are found before a time, at it, and after it', () => {
  const six = [{ schedule: '0 */6 * * *', timezone: 'UTC' }] as const;
  assert.equal(slotBefore(six, new Date('2026-01-28T08:00:00Z'))?.toISOString(), '2026-01-28T06:00:00.000Z');
  assert.equal(slotBefore([], now), null);
  assert.equal(hasSlot(six, new Date('2026-01-28T06:00:00Z')), true);
  assert.equal(hasSlot(six, new Date('2026-01-28T06:00:01Z')), false);
  const later = [...slotsAfter(six[0], now, 2)].map((slot) => slot.toISOString());
  assert.deepEqual(later, ['2026-06-10T18:00:00.000Z', '2026-06-11T00:00:00.000Z']);
});
