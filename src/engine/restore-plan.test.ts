// What is shown before a restore.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Failure, isFailure } from '../core/errors.ts';
import type { RecoveryPoint } from '../core/point.ts';
import { testContext } from '../core/testing.ts';
import { taken } from './backup-testing.ts';
import { drillPoint } from './drill.ts';
import { planRestore } from './restore-plan.ts';
import { kv, kvSandboxes, kvServer } from './testing.ts';
import { disk, named } from './testing-store.ts';

describe('the preview of a restore', () => {
  test('tells the order, the sizes, what the targets hold and how long it takes, and changes nothing', async () => {
    const [ctx, on] = [testContext(), disk()];
    const [db, cache] = [kvServer({ a: '1' }), kvServer({ c: '3' })];
    const components = [kv('db', db), kv('cache', cache, { restoreAfter: ['db'] })];
    const point = await taken(ctx, on, components);
    cache.data.clear();
    const request = { from: named('a', on), point, components };
    const before = await planRestore(ctx, request);
    assert.deepEqual(
      before.steps.map(({ name, targetHolds, way }) => [name, targetHolds, way]),
      [
        ['db', '1 keys', 'empty'],
        ['cache', null, 'empty'],
      ],
    );
    assert.ok(isFailure(before.steps[0]?.problem, 'target-not-empty'));
    assert.equal(before.bytes, (point.components.db?.parts.bytes ?? 0) + (point.components.cache?.parts.bytes ?? 0));
    await drillPoint(ctx, { ...request, sandboxes: kvSandboxes() });
    const after = await planRestore(ctx, request);
    assert.equal(after.estimate?.from, 'drill');
    assert.deepEqual([...db.data, ...cache.data], [['a', '1']]);
  });

  test('estimates from the time of the capture until a drill has measured, and says on what it rests', async () => {
    const [ctx, on] = [testContext(), disk()];
    const components = [kv('db', kvServer({ a: '1' })), kv('cache', kvServer({ b: '2' }), { restoreAfter: ['db'] })];
    const taking = await taken(ctx, on, components);
    const timed = (durationMs: number): RecoveryPoint => ({
      ...taking,
      components: Object.fromEntries(
        Object.entries(taking.components).map(([name, each]) => [name, { ...each, durationMs }]),
      ),
    });
    const request = { from: named('a', on), components };
    const plan = await planRestore(ctx, { ...request, point: timed(700) });
    assert.deepEqual(plan.estimate, { ms: 1400, from: 'capture' });
    const imported = await planRestore(ctx, { ...request, point: timed(0) });
    assert.equal(imported.estimate, null, 'nobody has measured it yet');
    await drillPoint(ctx, { ...request, point: taking, only: ['db'], sandboxes: kvSandboxes() });
    const mixed = await planRestore(ctx, { ...request, point: timed(700) });
    assert.deepEqual([mixed.steps[0]?.estimate?.from, mixed.estimate?.from], ['drill', 'capture']);
  });

  test('is blocked by no evidence that can not be read: what that would have measured is not known (fault 4)', async () => {
    const [ctx, on] = [testContext(), disk()];
    const components = [kv('db', kvServer({ a: '1' }))];
    const point = await taken(ctx, on, components);
    const { store } = named('a', on);
    await drillPoint(ctx, { from: named('a', on), point, components, sandboxes: kvSandboxes() });
    await store.records.put(ctx, 'evidence', '9999-bad', {});
    const planWith = (records: Partial<typeof store.records>) =>
      planRestore(ctx, {
        from: { name: 'a', store: { ...store, records: { ...store.records, ...records } } },
        point,
        components,
      });
    const get: typeof store.records.get = async (...args) => {
      if (args[2] === '9999-bad') throw new Failure('checksum', 'it was changed');
      return await store.records.get(...args);
    };
    assert.equal((await planWith({ get })).estimate?.from, 'drill', 'the good evidence still counts');
    for (const code of ['checksum', 'archived', 'denied'] as const) {
      const fails = (): never => {
        throw new Failure(code, 'it can not be read');
      };
      assert.notEqual((await planWith({ get: async () => fails() })).estimate?.from, 'drill', code);
      assert.notEqual((await planWith({ list: fails })).estimate?.from, 'drill', code);
    }
  });

  test('shows a target that does not answer', async () => {
    const [ctx, on] = [testContext(), disk()];
    const db = kvServer({ a: '1' });
    const components = [kv('db', db)];
    const point = await taken(ctx, on, components);
    db.fault = () => {
      throw new Failure('unreachable', 'no answer');
    };
    const plan = await planRestore(ctx, { from: named('a', on), point, components });
    assert.ok(isFailure(plan.steps[0]?.problem, 'unreachable'));
  });
});
