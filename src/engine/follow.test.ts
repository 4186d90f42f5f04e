import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { type Faults, faultyBucket } from '../buckets/faulty.ts';
import { memoryBucket } from '../buckets/memory/bucket.ts';
import { Failure, isFailure } from '../core/errors.ts';
import { type TestContext, testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { copyJournals } from './copy-journal.ts';
import { type Followed, type FollowRequest, follow } from './follow.ts';
import { type JournalCopier, journalCopier } from './follow-copies.ts';
import { otherStore } from './follow-stores.ts';
import {
  cutAt,
  feedNumbers,
  followStore,
  grow,
  journalOf,
  type NumbersServer,
  numbers,
  numbersIn,
  numbersServer,
  pointNumbers,
  textOf,
} from './follow-testing.ts';
import type { FollowView } from './follow-views.ts';
import { SAFETY_PLAN, type StackComponent } from './model.ts';
import { KINDS, made, opened } from './stores.suite.ts';

const AWAY = new Failure('unreachable', 'no answer');

interface Running {
  /** Resolves when what is told fits. */
  until(fits: (view: FollowView) => boolean): Promise<FollowView>;
  stop(): Promise<readonly Followed[]>;
  /** Resolves when a point was taken. */
  based(component?: string): Promise<void>;
  readonly done: Promise<readonly Followed[]>;
}

/** Follows until it is stopped. */
function running(ctx: TestContext, request: Omit<FollowRequest, 'stack' | 'told'>): Running {
  const controller = new AbortController();
  const views = new Map<string, FollowView>();
  const waiting = new Set<() => void>();
  const done = follow(
    { ...ctx, signal: controller.signal },
    {
      ...request,
      stack: 'shop',
      told(view) {
        views.set(view.component, view);
        for (const look of waiting) look();
      },
    },
  );
  const until: Running['until'] = (fits) =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = [...views.values()].find(fits);
        if (!found) return;
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      look();
      done.then(() => reject(new Error('it ended')), reject);
    });
  return {
    done,
    until,
    async based(component = 'db') {
      await until((view) => view.component === component && view.takesPoint);
      await until((view) => view.component === component && !view.takesPoint);
    },
    async stop() {
      controller.abort(new Failure('interrupted', 'stopped'));
      return await done;
    },
  };
}
const upTo =
  (at: number) =>
  ({ durable, copies }: FollowView) =>
    durable?.position === cutAt(at).position && copies.every(({ behind }) => !behind);

function counted(server: NumbersServer, from: number): number[] {
  return server.numbers.slice(from);
}

for (const kind of KINDS.filter(({ title }) => title !== 'plain, by component')) {
  describe(`following into a store that is ${kind.title}`, () => {
    test('what comes is in the journal, the base is a point, and a second start goes on without a gap', async () => {
      const ctx = testContext();
      const server = numbersServer(5);
      await using store = await opened(ctx, kind, await made(ctx, kind));
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

const [kind] = KINDS.slice(-1);
if (!kind) throw new Error('there is a store to test with');

test('a store that is away is waited for: nothing is acknowledged meanwhile, and nothing is lost or twice', async () => {
  const ctx = testContext();
  const server = numbersServer(1);
  const faults: Faults = {};
  await using store = await opened(ctx, kind, faultyBucket(await made(ctx, kind), faults));
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
  await using store = await opened(ctx, kind, await made(ctx, kind));
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

test('a component that stored something before it failed is tried again at once, however often', async () => {
  const ctx = testContext();
  const server = numbersServer(1);
  await using store = await opened(ctx, kind, await made(ctx, kind));
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
  await using store = await opened(ctx, kind, faultyBucket(await made(ctx, kind), faults));
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

test('a base whose copy comes with the log is taken once, and one that fails is taken again', async () => {
  const ctx = testContext();
  const server = numbersServer(4);
  server.syncs = true;
  let bases = 0;
  server.fault = (step) => {
    if (step !== 'base' || ++bases > 1) return;
    server.id = 'log-2'; // another full sync comes next
    throw new Failure('unreachable', 'it broke off');
  };
  await using store = await opened(ctx, kind, await made(ctx, kind));
  const item = numbers('db', server);
  const run = running(ctx, { components: [item], stores: [followStore(store)] });
  await run.until(({ takesPoint }) => bases === 2 && !takesPoint);
  await run.stop();
  const points = await Array.fromAsync(store.store.list(ctx));
  assert.deepEqual([bases, points.length], [2, 1]);
  assert.deepEqual(points[0]?.components.db?.journal?.source, { id: 'log-2' });
});

test('what a restore has saved is no base: no moment is recovered from it', async () => {
  const ctx = testContext();
  await using store = await opened(ctx, kind, await made(ctx, kind));
  const item = numbers('db', numbersServer(4));
  const taken: (string | null)[] = [];
  for (const plan of [SAFETY_PLAN, null]) {
    const { point } = await backUp(ctx, { stack: 'shop', plan, components: [item], stores: [store] });
    taken.push(point?.id ?? null);
  }
  const found: string[] = [];
  const component: StackComponent['component'] = {
    ...item.component,
    async follow(within, feed) {
      for (const { point } of await feed.bases(within)) found.push(point);
      throw new Failure('unreachable', 'enough');
    },
  };
  const run = running(ctx, { components: [{ ...item, component }], stores: [followStore(store)] });
  await run.until(({ state }) => state === 'waiting');
  await run.stop();
  assert.deepEqual([...new Set(found)], taken.slice(1));
});

test('a copy that comes with the log is asked for once, also where any other would be repeated', async () => {
  const ctx = testContext();
  const server = numbersServer(4);
  server.syncs = true;
  await using store = await opened(ctx, kind, await made(ctx, kind));
  const request = { components: [numbers('db', server)], stores: [followStore(store)] };
  const first = running(ctx, request);
  await first.based();
  await first.stop();
  let bases = 0;
  server.id = 'log-2';
  server.fault = (step) => {
    if (step === 'base' && ++bases === 1) throw new Failure('checksum', 'the earlier point is damaged');
    if (step === 'follow' && bases > 0) throw new Failure('unreachable', 'enough');
  };
  const second = running(ctx, request);
  await second.until(({ state }) => state === 'waiting');
  await second.stop();
  assert.equal(bases, 1);
  assert.ok(ctx.logged.some(({ fields }) => (fields as { code?: string } | undefined)?.code === 'nothing-captured'));
});

test('what there is no room to hold for another store is read for it, and nothing is left out', async () => {
  const ctx = testContext();
  const server = numbersServer();
  await using store = await opened(ctx, kind, await made(ctx, kind), 'one');
  await using other = await opened(ctx, kind, await made(ctx, kind), 'two');
  await using writer = await store.store.journal('db').write(ctx);
  await feedNumbers(ctx, store.store, 'db', server, 4, writer);
  const stop = new AbortController();
  let [told, isBehind] = [Promise.withResolvers<void>(), false];
  const copier: JournalCopier = journalCopier({
    ...{ component: 'db', from: store.store.journal('db'), to: otherStore(followStore(other)), room: { bytes: 0 } },
    told() {
      isBehind = copier.view.behind;
      told.resolve();
    },
  });
  const run = copier.run({ ...ctx, signal: stop.signal });
  await told.promise;
  told = Promise.withResolvers();
  await feedNumbers(ctx, store.store, 'db', server, 5, writer);
  const lineage = writer.lineage();
  assert.ok(lineage);
  copier.stored(lineage, { from: cutAt(7), to: cutAt(9), at: cutAt(9).at, body: Buffer.from('7,8') });
  for (let at = 0; at < 1000 && (await numbersIn(ctx, other.store, 'db')).length < 9; at++) await setImmediate();
  stop.abort();
  await run;
  assert.deepEqual([await numbersIn(ctx, other.store, 'db'), isBehind], [server.numbers, false]);
});

test('a store that is made the first is not begun anew where another one has the log: copied, it goes on', async () => {
  const ctx = testContext();
  const server = numbersServer();
  await using old = await opened(ctx, kind, await made(ctx, kind), 'old');
  await using fresh = await opened(ctx, kind, await made(ctx, kind), 'fresh');
  const components = [numbers('db', server)];
  const before = running(ctx, { components, stores: [followStore(old)] });
  await before.based();
  grow(server, 4);
  await before.until(upTo(4));
  await before.stop();
  const [ofFresh, ofOld] = [followStore(fresh), followStore(old)];
  for (const orders of [{ stores: [ofFresh, ofOld] }, { stores: [ofFresh], elsewhere: [ofOld] }]) {
    const run = running(ctx, { components, ...orders });
    const { error } = await run.until(({ state }) => state === 'waiting');
    await run.stop();
    assert.ok(isFailure(error, 'blocked'));
    assert.match(error.message, /^store fresh has no log of db, and store old up to 2026-01-01.*: followed from here/);
    assert.match(error.hint ?? '', /run lifeboat copy --from old --to fresh.*--anew/);
  }
  assert.deepEqual(await journalOf(ctx, fresh.store, 'db'), [], 'nothing was begun');
  grow(server, 2);
  const run = running(ctx, { components, stores: [ofFresh, ofOld] });
  await run.until(({ state }) => state === 'waiting');
  await copyJournals(ctx, { from: old.store, to: fresh.store, components: ['db'] });
  await run.until(upTo(6));
  await run.stop();
  for (const { store } of [old, fresh]) assert.deepEqual(await numbersIn(ctx, store, 'db'), server.numbers);

  // And back again, with less there than in the one that was fed meanwhile.
  grow(server, 3);
  const alone = running(ctx, { components, stores: [ofFresh] });
  await alone.until(upTo(9));
  await alone.stop();
  const back = running(ctx, { components, stores: [ofOld], elsewhere: [ofFresh] });
  const { error } = await back.until(({ state }) => state === 'waiting');
  assert.match(isFailure(error) ? error.message : '', /^store old has the log of db up to .*, and store fresh up to/);
  await back.stop();
  server.id = 'log-2';
  const anew = running(ctx, { components, stores: [ofOld], elsewhere: [ofFresh], anew: true });
  await anew.based();
  await anew.stop();
  assert.equal((await journalOf(ctx, old.store, 'db')).length, 2);
});

test('a log that is damaged at its end is begun anew by itself, though another store has all of it', async () => {
  const ctx = testContext();
  const server = numbersServer();
  const disk = memoryBucket();
  await made(ctx, kind, disk);
  await using other = await opened(ctx, kind, await made(ctx, kind), 'other');
  for (let round = 0; round < 2; round++) {
    await using store = await opened(ctx, kind, disk);
    const run = running(ctx, { components: [numbers('db', server)], stores: [followStore(store), followStore(other)] });
    await run.based();
    grow(server, 4);
    await run.until(upTo(server.numbers.length));
    await run.stop();
    const keys = await Array.fromAsync(disk.list(ctx, ''), ({ key }) => key);
    await disk.put(
      ctx,
      keys.findLast((key) => /journal\/db\/.*-[0-9a-f]{64}$/.test(key)) ?? '',
      Buffer.from('damaged'),
    );
  }
  assert.equal((await journalOf(ctx, other.store, 'db')).length, 2);
});

test('of two that follow one component the second ends and says so, and the first goes on', async () => {
  const ctx = testContext();
  const server = numbersServer();
  const disk = await made(ctx, kind);
  await using store = await opened(ctx, kind, disk);
  await using other = await opened(ctx, kind, disk);
  const run = running(ctx, { components: [numbers('db', server)], stores: [followStore(store)] });
  await run.based();
  const [second] = await running(ctx, { components: [numbers('db', server)], stores: [followStore(other)] }).done;
  assert.equal(second?.error?.code, 'locked');
  assert.match(second?.error?.hint ?? '', /one process at a time/);
  grow(server, 3);
  await run.until(upTo(3));
  await run.stop();
});

test('a lease of a host that may be dead is waited for, with its end named, and then it goes on', async () => {
  const ctx = testContext();
  const disk = memoryBucket();
  await made(ctx, kind, disk);
  await using store = await opened(ctx, kind, disk);
  await using writer = await store.store.journal('db').write(ctx);
  const keys = await Array.fromAsync(disk.list(ctx, ''), ({ key }) => key);
  const lease = keys.find((key) => key.includes('leases/journal/db/')) ?? '';
  await writer[Symbol.asyncDispose]();
  await disk.put(ctx, lease, Buffer.from('of a host that nobody can see into'));
  const begunMs = ctx.now().getTime();
  const run = running(ctx, { components: [numbers('db', numbersServer())], stores: [followStore(store)] });
  const { error } = await run.until(({ state }) => state === 'waiting');
  assert.ok(isFailure(error, 'locked'));
  assert.match(error.message, /it counts until 20/);
  await run.based();
  assert.ok(ctx.now().getTime() - begunMs > 600_000);
  await run.stop();
});

test('another log than the journal has ends a component when it stays so, and the others go on (fault 33)', async () => {
  const ctx = testContext();
  const [well, ill] = [numbersServer(), numbersServer()];
  await using store = await opened(ctx, kind, await made(ctx, kind));
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

test('a point that can not be taken as what it copies changes all the time is taken again', async () => {
  const ctx = testContext();
  const server = numbersServer(4);
  await using store = await opened(ctx, kind, await made(ctx, kind));
  let bases = 0;
  server.fault = (step) => {
    if (step !== 'base' || ++bases > 8) return;
    server.id = `log-${bases + 1}`;
    throw new Failure('different', 'it was replaced while it was read');
  };
  const run = running(ctx, { components: [numbers('db', server)], stores: [followStore(store)] });
  await run.until(({ takesPoint }) => bases === 9 && !takesPoint);
  await run.stop();
  assert.equal((await Array.fromAsync(store.store.list(ctx))).length, 1);
});

test('who only puts something into a journal for a moment does not end who follows', async () => {
  const ctx = testContext();
  const disk = await made(ctx, kind);
  await using store = await opened(ctx, kind, disk);
  await using other = await opened(ctx, kind, disk);
  const writer = await other.store.journal('db').write(ctx);
  const run = running(ctx, { components: [numbers('db', numbersServer())], stores: [followStore(store)] });
  const { error } = await run.until(({ state }) => state === 'waiting');
  assert.ok(isFailure(error, 'locked'));
  await writer[Symbol.asyncDispose]();
  await run.based();
  await run.stop();
});

test('who lost his journal to another one ends and says so (fault 7)', async () => {
  const ctx = testContext();
  const server = numbersServer();
  const disk = memoryBucket();
  await made(ctx, kind, disk);
  await using store = await opened(ctx, kind, disk);
  const run = running(ctx, { components: [numbers('db', server)], stores: [followStore(store)] });
  await run.based();
  for await (const { key } of disk.list(ctx, 'lifeboat/leases/journal/')) await disk.delete(ctx, key);
  ctx.advance(2 * 60_000);
  grow(server, 3);
  const [ended] = await run.done;
  assert.equal(ended?.error?.code, 'lease-lost');
  assert.equal(server.acknowledged, 0);
});

test('another store that is slow, away, or not even there at first holds nobody up and is caught up with', async () => {
  const ctx = testContext();
  const server = numbersServer(1);
  const faults: Faults = {};
  const disk = await made(ctx, kind);
  await using store = await opened(ctx, kind, await made(ctx, kind), 'one');
  await using other = await opened(ctx, kind, disk, 'two');
  let opens = 0;
  const late = followStore({ name: 'two', store: (await opened(ctx, kind, faultyBucket(disk, faults))).store }, () => {
    if (++opens < 3) throw AWAY;
  });
  faults.fail = () => AWAY;
  const run = running(ctx, { components: [numbers('db', server)], stores: [followStore(store), late] });
  await run.based();
  grow(server, 9);
  const behind = await run.until(({ durable }) => durable?.position === cutAt(10).position);
  assert.deepEqual([behind.state, behind.copies[0]?.behind], ['following', true]);
  await run.until(({ copies }) => copies[0]?.error === AWAY);
  delete faults.fail;
  await run.until(upTo(10));
  let broken = 0;
  faults.loseReply = (operation, key) => operation === 'put' && /-[0-9a-f]{64}$/.test(key) && ++broken % 3 === 1;
  grow(server, 12);
  await run.until(upTo(22));
  const listed = async () => await Array.fromAsync(other.store.list(ctx));
  for (let at = 0; at < 10_000 && (await listed()).length === 0; at++) await setImmediate();
  await run.stop();
  assert.ok(broken > 2);
  assert.deepEqual(await textOf(ctx, other.store, 'db'), await textOf(ctx, store.store, 'db'));
  assert.deepEqual(await listed(), await Array.fromAsync(store.store.list(ctx)), 'the point that it lacked came, too');
});
