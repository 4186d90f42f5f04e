import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { readAll } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import type { Bucket, KeyRing } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import { save } from '../suite/rig.suite.ts';
import { sha256 } from './crypto.ts';
import { isIrreducible, randomPolynomial } from './polynomial.ts';
import { createStore, keysOf, openStore } from './testing.ts';

const ctx = testContext();

async function ring(): Promise<{ bucket: Bucket; keys: KeyRing }> {
  const bucket = memoryBucket();
  await createStore(ctx, bucket);
  const { keys } = await openStore(ctx, bucket);
  assert.ok(keys);
  return { bucket, keys };
}

test('a wrong password has a code of its own (fault 20)', async () => {
  const { bucket } = await ring();
  await assert.rejects(openStore(ctx, bucket, { password: 'cow' }), { code: 'wrong-password', hint: /recovery kit/ });
});

test('a store without any key says that it is missing, and nothing is made (fault 20)', async () => {
  const { bucket } = await ring();
  for (const key of await keysOf(ctx, bucket, 'keys/')) await bucket.delete(ctx, key);
  const before = await keysOf(ctx, bucket);
  await assert.rejects(openStore(ctx, bucket), (error) => isFailure(error, 'missing'));
  assert.deepEqual(await keysOf(ctx, bucket), before);
});

test('each of several passwords opens the same store', async () => {
  const { bucket, keys } = await ring();
  const added = await keys.add(ctx, 'second');
  await using store = await openStore(ctx, bucket, { password: 'second' });
  await save(ctx, store, '2026-01-01-020000', { db: { one: '1' } });
  await using first = await openStore(ctx, bucket);
  assert.equal((await Array.fromAsync(first.list(ctx))).length, 1);
  const listed = await store.keys?.list(ctx);
  assert.deepEqual(
    listed?.map(({ id, current }) => current === (id === added.id)),
    [true, true],
  );
});

test('a removed password opens no more, and the last key and the one in use stay (fault 20)', async () => {
  const { bucket, keys } = await ring();
  const [first] = await keys.list(ctx);
  await assert.rejects(keys.remove(ctx, first?.id ?? ''), /last key/);
  const second = await keys.add(ctx, 'second');
  await assert.rejects(keys.remove(ctx, first?.id ?? ''), /in use/);
  await assert.rejects(keys.remove(ctx, '0'.repeat(64)), (error) => isFailure(error, 'missing'));
  await keys.remove(ctx, second.id);
  await assert.rejects(openStore(ctx, bucket, { password: 'second' }), (error) => isFailure(error, 'wrong-password'));
});

test('changing the password proves the new one before the old one goes', async () => {
  const { bucket, keys } = await ring();
  const before = await keys.list(ctx);
  const changed = await keys.change(ctx, 'new');
  await using _store = await openStore(ctx, bucket, { password: 'new' });
  await assert.rejects(openStore(ctx, bucket), (error) => isFailure(error, 'wrong-password'));
  assert.deepEqual([changed.current, (await keys.list(ctx)).length, before.length], [true, 1, 1]);

  const forgetful = memoryBucket();
  await createStore(ctx, forgetful);
  const spoiled: Bucket = { ...forgetful, put: (c, key, _body) => forgetful.put(c, key, Buffer.from('{}')) };
  const { keys: doomed } = await openStore(ctx, spoiled);
  await assert.rejects(
    async () => await doomed?.change(ctx, 'new'),
    (error) => isFailure(error, 'checksum'),
  );
  await using _still = await openStore(ctx, forgetful);
});

test('a key that asks for all memory is refused (fault 21)', async () => {
  const { bucket } = await ring();
  const [key] = await keysOf(ctx, bucket, 'keys/');
  const file = JSON.parse((await readAll(bucket.get(ctx, key ?? ''))).toString());
  const hostile = Buffer.from(JSON.stringify({ ...file, N: 2 ** 30 }));
  await bucket.delete(ctx, key ?? '');
  await bucket.put(ctx, `keys/${sha256(hostile).toString('hex')}`, hostile);
  await assert.rejects(openStore(ctx, bucket), (error) => isFailure(error, 'malformed'));
});

test('the polynomial of a new repository is irreducible', () => {
  assert.ok(isIrreducible(0x3da3358b4dc173n), 'one that is known to be');
  assert.ok(!isIrreducible(0x3da3358b4dc172n) && !isIrreducible(0b101n) && isIrreducible(0b111n));
  const polynomial = randomPolynomial();
  assert.equal(polynomial.toString(2).length, 54);
});
