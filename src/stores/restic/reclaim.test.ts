// What is deleted, and what is not.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Faults, faultyBucket } from '../../buckets/faulty.ts';
import { readAll } from '../../core/bytes.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Bucket } from '../../core/storage.ts';
import { type TestContext, testContext } from '../../core/testing.ts';
import { copyOf, findings, HOUR_MS, noise, P1, P2, pointOf, save } from '../suite/rig.suite.ts';
import { begin, bytesBelow, fill, GRACE, keysOf, largest, MINUTE_MS, made, openStore, readParts } from './testing.ts';

test('a part that is kept is written again when its pack is about to go (fault 8)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P1, { db: { one: noise(1, 300_000) } });
  const [snapshot] = await keysOf(ctx, bucket, 'snapshots/');
  const saved = await readAll(bucket.get(ctx, snapshot ?? ''));
  await store.remove(ctx, [P1]);
  await store.reclaim(ctx, GRACE);
  await bucket.put(ctx, snapshot ?? '', saved); // stock restic does not know what is pending
  const before = await bytesBelow(ctx, bucket, 'data/');
  const source = await store.open(ctx, P1, 'db');
  {
    await using draft = await begin(ctx, store, P2, { db: {} });
    const sink = draft.sink('db');
    await sink.keep(ctx, 'one', await source.part(ctx, 'one'));
    const receipts = [await sink.receipt(ctx)];
    await store.commit(ctx, draft, pointOf(P2, receipts), receipts);
  }
  assert.ok((await bytesBelow(ctx, bucket, 'data/')) > before + 300_000);
  await store.remove(ctx, [P1]);
  ctx.advance(25 * HOUR_MS);
  assert.ok((await store.reclaim(ctx, GRACE)).bytes > 300_000);
  assert.ok((await readParts(ctx, store, P2, 'db')).one?.equals(noise(1, 300_000)));
});

test('a new point does not lean on what is about to be deleted (fault 8)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  await using other = await openStore(ctx, bucket);
  const db = { one: noise(1, 300_000) };
  await save(ctx, store, P1, { db });
  await other.remove(ctx, [P1]);
  await other.reclaim(ctx, GRACE);
  await save(ctx, store, P2, { db });
  ctx.advance(25 * HOUR_MS);
  const freed = await other.reclaim(ctx, GRACE);
  assert.ok(freed.bytes > 300_000, 'the old copy went');
  assert.ok((await readParts(ctx, other, P2, 'db')).one?.equals(db.one));
  assert.deepEqual(await findings(ctx, other), []);
});

test('nothing goes before its grace, and not at first sight', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P1, { db: { one: noise(1, 300_000) } });
  await store.remove(ctx, [P1]);
  ctx.advance(48 * HOUR_MS);
  const packs = await keysOf(ctx, bucket, 'data/');
  assert.deepEqual((await store.reclaim(ctx, GRACE)).objects, 0);
  ctx.advance(23 * HOUR_MS);
  const { pendingObjects } = await store.reclaim(ctx, GRACE);
  assert.deepEqual([await keysOf(ctx, bucket, 'data/'), pendingObjects], [packs, packs.length]);
  ctx.advance(2 * HOUR_MS);
  assert.equal((await store.reclaim(ctx, GRACE)).objects, packs.length);
  assert.deepEqual(await keysOf(ctx, bucket, 'data/'), []);
  assert.deepEqual(await keysOf(ctx, bucket, 'lifeboat/pending-delete/'), []);
});

test('a pack that is needed again is kept, and waits anew when it is not', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  const db = { one: noise(1, 300_000) };
  await save(ctx, store, P1, { db });
  const [snapshot] = await keysOf(ctx, bucket, 'snapshots/');
  const saved = await readAll(bucket.get(ctx, snapshot ?? ''));
  await store.remove(ctx, [P1]);
  await store.reclaim(ctx, GRACE);
  await bucket.put(ctx, snapshot ?? '', saved); // stock restic does not know what is pending
  ctx.advance(25 * HOUR_MS);
  assert.equal((await store.reclaim(ctx, GRACE)).objects, 0);
  assert.ok((await readParts(ctx, store, P1, 'db')).one?.equals(db.one));
  await store.remove(ctx, [P1]);
  assert.equal((await store.reclaim(ctx, GRACE)).objects, 0, 'its old note counts no more');
});

test('a pack that is needed again in part waits anew once what is needed was copied out of it', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  const shared = noise(2, 100_000);
  await save(ctx, store, P1, { db: { one: noise(1, 300_000), shared } });
  const pack = await largest(ctx, bucket, 'data/');
  const before = await keysOf(ctx, bucket, 'snapshots/');
  await save(ctx, store, P2, { db: { shared } });
  const snapshot = (await keysOf(ctx, bucket, 'snapshots/')).find((key) => !before.includes(key)) ?? '';
  const saved = await readAll(bucket.get(ctx, snapshot));
  await store.remove(ctx, [P1, P2]);
  await store.reclaim(ctx, GRACE);
  await bucket.put(ctx, snapshot, saved); // stock restic does not know what is pending
  for (const wait of ['since it was first noted', 'since it was emptied']) {
    ctx.advance(wait.endsWith('noted') ? 25 * HOUR_MS : 23 * HOUR_MS);
    await store.reclaim(ctx, GRACE);
    assert.ok((await keysOf(ctx, bucket, 'data/')).includes(pack), `the grace has not passed ${wait}`);
  }
  ctx.advance(2 * HOUR_MS);
  await store.reclaim(ctx, GRACE);
  assert.equal((await keysOf(ctx, bucket, 'data/')).includes(pack), false);
  await using again = await openStore(ctx, bucket);
  assert.ok((await readParts(ctx, again, P2, 'db')).shared?.equals(shared));
  assert.deepEqual(await findings(ctx, again), []);
});

test('reclaim stops before deleting when a needed pack is missing (fault 9)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P1, { db: { one: noise(1, 300_000) } });
  await store.remove(ctx, [P1]);
  await store.reclaim(ctx, GRACE);
  ctx.advance(25 * HOUR_MS);
  const before = new Set(await keysOf(ctx, bucket, 'data/'));
  await save(ctx, store, P2, { db: { one: noise(2, 400_000) } });
  await bucket.delete(ctx, await largest(ctx, bucket, 'data/'));
  await assert.rejects(store.reclaim(ctx, GRACE), (error) => isFailure(error, 'missing'));
  for (const pack of before) assert.ok((await keysOf(ctx, bucket, 'data/')).includes(pack));
});

test('a reclaim that is killed or meets a full disk anywhere goes on at the next run (fault 9)', async () => {
  const ctx = testContext();
  const base = await made(ctx);
  const shared = noise(5, 100_000);
  {
    await using store = await openStore(ctx, base);
    await save(ctx, store, P1, { db: { one: noise(1, 300_000), shared } });
    await save(ctx, store, P2, { db: { two: noise(2, 300_000), shared } });
    await store.remove(ctx, [P1]);
  }
  for (const end of ['killed', 'full'] as const) {
    for (let change = 0, ended = true; ended; change++) {
      const bucket = await copyOf(ctx, base);
      let puts = 0;
      const full = new Failure('no-space', 'the disk is full');
      const faulty = faultyBucket(bucket, {
        ...(end === 'killed' ? { changesMax: change } : {}),
        fail: (operation) => (end === 'full' && operation === 'put' && puts++ >= change ? full : undefined),
      });
      ended = await reclaimedTwice(ctx, faulty).then(
        () => false,
        (error: unknown) => isFailure(error, end === 'full' ? 'no-space' : 'unreachable') || assert.fail(`${error}`),
      );
      await using store = await openStore(ctx, bucket);
      assert.deepEqual(await findings(ctx, store, 0), [], `${end} at ${change}`);
      await reclaimedTwice(ctx, bucket);
      assert.deepEqual(await findings(ctx, store), [], `${end} at ${change}, and after the next run`);
      assert.ok((await readParts(ctx, store, P2, 'db')).shared?.equals(shared));
      assert.ok((await bytesBelow(ctx, bucket, 'data/')) < 450_000, `${end} at ${change}: all rubbish is gone`);
    }
  }
});

test('packs that the store does not delete are an error that counts them, and the next run tries again (fault 12)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  const faults: Faults = {};
  await using store = await openStore(ctx, faultyBucket(bucket, faults));
  await save(ctx, store, P1, { db: { one: noise(1, 300_000) } });
  await store.remove(ctx, [P1]);
  await store.reclaim(ctx, { apply: true, graceMs: 0 });
  const pack = await largest(ctx, bucket, 'data/');
  faults.fail = (operation, key) =>
    operation === 'delete' && key === pack ? new Failure('denied', 'SlowDown') : undefined;
  const isDenied = (error: unknown): boolean => isFailure(error, 'denied') && /1 packs .*SlowDown/.test(error.message);
  await assert.rejects(store.reclaim(ctx, { apply: true, graceMs: 0 }), isDenied);
  assert.deepEqual(await keysOf(ctx, bucket, 'data/'), [pack]);
  delete faults.fail;
  await reclaimedTwice(ctx, bucket);
  assert.deepEqual(await keysOf(ctx, bucket, 'data/'), []);
});

async function reclaimedTwice(ctx: TestContext, bucket: Bucket): Promise<void> {
  await using store = await openStore(ctx, bucket);
  for (let i = 0; i < 2; i++) {
    await store.reclaim(ctx, GRACE);
    ctx.advance(25 * HOUR_MS);
  }
}

test('reclaim stops before deleting when a snapshot can not be read', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P1, { db: { one: noise(1, 300_000) } });
  const [snapshot] = await keysOf(ctx, bucket, 'snapshots/');
  await bucket.put(ctx, snapshot ?? '', Buffer.from('rubbish'));
  await using again = await openStore(ctx, bucket);
  await assert.rejects(again.reclaim(ctx, { apply: true, graceMs: 0 }), (error) => isFailure(error, 'checksum'));
});

test('clocks that differ stop a reclaim and never a backup (fault 10)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  const ahead: Bucket = {
    ...bucket,
    head: async (c, key) => {
      const info = await bucket.head(c, key);
      return { ...info, modifiedAt: new Date(info.modifiedAt.getTime() + 10 * MINUTE_MS) };
    },
  };
  await using store = await openStore(ctx, ahead);
  await save(ctx, store, P1, { db: { one: '1' } });
  await assert.rejects(store.reclaim(ctx, GRACE), (error) => isFailure(error, 'clock-skew'));
  assert.deepEqual(await keysOf(ctx, bucket, 'locks/'), []);
});

test('a listing that lacks a snapshot frees nothing that it needs (fault 17)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  const faults = { stale: false };
  const stale = faultyBucket(bucket, {
    listing: (objects) => (faults.stale ? objects.filter(({ key }) => !key.startsWith('snapshots/')) : objects),
  });
  await using store = await openStore(ctx, bucket);
  const db = { one: noise(1, 300_000) };
  await save(ctx, store, P1, { db });
  await save(ctx, store, P2, { db: { two: noise(2, 1000) } });
  await store.remove(ctx, [P2]);
  await store.reclaim(ctx, GRACE);
  ctx.advance(25 * HOUR_MS);
  faults.stale = true;
  await using fooled = await openStore(ctx, stale);
  await assert.rejects(fooled.reclaim(ctx, GRACE), (error) => isFailure(error, 'unreachable'));
  // Even where nobody knew the snapshot, what a stale listing condemned is not gone at once.
  for (const key of await keysOf(ctx, bucket, 'lifeboat/pending-delete/')) await bucket.delete(ctx, key);
  await fooled.reclaim(ctx, GRACE);
  faults.stale = false;
  ctx.advance(25 * HOUR_MS);
  await fooled.reclaim(ctx, GRACE);
  assert.ok((await readParts(ctx, store, P1, 'db')).one?.equals(db.one));
  assert.deepEqual(await findings(ctx, store), []);
});

test('a listing that lacks packs is not believed (fault 17)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  const faults = { stale: false };
  const stale = faultyBucket(bucket, {
    listing: (objects) => (faults.stale ? objects.filter(({ key }) => !key.startsWith('data/')) : objects),
  });
  await using store = await openStore(ctx, stale);
  const db = { one: noise(1, 300_000) };
  await save(ctx, store, P1, { db });
  faults.stale = true;
  await store.reclaim(ctx, { apply: true, graceMs: 0 });
  await save(ctx, store, P2, { db }); // written once more: harmless
  faults.stale = false;
  for (const point of [P1, P2]) assert.ok((await readParts(ctx, store, point, 'db')).one?.equals(db.one));
  assert.deepEqual(await findings(ctx, store), []);
});

test('drafts are data until they are given up, and small index files are merged', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  for (let day = 10; day < 30; day++) await save(ctx, store, `2026-01-${day}-020000`, { db: { one: noise(day, 100) } });
  {
    await using draft = await begin(ctx, store, P1, { db: {} });
    await fill(ctx, draft, 'db', { one: noise(1, 300_000) });
  }
  assert.ok((await keysOf(ctx, bucket, 'index/')).length > 20);
  for (let i = 0; i < 2; i++) {
    await store.reclaim(ctx, { apply: true, graceMs: 0 });
    ctx.advance(HOUR_MS);
  }
  assert.equal((await keysOf(ctx, bucket, 'index/')).length, 1);
  const receipts = await store.receipts(ctx, P1);
  {
    await using draft = await store.resume(ctx, P1);
    assert.equal(draft.id, P1);
    assert.equal(receipts.length, 1);
  }
  ctx.advance(8 * 24 * HOUR_MS);
  for (let i = 0; i < 2; i++) {
    await store.reclaim(ctx, { apply: true, graceMs: 0 });
    ctx.advance(HOUR_MS);
  }
  await assert.rejects(store.resume(ctx, P1), (error) => isFailure(error, 'missing'));
  assert.ok((await bytesBelow(ctx, bucket, 'data/')) < 100_000);
  assert.deepEqual(await findings(ctx, store), []);
});

test('what a killed stock restic left of a pack is cleared away, and nothing else that is strange', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  const id = 'ab'.repeat(32);
  const strange = [`data/${id}`, 'data/readme', `data/ab/${id}.bak`];
  for (const key of [...strange, `data/ab/${id}-tmp-123`]) await bucket.put(ctx, key, Buffer.from('x'));
  ctx.advance(8 * 24 * HOUR_MS);
  await store.reclaim(ctx, GRACE);
  assert.deepEqual(await keysOf(ctx, bucket, 'data/'), strange.toSorted());
});
