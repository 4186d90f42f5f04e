import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readAll } from '../core/bytes.ts';
import { Failure } from '../core/errors.ts';
import { testContext } from '../core/testing.ts';
import { bucketSuite } from './bucket.suite.ts';
import { type Faults, faultyBucket } from './faulty.ts';
import { memoryBucket } from './memory/bucket.ts';

bucketSuite('faulty without faults', () => faultyBucket(memoryBucket(), {}));

const ctx = testContext();
const keysOf = async (bucket: ReturnType<typeof memoryBucket>): Promise<string[]> =>
  await Array.fromAsync(bucket.list(ctx, ''), ({ key }) => key);

test('after its last change the machine is dead, in the middle of a deletion of many too', async () => {
  const memory = memoryBucket();
  const bucket = faultyBucket(memory, { changesMax: 4 });
  for (const key of ['a', 'b', 'c']) await bucket.put(ctx, key, Buffer.from('x'));
  await assert.rejects(bucket.deleteAll(ctx, ['a', 'b', 'c']), { code: 'unreachable' });
  assert.deepEqual(await keysOf(memory), ['b', 'c']);
  await assert.rejects(bucket.put(ctx, 'd', Buffer.from('x')), { code: 'unreachable' });
  await assert.rejects(bucket.head(ctx, 'b'), { code: 'unreachable' });
  assert.deepEqual(await keysOf(memory), ['b', 'c']);
  assert.equal(faultyBucket(memory, {}).changes(), 0);
});

test('a machine that dies while many are put has put those before', async () => {
  const memory = memoryBucket();
  const bucket = faultyBucket(memory, { changesMax: 2 });
  const objects = ['a', 'b', 'c', 'd'].map((key) => ({ key, body: Buffer.from('x') }));
  await assert.rejects(async () => await bucket.putAll?.(ctx, objects), { code: 'unreachable' });
  assert.deepEqual(await keysOf(memory), ['a', 'b']);
});

test('a lost reply leaves its change made', async () => {
  const memory = memoryBucket();
  const bucket = faultyBucket(memory, { loseReply: (operation) => operation === 'put' });
  await assert.rejects(bucket.put(ctx, 'a', Buffer.from('x')), { code: 'unreachable' });
  assert.deepEqual(await keysOf(memory), ['a']);
  assert.equal(bucket.changes(), 1);
});

test('reads are damaged, cut and refused as asked, and faults can change on the way', async () => {
  const memory = memoryBucket();
  await memory.put(ctx, 'a', Buffer.from('0123456789'));
  const faults: Faults = { damage: (_key, whole) => Buffer.from(whole).fill('!', 2, 3) };
  const bucket = faultyBucket(memory, faults);
  assert.equal((await readAll(bucket.get(ctx, 'a'))).toString(), '01!3456789');
  assert.equal((await readAll(bucket.get(ctx, 'a', { offset: 1, length: 3 }))).toString(), '1!3');
  faults.damage = (_key, whole) => whole.subarray(0, 4);
  assert.equal((await readAll(bucket.get(ctx, 'a'))).toString(), '0123');
  await assert.rejects(readAll(bucket.get(ctx, 'a', { offset: 3, length: 3 })), { code: 'missing' });
  delete faults.damage;
  faults.breakOff = () => 5;
  await assert.rejects(readAll(bucket.get(ctx, 'a')), { code: 'unreachable' });
  faults.fail = (operation, key) => new Failure('denied', `${operation} ${key}`);
  await assert.rejects(bucket.head(ctx, 'a'), { code: 'denied', message: 'head a' });
  faults.listing = (objects) => objects.slice(1);
  delete faults.fail;
  assert.deepEqual(await keysOf(bucket), []);
});
