import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Component } from '../core/component.ts';
import { Failure, isFailure } from '../core/errors.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { request } from './backup-testing.ts';
import type { StackComponent } from './model.ts';
import { kv, kvServer } from './testing.ts';
import { disk, named } from './testing-store.ts';
import { verifyPoints } from './verify.ts';

const down = (): never => {
  throw new Failure('unreachable', 'no answer');
};

describe('one coordinated point', () => {
  test('holds every component, with its cut, its parts and the skew between the cuts', async () => {
    const [ctx, on] = [testContext(), disk()];
    const [db, cache] = [kvServer({ a: '1', b: '22' }), kvServer({ c: '333' })];
    cache.cutAt = '2026-01-01T00:00:02.500Z';
    const done = await backUp(
      ctx,
      request({ components: [kv('db', db), kv('cache', cache)], stores: [named('a', on)] }),
    );
    assert.equal(done.complete, true);
    assert.equal(done.point?.status, 'complete');
    assert.equal(done.point?.skewMs, 2500);
    assert.deepEqual(done.point?.components.db?.parts.count, 3);
    assert.deepEqual(on.points.get(done.point?.id ?? '')?.point, done.point);
    const verified = await verifyPoints(ctx, { in: named('a', on), readData: 1 });
    assert.equal(verified.findings.verdict, 'pass', JSON.stringify(verified.findings.kept));
  });

  test('is named after its slot or the second it started, or the next that is free in all its stores', async () => {
    const ctx = testContext();
    const [a, b] = [disk(), disk()];
    const stores = [named('a', a), named('b', b)];
    const slot = new Date('2026-11-21T02:00:00Z');
    const components = [kv('db', kvServer({ a: '1' }))];
    const first = await backUp(ctx, request({ components, stores, slot }));
    assert.equal(first.point?.id, '2026-11-21-020000');
    const only = await backUp(ctx, request({ components, stores: [named('b', b)], slot, plan: 'hourly' }));
    assert.equal(only.point?.id, '2026-11-21-020001');
    const both = await backUp(ctx, request({ components, stores, slot, plan: 'often' }));
    assert.equal(both.point?.id, '2026-11-21-020002');
    assert.deepEqual([...a.drafts.keys(), ...b.drafts.keys()], []);
    const unscheduled = await backUp(ctx, request({ components, stores }));
    assert.match(unscheduled.point?.id ?? '', /^2026-01-01-0000\d\d$/);
  });

  test('is partial when a component fails, and keeps the others', async () => {
    const [ctx, on] = [testContext(), disk()];
    const broken = kvServer({ a: '1' });
    broken.fault = down;
    const components = [kv('db', broken), kv('cache', kvServer({ c: '3' }))];
    const done = await backUp(ctx, request({ components, stores: [named('a', on)] }));
    assert.equal(done.complete, false);
    assert.equal(done.point?.status, 'partial');
    assert.deepEqual(done.point?.components.db?.error, { code: 'unreachable', message: 'no answer' });
    assert.deepEqual([...(on.points.get(done.point?.id ?? '')?.components.keys() ?? [])], ['cache']);
  });

  test('is no point when every component failed', async () => {
    const [ctx, on] = [testContext(), disk()];
    const broken = kvServer({ a: '1' });
    broken.fault = down;
    const done = await backUp(ctx, request({ components: [kv('db', broken)], stores: [named('a', on)] }));
    assert.equal(done.point, null);
    assert.equal(done.complete, false);
    assert.ok(isFailure(done.failures[0]?.error, 'unreachable'));
    assert.deepEqual([on.points.size, on.drafts.size, on.records.size], [0, 0, 0]);
  });

  test('is not kept by a test, which does everything else', async () => {
    const [ctx, on] = [testContext(), disk()];
    const steps: string[] = [];
    on.fault = (step) => void steps.push(step);
    const components = [kv('db', kvServer({ a: '1' }))];
    const done = await backUp(ctx, request({ components, stores: [named('a', on)], test: true }));
    assert.equal(done.kept, false);
    assert.equal(done.complete, true);
    assert.equal(done.point?.components.db?.totals.keys, 1);
    assert.ok(steps.includes('receipt db'));
    assert.deepEqual([on.points.size, on.drafts.size, on.records.size], [0, 0, 0]);
  });

  test('leaves nothing when it is interrupted', async () => {
    const [on, controller] = [disk(), new AbortController()];
    const ctx = testContext({ signal: controller.signal });
    const server = kvServer({ a: '1' });
    server.fault = () => controller.abort(new Failure('interrupted', 'stopped by SIGINT'));
    const components = [kv('cache', kvServer({ c: '3' })), kv('db', server)];
    await assert.rejects(backUp(ctx, request({ components, stores: [named('a', on)] })), (error) =>
      isFailure(error, 'interrupted'),
    );
    assert.deepEqual([on.points.size, on.drafts.size, on.records.size], [0, 0, 0]);
  });

  test('warns when the newest point was begun ahead of the clock, and is taken all the same', async () => {
    const [ctx, on] = [testContext(), disk()];
    const components = [kv('db', kvServer({ a: '1' }))];
    const stores = [named('a', on)];
    const ahead = testContext({ now: () => new Date('2030-01-01T00:00:00Z') });
    await backUp(ahead, request({ components, stores, slot: new Date('2025-12-31T02:00:00Z') }));
    for (let run = 0; run < 2; run++) {
      const done = await backUp(ctx, request({ components, stores }));
      assert.equal(done.complete, true);
      assert.match(done.warnings[0] ?? '', /2025-12-31-020000 lies ahead/);
    }
  });
});

describe('what did not change', () => {
  test('is kept unread from the newest point that all stores of the run hold', async () => {
    const [ctx, a, b] = [testContext(), disk(), disk()];
    const server = kvServer({ a: '1', b: '2' });
    const components = [kv('db', server)];
    const stores = [named('a', a), named('b', b)];
    await backUp(ctx, request({ components, stores }));
    await backUp(ctx, request({ components, stores: [named('a', a)] }));
    server.data.set('b', '3');
    const reads: string[] = [];
    a.fault = (step) => void (step.startsWith('put') && reads.push(step));
    const done = await backUp(ctx, request({ components, stores }));
    assert.equal(server.kept, 1);
    assert.deepEqual(reads, ['put db/keys/b', 'put db/inventory.ndjson', 'put db/parts.ndjson']);
    const verified = await verifyPoints(ctx, { in: named('b', b), readData: 1 });
    assert.equal(verified.findings.verdict, 'pass');
    assert.ok(done.point);
  });

  test('is read again when the earlier point is damaged: one bad point must not end all backups', async () => {
    const [ctx, on] = [testContext(), disk()];
    const server = kvServer({ a: '1' });
    const reading: Component = {
      ...kv('db', server).component,
      async capture(captureCtx, sink, previous) {
        if (previous) for await (const _ of previous.get(captureCtx, 'keys/a'));
        return await kv('db', server).component.capture(captureCtx, sink, previous);
      },
    };
    const components: StackComponent[] = [kv('db', server, { component: reading })];
    const stores = [named('a', on)];
    const first = await backUp(ctx, request({ components, stores }));
    const parts = on.points.get(first.point?.id ?? '')?.components.get('db');
    parts?.set('keys/a', { data: Buffer.from('9'), digest: parts.get('keys/a')?.digest ?? '' });
    const second = await backUp(ctx, request({ components, stores }));
    assert.equal(second.complete, true);
    assert.equal(server.kept, 0);
    const points = second.point ? [second.point] : [];
    assert.equal((await verifyPoints(ctx, { in: named('a', on), points, readData: 1 })).findings.verdict, 'pass');
  });
});

for (const stores of [1, 2]) {
  test(`a damaged earlier point in one of ${stores} stores fails no run and drops no store`, async () => {
    const [ctx, disks, server] = [testContext(), [disk(), disk()].slice(0, stores), kvServer({ a: '1', b: '2' })];
    const components = [kv('db', server)];
    const all = disks.map((on, at) => named(`s${at}`, on));
    const first = await backUp(ctx, request({ components, stores: all }));
    const last = disks.at(-1);
    assert.ok(last);
    last.fault = (step) => {
      if (step === 'keep db/keys/b') throw new Failure('checksum', `${first.point?.id} is damaged`);
    };
    const second = await backUp(ctx, request({ components, stores: all }));
    assert.equal(second.complete, true);
    assert.equal(server.kept, 0);
    const points = second.point ? [second.point] : [];
    for (const each of all) {
      assert.equal((await verifyPoints(ctx, { in: each, points, readData: 1 })).findings.verdict, 'pass');
    }
  });
}
