// What a draft may write over: only what it has announced itself.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOf } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import type { Receipt, Rendition } from '../../core/model.ts';
import { testContext } from '../../core/testing.ts';
import { plainFormat } from './store.ts';
import { fill, ID, keys, opened, PLAN, planOf, pointOf, rdb, rendered, text, watching } from './testing.ts';

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

test('a run that was overtaken leaves the point alone that another one has made of its draft', async () => {
  for (const layout of ['dated', 'by-component'] as const) {
    const ctx = testContext();
    const { bucket, store } = await opened(ctx, layout);
    const overtaken = await store.begin(ctx, ID, planOf(PLAN));
    const late = overtaken.sink('redis');
    const receipts = [await fill(ctx, overtaken.sink('postgresql'), PLAN.postgresql?.parts ?? [])];
    {
      await using second = await store.resume(ctx, ID);
      receipts.push(await fill(ctx, second.sink('redis'), PLAN.redis?.parts ?? []));
      await store.commit(ctx, second, pointOf(ID, PLAN), receipts);
    }
    const before = await keys(ctx, bucket, '');
    await assert.rejects(late.receipt(ctx), (error) => isFailure(error, 'lease-lost'));
    const commit = store.commit(ctx, overtaken, pointOf(ID, PLAN), receipts);
    await assert.rejects(commit, (error) => isFailure(error, 'exists'));
    await overtaken[Symbol.asyncDispose]();
    assert.deepEqual(await keys(ctx, bucket, ''), before);
    assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
  }
});

test('whenever a run is given up while another one commits its draft, the point is whole or is none', async () => {
  for (const during of ['commit', 'end'] as const) {
    const outcomes = new Set<string>();
    for (let look = 1, met = true; met; look += 1) {
      const ctx = testContext();
      const { bucket, store } = await opened(ctx, 'dated');
      let meet = async (): Promise<void> => {};
      let looks = 0;
      const watched = watching(bucket, async () => {
        if (++looks === look) await meet();
      });
      const other = await plainFormat.open(ctx, watched, { stack: 's', layout: 'dated' });
      const [first, second] = during === 'commit' ? [store, other] : [other, store];
      const begun = await first.begin(ctx, ID, planOf(PLAN));
      const receipts: Receipt[] = [];
      for (const [name, { parts }] of Object.entries(PLAN)) receipts.push(await fill(ctx, begun.sink(name), parts));
      const taken = await second.resume(ctx, ID);
      const end = async (): Promise<void> => await begun[Symbol.asyncDispose]();
      let committed = false;
      const commit = async (): Promise<void> => {
        try {
          await second.commit(ctx, taken, pointOf(ID, PLAN), receipts);
          committed = true;
        } catch (error) {
          if (!isFailure(error, 'missing') && !isFailure(error, 'lease-lost')) throw error;
        }
      };
      met = false;
      meet = async () => {
        met = true;
        await (during === 'commit' ? end : commit)();
      };
      looks = 0;
      await (during === 'commit' ? commit : end)();
      if (!met) break;
      assert.equal((await Array.fromAsync(store.list(ctx))).length, committed ? 1 : 0);
      assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), [], `${during} ${look}`);
      outcomes.add(committed ? 'committed' : 'refused');
    }
    assert.deepEqual([...outcomes].sort(), ['committed', 'refused']);
  }
});
