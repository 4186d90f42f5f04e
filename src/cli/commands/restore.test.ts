import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Failure, isFailure } from '../../core/errors.ts';
import { testContext } from '../../core/testing.ts';
import { backUp } from '../../engine/backup.ts';
import { planRestore } from '../../engine/restore-plan.ts';
import { kv, kvServer } from '../../engine/testing.ts';
import { disk, named } from '../../engine/testing-store.ts';
import { filesStack } from '../testing.ts';
import { restoreOrSayHow } from './restore.ts';

describe('a restore that broke off', () => {
  /** Everything is lost, and its way back is planned; then what the test breaks is broken. */
  async function planned(inPlace = false) {
    const [ctx, from] = [testContext(), named('local', disk())];
    const [db, cache, web] = [kvServer({ a: '1' }), kvServer({ c: '3' }), kvServer({ w: '5' })];
    const checks = [{ name: 'rows', sql: 'count', min: 1 }];
    const components = [kv('db', db, { checks }), kv('cache', cache), kv('web', web, { restoreAfter: ['cache'] })];
    const { point } = await backUp(ctx, { stack: 'shop', plan: 'p', components, stores: [from] });
    assert.ok(point);
    for (const { data } of [db, cache, web]) data.clear();
    const plan = await planRestore(ctx, { from, point, components, inPlace });
    const restore = async (options = {}): Promise<string | undefined> => {
      try {
        return (await restoreOrSayHow(ctx, { ...options }, { from, point, components, inPlace }, plan)).hint;
      } catch (error) {
        assert.ok(isFailure(error));
        return `${error.code}: ${error.hint}`;
      }
    };
    const same = `what has come back so far stays; go on with the same command for point ${point.id}`;
    const goOn = (only: string): string => `${same} with --store local --in-place --only ${only}`;
    return { db, cache, web, restore, goOn };
  }

  function away(hint?: string): () => never {
    return () => {
      throw new Failure('unreachable', 'no answer', { hint });
    };
  }

  test('goes on with what is still to come, of the very point in the very store', async () => {
    const { cache, restore, goOn } = await planned();
    cache.fault = away();
    assert.equal(await restore(), goOn('cache,web'), 'it is told with the result where something is back');
  });

  test('adds how to what the hint says already', async () => {
    const { db, cache, restore, goOn } = await planned();
    db.fault = cache.fault = away('is it started?');
    assert.equal(await restore(), `unreachable: is it started?; ${goOn('db,cache,web')}`);
  });

  test('never proposes to replace what came into a target meanwhile', async () => {
    const { db, cache, web, restore, goOn } = await planned();
    db.fault = away();
    cache.data.set('not', 'ours');
    assert.equal(await restore(), `unreachable: ${goOn('db,web')}`);
    assert.deepEqual([...cache.data, ...web.data], [['not', 'ours']]);
  });

  test('has still to bring back what came back different', async () => {
    const { db, cache, restore, goOn } = await planned();
    db.fault = (step) => void (step === 'inventory' && db.data.set('a', 'changed'));
    cache.fault = away();
    assert.equal(await restore(), goOn('db,cache,web'));
  });

  test('goes on by the same command when it was in place, and by none when trying again can not help', async () => {
    const inPlace = await planned(true);
    inPlace.cache.fault = away();
    assert.equal(await inPlace.restore({ inPlace: true }), undefined);
    const full = await planned();
    full.cache.fault = () => {
      throw new Failure('no-space', 'the disk is full');
    };
    assert.equal(await full.restore(), undefined);
  });

  test('is not told to go on in place with a selection', async () => {
    const { db, cache, restore } = await planned();
    db.fault = cache.fault = away();
    assert.match((await restore({ select: ['keys=a'] })) ?? '', /^unreachable: remove what has come/);
  });
});

test('a restore tells its times in whole milliseconds', async () => {
  using stack = await filesStack();
  const { exit, json } = await stack.run('restore', 'latest', '--yes', '--to', `docs=${stack.dir}/back`);
  assert.equal(exit, 0);
  const times = JSON.stringify(json).match(/"(rto_ms|fetch|restore|start|verify|choose|provision)":[^,}]*/g) ?? [];
  assert.ok(times.length >= 5, times.join(' '));
  for (const each of times) assert.match(each, /":\d+$/);
});
