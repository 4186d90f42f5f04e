import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { Failure } from '../core/errors.ts';
import { identityOf } from '../core/liveness.ts';
import type { Context } from '../core/model.ts';
import { liveContext, testContext } from '../core/testing.ts';
import { type BackUpRequest, backUp } from './backup.ts';
import { planHooksOf } from './capturing.ts';
import type { Around, Hook } from './hooks.ts';
import type { StackComponent } from './model.ts';
import { restorePoint } from './restore.ts';
import { type KvServer, kv, kvServer } from './testing.ts';
import { type Disk, disk, named } from './testing-store.ts';

/** What was done, in order. */
type Steps = string[];

function hook(steps: Steps, name: string, run: (ctx: Context) => Promise<void> = async () => undefined): Hook {
  return {
    name,
    deadlineMs: 60_000,
    run: async (ctx) => {
      steps.push(name);
      await run(ctx);
    },
  };
}

const fails = (): Promise<never> => Promise.reject(new Error('it is stuck'));

function hooked(steps: Steps, server: KvServer, more: { capture?: Around; restore?: Around } = {}): StackComponent {
  server.fault = (step) => void steps.push(step);
  const capture = { before: [hook(steps, 'pause')], after: [hook(steps, 'resume')] };
  const restore = { before: [hook(steps, 'stop')], after: [hook(steps, 'start')] };
  return kv('db', server, { hooks: { capture, restore, ...more } });
}

function request(on: Disk, components: readonly StackComponent[]): BackUpRequest {
  return { stack: 'shop', plan: 'nightly', components, stores: [named('a', on)] };
}

describe('hooks around a capture', () => {
  test('are run before and after it, those of the plan outermost', async () => {
    const [steps, on] = [[] as Steps, disk()];
    const hooks = { before: [hook(steps, 'announce')], after: [hook(steps, 'report')] };
    const done = await backUp(testContext(), { ...request(on, [hooked(steps, kvServer({ a: '1' }))]), hooks });
    assert.deepEqual(steps, ['announce', 'pause', 'capture', 'resume', 'report']);
    assert.equal(done.complete, true);
    assert.deepEqual(
      [...on.records.keys()].filter((key) => key.startsWith('hooks')),
      [],
    );
  });

  test('keep it from being begun when one before it fails, and those after are run all the same', async () => {
    const [steps, on] = [[] as Steps, disk()];
    const capture = { before: [hook(steps, 'pause', fails)], after: [hook(steps, 'resume')] };
    const components = [hooked(steps, kvServer({ a: '1' }), { capture }), kv('cache', kvServer({ b: '2' }))];
    const done = await backUp(testContext(), request(on, components));
    assert.deepEqual(steps, ['pause', 'resume']);
    assert.equal(done.point?.status, 'partial');
    assert.deepEqual(done.point?.components.db?.error?.code, 'hook-failed');
    assert.match(done.point?.components.db?.error?.message ?? '', /hook pause: it is stuck/);
  });

  test('after it are run when the capture fails', async () => {
    const [steps, on, server] = [[] as Steps, disk(), kvServer({ a: '1' })];
    const component = hooked(steps, server);
    server.fault = (step) => {
      steps.push(step);
      throw new Error('the disk is gone');
    };
    await backUp(testContext(), request(on, [component]));
    assert.deepEqual(steps, ['pause', 'capture', 'resume']);
  });

  test('after it are run for a user who breaks off', async () => {
    const stop = new AbortController();
    const [steps, on, server] = [[] as Steps, disk(), kvServer({ a: '1' })];
    const component = hooked(steps, server);
    server.fault = () => {
      stop.abort();
      stop.signal.throwIfAborted();
    };
    const ctx = testContext({ signal: stop.signal });
    await assert.rejects(backUp(ctx, request(on, [component])), { code: 'interrupted' });
    assert.deepEqual(steps, ['pause', 'resume']);
  });

  test('make the run incomplete when one after it fails, and the point stays', async () => {
    const [steps, on] = [[] as Steps, disk()];
    const capture = { before: [], after: [hook(steps, 'resume', fails), hook(steps, 'report')] };
    const done = await backUp(testContext(), request(on, [hooked(steps, kvServer({ a: '1' }), { capture })]));
    assert.deepEqual(steps, ['capture', 'resume', 'report']);
    assert.deepEqual([done.kept, done.complete, done.point?.status], [true, false, 'complete']);
    assert.deepEqual(
      done.hooks.map((each) => [each.of, each.hook]),
      [['db', 'resume']],
    );
  });

  test('are ended after their deadline', async () => {
    const [steps, on] = [[] as Steps, disk()];
    const hangs = ({ signal }: Context): Promise<void> =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
    const slow = { ...hook(steps, 'pause', hangs), deadlineMs: 20 };
    const capture = { before: [slow], after: [{ ...hook(steps, 'resume', hangs), deadlineMs: 20 }] };
    const components = [hooked(steps, kvServer({ a: '1' }), { capture }), kv('cache', kvServer({ b: '2' }))];
    const done = await backUp(liveContext(), request(on, components));
    assert.match(done.point?.components.db?.error?.message ?? '', /pause: no end after 20 ms/);
    assert.equal(done.hooks.length, 1);
  });
});

describe('hooks of a run that was killed', () => {
  async function killed(on: Disk, of: readonly string[]): Promise<void> {
    const me = await identityOf(process.pid);
    const { pid } = spawnSync('true');
    assert.ok(me);
    on.records.set('hooks/2026-01-01-000000', {
      of: [...of],
      process: { ...me, pid },
      noted_at: '2026-01-01T00:00:00Z',
    });
  }

  test('are run by the next run, before its own', async () => {
    const [steps, on] = [[] as Steps, disk()];
    await killed(on, ['db']);
    await backUp(testContext(), request(on, [hooked(steps, kvServer({ a: '1' }))]));
    assert.deepEqual(steps, ['resume', 'pause', 'capture', 'resume']);
    assert.deepEqual(
      [...on.records.keys()].filter((key) => key.startsWith('hooks')),
      [],
    );
  });

  test('of another container are run when it has not been seen for a day', async () => {
    const [on, ctx] = [disk(), testContext()];
    const me = await identityOf(process.pid);
    assert.ok(me);
    for (const [hours, expected] of [
      [1, ['pause', 'capture', 'resume']],
      [25, ['resume', 'pause', 'capture', 'resume']],
    ] as const) {
      const steps: Steps = [];
      const noted_at = new Date(ctx.now().getTime() - hours * 3_600_000).toISOString();
      on.records.set('hooks/2025-12-01-000000', { of: ['db'], process: { ...me, host: 'elsewhere' }, noted_at });
      await backUp(ctx, request(on, [hooked(steps, kvServer({ a: '1' }))]));
      assert.deepEqual(steps, expected);
    }
  });

  test('wait for a run that has them', async () => {
    const [steps, on] = [[] as Steps, disk()];
    await killed(on, ['db', planHooksOf('nightly')]);
    await backUp(testContext(), request(on, [hooked(steps, kvServer({ a: '1' }))]));
    assert.deepEqual(steps, ['pause', 'capture', 'resume']);
    assert.ok(on.records.has('hooks/2026-01-01-000000'));
  });

  test('are those of its own plan', async () => {
    const [steps, on] = [[] as Steps, disk()];
    await killed(on, [planHooksOf('hourly')]);
    const ofPlan = (name: string): Around => ({ before: [], after: [hook(steps, name)] });
    const components = [kv('db', kvServer({ a: '1' }))];
    await backUp(testContext(), { ...request(on, components), hooks: ofPlan('nightly ends') });
    assert.deepEqual(steps, ['nightly ends']);
    await backUp(testContext(), { ...request(on, components), plan: 'hourly', hooks: ofPlan('hourly ends') });
    assert.deepEqual(steps, ['nightly ends', 'hourly ends', 'hourly ends']);
  });

  test('are passed over where their note is damaged, and the run goes on', async () => {
    for (const damaged of [{ of: 'db' }, 'checksum', 'malformed'] as const) {
      const [steps, on] = [[] as Steps, disk()];
      await killed(on, ['db']);
      if (typeof damaged === 'object') on.records.set('hooks/2026-01-01-000000', damaged);
      on.fault = (step) => {
        if (typeof damaged === 'string' && step.startsWith('read hooks')) throw new Failure(damaged, 'it was changed');
      };
      const done = await backUp(testContext(), request(on, [hooked(steps, kvServer({ a: '1' }))]));
      assert.deepEqual([done.complete, steps], [true, ['pause', 'capture', 'resume']]);
    }
  });

  test('are run once where the store forbids deletion', async () => {
    const [steps, on] = [[] as Steps, disk()];
    await killed(on, ['db']);
    on.fault = (step) => {
      if (step.startsWith('unrecord hooks')) throw new Failure('denied', 'nothing is deleted here');
    };
    const again = () => backUp(testContext(), request(on, [hooked(steps, kvServer({ a: '1' }))]));
    assert.equal((await again()).complete, true);
    assert.equal((await again()).complete, true);
    assert.deepEqual(steps, ['resume', 'pause', 'capture', 'resume', 'pause', 'capture', 'resume']);
  });

  test('are found in the stores that answer: one that goes away meanwhile is dropped, and the others get the point', async () => {
    const [steps, on, offsite] = [[] as Steps, disk(), disk()];
    await killed(on, ['db']);
    offsite.fault = (step) => {
      if (step.startsWith('look hooks')) throw new Failure('unreachable', 'no answer');
    };
    const stores = [named('offsite', offsite), named('a', on)];
    const components = [hooked(steps, kvServer({ a: '1' }))];
    const done = await backUp(testContext(), { ...request(on, components), stores });
    assert.deepEqual(
      done.stores.map(({ name, error }) => [name, error === null]),
      [
        ['offsite', false],
        ['a', true],
      ],
    );
    assert.deepEqual([on.points.size, steps], [1, ['resume', 'pause', 'capture', 'resume']]);
  });

  test('are noted while the run goes on', async () => {
    const [steps, on, server] = [[] as Steps, disk(), kvServer({ a: '1' })];
    const component = hooked(steps, server);
    let noted: string[] = [];
    server.fault = () => {
      noted = [...on.records.keys()].filter((key) => key.startsWith('hooks'));
    };
    await backUp(testContext(), request(on, [component]));
    assert.equal(noted.length, 1);
  });
});

describe('hooks around a restore', () => {
  test('are run before and after it; one that fails afterwards leaves the restore incomplete', async () => {
    const [steps, on, server] = [[] as Steps, disk(), kvServer({ a: '1' })];
    const restore = { before: [hook(steps, 'stop')], after: [hook(steps, 'start', fails)] };
    const components = [hooked(steps, server, { restore })];
    const { point } = await backUp(testContext(), request(on, components));
    assert.ok(point);
    server.data.clear();
    steps.length = 0;
    const done = await restorePoint(testContext(), { from: named('a', on), point, components });
    assert.deepEqual(steps, ['probe', 'stop', 'restore', 'probe', 'inventory', 'start']);
    assert.deepEqual([server.data.size, done.complete, done.verdict], [1, false, 'unknown']);
    server.data.clear();
    const select = { keys: ['a'] };
    const part = await restorePoint(testContext(), { from: named('a', on), point, components, select });
    assert.deepEqual([server.data.size, part.complete], [1, false], 'of a selection as well');
  });

  test('keep it from being begun when one before it fails', async () => {
    const [steps, on, server] = [[] as Steps, disk(), kvServer({ a: '1' })];
    const restore = { before: [hook(steps, 'stop', fails)], after: [hook(steps, 'start')] };
    const components = [hooked(steps, server, { restore })];
    const { point } = await backUp(testContext(), request(on, components));
    assert.ok(point);
    server.data.clear();
    steps.length = 0;
    const restored = restorePoint(testContext(), { from: named('a', on), point, components });
    await assert.rejects(restored, { code: 'hook-failed' });
    assert.deepEqual(steps, ['probe', 'stop', 'start']);
    assert.equal(server.data.size, 0);
  });
});
