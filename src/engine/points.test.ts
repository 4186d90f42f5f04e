import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type ErrorCode, Failure, isFailure } from '../core/errors.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { choosePoint, listPoints, type PointView, type Wanted } from './points.ts';
import { putProof } from './proofs.ts';
import { kv, kvServer } from './testing.ts';
import { disk, named } from './testing-store.ts';

async function history(): Promise<readonly PointView[]> {
  const [ctx, on] = [testContext(), disk()];
  const [db, cache] = [kvServer({ a: '1' }), kvServer({ c: '3' })];
  const all = [kv('db', db), kv('cache', cache)];
  const take = async (slot: string, components = all, stack = 'shop') => {
    db.cutAt = cache.cutAt = slot;
    const done = await backUp(ctx, { stack, plan: 'p', components, stores: [named('a', on)], slot: new Date(slot) });
    return done.point?.id ?? '';
  };
  const first = await take('2026-11-20T02:00:00.000Z');
  await take('2026-11-21T02:00:00.000Z');
  await take('2026-11-21T06:00:00.000Z', [kv('cache', cache)]);
  await take('2026-11-21T07:00:00.000Z', all, 'other');
  await putProof(ctx, named('a', on).store, { point: first, how: 'drill', components: ['db', 'cache'], source: null });
  return await listPoints(ctx, named('a', on));
}

function fails(views: readonly PointView[], wanted: Wanted, code: ErrorCode, text: RegExp): void {
  assert.throws(
    () => choosePoint(views, 'shop', wanted),
    (error) => isFailure(error, code) && text.test(`${error.message} | ${error.hint}`),
  );
}

describe('a point is named by', () => {
  test('latest: the newest of those that hold the most of what is wanted', async () => {
    const views = await history();
    assert.equal(choosePoint(views, 'shop', {}).point.id, '2026-11-21-060000');
    const all = choosePoint(views, 'shop', { word: 'latest', components: ['db', 'cache'] });
    assert.equal(all.point.id, '2026-11-21-020000');
    assert.deepEqual(all.passedOver, ['2026-11-21-060000']);
    assert.equal(choosePoint(views, 'shop', { components: ['cache'] }).point.id, '2026-11-21-060000');
    fails(views, { components: ['queue'] }, 'missing', /no point holds queue/);
  });

  test('latest: the one begun last, also when it came late and is named after an earlier slot', async () => {
    const [ctx, store, components] = [testContext(), named('a', disk()), [kv('db', kvServer({ a: '1' }))]];
    for (const slot of ['2026-11-21T08:00:00.000Z', '2026-11-21T02:00:00.000Z']) {
      await backUp(ctx, { stack: 'shop', plan: 'p', components, stores: [store], slot: new Date(slot) });
    }
    const views = await listPoints(ctx, store);
    const latest = choosePoint(views, 'shop', { components: ['db'] });
    assert.deepEqual([latest.point.id, latest.passedOver], ['2026-11-21-020000', []]);
  });

  test('latest-proved: the newest that a drill or a restore has proved', async () => {
    const views = await history();
    assert.equal(choosePoint(views, 'shop', { word: 'latest-proved' }).point.id, '2026-11-20-020000');
    fails(views.slice(1), { word: 'latest-proved' }, 'missing', /has been proved.*lifeboat drill/);
  });

  test('its id, which beats a prefix, or a prefix that fits no other', async () => {
    const views = await history();
    assert.equal(choosePoint(views, 'shop', { word: '2026-11-20-020000' }).point.id, '2026-11-20-020000');
    assert.equal(choosePoint(views, 'shop', { word: '2026-11-20' }).point.id, '2026-11-20-020000');
    assert.equal(choosePoint(views, 'shop', { word: '2026-11-21-06' }).point.id, '2026-11-21-060000');
    fails(views, { word: '2026-11-21' }, 'ambiguous', /2 points.*2026-11-21-060000, 2026-11-21-020000$/);
    fails(views, { word: '2025' }, 'missing', /no point 2025.*2026-11-21-060000/);
    fails(views, { word: '' }, 'missing', /no point/);
  });

  test('a time: the newest whose every cut lies before it', async () => {
    const views = await history();
    const at = (time: string) => choosePoint(views, 'shop', { at: new Date(time) }).point.id;
    assert.equal(at('2026-11-21T02:00:00Z'), '2026-11-21-020000');
    assert.equal(at('2026-11-21T01:59:59Z'), '2026-11-20-020000');
    fails(views, { at: new Date('2026-11-01T00:00:00Z') }, 'missing', /before the first.*2026-11-20T02:00:00/);
  });

  test('nothing else: a point of another stack is refused, an empty store says so', async () => {
    const views = await history();
    fails(views, { word: '2026-11-21-070000' }, 'not-this-stack', /belongs to stack other/);
    fails(views, { word: '2026-11-21-07' }, 'missing', /no point/);
    fails(views, { word: 'lates' }, 'missing', /did you mean latest\? points: 2026/);
    fails([], {}, 'missing', /no point of stack shop.*lifeboat backup/);
    fails(views.slice(3), {}, 'missing', /it holds points of other/);
  });
});

test('one proof that can not be read blocks no list', async () => {
  const [ctx, on] = [testContext(), disk()];
  const components = [kv('db', kvServer({ a: '1' }))];
  const { point } = await backUp(ctx, { stack: 'shop', plan: null, components, stores: [named('a', on)] });
  const store = named('a', on);
  await store.store.records.put(ctx, 'proofs', `${point?.id}/drill-1`, { nonsense: true });
  await store.store.records.put(ctx, 'proofs', `${point?.id}/drill-2`, {
    format: 1,
    point: 'another',
    how: 'drill',
    at: '',
    components: ['db'],
    source: null,
  });
  const [view] = await listPoints(ctx, store);
  assert.deepEqual([view?.provedAt, view?.unreadableProofs], [null, true]);
  const broken = { ...store.store.records, get: () => Promise.reject(new Failure('unreachable', 'no route')) };
  const away = { name: 'a', store: { ...store.store, records: broken } };
  await assert.rejects(listPoints(ctx, away), (error) => isFailure(error, 'unreachable'));
});
