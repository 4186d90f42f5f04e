import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Entry } from './entries.ts';
import { recheckAt } from './recheck.ts';

const DAY_MS = 86_400_000;

test('with daily points each object is asked for its tags once in a week, about a seventh of them each day', () => {
  const begin = Date.parse('2026-03-01T02:00:00Z');
  const at = (day: number): string => new Date(begin + day * DAY_MS).toISOString();
  let entries = Array.from(
    { length: 2000 },
    (_, n): Entry => ({ bucket: 'docs', key: `invoices/${n}.pdf`, version: null, latest: true, modified: at(-9) }),
  );
  const asked = new Map<string, number>();
  for (let day = 1; day <= 28; day++) {
    const recheck = recheckAt(begin + day * DAY_MS, 7 * DAY_MS, at(day - 1));
    const due = entries.filter((entry) => recheck.isDue(entry));
    assert.ok(due.length > 150 && due.length < 450, `${due.length} on day ${day}`);
    for (const { key } of due) asked.set(key, (asked.get(key) ?? 0) + 1);
    entries = entries.map((entry) => {
      const { seen: _, ...fresh } = entry;
      return recheck.isDue(entry) ? fresh : recheck.asOf(entry);
    });
    for (const { seen } of entries)
      assert.ok(seen === undefined || begin + day * DAY_MS - Date.parse(seen) <= 7 * DAY_MS);
  }
  assert.deepEqual(new Set(asked.values()), new Set([4]));
  assert.equal(asked.size, entries.length);
});

test('who says never or always gets that', () => {
  const entry = { bucket: 'docs', key: 'a', version: null, latest: true, modified: '2026-01-01T00:00:00Z' };
  const later = Date.parse('2027-01-01T00:00:00Z');
  assert.equal(recheckAt(later, null, '2026-01-01T00:00:00Z').isDue(entry), false);
  assert.equal(recheckAt(later, 0, '2026-12-31T00:00:00Z').isDue(entry), true);
});
