import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFailure } from '../../core/errors.ts';
import { testContext } from '../../core/testing.ts';
import { ID, LATER, opened, PLAN, save, text } from './testing.ts';

test('a manifest that was changed is no point any more: what it says is not believed', async () => {
  for (const layout of ['dated', 'by-component'] as const) {
    const ctx = testContext();
    const { bucket, store } = await opened(ctx, layout);
    for (const id of [ID, LATER]) await save(ctx, store, id, PLAN);
    const key = layout === 'dated' ? `${ID}/manifest.json` : `0-lifeboat/manifests/${ID}.json`;
    const changed = (await text(ctx, bucket, key)).replace('0.4.0', '0.5.0');
    await bucket.put(ctx, key, Buffer.from(changed));
    assert.deepEqual(await Array.fromAsync(store.list(ctx), ({ id }) => id), [LATER]);
    await assert.rejects(store.open(ctx, ID, 'redis'), (error) => isFailure(error, 'checksum'));
    const [finding, ...others] = await Array.fromAsync(store.check(ctx, { readData: 1 }));
    assert.deepEqual([finding?.verdict, others], ['fail', []]);
    assert.match(finding?.check ?? '', new RegExp(`^the manifest of ${ID}`));
  }
});
