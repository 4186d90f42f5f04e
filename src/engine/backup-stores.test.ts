// One run into several stores, of which some fail.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Component } from '../core/component.ts';
import { Failure, isFailure } from '../core/errors.ts';
import type { Bytes } from '../core/model.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { request } from './backup-testing.ts';
import { kv, kvServer } from './testing.ts';
import { disk, named } from './testing-store.ts';
import { verifyPoints } from './verify.ts';

describe('several stores', () => {
  for (const step of ['begin', 'list', 'put db/keys/b', 'receipt db', 'commit', 'record captures', 'record owed']) {
    test(`one that fails at '${step}' is dropped, the others finish, the next run makes it good`, async () => {
      const [ctx, a, b] = [testContext(), disk(), disk()];
      const components = [kv('db', kvServer({ a: '1', b: '2' })), kv('cache', kvServer({ c: '3' }))];
      const stores = [named('a', a), named('b', b)];
      b.fault = (at) => {
        if (at.startsWith(step)) throw new Failure('no-space', 'the disk is full');
      };
      const done = await backUp(ctx, request({ components, stores }));
      assert.equal(done.complete, false);
      assert.equal(done.point?.status, 'complete');
      assert.deepEqual(done.stores.map(({ name, error }) => [name, isFailure(error) ? error.code : error]).toSorted(), [
        ['a', null],
        ['b', 'no-space'],
      ]);
      assert.deepEqual([a.points.size, b.points.size], [1, 0]);

      b.fault = () => undefined;
      const next = await backUp(ctx, request({ components, stores }));
      assert.deepEqual(next.copied, [{ point: done.point?.id, from: 'a', to: 'b', error: null }]);
      assert.equal(next.complete, true);
      assert.deepEqual(b.points.get(done.point?.id ?? '')?.point, done.point);
      assert.equal((await verifyPoints(ctx, { in: named('b', b), readData: 1 })).findings.verdict, 'pass');
      const owed = [...a.records.keys(), ...b.records.keys()].filter((key) => key.startsWith('owed'));
      assert.deepEqual(owed, []);
    });
  }

  test('a store that could not be opened is owed the point too', async () => {
    const [ctx, a, b] = [testContext(), disk(), disk()];
    const components = [kv('db', kvServer({ a: '1' }))];
    const unopened = [{ name: 'b', error: new Failure('unreachable', 'no route') }];
    const done = await backUp(ctx, request({ components, stores: [named('a', a)], unopened }));
    assert.equal(done.complete, false);
    const next = await backUp(ctx, request({ components, stores: [named('a', a), named('b', b)] }));
    assert.equal(next.copied.length, 1);
    assert.ok(b.points.has(done.point?.id ?? ''));
  });

  test('what retention removed from one is not copied back from another', async () => {
    const [ctx, a, b] = [testContext(), disk(), disk()];
    const components = [kv('db', kvServer({ a: '1' }))];
    const stores = [named('a', a), named('b', b)];
    const first = await backUp(ctx, request({ components, stores }));
    await stores[1]?.store.remove(ctx, [first.point?.id ?? '']);
    const next = await backUp(ctx, request({ components, stores }));
    assert.deepEqual(next.copied, []);
    assert.equal(b.points.size, 1);
  });

  test('dying between two commits leaves no hole for ever', async () => {
    const [ctx, a, b] = [testContext(), disk(), disk()];
    const components = [kv('db', kvServer({ a: '1' }))];
    const stores = [named('a', a), named('b', b)];
    const died = new Promise<never>(() => undefined);
    let committed: () => void = () => undefined;
    const inA = new Promise<void>((resolve) => (committed = resolve));
    b.fault = (step) => (step.startsWith('commit') ? died : undefined);
    a.fault = (step) => void (step.startsWith('commit') && setImmediate(committed));
    void backUp(ctx, request({ components, stores })); // it never returns: the process is gone
    await inA;
    b.fault = () => undefined;
    b.drafts.clear();
    const [id] = [...a.points.keys()];
    const next = await backUp(ctx, request({ components, stores }));
    assert.equal(next.complete, true);
    assert.ok(id !== undefined && b.points.has(id));
  });

  test('all of them failing is a failure of the run, with the reason', async () => {
    const [ctx, a, b] = [testContext(), disk(), disk()];
    for (const on of [a, b]) {
      on.fault = (step) => {
        if (step.startsWith('put')) throw new Failure('no-space', 'the disk is full');
      };
    }
    const components = [kv('db', kvServer({ a: '1' }))];
    const run = backUp(ctx, request({ components, stores: [named('a', a), named('b', b)] }));
    await assert.rejects(run, (error) => isFailure(error, 'no-space'));
    assert.deepEqual([a.drafts.size, b.drafts.size], [0, 0]);
  });

  test('a service that breaks off while it is read drops no store', async () => {
    const [ctx, a, b] = [testContext(), disk(), disk()];
    const server = kvServer({ a: '1' });
    const breaking: Component = {
      ...kv('db', server).component,
      async capture(captureCtx, sink) {
        await sink.put(captureCtx, 'dump', brokenOff());
        throw new Error('not reached');
      },
    };
    async function* brokenOff() {
      for (let at = 0; at < 40; at++) yield Buffer.alloc(16_384);
      throw new Failure('program-failed', 'pg_dump was ended by SIGKILL');
    }
    const components = [kv('db', server, { component: breaking }), kv('cache', kvServer({ c: '3' }))];
    const done = await backUp(ctx, request({ components, stores: [named('a', a), named('b', b)] }));
    assert.deepEqual(done.stores, [
      { name: 'a', error: null },
      { name: 'b', error: null },
    ]);
    assert.ok(isFailure(done.failures[0]?.error, 'program-failed'));
    assert.equal(done.point?.status, 'partial');
  });

  async function* streamOf(data: Uint8Array): Bytes {
    yield data;
  }

  test('large streams reach stores of different bounds without waiting for each other', async () => {
    const [ctx, a, b] = [testContext(), disk(), disk()];
    b.putsMax = 4;
    const many: Component = {
      ...kv('db', kvServer()).component,
      async capture(captureCtx, sink, previous) {
        const names = Array.from({ length: 12 }, (_, at) => `big/${at}`);
        await Promise.all(names.map((name) => sink.put(captureCtx, name, streamOf(Buffer.alloc(600_000, name)))));
        return await kv('db', kvServer({ z: '1' })).component.capture(captureCtx, sink, previous);
      },
    };
    const components = [kv('db', kvServer(), { component: many })];
    const done = await backUp(ctx, request({ components, stores: [named('a', a), named('b', b)] }));
    assert.equal(done.complete, true);
    assert.equal(b.points.get(done.point?.id ?? '')?.components.get('db')?.size, 15);
  });
});
