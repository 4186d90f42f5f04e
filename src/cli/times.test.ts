import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lastSlot } from '../engine/slots.ts';
import { parseTime, parseUntil } from './times.ts';

const now = new Date('2026-11-21T14:00:00Z');

test('a time is told with its zone, or as how long ago', () => {
  assert.equal(parseTime('2026-11-21T14:03:27Z', now).toISOString(), '2026-11-21T14:03:27.000Z');
  assert.equal(parseTime('2026-11-21 14:03+01:00', now).toISOString(), '2026-11-21T13:03:00.000Z');
  assert.equal(parseTime('15m ago', now).toISOString(), '2026-11-21T13:45:00.000Z');
  assert.equal(parseTime('now', now), now);
});

test('a time without a zone, or none at all, is refused', () => {
  for (const text of ['2026-11-21T14:03:27', '2026-11-21', 'yesterday', '15 ago', '2026-13-45T99:99:99Z']) {
    assert.throws(() => parseTime(text, now), { code: 'usage' }, text);
  }
});

test('fault 27: who leaves out the zone is told what the time is here and in UTC, also in an hour that comes twice', () => {
  const before = process.env.TZ;
  try {
    process.env.TZ = 'Europe/Berlin';
    const refused = (text: string, hint: RegExp) => assert.throws(() => parseTime(text, now), { code: 'usage', hint });
    refused('2026-11-21T14:03:27', /2026-11-21T14:03:27Z is that time in UTC, 2026-11-21T14:03:27\+01:00 here$/);
    const twice = /2026-10-25T02:30:00\+02:00 or 2026-10-25T02:30:00\+01:00 here, which clocks here show twice$/;
    refused('2026-10-25 02:30', twice);
    refused('2026-10-25', /as now$/);
  } finally {
    if (before === undefined) delete process.env.TZ;
    else process.env.TZ = before;
  }
});

test('where a replay ends is told in the words of the driver', () => {
  assert.deepEqual(parseUntil('latest'), { kind: 'latest' });
  assert.deepEqual(parseUntil('lsn=0/3000060'), { kind: 'position', value: '0/3000060' });
  assert.deepEqual(parseUntil('xid=731'), { kind: 'transaction', value: '731' });
  assert.deepEqual(parseUntil('name=before=migration'), { kind: 'name', value: 'before=migration' });
  for (const text of ['14:03', 'lsn=', 'time=1', 'constructor=1']) {
    assert.throws(() => parseUntil(text), { code: 'usage' }, text);
  }
});

test('the last slot of a schedule is found, also across the change of summer time', () => {
  const cases: [string, string, string, string][] = [
    ['0 2 * * *', 'UTC', '2026-11-21T14:00:00Z', '2026-11-21T02:00:00.000Z'],
    ['0 2 * * *', 'UTC', '2026-11-21T02:00:00Z', '2026-11-21T02:00:00.000Z'],
    ['0 2 * * *', 'UTC', '2026-11-21T01:59:59Z', '2026-11-20T02:00:00.000Z'],
    ['0 2 * * *', 'UTC', '2026-11-21T01:59:59.900Z', '2026-11-20T02:00:00.000Z'],
    ['0 2 * * *', 'UTC', '2026-11-21T02:00:00.100Z', '2026-11-21T02:00:00.000Z'],
    ['0 2 * * *', 'Europe/Berlin', '2026-11-21T14:00:00Z', '2026-11-21T01:00:00.000Z'],
    ['0 12 * * *', 'Europe/Berlin', '2026-10-25T20:00:00Z', '2026-10-25T11:00:00.000Z'],
    ['0 3 1 1 *', 'UTC', '2026-11-21T14:00:00Z', '2026-01-01T03:00:00.000Z'],
  ];
  for (const [schedule, zone, at, expected] of cases) {
    assert.equal(lastSlot(schedule, zone, new Date(at)).toISOString(), expected, `${schedule} ${zone} ${at}`);
  }
  assert.throws(() => lastSlot('0 0 31 2 *', 'UTC', now), { code: 'settings-invalid' });
  assert.throws(() => lastSlot('0 2 * *', 'UTC', now), { code: 'settings-invalid' });
  assert.throws(() => lastSlot('0 2 * * *', 'Mars/Base', now), { code: 'settings-invalid' });
});
