// Several stores: one is fed, the others are caught up.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../../test/servers/processes.ts';
import { type Faults, faultyBucket } from '../buckets/faulty.ts';
import { memoryBucket } from '../buckets/memory/bucket.ts';
import { Failure, isFailure } from '../core/errors.ts';
import { testContext } from '../core/testing.ts';
import { copyJournals } from './copy-journal.ts';
import { type JournalCopier, journalCopier } from './follow-copies.ts';
import { otherStore } from './follow-stores.ts';
import {
  cutAt,
  feedNumbers,
  followStore,
  grow,
  journalOf,
  numbers,
  numbersIn,
  numbersServer,
  running,
  textOf,
  upTo,
} from './follow-testing.ts';
import { made, opened, RESTIC } from './stores.suite.ts';

const WAIT_MS = 60_000;
const AWAY = new Failure('unreachable', 'no answer');

test('what there is no room to hold for another store is read for it, and nothing is left out', async () => {
  const ctx = testContext();
  const server = numbersServer();
  await using store = await opened(ctx, RESTIC, await made(ctx, RESTIC), 'one');
  await using other = await opened(ctx, RESTIC, await made(ctx, RESTIC), 'two');
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
  await until('all numbers', WAIT_MS, async () => (await numbersIn(ctx, other.store, 'db')).length === 9);
  stop.abort();
  await run;
  assert.deepEqual([await numbersIn(ctx, other.store, 'db'), isBehind], [server.numbers, false]);
});

test('a store that is made the first is not begun anew where another one has the log: copied, it goes on', async () => {
  const ctx = testContext();
  const server = numbersServer();
  await using old = await opened(ctx, RESTIC, await made(ctx, RESTIC), 'old');
  await using fresh = await opened(ctx, RESTIC, await made(ctx, RESTIC), 'fresh');
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
  await made(ctx, RESTIC, disk);
  await using other = await opened(ctx, RESTIC, await made(ctx, RESTIC), 'other');
  for (let round = 0; round < 2; round++) {
    await using store = await opened(ctx, RESTIC, disk);
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

test('another store that is slow, away, or not even there at first holds nobody up and is caught up with', async () => {
  const ctx = testContext();
  const server = numbersServer(1);
  const faults: Faults = {};
  const disk = await made(ctx, RESTIC);
  await using store = await opened(ctx, RESTIC, await made(ctx, RESTIC), 'one');
  await using other = await opened(ctx, RESTIC, disk, 'two');
  let opens = 0;
  const late = followStore(
    { name: 'two', store: (await opened(ctx, RESTIC, faultyBucket(disk, faults))).store },
    () => {
      if (++opens < 3) throw AWAY;
    },
  );
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
  await until('the point', WAIT_MS, async () => (await listed()).length > 0);
  await run.stop();
  assert.ok(broken > 2);
  assert.deepEqual(await textOf(ctx, other.store, 'db'), await textOf(ctx, store.store, 'db'));
  assert.deepEqual(await listed(), await Array.fromAsync(store.store.list(ctx)), 'the point that it lacked came, too');
});
