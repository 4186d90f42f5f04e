import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Component } from '../core/component.ts';
import type { SandboxRunner } from '../core/driver.ts';
import { Failure, isFailure } from '../core/errors.ts';
import type { Verdict } from '../core/model.ts';
import type { RecoveryPoint } from '../core/point.ts';
import { type TestContext, testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { type DrillRequest, drillPoint } from './drill.ts';
import { drillIds, type Evidence, evidenceMarkdown, evidenceSchema, readEvidence } from './evidence.ts';
import type { Check, StackComponent } from './model.ts';
import { listPoints } from './points.ts';
import { kv, kvDriver, kvSandboxes, kvServer } from './testing.ts';
import { type Disk, damage, disk, named } from './testing-store.ts';

interface Rig {
  readonly ctx: TestContext;
  readonly on: Disk;
  readonly point: RecoveryPoint;
  readonly request: DrillRequest;
}

async function rig(components: readonly StackComponent[]): Promise<Rig> {
  const [ctx, on] = [testContext(), disk()];
  const { point } = await backUp(ctx, { stack: 'shop', plan: null, components, stores: [named('a', on)] });
  assert.ok(point);
  return { ctx, on, point, request: { from: named('a', on), point, components, sandboxes: kvSandboxes() } };
}
const standard = () => [kv('db', kvServer({ a: '1', b: '22' })), kv('cache', kvServer({ c: '3' }))];

describe('a drill', () => {
  test('that finds everything equal passes, and the point is proved', async () => {
    const { ctx, on, request, point } = await rig(standard());
    const { evidence, proved, unrecorded } = await drillPoint(ctx, { ...request, chooseMs: 12 });
    assert.equal(evidence.verdict, 'pass');
    assert.deepEqual(proved, ['db', 'cache']);
    assert.equal(unrecorded, null);
    assert.deepEqual(await readEvidence(ctx, request.from.store, evidence.drill), evidence);
    const [view] = await listPoints(ctx, request.from);
    assert.deepEqual(
      view?.proofs.map(({ how, source, point: of }) => [how, source, of]),
      [['drill', evidence.drill, point.id]],
    );
    assert.notEqual(view?.provedAt, null);
    assert.equal((request.sandboxes as ReturnType<typeof kvSandboxes>).running, 0);
    assert.equal(on.points.size, 1);
  });

  test('times its phases, which add up to the time to recover', async () => {
    let ms = 0;
    const components = [
      kv('db', kvServer({ a: '1' }), { objective: { rtoMs: 3_600_000, rpoMs: 1000 } }),
      kv('cache', kvServer({ c: '3' }), { restoreAfter: ['db'] }),
      kv('aside', kvServer({ d: '4' })),
    ];
    const { request, on } = await rig(components);
    const ctx = testContext({ monotonicMs: () => ms++ });
    ctx.advance(3_600_000);
    on.fault = (step) => void (step.startsWith('get') && (ms += 100));
    const { evidence } = await drillPoint(ctx, { ...request, chooseMs: 60_000 });
    assert.equal(evidence.phases.choose, 60_000);
    const tookMs = Date.parse(evidence.finished_at) - Date.parse(evidence.started_at);
    assert.ok(evidence.rto_ms !== null && tookMs >= evidence.rto_ms, `${tookMs} for ${evidence.rto_ms}`);
    const sum = Object.values(evidence.phases).reduce((a, b) => a + b, 0);
    assert.ok(evidence.rto_ms !== null && Math.abs(sum - evidence.rto_ms) < 40, `${sum} of ${evidence.rto_ms}`);
    assert.ok(evidence.phases.fetch >= 200, 'the waits for the store are told apart');
    assert.deepEqual(
      evidence.components.map(({ objective }) => [objective.rto_met, objective.rpo_met]),
      [
        [true, false],
        [null, null],
        [null, null],
      ],
    );
    assert.equal(evidence.objectives_met, false);
    assert.deepEqual(evidence.critical_path, ['db', 'cache']);
    assert.match(evidenceMarkdown(evidence), /^- Critical path: db, then cache$/m);
    assert.ok(evidence.rpo_ms > 0);
  });

  test('of nothing is unknown', async () => {
    const { ctx, request } = await rig(standard());
    const empty = { ...request.point, components: {} };
    const { evidence, proved } = await drillPoint(ctx, { ...request, point: empty });
    assert.equal(evidence.verdict, 'unknown');
    assert.equal(evidence.rto_ms, null);
    assert.deepEqual(proved, []);
    assert.equal((await drillPoint(ctx, { ...request, only: [] })).evidence.verdict, 'unknown');
  });

  test('keeps evidence of its failure too, and proves nothing by it', async () => {
    const { ctx, on, request, point } = await rig(standard());
    damage(on, point.id, 'db', 'keys/a', '2');
    const { evidence, proved } = await drillPoint(ctx, request);
    assert.equal(evidence.verdict, 'fail');
    assert.equal(evidence.rto_ms, null, 'half a recovery has no recovery time');
    assert.deepEqual(proved, ['cache']);
    assert.deepEqual(await drillIds(ctx, request.from.store), [evidence.drill]);
    const [view] = await listPoints(ctx, request.from);
    assert.equal(view?.provedAt, null, 'half of a point is not the point');
  });

  test('proves a point together with another one that tried the rest', async () => {
    const { ctx, request } = await rig(standard());
    await drillPoint(ctx, { ...request, only: ['db'] });
    assert.equal((await listPoints(ctx, request.from))[0]?.provedAt, null);
    await drillPoint(ctx, { ...request, only: ['cache'] });
    assert.notEqual((await listPoints(ctx, request.from))[0]?.provedAt, null);
  });

  test('says so when the store can not keep the evidence', async () => {
    const { ctx, on, request } = await rig(standard());
    on.fault = (step) => {
      if (step.startsWith('record')) throw new Failure('denied', 'read only');
    };
    const done = await drillPoint(ctx, request);
    assert.equal(done.evidence.verdict, 'pass');
    assert.ok(isFailure(done.unrecorded, 'denied'));
    assert.deepEqual(done.proved, []);
  });

  test('that is interrupted leaves no sandbox and no evidence', async () => {
    const controller = new AbortController();
    const { request, on } = await rig(standard());
    const ctx = testContext({ signal: controller.signal });
    on.fault = (step) => void (step.startsWith('get') && controller.abort(new Failure('interrupted', 'stopped')));
    await assert.rejects(drillPoint(ctx, request), (error) => isFailure(error, 'interrupted'));
    assert.equal((request.sandboxes as ReturnType<typeof kvSandboxes>).running, 0);
    assert.deepEqual(await drillIds(ctx, request.from.store), []);
  });
});

describe('a sandbox that starts its server on what was restored', () => {
  const isAsked = { name: 'it is asked', command: 'count', equals: 7 };
  const started = kv('db', kvServer(Object.fromEntries(Array.from('abcdefg', (key) => [key, '1'])))).component;
  const drilled = async (serve: () => Promise<Component>): Promise<Evidence> => {
    const { ctx, request } = await rig([kv('db', kvServer({ a: '1' }), { checks: [isAsked] })]);
    const boxes = kvSandboxes();
    const start: SandboxRunner['start'] = async (...args) => ({ ...(await boxes.start(...args)), serve });
    const { evidence } = await drillPoint(ctx, { ...request, sandboxes: { name: 'maps', start } });
    assert.equal(boxes.running, 0);
    return evidence;
  };

  test('is compared as it was restored, and the server is asked', async () => {
    const evidence = await drilled(async () => started);
    assert.equal(evidence.verdict, 'pass');
    assert.ok(evidence.rto_ms !== null);
  });

  test('and does not start it shows nothing about the point', async () => {
    const evidence = await drilled(() => Promise.reject(new Failure('malformed', 'no such locale')));
    assert.equal(evidence.verdict, 'unknown');
    assert.match(JSON.stringify(evidence.components[0]?.findings), /no such locale.*nobody is there to be asked/);
  });
});

describe('the verdict', () => {
  const cases: Record<string, { verdict: Verdict; change: (rig: Rig) => Partial<DrillRequest> | undefined }> = {
    'a sandbox that does not start proves nothing': {
      verdict: 'unknown',
      change: () => ({
        sandboxes: kvSandboxes(() => {
          throw new Failure('unreachable', 'no memory left');
        }),
      }),
    },
    'a sandbox that fails with the code of a damaged point proves nothing either': {
      verdict: 'unknown',
      change: () => ({
        sandboxes: kvSandboxes(() => {
          throw new Failure('missing', 'no template directory');
        }),
      }),
    },
    'a kind without throw-away servers is unknown': {
      verdict: 'unknown',
      change: ({ request }) => ({
        components: request.components.map((each) => {
          const { serverSpec: _, ...driver } = kvDriver;
          return { ...each, driver };
        }),
      }),
    },
    'a damaged part fails': {
      verdict: 'fail',
      change: ({ on, point }) => void damage(on, point.id, 'cache', 'keys/c', 'x'),
    },
    'a missing part fails, because the inventory knows it': {
      verdict: 'fail',
      change: ({ on, point }) => void damage(on, point.id, 'cache', 'keys/c', null),
    },
    'a missing inventory fails': {
      verdict: 'fail',
      change: ({ on, point }) => void damage(on, point.id, 'cache', 'inventory.ndjson', null),
    },
    'a component that is gone from the store fails': {
      verdict: 'fail',
      change: ({ on, point }) => void on.points.get(point.id)?.components.delete('cache'),
    },
    'a store that does not answer proves nothing': {
      verdict: 'unknown',
      change: ({ on }) => {
        on.fault = (step) => {
          if (step.startsWith('get')) throw new Failure('unreachable', 'no route');
        };
        return undefined;
      },
    },
    'a point without an inventory is unknown': {
      verdict: 'unknown',
      change: ({ point }) => {
        const { db, cache } = point.components;
        assert.ok(db && cache);
        return { point: { ...point, components: { db, cache: { ...cache, inventoryLevel: null } } } };
      },
    },
    'a component whose capture failed is unknown': {
      verdict: 'unknown',
      change: ({ point }) => {
        const { db, cache } = point.components;
        assert.ok(db && cache);
        const error = { code: 'unreachable', message: 'no answer' };
        return { point: { ...point, components: { db, cache: { ...cache, error } } } };
      },
    },
    'a component that is no longer configured is unknown': {
      verdict: 'unknown',
      change: ({ request }) => ({ components: request.components.filter(({ name }) => name === 'db') }),
    },
    'a component that the point does not know is unknown': {
      verdict: 'unknown',
      change: () => ({ only: ['db', 'queue'] }),
    },
    'a configured component that the point does not know is unknown': {
      verdict: 'unknown',
      change: ({ request }) => ({ components: [...request.components, kv('queue', kvServer())] }),
    },
    'a configured component that the point is not expected to know is none of its business': {
      verdict: 'pass',
      change: ({ request }) => ({
        components: [...request.components, kv('queue', kvServer())],
        expected: ['db', 'cache'],
      }),
    },
  };
  for (const [title, { verdict, change }] of Object.entries(cases)) {
    test(title, async () => {
      const made = await rig(standard());
      const { evidence } = await drillPoint(made.ctx, { ...made.request, ...change(made) });
      assert.equal(evidence.verdict, verdict, JSON.stringify(evidence.components));
      assert.ok(evidenceSchema.safeParse(evidence).success);
    });
  }

  test('an empty service, of which nothing could be compared, is unknown, whatever its checks say', async () => {
    const { ctx, request } = await rig([kv('db', kvServer(), { checks: [{ name: 'rows', sql: 'count', equals: 0 }] })]);
    assert.equal((await drillPoint(ctx, request)).evidence.verdict, 'unknown');
  });

  const checks: [string, Check, Verdict][] = [
    ['a check that holds passes', { name: 'rows', sql: 'count', min: 2, max: 2, equals: 2 }, 'pass'],
    ['a check below its least fails', { name: 'rows', sql: 'count', min: 3 }, 'fail'],
    ['a check above its most fails', { name: 'rows', command: 'count', max: 1 }, 'fail'],
    ['a check that is not equal fails', { name: 'rows', sql: 'count', equals: 3 }, 'fail'],
    ['a check that answers no number fails', { name: 'text', sql: 'nothing', min: 0 }, 'fail'],
  ];
  for (const [title, check, verdict] of checks) {
    test(title, async () => {
      const { ctx, request } = await rig([kv('db', kvServer({ a: '1', b: '2' }), { checks: [check] })]);
      assert.equal((await drillPoint(ctx, request)).evidence.verdict, verdict);
    });
  }

  test('a check is asked of the database that it names', async () => {
    const asked: unknown[] = [];
    const driver = {
      ...kvDriver,
      open: (settings: unknown) => ({
        ...kvDriver.open(settings),
        measure: async (_ctx: unknown, query: string, database?: string) => asked.push([query, database]),
      }),
    };
    const checks = [{ name: 'rows', sql: 'count', database: 'shop', min: 1 }];
    const { ctx, request } = await rig([kv('db', kvServer({ a: '1' }), { driver, checks })]);
    assert.equal((await drillPoint(ctx, request)).evidence.verdict, 'pass');
    assert.deepEqual(asked, [['count', 'shop']]);
  });

  test('a check that can not be asked is unknown', async () => {
    const driver = {
      ...kvDriver,
      open: (settings: unknown) => ({
        ...kvDriver.open(settings),
        measure: () => Promise.reject(new Failure('program-failed', 'syntax error')),
      }),
    };
    const checks = [{ name: 'rows', sql: 'selekt', min: 1 }];
    const { ctx, request } = await rig([kv('db', kvServer({ a: '1' }), { driver, checks })]);
    const { evidence } = await drillPoint(ctx, request);
    assert.equal(evidence.verdict, 'unknown');
  });
});

describe('the evidence for people', () => {
  test('tells verdict, times and what did not pass, and nothing in it breaks the page', async () => {
    const evil = 'a|b\n# pass <script>';
    const components = [kv('db', kvServer({ [evil]: '1' }), { objective: { rtoMs: 1, rpoMs: 90_061_000 } })];
    const { ctx, on, request, point } = await rig(components);
    damage(on, point.id, 'db', `keys/${evil}`, null);
    const { evidence } = await drillPoint(ctx, request);
    const text = evidenceMarkdown(evidence);
    assert.match(text, /^# Drill .*: fail\n/);
    assert.match(text, /\(promised 1d 1h 1m 1s: met\)/);
    assert.match(text, /- fail: db: a\\\|b # pass &lt;script> is the same: it was there at the cut/);
    assert.equal(text.split('\n').filter((line) => line.startsWith('# ')).length, 1);
  });
});
