import assert from 'node:assert/strict';
import { test } from 'node:test';
import { calendarOf } from './calendar.ts';

test('a cron schedule means the same to systemd', () => {
  const cases: [string, readonly string[]][] = [
    ['0 2 * * *', ['*-*-* 02:00:00']],
    ['0 */6 * * *', ['*-*-* 00,06,12,18:00:00']],
    ['5-20/5 1,13 * * *', ['*-*-* 01,13:05,10,15,20:00']],
    ['0 1 * * 0', ['Sun *-*-* 01:00:00']],
    ['0 1 * * 7', ['Sun *-*-* 01:00:00']],
    ['30 4 * jan-mar mon-fri', ['Mon,Tue,Wed,Thu,Fri *-01,02,03-* 04:30:00']],
    ['0 3 1 * mon', ['*-*-01 03:00:00', 'Mon *-*-* 03:00:00']],
  ];
  for (const [cron, expected] of cases) assert.deepEqual(calendarOf(cron), expected, cron);
});

test('a schedule that is none is refused', () => {
  for (const cron of ['', '0 2 * *', '61 * * * *', '5-1 * * * *', 'x * * * *', '* * * * * *', '*/0 * * * *']) {
    assert.throws(() => calendarOf(cron), { code: 'settings-invalid' }, cron);
  }
});
