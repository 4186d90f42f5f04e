// The faults of the store that need this format to be shown; the suite of all stores has the others.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultyBucket } from '../../buckets/faulty.ts';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { bytesOf, readAll } from '../../core/bytes.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Bucket, Finding, Store } from '../../core/model.ts';
import { type TestContext, testContext } from '../../core/testing.ts';
import { begin, createStore, fill, keysOf, noise, openStore, pointOf, readParts, save } from './testing.ts';

const P1 = '2026-01-01-020000';
const P2 = '2026-01-02-020000';
const P3 = '2026-01-03-020000';
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const GRACE = { apply: true, graceMs: 24 * HOUR_MS };

async function made(ctx: TestContext): Promise<Bucket> {
  const bucket = memoryBucket();
  await createStore(ctx, bucket);
  return bucket;
}
async function findings(ctx: TestContext, store: Store, readData = 1): Promise<Finding[]> {
  return await Array.fromAsync(store.check(ctx, { readData }));
}
async function bytesBelow(ctx: TestContext, bucket: Bucket, prefix: string): Promise<number> {
  return (await Array.fromAsync(bucket.list(ctx, prefix))).reduce((sum, { bytes }) => sum + bytes, 0);
}
/** The key of the largest object below a prefix. */
async function largest(ctx: TestContext, bucket: Bucket, prefix: string): Promise<string> {
  const objects = await Array.fromAsync(bucket.list(ctx, prefix));
  return objects.toSorted((a, b) => b.bytes - a.bytes)[0]?.key ?? '';
}

test("a missing pack's chunks are written again by the next backup (fault 3)", async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  const db = { one: noise(1, 300_000) };
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P1, { db });
  const pack = await largest(ctx, bucket, 'data/');
  await bucket.delete(ctx, pack);
  assert.match(JSON.stringify(await findings(ctx, store, 0)), /db\/one/);
  await save(ctx, store, P2, { db });
  assert.ok((await readParts(ctx, store, P1, 'db')).one?.equals(db.one), 'the older point is healed by it');
  await using again = await openStore(ctx, bucket);
  assert.ok((await readParts(ctx, again, P1, 'db')).one?.equals(db.one));
  const left = await findings(ctx, again);
  assert.deepEqual(
    left.map(({ hint }) => hint?.includes('lifeboat prune --apply')),
    [true],
    'only an index still names the lost pack',
  );
  await again.reclaim(ctx, GRACE);
  assert.deepEqual(await findings(ctx, again), []);
});

test("a damaged pack's chunks are written again by the backup after the check (fault 3)", async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  const db = { one: noise(1, 300_000) };
  {
    await using store = await openStore(ctx, bucket);
    await save(ctx, store, P1, { db });
  }
  const pack = await largest(ctx, bucket, 'data/');
  const data = await readAll(bucket.get(ctx, pack));
  data.writeUInt8(data.readUInt8(1000) ^ 1, 1000);
  await bucket.put(ctx, pack, data);
  {
    await using store = await openStore(ctx, bucket);
    const [first] = await findings(ctx, store);
    assert.ok(first?.check.includes(pack.slice(8)) && first.hint?.includes('lifeboat backup'), JSON.stringify(first));
  }
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P2, { db });
  assert.ok((await readParts(ctx, store, P2, 'db')).one?.equals(db.one));
  await using again = await openStore(ctx, bucket);
  await again.reclaim(ctx, GRACE);
  ctx.advance(25 * HOUR_MS);
  await again.reclaim(ctx, GRACE);
  assert.equal((await keysOf(ctx, bucket)).includes(pack), false, 'the damaged pack is gone');
  assert.deepEqual(await findings(ctx, again), []);
  for (const point of [P1, P2]) assert.ok((await readParts(ctx, again, point, 'db')).one?.equals(db.one));
});

test('a part that is kept is written again when its pack is lost (fault 3)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P1, { db: { one: noise(1, 300_000), two: noise(2, 1000) } });
  await store.remove(ctx, [P1]);
  await store.reclaim(ctx, GRACE); // all of it is about to go
  await save(ctx, store, P2, { db: { one: noise(1, 300_000) } });
  const before = await store.open(ctx, P2, 'db');
  await using draft = await begin(ctx, store, P3, { db: {} });
  const sink = draft.sink('db');
  await sink.keep(ctx, 'one', await before.part(ctx, 'one'));
  const receipts = [await sink.receipt(ctx)];
  await store.commit(ctx, draft, pointOf(P3, receipts), receipts);
  await draft[Symbol.asyncDispose]();
  ctx.advance(25 * HOUR_MS);
  await store.reclaim(ctx, GRACE);
  assert.ok((await readParts(ctx, store, P3, 'db')).one?.equals(noise(1, 300_000)));
});

test('an unreadable index costs no point, and is named (fault 4)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P1, { db: { one: noise(1, 5000) } });
  const [index] = await keysOf(ctx, bucket, 'index/');
  await bucket.put(ctx, index ?? '', Buffer.from('not even sealed'));
  await using again = await openStore(ctx, bucket);
  await save(ctx, again, P2, { db: { one: noise(2, 5000) } });
  for (const [i, point] of [P1, P2].entries()) {
    assert.ok((await readParts(ctx, again, point, 'db')).one?.equals(noise(i + 1, 5000)));
  }
  assert.ok((await findings(ctx, again)).some(({ check }) => check.includes(index?.slice(6) ?? '-')));
});

test('a writer that lost its lock publishes nothing (fault 7)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  await using other = await openStore(ctx, bucket);
  await using draft = await begin(ctx, store, P1, { db: {} });
  const receipts = [await fill(ctx, draft, 'db', { one: noise(1, 5000) })];
  ctx.advance(40 * MINUTE_MS); // in standby
  await other.reclaim(ctx, GRACE);
  const late = store.commit(ctx, draft, pointOf(P1, receipts), receipts);
  await assert.rejects(late, (error) => isFailure(error, 'lease-lost'));
  assert.deepEqual(await Array.fromAsync(other.list(ctx)), []);
});

test('a pack that vanished stops the commit (fault 7)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  await using draft = await begin(ctx, store, P1, { db: {} });
  const receipts = [await fill(ctx, draft, 'db', { one: noise(1, 300_000) })];
  await bucket.delete(ctx, await largest(ctx, bucket, 'data/'));
  const late = store.commit(ctx, draft, pointOf(P1, receipts), receipts);
  await assert.rejects(late, (error) => isFailure(error, 'lease-lost'));
  assert.deepEqual(await Array.fromAsync(store.list(ctx)), []);
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

test('what an interrupted backup stored is used by the next', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  const db: Record<string, Buffer> = {};
  const dead = await openStore(ctx, bucket);
  const sink = (await begin(ctx, dead, P1, { db: {} })).sink('db');
  while ((await keysOf(ctx, bucket, 'index/')).length === 0) {
    const name = `${Object.keys(db).length}`;
    assert.ok(name !== '9', 'no index was written along the way');
    await sink.put(ctx, name, bytesOf((db[name] = noise(Number(name), 9_000_000))));
    ctx.advance(3 * MINUTE_MS);
  }
  await dead[Symbol.asyncDispose](); // killed: no receipt, no point
  const before = await bytesBelow(ctx, bucket, 'data/');
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P2, { db });
  const written = (await bytesBelow(ctx, bucket, 'data/')) - before;
  const all = Object.keys(db).length * 9_000_000;
  assert.ok(written < all - 12_000_000, `${written} of ${all} bytes were written again`);
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

test('a full store stops the backup at once and is valid, and the next one goes on (fault 16)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  let left = 1;
  const full = faultyBucket(bucket, {
    fail: (operation, key) =>
      operation === 'put' && key.startsWith('data/') && left-- <= 0
        ? new Failure('no-space', 'the disk is full')
        : undefined,
  });
  const db = { one: noise(1, 20_000_000), two: noise(2, 20_000_000) };
  {
    await using store = await openStore(ctx, full);
    await assert.rejects(save(ctx, store, P1, { db }), (error) => isFailure(error, 'no-space'));
    assert.deepEqual(await findings(ctx, store), []);
    left = Number.POSITIVE_INFINITY;
    await save(ctx, store, P2, { db });
    assert.deepEqual(await findings(ctx, store), []);
  }
  assert.deepEqual(await keysOf(ctx, bucket, 'locks/'), []);
});

test('a list of points opens no pack', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  {
    await using store = await openStore(ctx, bucket);
    for (let day = 10; day < 20; day++) await save(ctx, store, `2026-01-${day}-020000`, { db: { one: `${day}` } });
  }
  const read: string[] = [];
  const watched = faultyBucket(bucket, {
    fail: (operation, key) => {
      if (operation === 'get') read.push(key);
      return undefined;
    },
  });
  await using store = await openStore(ctx, watched);
  assert.equal((await Array.fromAsync(store.list(ctx))).length, 10);
  assert.deepEqual(
    read.filter((key) => /^(data|index)\//.test(key)),
    [],
  );
});

test('nothing in a store can be read without its key', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P1, { db: { 'canary-name': 'canary-data' } });
  await store.records.put(ctx, 'proofs', `${P1}/1`, { text: 'canary-record' });
  await using _draft = await begin(ctx, store, P2, { db: {} });
  for (const key of await keysOf(ctx, bucket)) {
    assert.equal((await readAll(bucket.get(ctx, key))).includes('canary'), false, key);
    assert.equal(key.includes('canary'), false);
  }
});
