import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Bucket, ObjectInfo } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import { plainFormat } from './store.ts';
import { ID, LATER, opened, PLAN, save } from './testing.ts';

test('of a point only the files that are listed as archived are looked up one by one', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'dated');
  for (const id of [ID, LATER]) await save(ctx, store, id, PLAN);
  const cold = [`${ID}/redis-${ID}.rdb`, `${LATER}/redis-${LATER}.rdb`];
  const tiered = (info: ObjectInfo): ObjectInfo => (cold.includes(info.key) ? { ...info, archived: true } : info);
  const heads: string[] = [];
  const vault: Bucket = {
    ...bucket,
    async head(within, key) {
      heads.push(key);
      return tiered(await bucket.head(within, key));
    },
    async *list(within, prefix) {
      for await (const each of bucket.list(within, prefix)) yield tiered(each);
    },
    async thaw() {},
  };
  const { archive } = await plainFormat.open(ctx, vault, { stack: 's', layout: 'dated' });
  assert.ok(archive);
  const components = Object.keys(PLAN);
  assert.deepEqual(await Array.fromAsync(archive.needed(ctx, ID, components), ({ key }) => key), cold.slice(0, 1));
  assert.deepEqual(heads, cold.slice(0, 1));
});
