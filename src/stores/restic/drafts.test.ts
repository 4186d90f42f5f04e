// When a draft becomes a point, and when it must not: what it leans on may have gone, or somebody else was faster.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultyBucket } from '../../buckets/faulty.ts';
import { bytesOf } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import type { Bytes } from '../../core/model.ts';
import { testContext } from '../../core/testing.ts';
import { noise, P1, P2, pointOf, save } from '../suite/rig.suite.ts';
import { begin, fill, GRACE, keysOf, largest, MINUTE_MS, made, openStore, readParts, rewrite } from './testing.ts';

test('two runs that go on with one draft make one point of it', async () => {
  for (const hidden of ['', 'snapshots/']) {
    const ctx = testContext();
    const bucket = await made(ctx);
    const db = { one: noise(1, 5000) };
    const faults = { stale: false };
    const seen = faultyBucket(bucket, {
      listing: (objects) => (faults.stale ? objects.filter(({ key }) => !key.startsWith(hidden)) : objects),
    });
    await using store = await openStore(ctx, seen);
    await using overtaken = await begin(ctx, store, P1, { db });
    const receipts = [await fill(ctx, overtaken, 'db', db)];
    {
      await using other = await openStore(ctx, bucket);
      await using draft = await other.resume(ctx, P1);
      await other.commit(ctx, draft, pointOf(P1, receipts), receipts);
    }
    const before = await keysOf(ctx, bucket, 'snapshots/');
    faults.stale = hidden !== '';
    const second = store.commit(ctx, overtaken, pointOf(P1, receipts), receipts);
    await assert.rejects(second, (error) => isFailure(error, hidden === '' ? 'exists' : 'lease-lost'));
    assert.deepEqual(await keysOf(ctx, bucket, 'snapshots/'), before);
  }
});

test('a part that changes in place says so when it is read, and has the same borders where it is copied to', async () => {
  const ctx = testContext();
  const [pages, text] = [noise(1, 3_000_000), noise(2, 3_000_000)];
  await using from = await openStore(ctx, await made(ctx));
  await using to = await openStore(ctx, await made(ctx));
  const put = async (store: typeof from, id: string, parts: Readonly<Record<string, [Bytes, boolean]>>) => {
    await using draft = await begin(ctx, store, id, { db: {} });
    const sink = draft.sink('db');
    for (const [name, [body, isInPlace]] of Object.entries(parts)) {
      await sink.put(ctx, name, body, isInPlace ? { inPlace: true } : {});
    }
    const receipts = [await sink.receipt(ctx)];
    await store.commit(ctx, draft, pointOf(id, receipts), receipts);
    return await store.open(ctx, id, 'db');
  };
  const source = await put(from, P1, { pages: [bytesOf(pages), true], text: [bytesOf(text), false] });
  const told = await Array.fromAsync(source.parts(ctx), ({ name, inPlace = false }) => [name, inPlace] as const);
  assert.deepEqual(told, [
    ['pages', true],
    ['text', false],
  ]);
  const copied = await put(
    to,
    P1,
    Object.fromEntries(told.map(([name, inPlace]) => [name, [source.get(ctx, name), inPlace]])),
  );
  const again = await put(to, P2, { pages: [bytesOf(pages), true], text: [bytesOf(text), false] });
  for (const name of ['pages', 'text']) {
    assert.equal((await copied.part(ctx, name)).digest, (await again.part(ctx, name)).digest);
  }
});

test('a listing that lacks packs of a draft does not keep it from becoming a point (fault 17)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  const db = { one: noise(1, 300_000) };
  {
    await using store = await openStore(ctx, bucket);
    await using draft = await begin(ctx, store, P1, { db });
    await fill(ctx, draft, 'db', db);
  }
  const stale = faultyBucket(bucket, { listing: (found) => found.filter(({ key }) => !key.startsWith('data/')) });
  await using store = await openStore(ctx, stale);
  await using draft = await store.resume(ctx, P1);
  const receipts = await store.receipts(ctx, P1);
  await store.commit(ctx, draft, pointOf(P1, receipts), receipts);
  assert.ok((await readParts(ctx, store, P1, 'db')).one?.equals(db.one));
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

test('a writer that lost its lock stops in the middle of a part (fault 7)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  await using draft = await begin(ctx, store, P1, { db: {} });
  const sink = draft.sink('db');
  const isLost = (error: unknown): boolean => isFailure(error, 'lease-lost');
  async function* endless(): Bytes {
    for (let i = 0; i < 1000; i++) {
      yield noise(i, 1000);
      if (i !== 3) continue;
      for (const lock of await keysOf(ctx, bucket, 'locks/')) await bucket.delete(ctx, lock);
      ctx.advance(6 * MINUTE_MS);
      await assert.rejects(sink.put(ctx, 'other', bytesOf('x')), isLost);
    }
    assert.fail('the part was read to its end');
  }
  await assert.rejects(sink.put(ctx, 'long', endless()), isLost);
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

test('no point is made of what lies in a damaged pack only (fault 2)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  const contents = { db: { one: noise(1, 300_000) } };
  {
    await using killed = await openStore(ctx, bucket);
    await using draft = await begin(ctx, killed, P1, contents);
    await fill(ctx, draft, 'db', contents.db);
  }
  const pack = await largest(ctx, bucket, 'data/');
  await rewrite(ctx, bucket, pack, (data) => data.subarray(0, 1000));
  await using store = await openStore(ctx, bucket);
  {
    await using draft = await store.resume(ctx, P1);
    const receipts = await store.receipts(ctx, P1);
    const commit = store.commit(ctx, draft, pointOf(P1, receipts), receipts);
    await assert.rejects(commit, (error) => isFailure(error, 'checksum') && error.message.includes(pack.slice(8)));
  }
  assert.deepEqual(await Array.fromAsync(store.list(ctx)), []);
  await save(ctx, store, P2, contents);
  assert.ok((await readParts(ctx, store, P2, 'db')).one?.equals(contents.db.one));
});

for (const kept of [1000, 0]) {
  test(`a pack of which ${kept} bytes arrived becomes no part of a point (fault 2)`, async () => {
    const ctx = testContext();
    const bucket = await made(ctx);
    const contents = { db: { one: noise(1, 300_000) } };
    await using store = await openStore(ctx, bucket);
    await using draft = await begin(ctx, store, P1, contents);
    const receipts = [await fill(ctx, draft, 'db', contents.db)];
    await rewrite(ctx, bucket, await largest(ctx, bucket, 'data/'), (data) => data.subarray(0, kept));
    await assert.rejects(store.commit(ctx, draft, pointOf(P1, receipts), receipts), (e) => isFailure(e, 'checksum'));
    await using next = await openStore(ctx, bucket);
    await save(ctx, next, P2, contents);
    assert.ok((await readParts(ctx, next, P2, 'db')).one?.equals(contents.db.one));
  });
}
