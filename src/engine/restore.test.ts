import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Driver } from '../core/driver.ts';
import { Failure, isFailure } from '../core/errors.ts';
import { testContext } from '../core/testing.ts';
import { taken } from './backup-testing.ts';
import { listPoints } from './points.ts';
import { type RestoredPoint, restorePoint } from './restore.ts';
import { planRestore } from './restore-plan.ts';
import { kv, kvDriver, kvServer } from './testing.ts';
import { disk, named } from './testing-store.ts';

describe('a restore', () => {
  test('brings back what was there, compares it, and is a proof of the point', async () => {
    const [ctx, on, from] = [testContext(), disk(), named('a', disk())];
    const server = kvServer({ a: '1', b: '22' });
    const components = [kv('db', server)];
    const point = await taken(ctx, on, components);
    server.data.clear();
    const done = await restorePoint(ctx, { from: named('a', on), point, components });
    assert.deepEqual(
      [...server.data],
      [
        ['a', '1'],
        ['b', '22'],
      ],
    );
    assert.equal(done.verdict, 'pass');
    assert.equal(done.complete, true);
    assert.deepEqual(done.proved, ['db']);
    const [view] = await listPoints(ctx, named('a', on));
    assert.equal(view?.proofs[0]?.how, 'restore');
    assert.notEqual(view?.provedAt, null);
    assert.equal((await listPoints(ctx, from)).length, 0);
  });

  test('touches no target when one of them holds data', async () => {
    const [ctx, on] = [testContext(), disk()];
    const [db, cache, log] = [kvServer({ a: '1' }), kvServer({ c: '3' }), kvServer({ d: '4' })];
    const components = [kv('db', db), kv('cache', cache), kv('log', log)];
    const point = await taken(ctx, on, components);
    db.data.clear();
    const restore = restorePoint(ctx, { from: named('a', on), point, components });
    await assert.rejects(restore, (error) => {
      assert.ok(isFailure(error, 'target-not-empty'));
      assert.match(error.message, /cache.*1 keys.*log/);
      return true;
    });
    assert.equal(db.data.size, 0);
    assert.deepEqual([...cache.data], [['c', '3']]);
  });

  test('keeps the order of restore_after, also through a component that is not restored', async () => {
    const [ctx, on] = [testContext(), disk()];
    const order: string[] = [];
    const servers = { app: kvServer({ a: '1' }), queue: kvServer({ q: '1' }), db: kvServer({ d: '1' }) };
    const components = [
      kv('app', servers.app, { restoreAfter: ['queue'] }),
      kv('queue', servers.queue, { restoreAfter: ['db'] }),
      kv('db', servers.db),
    ];
    const point = await taken(ctx, on, components);
    for (const [name, server] of Object.entries(servers)) {
      server.data.clear();
      server.fault = (step) => void (step === 'restore' && order.push(name));
    }
    const done = await restorePoint(ctx, { from: named('a', on), point, components, only: ['app', 'db'] });
    assert.deepEqual(order, ['db', 'app']);
    assert.equal(done.verdict, 'pass');
    assert.equal(servers.queue.data.size, 0);
    const plan = await planRestore(ctx, { from: named('a', on), point, components });
    assert.deepEqual(plan.order, [['db'], ['queue'], ['app']]);
  });

  test('refuses an order that goes in a circle', async () => {
    const [ctx, on] = [testContext(), disk()];
    const components = [
      kv('a', kvServer({ x: '1' }), { restoreAfter: ['b'] }),
      kv('b', kvServer({ y: '1' }), { restoreAfter: ['a'] }),
    ];
    const point = await taken(ctx, on, components);
    await assert.rejects(planRestore(ctx, { from: named('a', on), point, components }), (error) => {
      assert.ok(isFailure(error, 'settings-invalid'));
      assert.match(error.message, /a after b after a/);
      return true;
    });
  });

  test('goes on with the others when one fails, and holds back what comes after that one', async () => {
    const [ctx, on] = [testContext(), disk()];
    const [db, app, cache] = [kvServer({ a: '1' }), kvServer({ b: '2' }), kvServer({ c: '3' })];
    const components = [kv('db', db), kv('app', app, { restoreAfter: ['db'] }), kv('cache', cache)];
    const point = await taken(ctx, on, components);
    for (const each of [db, app, cache]) each.data.clear();
    db.fault = (step) => {
      if (step === 'restore') throw new Failure('no-space', 'the disk is full');
    };
    const done = await restorePoint(ctx, { from: named('a', on), point, components });
    assert.equal(done.complete, false);
    assert.equal(done.verdict, 'fail');
    const errors = done.outcomes.map(({ name, error }) => [name, isFailure(error) ? error.code : error]);
    assert.deepEqual(errors, [
      ['db', 'no-space'],
      ['app', 'blocked'],
      ['cache', null],
    ]);
    assert.deepEqual([app.data.size, cache.data.size], [0, 1]);
    assert.deepEqual(done.proved, ['cache']);
    const blocked = done.outcomes[1]?.error;
    assert.ok(isFailure(blocked) && blocked.hint?.includes('--only app'));
  });

  test('that fails for every component throws the reason', async () => {
    const [ctx, on] = [testContext(), disk()];
    const db = kvServer({ a: '1' });
    const components = [kv('db', db)];
    const point = await taken(ctx, on, components);
    db.fault = () => {
      throw new Failure('unreachable', 'no answer');
    };
    const restore = restorePoint(ctx, { from: named('a', on), point, components });
    await assert.rejects(restore, (error) => isFailure(error, 'unreachable'));
  });

  test('goes to another target when told so, and leaves the first one alone', async () => {
    const [ctx, on] = [testContext(), disk()];
    const [live, other] = [kvServer({ a: '1' }), kvServer()];
    const driver = { ...kvDriver, retarget: () => other };
    const components = [kv('db', live, { driver })];
    const point = await taken(ctx, on, components);
    live.data.set('a', 'changed since');
    const request = { from: named('a', on), point, components, to: { db: 'kv://other' } };
    const done = await restorePoint(ctx, request);
    assert.equal(done.verdict, 'pass');
    assert.deepEqual([...other.data], [['a', '1']]);
    assert.deepEqual([...live.data], [['a', 'changed since']]);
    const elsewhere = { ...request, to: { bd: 'kv://other' } };
    await assert.rejects(restorePoint(ctx, elsewhere), { code: 'usage', hint: 'did you mean db?' });
  });

  test('does what was shown: data that came into the target since is not replaced', async () => {
    const [ctx, on] = [testContext(), disk()];
    const server = kvServer({ a: '1' });
    const components = [kv('db', server)];
    const point = await taken(ctx, on, components);
    server.data.clear();
    const request = { from: named('a', on), point, components, inPlace: true };
    const shown = await planRestore(ctx, request);
    server.data.set('new', 'since');
    await assert.rejects(restorePoint(ctx, request, shown), (error) => isFailure(error, 'target-not-empty'));
    assert.deepEqual([...server.data], [['new', 'since']]);
  });

  test('of a selection brings back that alone, and claims nothing about the whole', async () => {
    const [ctx, on] = [testContext(), disk()];
    const server = kvServer({ a: '1', b: '2' });
    const components = [kv('db', server)];
    const point = await taken(ctx, on, components);
    server.data.clear();
    const request = { from: named('a', on), point, components, select: { keys: ['b'] } };
    const done = await restorePoint(ctx, request);
    assert.deepEqual([...server.data], [['b', '2']]);
    assert.equal(done.verdict, 'unknown');
    assert.equal(done.complete, true);
    assert.deepEqual(done.proved, []);
    await assert.rejects(restorePoint(ctx, { ...request, inPlace: true }), (error) => isFailure(error, 'usage'));
  });

  test('of a selection that can be told from the rest is compared, and proves nothing of the whole', async () => {
    const [ctx, on] = [testContext(), disk()];
    const server = kvServer({ a: '1', b: '2' });
    let [spoilt, uncompared]: [string | null, string | null] = [null, null];
    const open: Driver['open'] = (settings) => {
      const component = kvDriver.open(settings);
      return {
        ...component,
        async restore(inner, chain, options) {
          const restored = await component.restore(inner, chain, options);
          if (spoilt) server.data.set(spoilt, 'spoilt');
          const keys = options?.select?.keys ?? [];
          return { ...restored, selected: { has: ({ name }) => keys.includes(name), uncompared } };
        },
      };
    };
    const components = [
      kv('db', server, { driver: { ...kvDriver, open }, checks: [{ name: 'all', command: 'count' }] }),
    ];
    const point = await taken(ctx, on, components);
    const selecting = async (...keys: string[]) => {
      server.data.clear();
      return await restorePoint(ctx, { from: named('a', on), point, components, select: { keys } });
    };
    const outcomeOf = ({ verdict, complete, proved, selected }: RestoredPoint) => [verdict, complete, proved, selected];
    const equal = await selecting('b');
    assert.deepEqual(outcomeOf(equal), ['pass', true, [], true]);
    assert.deepEqual(
      equal.outcomes[0]?.findings.kept.map(({ check }) => check),
      ['db: b is the same'],
    );
    assert.deepEqual(outcomeOf(await selecting('none')), ['unknown', false, [], true], 'nobody wants nothing back');
    uncompared = 'b as it was in spring';
    assert.deepEqual(outcomeOf(await selecting('b')), ['unknown', true, [], true], 'and says what was not compared');
    spoilt = 'a';
    uncompared = null;
    assert.deepEqual(outcomeOf(await selecting('b')), ['pass', true, [], true], 'what else is there is not looked at');
    spoilt = 'b';
    assert.deepEqual(outcomeOf(await selecting('b')), ['fail', false, [], true]);
  });

  test('of a component that the point does not hold says why, and what it holds', async () => {
    const [ctx, on] = [testContext(), disk()];
    const [db, cache] = [kvServer({ a: '1' }), kvServer({ c: '3' })];
    const components = [kv('db', db), kv('cache', cache)];
    db.fault = () => {
      throw new Failure('unreachable', 'no answer');
    };
    const point = await taken(ctx, on, components);
    const request = { from: named('a', on), point, components };
    await assert.rejects(restorePoint(ctx, { ...request, only: ['db'] }), (error) => {
      assert.ok(isFailure(error, 'missing'));
      assert.match(`${error.message} ${error.hint}`, /its capture failed \(no answer\).*it holds cache/);
      return true;
    });
    db.fault = () => undefined;
    cache.data.clear();
    const rest = await restorePoint(ctx, request);
    assert.match(rest.warnings[0] ?? '', /db is not in the point: its capture failed.*--only db/);
    assert.deepEqual([rest.verdict, rest.complete, rest.lacking], ['unknown', false, ['db']]);
    cache.data.clear();
    const chosen = await restorePoint(ctx, { ...request, only: ['cache'] });
    assert.deepEqual([chosen.verdict, chosen.complete, chosen.lacking], ['pass', true, []]);
  });

  test('that comes back different is a failure and no proof', async () => {
    const [ctx, on] = [testContext(), disk()];
    const server = kvServer({ a: '1' });
    const components = [kv('db', server, { checks: [{ name: 'rows', sql: 'count', min: 1 }] })];
    const point = await taken(ctx, on, components);
    server.data.clear();
    server.fault = (step) => void (step === 'inventory' && server.data.set('intruder', 'x'));
    const done = await restorePoint(ctx, { from: named('a', on), point, components });
    assert.equal(done.verdict, 'fail');
    assert.equal(done.complete, false);
    assert.deepEqual(done.proved, []);
    assert.equal(on.records.size, 0);
  });

  test('whose comparison did not read all of it again passes and is no proof', async () => {
    const [ctx, on] = [testContext(), disk()];
    const server = kvServer({ a: '1' });
    const driver: Driver = {
      ...kvDriver,
      async *compare(...of) {
        for await (const finding of kvDriver.compare(...of)) yield { ...finding, unread: true };
      },
    };
    const components = [kv('db', server, { driver })];
    const point = await taken(ctx, on, components);
    server.data.clear();
    const done = await restorePoint(ctx, { from: named('a', on), point, components });
    assert.deepEqual([done.verdict, done.complete, done.proved], ['pass', true, []]);
    assert.equal(on.records.size, 0);
  });

  test('tells the store apart when it cannot keep the proof', async () => {
    const [ctx, on] = [testContext(), disk()];
    const server = kvServer({ a: '1' });
    const components = [kv('db', server)];
    const point = await taken(ctx, on, components);
    server.data.clear();
    on.fault = (step) => {
      if (step.startsWith('record proofs')) throw new Failure('denied', 'read only');
    };
    const done = await restorePoint(ctx, { from: named('a', on), point, components });
    assert.equal(done.verdict, 'pass');
    assert.match(done.warnings[0] ?? '', /could not record that point .* was proved: read only/);
  });
});
