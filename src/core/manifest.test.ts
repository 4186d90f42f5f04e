import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { failedComponent, idOf, isPointId, manifestJson, parseManifest, timeOfId } from './manifest.ts';
import type { RecoveryPoint } from './point.ts';

const point: RecoveryPoint = {
  format: 1,
  id: '2026-02-23-020000',
  stack: 'prod',
  plan: 'nightly',
  startedAt: '2026-02-23T02:00:00.000Z',
  finishedAt: '2026-02-23T02:00:09.500Z',
  skewMs: 12.5,
  status: 'partial',
  version: '1.4.2',
  missed: { count: 2, first: '2026-11-19T02:00:00.000Z', last: '2026-11-20T02:00:00.000Z' },
  components: {
    'main-db': {
      kind: 'postgresql',
      error: null,
      serverVersion: '16.14',
      identity: '7301',
      method: 'logical',
      cut: { position: '0/16B3748', at: '2026-02-23T02:00:01.000Z' },
      inventoryLevel: 'full',
      totals: { tables: 12, rows: 500_000 },
      parts: { count: 4, bytes: 1_000_000 },
      durationMs: 8000,
      external: null,
      journal: { source: { system: '7', timeline: 1 }, from: '0a', to: '0b' },
      warnings: ['a view was left out'],
    },
    cache: failedComponent('redis', { code: 'unreachable', message: 'redis at cache: no answer' }, 10),
  },
};

test('a manifest comes back as it was written', () => {
  assert.deepEqual(parseManifest(JSON.stringify(manifestJson(point)), 'it'), point);
});

test('the fields that older plans read are there', () => {
  const json = manifestJson(point);
  assert.equal(json.timestamp, '2026-02-23T02:00:00Z');
  assert.equal(json.version, '1.4.2');
  assert.deepEqual(Object.keys(json.components), ['main-db', 'cache']);
});

test('fields of a newer Lifeboat are let pass, a newer format is not', () => {
  const json = manifestJson(point);
  assert.deepEqual(parseManifest(JSON.stringify({ ...json, later: 1 }), 'it'), point);
  assert.throws(() => parseManifest(JSON.stringify({ ...json, format: 2 }), 'it'), { code: 'malformed' });
});

test('what is no manifest is malformed, and nothing else happens', () => {
  const json = manifestJson(point);
  const wrong = [
    '',
    '{',
    'null',
    '[]',
    { ...json, id: '../../etc' },
    { ...json, status: 'fine' },
    { ...json, components: [] },
  ];
  for (const each of wrong) {
    const text = typeof each === 'string' ? each : JSON.stringify(each);
    assert.throws(() => parseManifest(text, 'store/2026'), { code: 'malformed', message: /store\/2026/ }, text);
  }
});

test('an id is the second it names, in UTC', () => {
  assert.equal(idOf(new Date('2026-11-21T03:00:00+01:00')), '2026-11-21-020000');
  fc.assert(
    fc.property(fc.date({ min: new Date('1990-01-01'), max: new Date('2199-12-31'), noInvalidDate: true }), (at) => {
      const id = idOf(at);
      assert.ok(isPointId(id));
      assert.equal(timeOfId(id).getTime(), Math.floor(at.getTime() / 1000) * 1000);
    }),
  );
  for (const text of ['latest', '2026-11-21', '2026-11-21-0200000', ' 2026-11-21-020000']) assert.ok(!isPointId(text));
});
