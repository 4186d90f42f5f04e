// How points come into being, belong to one stack, and go.

import assert from 'node:assert/strict';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { bytesOf } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import type { Receipt } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { captured, testContext } from '../../core/testing.ts';
import {
  assertWhole,
  commit,
  created,
  declare,
  fails,
  fill,
  findings,
  HOUR_MS,
  ids,
  keys,
  noise,
  P1,
  P2,
  P3,
  planOf,
  pointOf,
  reclaimed,
  reopened,
  STACK,
  type StoreRig,
  save,
  total,
} from './rig.suite.ts';

export function draftsAndPoints(rig: StoreRig): void {
  const it = declare(rig);
  const ctx = testContext();

  it('shows nothing of a point before it is committed', async () => {
    const { bucket, store } = await created(rig, ctx);
    await using other = await reopened(rig, ctx, bucket);
    const draft = await store.begin(ctx, P1, planOf({ db: {} }));
    const sink = draft.sink('db');
    await sink.put(ctx, 'one', bytesOf('1'));
    const receipt = await sink.receipt(ctx);
    assert.deepEqual(await Array.fromAsync(other.list(ctx)), []);
    await fails('missing', other.open(ctx, P1, 'db'));
    const point = await commit(ctx, store, draft, [receipt]);
    assert.deepEqual(await Array.fromAsync(other.list(ctx)), [point]);
    await store[Symbol.asyncDispose]();
  });

  it('makes no point of a draft that was given up', async () => {
    const { bucket, store } = await created(rig, ctx);
    {
      await using draft = await store.begin(ctx, P1, planOf({ db: {} }));
      await draft.sink('db').put(ctx, 'one', bytesOf('1'));
    }
    await save(ctx, store, P2, { db: { one: '1' } });
    await store[Symbol.asyncDispose]();
    await using again = await reopened(rig, ctx, bucket);
    assert.deepEqual(await ids(ctx, again), [P2]);
    assert.deepEqual(await findings(ctx, again), []);
  });

  it('refuses an id that is taken', async () => {
    await using store = (await created(rig, ctx)).store;
    await save(ctx, store, P1, { db: { one: '1' } });
    await fails('exists', store.begin(ctx, P1, planOf({ db: {} })));
    await assertWhole(ctx, store, P1, { db: { one: '1' } });
  });

  it('goes on with a draft of a process that died', async () => {
    const { bucket, store: dead } = await created(rig, ctx);
    const contents = { db: { one: noise(1, 100_000) }, cache: { two: noise(2, 100_000) } };
    const begun = await dead.begin(ctx, P1, planOf(contents));
    const receipt = await fill(ctx, begun.sink('db'), contents.db); // and then it was killed
    await using store = await reopened(rig, ctx, bucket);
    const draft = await store.resume(ctx, P1);
    assert.deepEqual(await store.receipts(ctx, P1), [receipt]);
    const second = await fill(ctx, draft.sink('cache'), contents.cache);
    const carried: Receipt[] = JSON.parse(JSON.stringify([...(await store.receipts(ctx, P1))]));
    assert.deepEqual(new Set(carried.map((each) => each.component)), new Set(['db', 'cache']));
    assert.equal(second.parts, 1);
    await commit(ctx, store, draft, carried);
    await assertWhole(ctx, store, P1, contents);
    assert.deepEqual(await findings(ctx, store), []);
    await fails('missing', store.resume(ctx, P2));
  });

  it('commits what several processes put', async () => {
    const { bucket, store } = await created(rig, ctx);
    await using worker = await reopened(rig, ctx, bucket);
    const contents = { db: { one: noise(1, 100_000) }, cache: { two: noise(2, 100_000) } };
    const draft = await store.begin(ctx, P1, planOf(contents));
    await using theirs = await worker.resume(ctx, P1);
    const receipts = await Promise.all([
      fill(ctx, draft.sink('db'), contents.db),
      fill(ctx, theirs.sink('cache'), contents.cache),
    ]);
    await commit(ctx, store, draft, receipts);
    await store[Symbol.asyncDispose]();
    await assertWhole(ctx, worker, P1, contents);
  });

  it('lets two processes write different points at the same time', async () => {
    const { bucket, store } = await created(rig, ctx);
    await using other = await reopened(rig, ctx, bucket);
    const [a, b] = [{ db: { one: noise(1, 900_000) } }, { db: { one: noise(2, 900_000) } }];
    await Promise.all([save(ctx, store, P1, a), save(ctx, other, P2, b)]);
    await store[Symbol.asyncDispose]();
    await using again = await reopened(rig, ctx, bucket);
    await assertWhole(ctx, again, P1, a);
    await assertWhole(ctx, again, P2, b);
  });

  it('commits a point without the component that failed', async () => {
    await using store = (await created(rig, ctx)).store;
    const draft = await store.begin(ctx, P1, planOf({ db: {}, cache: {} }));
    const db = await fill(ctx, draft.sink('db'), { one: '1' });
    const failed = captured({ error: { code: 'unreachable', message: 'no answer' } });
    const point = { ...pointOf(P1, [db]), status: 'partial' as const };
    const partial = { ...point, components: { ...point.components, cache: failed } };
    assert.deepEqual(await store.commit(ctx, draft, partial, [db]), partial);
    assert.deepEqual(await Array.fromAsync(store.list(ctx)), [partial]);
    await fails('missing', store.open(ctx, P1, 'cache'));
    assert.deepEqual(await findings(ctx, store), []);
  });

  it('lists points in order of id', async () => {
    await using store = (await created(rig, ctx)).store;
    for (const id of [P2, P3, P1]) await save(ctx, store, id, { db: { one: id } });
    assert.deepEqual(await ids(ctx, store), [P1, P2, P3]);
  });
}

export function belongsToOneStack(rig: StoreRig): void {
  const it = declare(rig);
  const ctx = testContext();

  it('refuses a second stack under one prefix (fault 18)', async () => {
    const { bucket, store } = await created(rig, ctx);
    await store[Symbol.asyncDispose]();
    await fails('not-this-stack', rig.format.open(ctx, bucket, rig.settings('other')));
  });

  it('never makes a store over another (fault 19)', async () => {
    const { bucket, store } = await created(rig, ctx);
    await save(ctx, store, P1, { db: { one: '1' } });
    await store[Symbol.asyncDispose]();
    for (const stack of [STACK, 'other']) {
      await fails('exists', rig.format.create(ctx, bucket, rig.settings(stack)));
    }
    await using again = await reopened(rig, ctx, bucket);
    await assertWhole(ctx, again, P1, { db: { one: '1' } });
  });

  it('creates nothing by opening (fault 19)', async () => {
    const bucket = memoryBucket();
    await fails('missing', rig.format.open(ctx, bucket, rig.settings(STACK)));
    assert.deepEqual(await keys(ctx, bucket), []);
  });

  it('creates nothing while the bucket does not answer (fault 19)', async () => {
    const { bucket, store } = await created(rig, ctx);
    await store[Symbol.asyncDispose]();
    const before = await keys(ctx, bucket);
    const changed: string[] = [];
    const silence = (): never => {
      throw new TypeError('fetch failed');
    };
    const out: Bucket = {
      ...bucket,
      get: silence,
      list: silence,
      folders: silence,
      files: silence,
      head: async () => silence(),
      put: async (_ctx, key) => {
        changed.push(key);
        return silence();
      },
    };
    await assert.rejects(rig.format.create(ctx, out, rig.settings(STACK)));
    await assert.rejects(rig.format.open(ctx, out, rig.settings(STACK)));
    assert.deepEqual([changed, await keys(ctx, bucket)], [[], before]);
  });
}

export function frees(rig: StoreRig): void {
  const it = declare(rig);

  it('removes points and frees their space after the grace', async () => {
    const ctx = testContext();
    const { bucket, store } = await created(rig, ctx);
    const [a, b] = [{ db: { one: noise(1, 2_000_000) } }, { db: { one: noise(2, 300_000) } }];
    await save(ctx, store, P1, a);
    await save(ctx, store, P2, b);
    await store.remove(ctx, [P1, P3]);
    assert.deepEqual(await ids(ctx, store), [P2]);
    await fails('missing', store.open(ctx, P1, 'db'));
    await reclaimed(ctx, store);
    assert.ok((await total(ctx, bucket)) < 1_000_000, 'the space of the removed point is free');
    assert.ok((await store.bytes(ctx)) < 1_000_000);
    assert.ok((await store.bytes(ctx)) > 300_000);
    await assertWhole(ctx, store, P2, b);
    assert.deepEqual(await findings(ctx, store), []);
    await save(ctx, store, P3, a);
    await assertWhole(ctx, store, P3, a);
    await store[Symbol.asyncDispose]();
  });

  it('only says what it would free unless told to apply it', async () => {
    const ctx = testContext();
    const { bucket, store } = await created(rig, ctx);
    await save(ctx, store, P1, { db: { one: noise(1, 2_000_000) } });
    await using draft = await store.begin(ctx, P2, planOf({ db: {} }));
    const receipt = await fill(ctx, draft.sink('db'), { one: noise(2, 2_000_000) });
    ctx.advance(48 * HOUR_MS);
    const before = await keys(ctx, bucket);
    await store.reclaim(ctx, { apply: false, graceMs: 24 * HOUR_MS });
    assert.deepEqual(await keys(ctx, bucket), before);
    await store.commit(ctx, draft, pointOf(P2, [receipt]), [receipt]);
    await store[Symbol.asyncDispose]();
  });

  it('never frees what a running backup has just put (fault 8)', async () => {
    const ctx = testContext();
    const { bucket, store } = await created(rig, ctx);
    await using other = await reopened(rig, ctx, bucket);
    const contents = { db: { one: noise(1, 2_000_000) } };
    const draft = await store.begin(ctx, P1, planOf(contents));
    const receipt = await fill(ctx, draft.sink('db'), contents.db);
    await other.reclaim(ctx, { apply: true, graceMs: 24 * HOUR_MS }).catch((error: unknown) => {
      assert.ok(isFailure(error, 'locked'), String(error)); // waiting for the writer is as good
    });
    await commit(ctx, store, draft, [receipt]);
    await store[Symbol.asyncDispose]();
    await assertWhole(ctx, other, P1, contents);
  });
}
