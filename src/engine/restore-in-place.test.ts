// Restores over what is there.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Failure, isFailure } from '../core/errors.ts';
import { testContext } from '../core/testing.ts';
import { taken } from './backup-testing.ts';
import { choosePoint, listPoints } from './points.ts';
import { restorePoint } from './restore.ts';
import { kv, kvServer, stagingDriver } from './testing.ts';
import { damage, disk, named } from './testing-store.ts';

describe('a restore in place', () => {
  test('what can be restored beside is compared before it is swapped in, and the old data stays', async () => {
    const [ctx, on] = [testContext(), disk()];
    const server = kvServer({ a: '1' });
    const components = [kv('db', server, { driver: stagingDriver })];
    const point = await taken(ctx, on, components);
    server.data.set('a', 'corrupt');
    const done = await restorePoint(ctx, { from: named('a', on), point, components, inPlace: true });
    assert.deepEqual([...server.data], [['a', '1']]);
    assert.deepEqual(done.outcomes[0]?.keptAs, [`kv__lifeboat_${point.id}`]);
    assert.equal(done.verdict, 'pass');
    assert.equal(done.safety, null, 'the old data is the safety point');
    assert.equal(on.points.size, 1);
  });

  test('a difference leaves the live data as it was', async () => {
    const [ctx, on] = [testContext(), disk()];
    const server = kvServer({ a: '1' });
    const components = [kv('db', server, { driver: stagingDriver, checks: [{ name: 'b', sql: 'b', equals: 5 }] })];
    server.data.set('b', '4');
    const point = await taken(ctx, on, components);
    server.data.set('a', 'live');
    const restore = restorePoint(ctx, { from: named('a', on), point, components, inPlace: true });
    await assert.rejects(restore, (error) => isFailure(error, 'different'));
    assert.equal(server.data.get('a'), 'live');
  });

  test('what was not shown to be equal is swapped in with a warning before and after', async () => {
    const [ctx, on] = [testContext(), disk()];
    const server = kvServer({ a: '1' });
    const components = [kv('db', server, { driver: stagingDriver, checks: [{ name: 'b', sql: 'b', equals: 5 }] })];
    const point = await taken(ctx, on, components);
    server.fault = (step) => {
      if (step === 'measure') throw new Failure('query-failed', 'no answer');
      if (step === 'publish') assert.deepEqual(warned(), [{ component: 'db', unknown: 1 }]);
    };
    const warned = () => ctx.logged.filter(({ level }) => level === 'warn').map(({ fields }) => fields);
    const done = await restorePoint(ctx, { from: named('a', on), point, components, inPlace: true });
    assert.equal(done.outcomes[0]?.error, null);
    assert.equal(done.verdict, 'unknown');
    assert.deepEqual(done.outcomes[0]?.warnings, ['it was swapped in with 1 finding unknown, and none that differs']);
  });

  test('what is replaced becomes a safety point first, which is never the latest', async () => {
    const [ctx, on] = [testContext(), disk()];
    const server = kvServer({ a: '1' });
    const components = [kv('cache', server)];
    const point = await taken(ctx, on, components);
    server.data.set('a', 'wrong');
    const done = await restorePoint(ctx, { from: named('a', on), point, components, inPlace: true });
    assert.deepEqual([...server.data], [['a', '1']]);
    assert.notEqual(done.safety?.point, null);
    assert.equal(on.points.get(done.safety?.point ?? '')?.point.plan, 'safety');
    assert.equal(choosePoint(await listPoints(ctx, named('a', on)), 'shop', {}).point.id, point.id);
    const back = on.points.get(done.safety?.point ?? '')?.point;
    assert.ok(back);
    await restorePoint(ctx, { from: named('a', on), point: back, components, inPlace: true });
    assert.deepEqual([...server.data], [['a', 'wrong']]);
  });

  test('who breaks off learns where the data is that was replaced', async () => {
    const stop = new AbortController();
    const [ctx, on] = [testContext({ signal: stop.signal }), disk()];
    const server = kvServer({ a: '1' });
    const components = [kv('cache', server)];
    const point = await taken(ctx, on, components);
    server.data.set('a', 'wrong');
    server.fault = (step) => {
      if (step === 'restore') stop.abort();
      stop.signal.throwIfAborted();
    };
    const restored = restorePoint(ctx, { from: named('a', on), point, components, inPlace: true });
    await assert.rejects(restored, (error) => {
      const safety = [...on.points.keys()].find((id) => id !== point.id);
      assert.ok(isFailure(error, 'interrupted') && safety);
      return error.hint === `what was replaced is point ${safety}`;
    });
  });

  test('data that can not be captured is no obstacle, and that is said', async () => {
    const [ctx, on] = [testContext(), disk()];
    const server = kvServer({ a: '1' });
    const components = [kv('cache', server)];
    const point = await taken(ctx, on, components);
    server.data.set('a', 'wrong');
    server.fault = (step) => {
      if (step === 'capture') throw new Failure('malformed', 'the dump is corrupt');
    };
    const done = await restorePoint(ctx, { from: named('a', on), point, components, inPlace: true });
    assert.deepEqual([...server.data], [['a', '1']]);
    assert.equal(done.safety?.point, null);
    assert.ok(isFailure(done.safety?.error, 'malformed'));
    assert.equal(done.verdict, 'pass');
  });

  test('a damaged point is found out before the live data is touched', async () => {
    const [ctx, on] = [testContext(), disk()];
    const server = kvServer({ a: '1' });
    const components = [kv('db', server, { driver: stagingDriver })];
    const point = await taken(ctx, on, components);
    damage(on, point.id, 'db', 'keys/a', '2');
    server.data.set('a', 'live');
    const restore = restorePoint(ctx, { from: named('a', on), point, components, inPlace: true });
    await assert.rejects(restore, (error) => isFailure(error, 'checksum'));
    assert.equal(server.data.get('a'), 'live');
  });
});
