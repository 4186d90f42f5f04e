// One store that is fed: what is in it, what is acknowledged, and what happens when a component or the store fails.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { type Faults, faultyBucket } from '../buckets/faulty.ts';
import { Failure } from '../core/errors.ts';
import { testContext } from '../core/testing.ts';
import {
  cutAt,
  followStore,
  grow,
  journalOf,
  type NumbersServer,
  numbers,
  numbersIn,
  numbersServer,
  pointNumbers,
  running,
  textOf,
  upTo,
} from './follow-testing.ts';
import { DATED, KINDS, made, opened, RESTIC } from './stores.suite.ts';

const AWAY = new Failure('unreachable', 'no answer');

function counted(server: NumbersServer, from: number): number[] {
  return server.numbers.slice(from);
}

for (const kind of [DATED, RESTIC]) {
  describe(`following into a store that is ${kind.title}`, () => {
    test('what comes is in the journal, the base is a point, and a second start goes on without a gap', async () => {
      const ctx = testContext();
      const server = numbersServer(5);
      await using store = await opened(ctx, RESTIC, await made(ctx, RESTIC));
      const request = { components: [numbers('db', server)], stores: [followStore(store)] };
      const first = running(ctx, request);
      await first.based();
      grow(server, 7);
      await first.until(upTo(12));
      const [ended] = await first.stop();
      assert.equal(ended?.error, null);
      assert.equal(server.acknowledged, 12);
      grow(server, 4);
      const second = running(ctx, request);
      await second.until(upTo(16));
      await second.stop();
      assert.deepEqual(await numbersIn(ctx, store.store, 'db'), counted(server, 5));
      const points = await Array.fromAsync(store.store.list(ctx));
      assert.equal(points.length, 1);
      assert.deepEqual([points[0]?.plan, points[0]?.components.db?.journal?.from], ['follow', cutAt(5).position]);
      await using _free = await store.store.journal('db').write(ctx); // the lease was given back
    });

    test('the other stores have the same lineages, ranges, times, clocks and gaps', async () => {
      const ctx = testContext();
      const server = numbersServer(2);
      await using store = await opened(ctx, kind, await made(ctx, kind), 'one');
      const others = KINDS.map(async (each, at) => await opened(ctx, each, await made(ctx, each), `other-${at}`));
      const stores = [store, ...(await Promise.all(others))];
      const request = { components: [numbers('db', server)], stores: stores.map((each) => followStore(each)) };
      const first = running(ctx, request);
      await first.based();
      grow(server, 7);
      await first.until(upTo(9));
      await first.stop();
      grow(server, 4);
      server.since = 11; // what lies between was lost
      const second = running(ctx, request);
      await second.until(upTo(13));
      await second.stop();
      [server.id, server.syncs] = ['log-2', true];
      const third = running(ctx, request);
      await third.based();
      grow(server, 2);
      await third.until(upTo(15));
      await third.stop();
      const original = await journalOf(ctx, store.store, 'db');
      assert.deepEqual(await textOf(ctx, store.store, 'db'), [
        ...['1 2-5: 2,3,4', '1 5-8: 5,6,7', '1 8-9: 8', '1 9-11: trimmed', '1 11-13: 11,12', '2 13-15: 13,14'],
      ]);
      for (const each of stores) {
        assert.deepEqual(await journalOf(ctx, each.store, 'db'), original, each.name);
        const points = await Array.fromAsync(each.store.list(ctx), ({ id }) => id);
        assert.equal(points.length, 2);
        assert.deepEqual(await pointNumbers(ctx, each.store, points[1] ?? '', 'db'), server.numbers.slice(0, 13));
        await each[Symbol.asyncDispose]();
      }
    });
  });
}

test('a store that is away is waited for: nothing is acknowledged meanwhile, and nothing is lost or twice', async () => {
  const ctx = testContext();
  const server = numbersServer(1);
  const faults: Faults = {};
  await using store = await opened(ctx, RESTIC, faultyBucket(await made(ctx, RESTIC), faults));
  const run = running(ctx, { components: [numbers('db', server)], stores: [followStore(store)] });
  await run.based();
  let away = 0;
  faults.fail = (operation, key) => {
    if (operation !== 'put' || !/-[0-9a-f]{64}$/.test(key)) return undefined;
    if (++away === 8) delete faults.fail;
    return AWAY;
  };
  grow(server, 3);
  await run.until(({ state, error }) => state === 'waiting' && error === AWAY);
  assert.equal(server.acknowledged, 0);
  await run.until(upTo(4));
  let lost = 0;
  faults.loseReply = (operation, key) => operation === 'put' && /-[0-9a-f]{64}$/.test(key) && ++lost % 2 === 1;
  grow(server, 20);
  const { error, state } = await run.until(upTo(24));
  await run.stop();
  assert.deepEqual([error, state, server.acknowledged], [null, 'following', 24]);
  assert.ok(lost > 3);
  assert.deepEqual(await numbersIn(ctx, store.store, 'db'), counted(server, 1));
  const [told, ...again] = ctx.logged.filter(({ message }) => message.includes('takes nothing'));
  assert.ok(told && again.length < 12, 'it is told once each time that it goes away');
});

test('a component that fails is tried again, later each time, and stops no other', async () => {
  const ctx = testContext();
  const [well, ill] = [numbersServer(), numbersServer()];
  await using store = await opened(ctx, RESTIC, await made(ctx, RESTIC));
  let failures = 0;
  ill.fault = (step) => {
    if (step !== 'follow' || ++failures > 8) return;
    throw new Failure('unreachable', 'no server', { hint: 'start it' });
  };
  const components = [numbers('well', well), numbers('ill', ill)];
  const run = running(ctx, { components, stores: [followStore(store)] });
  await run.based('well');
  grow(well, 3);
  await run.until((view) => view.component === 'well' && upTo(3)(view));
  await run.based('ill');
  grow(ill, 2);
  await run.until((view) => view.component === 'ill' && upTo(2)(view));
  await run.stop();
  const told = ctx.logged.filter(({ message }) => message.includes('can not be followed for now'));
  const waits = told.map(({ fields }) => (fields as { again_in_ms: number }).again_in_ms / 1000);
  assert.deepEqual(waits, [1, 2, 4, 8, 15, 15, 15, 15]);
  assert.ok(told.every(({ fields }) => (fields as { hint: string }).hint === 'start it'));
});

test('a component that can not be followed as it is configured is not tried again, and stops no other', async () => {
  const ctx = testContext();
  await using store = await opened(ctx, RESTIC, await made(ctx, RESTIC));
  const [well, odd] = [numbersServer(), numbers('odd', numbersServer())];
  const unfollowable = new Failure('settings-invalid', 'dumps alone', { hint: 'set capture' });
  const components = [numbers('well', well), { ...odd, component: { ...odd.component, unfollowable } }];
  const run = running(ctx, { components, stores: [followStore(store)] });
  await run.until((view) => view.component === 'odd' && view.state === 'ended' && view.error === unfollowable);
  await run.based('well');
  grow(well, 3);
  await run.until((view) => view.component === 'well' && upTo(3)(view));
  const ended = await run.stop();
  assert.deepEqual(
    ended.map(({ error }) => error),
    [null, unfollowable],
  );
});

test('a component that stored something before it failed is tried again at once, however often', async () => {
  const ctx = testContext();
  const server = numbersServer(1);
  await using store = await opened(ctx, RESTIC, await made(ctx, RESTIC));
  const run = running(ctx, { components: [numbers('db', server)], stores: [followStore(store)] });
  await run.based();
  let appends = 0;
  server.fault = (step) => {
    if (step === 'append' && ++appends % 2 === 0) throw new Failure('unreachable', 'it was killed');
  };
  for (let round = 1; round <= 5; round++) {
    grow(server, 1);
    await run.until(upTo(round + 1));
  }
  await run.stop();
  const told = ctx.logged.filter(({ message }) => message.includes('can not be followed for now'));
  const waits = told.map(({ fields }) => (fields as { again_in_ms: number }).again_in_ms);
  assert.deepEqual(waits, [1000, 1000, 1000, 1000]);
});

test('what a driver left behind when it failed writes nothing beside its next call (fault 33)', async () => {
  const ctx = testContext();
  const faults: Faults = {};
  await using store = await opened(ctx, RESTIC, faultyBucket(await made(ctx, RESTIC), faults));
  const range = (to: number) => ({ from: cutAt(0), to: cutAt(to), at: cutAt(to).at, body: Buffer.from(`${to}`) });
  let left: Promise<void> | undefined;
  const item = numbers('db', numbersServer());
  const component: typeof item.component = {
    ...item.component,
    async follow(within, feed) {
      if (left) {
        delete faults.fail;
        await assert.rejects(left, { code: 'interrupted' });
        await feed.append(within, range(2));
        if (!within.signal.aborted) await once(within.signal, 'abort');
        return;
      }
      await feed.begin(within, { from: cutAt(0), base: null, why: 'first', source: 1, parent: null });
      faults.fail = (operation, key) => (operation === 'put' && /-[0-9a-f]{64}$/.test(key) ? AWAY : undefined);
      left = feed.append(within, range(3));
      left.catch(() => {});
      for (let turns = 0; turns < 10; turns++) await setImmediate();
      throw new Failure('unreachable', 'the server is gone');
    },
  };
  const run = running(ctx, { components: [{ ...item, component }], stores: [followStore(store)] });
  await run.until(upTo(2));
  await run.stop();
  assert.deepEqual(await textOf(ctx, store.store, 'db'), ['1 0-2: 2']);
});

test('another log than the journal has ends a component when it stays so, and the others go on (fault 33)', async () => {
  const ctx = testContext();
  const [well, ill] = [numbersServer(), numbersServer()];
  await using store = await opened(ctx, RESTIC, await made(ctx, RESTIC));
  const components = [numbers('well', well), numbers('ill', ill)];
  const run = running(ctx, { components, stores: [followStore(store)] });
  await Promise.all([run.based('ill'), run.based('well')]);
  const TWO = new Failure('different', 'two primaries?', { hint: 'see which one is right' });
  let tries = 0;
  ill.fault = (step) => {
    if (step === 'append' || ++tries < 4) throw TWO; // an address that leads to the old server for a moment
    if (tries === 4) return; // then it is the right one
    throw TWO;
  };
  grow(ill, 1);
  const { error } = await run.until((view) => view.component === 'ill' && view.state === 'ended');
  assert.equal(error, TWO);
  grow(well, 3);
  await run.until((view) => view.component === 'well' && upTo(3)(view));
  const followed = await run.stop();
  assert.deepEqual(
    followed.map((each) => [each.component, each.error?.code ?? null]),
    [
      ['well', null],
      ['ill', 'different'],
    ],
  );
  const said = ctx.logged.filter(({ message }) => message.includes('not followed any more'));
  assert.deepEqual((said[0]?.fields as { hint?: string } | undefined)?.hint, TWO.hint);
  assert.deepEqual(await numbersIn(ctx, store.store, 'ill'), []);
});
