import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFailure } from '../../core/errors.ts';
import { testContext } from '../../core/testing.ts';
import { ID, keys, LATER, opened, PLAN, save, text } from './testing.ts';

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

test('a point whose checksum was damaged is believed again once that is deleted, as the hint says', async () => {
  for (const layout of ['dated', 'by-component'] as const) {
    const ctx = testContext();
    const { bucket, store } = await opened(ctx, layout);
    await save(ctx, store, ID, PLAN);
    const [digest = ''] = (await keys(ctx, bucket, '')).filter((key) => key.endsWith('.sha256'));
    await bucket.put(ctx, digest, Buffer.from('x'));
    const [damage] = await Array.fromAsync(store.check(ctx, { readData: 1 }));
    assert.ok(damage?.verdict === 'fail' && damage.hint?.includes(digest), damage?.hint);
    await bucket.delete(ctx, digest);
    assert.deepEqual(await Array.fromAsync(store.list(ctx), ({ id }) => id), [ID]);
    const found = await Array.fromAsync(store.check(ctx, { readData: 1 }), ({ verdict }) => verdict);
    assert.deepEqual(found, ['unknown']);
  }
});

test('a damaged point can be written again once what the hint names is deleted', async () => {
  const named = { dated: `everything below ${ID}/`, 'by-component': `0-lifeboat/manifests/${ID}.json and the files` };
  for (const layout of ['dated', 'by-component'] as const) {
    for (const damagedKey of ['/redis.ndjson', 'manifest']) {
      const ctx = testContext();
      const { bucket, store } = await opened(ctx, layout);
      await save(ctx, store, ID, PLAN);
      const manifest = layout === 'dated' ? `${ID}/manifest.json` : `0-lifeboat/manifests/${ID}.json`;
      const [list = ''] = (await keys(ctx, bucket, '')).filter((key) => key.endsWith(damagedKey));
      await bucket.put(ctx, damagedKey === 'manifest' ? manifest : list, Buffer.from('{}'));
      const hints = await Array.fromAsync(store.check(ctx, { readData: 1 }), ({ hint }) => hint ?? '');
      assert.ok(hints.length > 0 && hints.every((hint) => hint.includes(named[layout])), hints.join());
      await assert.rejects(save(ctx, store, ID, PLAN), (error) => isFailure(error, 'exists'));
      for (const key of await keys(ctx, bucket, '')) if (!key.startsWith('0-lifeboat/')) await bucket.delete(ctx, key);
      await bucket.delete(ctx, manifest);
      await save(ctx, store, ID, PLAN);
      assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
    }
  }
});
