// What a draft may write over: only what it has announced itself.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOf } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import type { Rendition } from '../../core/model.ts';
import { testContext } from '../../core/testing.ts';
import { fill, ID, keys, opened, PLAN, planOf, pointOf, rdb, rendered, text } from './testing.ts';

test('a dump of another program that has the name already is neither written over nor deleted', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'by-component');
  const theirs = 'redis/redis_20240223_020000.rdb';
  await bucket.put(ctx, theirs, Buffer.from('theirs'));
  const before = await keys(ctx, bucket, '');
  {
    await using draft = await store.begin(ctx, ID, planOf(PLAN));
    const put = draft.sink('redis').put(ctx, 'dump.rdb', bytesOf('ours'), { rendition: rendered(rdb) });
    await assert.rejects(put, (error) => isFailure(error, 'exists'));
    assert.deepEqual(await keys(ctx, bucket, '0-lifeboat/drafts/'), [`0-lifeboat/drafts/${ID}/draft.json`]);
  }
  assert.deepEqual(await keys(ctx, bucket, ''), before);
  assert.equal(await text(ctx, bucket, theirs), 'theirs');
});

test('a component that is begun again may write its own files anew', async () => {
  for (const layout of ['dated', 'by-component'] as const) {
    const ctx = testContext();
    const { store } = await opened(ctx, layout);
    await store.begin(ctx, ID, planOf(PLAN)).then((draft) => fill(ctx, draft.sink('redis'), PLAN.redis?.parts ?? []));
    await using draft = await store.resume(ctx, ID);
    const receipts = await Promise.all(
      Object.entries(PLAN).map(([name, { parts }]) => fill(ctx, draft.sink(name), parts)),
    );
    await store.commit(ctx, draft, pointOf(ID, PLAN), receipts);
    assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
  }
});

test('parts of two components never become one file', async () => {
  const ctx = testContext();
  const { store } = await opened(ctx, 'by-component');
  const database = (item: string): Rendition => ({
    ...{ name: `${item}.sql`, word: 'postgres', item, alone: true, suffix: '.sql', gzip: false },
  });
  const stack = { shop: { kind: 'postgresql', parts: [] }, shop_eu: { kind: 'postgresql', parts: [] } };
  await using draft = await store.begin(ctx, ID, planOf(stack));
  await draft.sink('shop').put(ctx, 'a', bytesOf('a'), { rendition: database('eu_x') });
  const second = draft.sink('shop_eu').put(ctx, 'b', bytesOf('b'), { rendition: database('x') });
  await assert.rejects(second, (error) => isFailure(error, 'exists'));
});
