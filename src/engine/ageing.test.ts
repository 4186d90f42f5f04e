import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import type { Component } from '../core/component.ts';
import type { Driver } from '../core/driver.ts';
import { Failure } from '../core/errors.ts';
import { identityOf } from '../core/liveness.ts';
import type { Context, Json, Restored } from '../core/model.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { drillPoint } from './drill.ts';
import type { StackComponent } from './model.ts';
import { restorePoint } from './restore.ts';
import { planRestore, type RestoreRequest } from './restore-plan.ts';
import { noting } from './suspended.ts';
import { type KvServer, kv, kvDriver, kvSandboxes, kvServer } from './testing.ts';
import { disk, named } from './testing-store.ts';

/** A service that deletes by age. `rule` is null while it is suspended. */
interface AgeingServer extends KvServer {
  rule: string | null;
  settles: (() => void)[];
  missing: string[];
  resumed: number;
  /** It is gone, or refuses. */
  deaf: boolean;
}

function ageingServer(): AgeingServer {
  const kept = { rule: 'keys are deleted after 7 d', settles: [], missing: [], resumed: 0, deaf: false };
  return { ...kvServer({ a: '1', b: '22' }), ...kept };
}

const ageingDriver = {
  ...kvDriver,
  kind: 'ageing-kv',
  open: (settings) => ageingComponent(settings as AgeingServer),
} satisfies Driver;

function ageingComponent(server: AgeingServer): Component {
  const plain = kvDriver.open(server);
  return {
    ...plain,
    ageing: async () => (server.rule === null ? [] : [server.rule]),
    async resume(_ctx, what) {
      if (server.deaf) throw new Failure('unreachable', 'no answer');
      server.resumed += 1;
      server.rule ??= what as string;
    },
    async restore(ctx, chain, options): Promise<Restored> {
      const { rule } = server;
      await options?.suspending?.(rule);
      server.rule = null;
      const restored = await plain.restore(ctx, chain, options);
      const settle = async ({ signal }: Context): Promise<void> => {
        signal.throwIfAborted();
        for (const each of server.settles) each();
        server.rule = rule;
      };
      return { ...restored, missing: server.missing, settle };
    },
  };
}

interface Shop {
  readonly on: ReturnType<typeof disk>;
  readonly server: AgeingServer;
  readonly ask: RestoreRequest;
}

/** A point of a service whose data is gone since. */
async function lost(ctx: Context): Promise<Shop> {
  const [server, on] = [ageingServer(), disk()];
  const components: readonly StackComponent[] = [kv('events', server, { driver: ageingDriver })];
  const { point } = await backUp(ctx, { stack: 'shop', plan: null, components, stores: [named('a', on)] });
  assert.ok(point);
  server.data.clear();
  return { on, server, ask: { from: named('a', on), point, components } };
}

describe('what deletes by age', () => {
  test('is listed in the preview, which suspends nothing', async () => {
    const ctx = testContext();
    const { server, ask } = await lost(ctx);
    const plan = await planRestore(ctx, ask);
    assert.deepEqual(plan.steps[0]?.ageing, ['keys are deleted after 7 d']);
    assert.equal(server.rule, 'keys are deleted after 7 d');
  });

  test('is set back after the comparison', async () => {
    const ctx = testContext();
    const { server, ask } = await lost(ctx);
    let during: string | null = 'nobody looked';
    server.fault = (step) => {
      if (step === 'inventory') during = server.rule;
    };
    const done = await restorePoint(ctx, ask);
    assert.equal(done.verdict, 'pass');
    assert.equal(during, null);
    assert.equal(server.rule, 'keys are deleted after 7 d');
  });

  test('is set back when the comparison fails, and when the restored service does not answer', async () => {
    for (const step of ['inventory', 'probe'] as const) {
      const ctx = testContext();
      const { server, ask } = await lost(ctx);
      const plan = await planRestore(ctx, ask);
      server.fault = (at) => {
        if (at === step) throw new Error('it is gone');
      };
      const restored = restorePoint(ctx, ask, plan);
      if (step === 'probe') await assert.rejects(restored, /it is gone/);
      else assert.equal((await restored).verdict, 'unknown');
      assert.equal(server.rule, 'keys are deleted after 7 d', step);
    }
  });

  test('is set back for a user who breaks off', async () => {
    const stop = new AbortController();
    const ctx = testContext({ signal: stop.signal });
    const { server, ask } = await lost(ctx);
    server.fault = (step) => {
      if (step === 'inventory') stop.abort();
      stop.signal.throwIfAborted();
    };
    await assert.rejects(restorePoint(ctx, ask), { code: 'interrupted' });
    assert.equal(server.rule, 'keys are deleted after 7 d');
  });

  test('fails the restore when it can not be set back, and the data stays', async () => {
    const ctx = testContext();
    const { server, ask } = await lost(ctx);
    server.settles.push(() => {
      throw new Error('the broker refuses');
    });
    const done = await restorePoint(ctx, ask);
    assert.deepEqual([done.verdict, done.complete, server.data.size], ['fail', false, 2]);
    const [finding] = done.outcomes[0]?.findings.kept ?? [];
    assert.match(finding?.check ?? '', /deletes or rewrites by age/);
    assert.equal(finding?.detail, 'the broker refuses');
  });

  test('is suspended and set back in a drill too', async () => {
    const ctx = testContext();
    const { ask } = await lost(ctx);
    const [item] = ask.components;
    assert.ok(item);
    const boxes = { ...kvSandboxes(), start: async () => ({ component: ageingDriver.open(box), ...nowhere }) };
    const box = { ...ageingServer(), data: new Map<string, string>() };
    const { evidence } = await drillPoint(ctx, { ...ask, sandboxes: boxes });
    assert.deepEqual([evidence.verdict, box.rule], ['pass', 'keys are deleted after 7 d']);
  });
});

const nowhere = { dir: '/nowhere', [Symbol.asyncDispose]: async (): Promise<void> => undefined };

test('components whose service has the same rules are restored one after the other', async () => {
  const ctx = testContext();
  const servers = [ageingServer(), ageingServer(), { ...ageingServer(), rule: 'another rule' }];
  const components = servers.map((server, at) => kv(`events${at}`, server, { driver: ageingDriver }));
  const stores = [named('a', disk())];
  const { point } = await backUp(ctx, { stack: 'shop', plan: null, components, stores });
  const [from] = stores;
  assert.ok(point && from);
  const running = new Set<number>();
  const together = new Set<string>();
  const besideThird = (): boolean => [...together].some((each) => each.includes('2') && each.length > 1);
  for (const [at, server] of servers.entries()) {
    server.data.clear();
    server.fault = async (step) => {
      if (step !== 'restore') return;
      running.add(at);
      const deadline = performance.now() + 10_000;
      do {
        together.add([...running].sort().join());
        await new Promise((resolve) => setImmediate(resolve));
      } while (!besideThird() && performance.now() < deadline);
    };
    server.settles.push(() => running.delete(at));
  }
  assert.equal((await restorePoint(ctx, { from, point, components })).verdict, 'pass');
  assert.ok(![...together].some((each) => each.includes('0') && each.includes('1')), [...together].join(' '));
  assert.ok(besideThird(), 'the third goes beside them');
});

describe('what a restore has suspended that was killed', () => {
  /** As it leaves the service and the store: suspended, noted, and its process gone. */
  async function killed(ctx: Context): Promise<Shop> {
    const at = await lost(ctx);
    const [item] = at.ask.components;
    assert.ok(item);
    const { store } = at.ask.from;
    const { identity } = await item.component.probe(ctx);
    const base = await store.open(ctx, at.ask.point.id, item.name);
    await noting(store, item, identity).restore(ctx, { base });
    const { pid } = spawnSync('true');
    for (const [key, note] of notesIn(at)) {
      const { process: owner, ...rest } = note as { readonly [key: string]: Json };
      at.on.records.set(key, { ...rest, process: { ...(owner as object), pid } });
    }
    assert.equal(at.server.rule, null);
    return at;
  }
  /** What the user was shown before the service went. */
  const planned = (ctx: Context, { ask }: Shop) => planRestore(ctx, ask);
  const notesIn = ({ on }: Shop) => [...on.records].filter(([key]) => key.startsWith('suspended/'));

  test('is set back by the next backup of the component, which says so (fault 45)', async () => {
    const ctx = testContext();
    const at = await killed(ctx);
    const { components, from } = at.ask;
    const { warnings } = await backUp(ctx, { stack: 'shop', plan: null, components, stores: [from] });
    assert.deepEqual(warnings, ['events: what an earlier restore had suspended is set back']);
    assert.deepEqual([at.server.rule, notesIn(at)], ['keys are deleted after 7 d', []]);
  });

  test('is set back by the restore that goes on with it', async () => {
    const ctx = testContext();
    const at = await killed(ctx);
    at.server.data.clear();
    assert.equal((await restorePoint(ctx, at.ask)).verdict, 'pass');
    assert.deepEqual([at.server.rule, notesIn(at), at.server.resumed], ['keys are deleted after 7 d', [], 1]);
  });

  test('stays as long as its process may be alive, and where it is another service', async () => {
    const ctx = testContext();
    const at = await killed(ctx);
    const [[key = '', note] = []] = notesIn(at);
    const { components, from } = at.ask;
    const again = () => backUp(ctx, { stack: 'shop', plan: null, components, stores: [from] });
    for (const change of [{ process: await identityOf(process.pid) }, { identity: 'another one' }]) {
      at.on.records.set(key, { ...(note as object), ...change });
      assert.deepEqual((await again()).warnings, []);
      assert.deepEqual([at.server.resumed, notesIn(at).length], [0, 1]);
    }
  });

  test('is noted where it can be: a store that takes no notes is restored from all the same', async () => {
    const ctx = testContext();
    const at = await lost(ctx);
    at.on.fault = (step) => {
      if (step.startsWith('record')) throw new Failure('denied', 'read only');
    };
    const { outcomes } = await restorePoint(ctx, at.ask);
    assert.deepEqual(
      outcomes.map(({ verdict, error }) => [verdict, error]),
      [['pass', null]],
    );
    assert.equal(at.server.rule, 'keys are deleted after 7 d');
    assert.match(JSON.stringify(ctx.logged), /no note of what is suspended/);
  });

  test('leaves no note when nothing was killed', async () => {
    const ctx = testContext();
    const at = await lost(ctx);
    await restorePoint(ctx, at.ask);
    assert.deepEqual(notesIn(at), []);
    at.server.data.clear();
    at.server.fault = (step) => {
      if (step === 'restore') throw new Error('it broke off');
    };
    await assert.rejects(restorePoint(ctx, at.ask));
    assert.deepEqual([at.server.rule, notesIn(at)], ['keys are deleted after 7 d', []]);
  });

  test('is set back by the next backup where the service was gone when the restore failed (fault 45)', async () => {
    const ctx = testContext();
    const at = await lost(ctx);
    at.server.fault = (step) => {
      at.server.deaf = true;
      if (step === 'restore') throw new Failure('unreachable', 'it is gone');
    };
    await assert.rejects(restorePoint(ctx, at.ask, await planned(ctx, at)), { code: 'unreachable' });
    assert.deepEqual([at.server.rule, notesIn(at).length], [null, 1]);
    at.server.fault = () => undefined;
    const { components, from } = at.ask;
    const again = () => backUp(ctx, { stack: 'shop', plan: null, components, stores: [from] });
    const still = await again();
    assert.match(still.warnings.join(), /had suspended is still so: no answer/);
    assert.deepEqual([still.kept, still.complete], [true, false], 'it is there, and not all is well');
    at.server.deaf = false;
    assert.equal((await again()).complete, true);
    assert.deepEqual([at.server.rule, notesIn(at)], ['keys are deleted after 7 d', []]);
  });

  test('is set back by the next backup where the end of the restore could not', async () => {
    const ctx = testContext();
    const at = await lost(ctx);
    at.server.settles.push(() => {
      throw new Error('the broker refuses');
    });
    assert.equal((await restorePoint(ctx, at.ask)).verdict, 'fail');
    assert.equal(at.server.rule, null);
    const { components, from } = at.ask;
    await backUp(ctx, { stack: 'shop', plan: null, components, stores: [from] });
    assert.deepEqual([at.server.rule, notesIn(at)], ['keys are deleted after 7 d', []]);
  });

  test('is set back once, also where the store forbids deletion: what its owner changes later stays', async () => {
    const ctx = testContext();
    const at = await killed(ctx);
    at.on.fault = (step) => {
      if (step.startsWith('unrecord suspended')) throw new Failure('denied', 'nothing is deleted here');
    };
    const { components, from } = at.ask;
    const again = () => backUp(ctx, { stack: 'shop', plan: null, components, stores: [from] });
    await again();
    assert.equal(at.server.rule, 'keys are deleted after 7 d');
    at.server.rule = null;
    const { warnings, complete } = await again();
    assert.deepEqual([at.server.rule, at.server.resumed, warnings, complete], [null, 1, [], true]);
  });

  test('is found in stores that the next run does not write to, and a restore says when it is still so', async () => {
    const ctx = testContext();
    const at = await killed(ctx);
    const { components, from, point } = at.ask;
    const elsewhere = disk();
    const other = named('b', elsewhere);
    for (const [id, held] of at.on.points) elsewhere.points.set(id, held);
    const ask = { ...at.ask, from: other, others: [from] };
    at.server.data.clear();
    at.server.deaf = true;
    const done = await restorePoint(ctx, ask);
    assert.deepEqual([done.complete, done.outcomes[0]?.error, at.server.data.size], [false, null, 2]);
    assert.match(JSON.stringify(done.outcomes[0]?.findings.kept), /had suspended is set back.*fail.*no answer/);
    at.server.deaf = false;
    const backedUp = await backUp(ctx, { stack: 'shop', plan: null, components, stores: [other], others: [from] });
    assert.deepEqual([backedUp.complete, at.server.rule], [true, 'keys are deleted after 7 d']);
    assert.ok(point.id < (backedUp.point?.id ?? ''));
  });

  test('is noted in a store that outlives the process, where the point comes from one that does not', async () => {
    const ctx = testContext();
    const at = await lost(ctx);
    const lasting = disk();
    const noted: string[] = [];
    at.server.fault = (step) => {
      if (step === 'restore') noted.push(...lasting.records.keys());
    };
    await restorePoint(ctx, { ...at.ask, safety: [named('b', lasting)] });
    assert.match(noted.join(), /^suspended\/events\/[^,]+$/);
  });

  test('and what a store does not tell of it keeps no backup from being taken', async () => {
    const ctx = testContext();
    const at = await killed(ctx);
    const [[key = ''] = []] = notesIn(at);
    at.on.records.set(key, { kind: 5 });
    const { components, from } = at.ask;
    const again = () => backUp(ctx, { stack: 'shop', plan: null, components, stores: [from] });
    assert.equal((await again()).complete, true);
    at.on.fault = (step) => {
      if (step.startsWith('look suspended')) throw new Failure('unreachable', 'no answer');
    };
    assert.equal((await again()).complete, true);
  });
});

describe('a restore that could not bring back everything', () => {
  test('is incomplete, and says what is missing', async () => {
    const ctx = testContext();
    const { server, ask } = await lost(ctx);
    server.missing = ['group billing: the broker refuses its offset'];
    const done = await restorePoint(ctx, ask);
    assert.deepEqual([done.verdict, done.complete, done.proved], ['fail', false, []]);
    assert.ok(done.outcomes[0]?.findings.kept.some(({ detail }) => /group billing/.test(detail)));
  });

  test('is so with a selection too', async () => {
    const ctx = testContext();
    const { server, ask } = await lost(ctx);
    server.missing = ['group billing: the broker refuses its offset'];
    const done = await restorePoint(ctx, { ...ask, select: { keys: ['a'] } });
    assert.deepEqual([done.verdict, done.complete], ['fail', false]);
    assert.ok(done.outcomes[0]?.findings.kept.some(({ detail }) => /group billing/.test(detail)));
  });
});

describe('a restore under other names', () => {
  test('goes into a service that holds data, for one component at a time', async () => {
    const ctx = testContext();
    const { server, ask } = await lost(ctx);
    server.data.set('other', '1');
    const rename = { a: 'b' };
    const plan = await planRestore(ctx, { ...ask, rename });
    assert.deepEqual([plan.steps[0]?.way, plan.steps[0]?.problem], ['renamed', null]);
    const two = [...ask.components, kv('events2', server, { driver: ageingDriver })];
    const { events } = ask.point.components;
    assert.ok(events);
    const point = { ...ask.point, components: { events, events2: events } };
    const both = planRestore(ctx, { ...ask, point, components: two, rename });
    await assert.rejects(both, { code: 'usage', hint: /--only/ });
    await assert.rejects(
      planRestore(ctx, { ...ask, rename, delta: true }),
      /either under other names or of what differs/,
    );
  });
});
