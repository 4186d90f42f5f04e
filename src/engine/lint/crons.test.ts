import assert from 'node:assert/strict';
import { test } from 'node:test';
import { denser, oftener } from './crons.ts';
import { gapsFrom } from './gaps.ts';

const HOUR_MS = 3_600_000;
const gap = gapsFrom(new Date('2026-06-10T12:00:00Z'));

test('a denser schedule has the longest steps that are short enough, and keeps its time', () => {
  const cases: [present: string, timezone: string, hours: number, expected: string | null][] = [
    ['0 */6 * * *', 'UTC', 1 / 4, '*/10 * * * *'],
    ['0 2 * * *', 'UTC', 24, '0 2,14 * * *'],
    ['30 7 * * *', 'UTC', 4, '30 1,4,7,10,13,16,19,22 * * *'],
    ['15 0 * * 0', 'UTC', 25, '15 0 * * *'],
    ['15 0 * * *', 'UTC', 2, '15 * * * *'],
    ['0 5 * * 0', 'Europe/Berlin', 25, '0 5,17 * * *'], // each day at 5 is 25 hours apart once a year
    ['0 5 * * *', 'UTC', 1 / 12, null],
  ];
  for (const [schedule, timezone, hours, expected] of cases) {
    const limits = { belowMs: hours * HOUR_MS, leastMs: 0, gap };
    assert.equal(denser({ schedule, timezone }, [], limits), expected, `${schedule} ${timezone}`);
  }
});

test('captures that take longer than the steps would be have no denser schedule', () => {
  const limits = { belowMs: 2 * HOUR_MS, leastMs: HOUR_MS, gap };
  assert.equal(denser({ schedule: '0 2 * * *', timezone: 'UTC' }, [], limits), null);
});

test('what others do by the clock counts', () => {
  const others = [{ schedule: '0 8-20 * * *', timezone: 'UTC' }];
  const limits = { belowMs: 7 * HOUR_MS, leastMs: 0, gap };
  assert.equal(denser({ schedule: '0 2 * * *', timezone: 'UTC' }, others, limits), '0 2,8,14,20 * * *');
});

test('a drill comes each month, week or day, as often as it must', () => {
  const present = { schedule: '0 9 1 1,4,7,10 *', timezone: 'UTC' };
  const days = (count: number): string | null => oftener(present, count * 24 * HOUR_MS, gap);
  assert.deepEqual([90, 30, 6, 0.5].map(days), ['0 9 1 * *', '0 9 * * 0', '0 9 * * *', null]);
});
