import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Component } from '../core/component.ts';
import { Failure, isFailure } from '../core/errors.ts';
import type { Bytes } from '../core/model.ts';
import { testContext } from '../core/testing.ts';
import { type BackUpRequest, backUp } from './backup.ts';
import type { StackComponent } from './model.ts';
import { kv, kvServer } from './testing.ts';
import { type Disk, disk, named } from './testing-store.ts';
import { verifyPoints } from './verify.ts';

function request(more: Partial<BackUpRequest> & Pick<BackUpRequest, 'components' | 'stores'>): BackUpRequest {
  return { stack: 'shop', plan: 'nightly', ...more };
}
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

describe('after a crash', () => {
  const SLOT = new Date('2026-11-21T02:00:00Z');
  const ID = '2026-11-21-020000';

  /** A run that hangs in its second component for ever, as if its process had been killed there. */
  async function crashed(stores: number) {
    const [ctx, cache, db] = [testContext(), kvServer({ c: '3' }), kvServer({ a: '1' })];
    const components = [kv('cache', cache), kv('db', db)];
    const disks = Array.from({ length: stores }, disk);
    const all = disks.map((on, at) => named(`s${at}`, on));
    const hanging = new Promise<void>((resolve) => {
      db.fault = () => {
        resolve();
        return new Promise<void>(() => undefined);
      };
    });
    void backUp(ctx, request({ components, stores: all, parallel: 1, slot: SLOT }));
    await hanging;
    db.fault = () => undefined;
    return { ctx, cache, db, components, disks, stores: all };
  }

  /** The note says that this very process runs it, which is true; here it says so of one that has gone. */
  function buried(disks: readonly Disk[]): void {
    for (const on of disks) {
      const note = on.records.get(`captures/${ID}`) as { process: { start: string } };
      note.process.start = '1';
    }
  }

  test('a run for the same slot goes on with the draft, and captures nothing again that was finished', async () => {
    const { ctx, cache, components, disks, stores } = await crashed(2);
    buried(disks);
    cache.fault = down; // it is not asked again
    const done = await backUp(ctx, request({ components, stores, slot: SLOT }));
    assert.equal(done.complete, true);
    assert.equal(done.point?.id, ID);
    assert.deepEqual(Object.keys(done.point?.components ?? {}), ['cache', 'db']);
    for (const [at, on] of disks.entries()) {
      const verified = await verifyPoints(ctx, { in: named(`s${at}`, on), readData: 1 });
      assert.equal(verified.findings.verdict, 'pass');
      assert.deepEqual([...on.records.keys()], ['coverage/read-data']);
    }
  });

  test('nothing is taken over from a process that may be alive, or that was to hold something else', async () => {
    const { ctx, components, disks, stores } = await crashed(1);
    const alive = await backUp(ctx, request({ components, stores, slot: SLOT }));
    assert.deepEqual([alive.point, alive.holder], [null, { id: ID, state: 'running' }]);
    await assert.rejects(backUp(ctx, request({ components, stores, resume: ID })), (error) =>
      isFailure(error, 'locked'),
    );
    buried(disks);
    for (const other of [{ components: components.slice(1) }, { plan: 'weekly' }, { stack: 'other' }]) {
      const done = await backUp(ctx, request({ components, stores, slot: SLOT, ...other }));
      assert.notEqual(done.point?.id, ID);
    }
    const fewer = request({ components: components.slice(1), stores, resume: ID });
    await assert.rejects(backUp(ctx, fewer), (error) => isFailure(error, 'usage'));
  });

  test('the next run tells how to go on with it, and does not do so by itself', async () => {
    const { ctx, components, disks, stores } = await crashed(1);
    buried(disks);
    const next = await backUp(ctx, request({ components, stores }));
    assert.notEqual(next.point?.id, ID);
    assert.match(next.warnings.join(), /left one finished component: the same command with --resume 2026-11-21-020000/);
    const resumed = await backUp(ctx, request({ components, stores, resume: ID }));
    assert.deepEqual([resumed.point?.id, resumed.complete], [ID, true]);
  });

  test('a late run that is gone on with was begun when it was begun, not at the slot that it is named after', async () => {
    const { ctx, components, disks, stores } = await crashed(1);
    buried(disks);
    const note = disks[0]?.records.get(`captures/${ID}`) as { noted_at: string };
    note.noted_at = '2026-11-21T09:00:00.000Z';
    const resumed = await backUp(ctx, request({ components, stores, resume: ID }));
    assert.deepEqual([resumed.point?.id, resumed.point?.startedAt], [ID, note.noted_at]);
  });

  test('what was finished in one store only is captured again', async () => {
    const { ctx, cache, components, disks, stores } = await crashed(2);
    buried(disks);
    disks[1]?.records.delete(`captures/${ID}/cache`);
    cache.data.set('c', 'newer');
    const done = await backUp(ctx, request({ components, stores, slot: SLOT }));
    assert.equal(done.point?.id, ID);
    for (const on of disks) {
      assert.equal(on.points.get(ID)?.components.get('cache')?.get('keys/c')?.data.toString(), 'newer');
    }
  });

  test('there is nothing to go on with where no draft is left', async () => {
    const { ctx, components, disks, stores } = await crashed(1);
    buried(disks);
    disks[0]?.drafts.clear();
    const again = await backUp(ctx, request({ components, stores, slot: SLOT }));
    assert.deepEqual([again.point?.id, again.complete], [ID, true]);
    const gone = backUp(ctx, request({ components, stores, resume: '2026-01-01-000000' }));
    await assert.rejects(gone, (error) => isFailure(error, 'missing'));
  });
});
