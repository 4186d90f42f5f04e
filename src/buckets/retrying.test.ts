import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOf, readAll } from '../core/bytes.ts';
import { type ErrorCode, Failure } from '../core/errors.ts';
import type { Bucket, ObjectInfo } from '../core/storage.ts';
import { type TestContext, testContext } from '../core/testing.ts';
import { bucketSuite } from './bucket.suite.ts';
import { type Faults, faultyBucket } from './faulty.ts';
import { memoryBucket } from './memory/bucket.ts';
import { retryingBucket } from './retrying.ts';

bucketSuite('retrying', () => retryingBucket(memoryBucket()));

/** Every other call fails. */
function flaky(): Faults {
  let calls = 0;
  return { fail: () => (calls++ % 2 === 0 ? new Failure('unreachable', 'no answer') : undefined) };
}
const STREAM = 'it puts a stream, which can not be read twice';
bucketSuite('retrying what fails every other time', () => retryingBucket(faultyBucket(memoryBucket(), flaky())), {
  except: {
    'what comes back is what was put, from a buffer and from a stream': STREAM,
    'an object may be empty': STREAM,
    'many that are put at once are each what was put': 'of so many, one fails each time',
    'a large stream comes back whole, and in ranges': STREAM,
    'a body that breaks off leaves nothing': STREAM,
    'a put that is stopped leaves nothing': STREAM,
    'if-absent never overwrites': STREAM,
    'the same objects can be put, read, listed and deleted at once': STREAM,
  },
});

/** A clock that only sleeping moves, and what was slept. */
function sleeper(): TestContext & { readonly slept: number[] } {
  let clock = 0;
  const slept: number[] = [];
  const sleep = async (ms: number): Promise<void> => {
    slept.push(ms);
    clock += ms;
  };
  return { ...testContext({ monotonicMs: () => clock, sleep }), slept };
}
function failing(code: ErrorCode): { bucket: Bucket; calls: () => number } {
  let calls = 0;
  const fail = (): Failure => {
    calls += 1;
    return new Failure(code, 'as arranged');
  };
  return { bucket: retryingBucket(faultyBucket(memoryBucket(), { fail })), calls: () => calls };
}

test('what may pass is tried for 15 minutes, with growing pauses, and then given up', async () => {
  for (const code of ['unreachable', 'timeout', 'clock-skew'] as const) {
    const ctx = sleeper();
    const { bucket, calls } = failing(code);
    await assert.rejects(bucket.head(ctx, 'a'), { code });
    const total = ctx.slept.reduce((sum, ms) => sum + ms, 0);
    assert.equal(Math.round(total), 15 * 60_000);
    assert.equal(calls(), ctx.slept.length + 1);
    assert.ok(calls() > 20 && calls() < 100, `${calls()} attempts`);
    assert.ok((ctx.slept[0] ?? 0) <= 300 && Math.max(...ctx.slept) <= 45_000, String(ctx.slept));
  }
});

test('a storage that stays away is told of once, however many requests wait for it', async () => {
  const ctx = sleeper();
  const { bucket } = failing('unreachable');
  const head = (key: string) => assert.rejects(bucket.head(ctx, key), { code: 'unreachable' });
  await Promise.all([head('a'), head('b')]);
  const told = ctx.logged.filter(({ level }) => level === 'warn');
  assert.deepEqual(
    told.map(({ message }) => message),
    ['storage failed, will try again'],
  );
  const brief = sleeper();
  await retryingBucket(faultyBucket(memoryBucket(), flaky())).delete(brief, 'a');
  assert.deepEqual(
    brief.logged.map(({ level }) => level),
    ['debug'],
  );
});

test('pauses differ, so that many who failed together do not come back together', async () => {
  const [one, other] = [sleeper(), sleeper()];
  for (const ctx of [one, other]) await assert.rejects(failing('unreachable').bucket.head(ctx, 'a'));
  assert.notDeepEqual(one.slept, other.slept);
});

test('missing, denied, full and other plain answers are never asked for twice', async () => {
  for (const code of [
    'missing',
    'denied',
    'no-space',
    'exists',
    'archived',
    'settings-invalid',
    'interrupted',
  ] as const) {
    const ctx = sleeper();
    const { bucket, calls } = failing(code);
    await assert.rejects(bucket.put(ctx, 'a', Buffer.from('x')), { code });
    assert.deepEqual([calls(), ctx.slept], [1, []], code);
  }
});

test('retries within retries do not multiply', async () => {
  const ctx = sleeper();
  const { bucket } = failing('unreachable');
  await assert.rejects(retryingBucket(bucket).head(ctx, 'a'), { code: 'unreachable' });
  assert.equal(Math.round(ctx.slept.reduce((sum, ms) => sum + ms, 0)), 15 * 60_000);
});

test('trying again ends when the user stops it', async () => {
  const controller = new AbortController();
  const ctx = testContext({ signal: controller.signal });
  let calls = 0;
  const fail = (): Failure => {
    if (++calls === 3) controller.abort(new Failure('interrupted', 'stopped on request'));
    return new Failure('unreachable', 'no answer');
  };
  await assert.rejects(retryingBucket(faultyBucket(memoryBucket(), { fail })).head(ctx, 'a'));
  assert.equal(calls, 3);
});

test('many whose put fails are put once more', async () => {
  const ctx = sleeper();
  const memory = memoryBucket();
  let calls = 0;
  const fail = (): Failure | undefined => (++calls === 2 ? new Failure('unreachable', 'no answer') : undefined);
  const objects = ['a', 'b', 'c'].map((key) => ({ key, body: Buffer.from(key) }));
  await retryingBucket(faultyBucket(memory, { fail })).putAll?.(ctx, objects);
  assert.deepEqual([calls, ctx.slept.length], [5, 1]);
  assert.equal((await readAll(memory.get(ctx, 'c'))).toString(), 'c');
});

test('a read that breaks off goes on where it was', async () => {
  const ctx = testContext();
  const memory = memoryBucket();
  await memory.put(ctx, 'a', Buffer.from('0123456789'));
  const bucket = retryingBucket(faultyBucket(memory, { breakOff: () => 3 }));
  assert.equal((await readAll(bucket.get(ctx, 'a'))).toString(), '0123456789');
  assert.equal((await readAll(bucket.get(ctx, 'a', { offset: 1, length: 8 }))).toString(), '12345678');
});

test('a listing that breaks off goes on where it was, each key once', async () => {
  const ctx = testContext();
  const memory = memoryBucket();
  for (const key of ['a', 'b/1', 'b/2', 'c/1']) await memory.put(ctx, key, Buffer.from('x'));
  let budget = 1;
  async function* breaking<T>(items: AsyncIterable<T>): AsyncIterable<T> {
    let given = 0;
    for await (const item of items) {
      if (given++ === budget) {
        budget += 1;
        throw new Failure('unreachable', 'broken off');
      }
      yield item;
    }
  }
  const bucket = retryingBucket({
    ...memory,
    list: (c, prefix) => breaking<ObjectInfo>(memory.list(c, prefix)),
    folders: (c, prefix) => breaking<string>(memory.folders(c, prefix)),
  });
  assert.deepEqual(await Array.fromAsync(bucket.list(ctx, ''), ({ key }) => key), ['a', 'b/1', 'b/2', 'c/1']);
  budget = 1;
  assert.deepEqual(await Array.fromAsync(bucket.folders(ctx, '')), ['b/', 'c/']);
});

test('a reply that is lost after the write is a success only if the object is identical', async () => {
  const ctx = testContext();
  const memory = memoryBucket();
  const ifAbsent = { ifAbsent: true };
  let lost = 0;
  const bucket = retryingBucket(faultyBucket(memory, { loseReply: () => lost++ === 0 }));
  assert.equal((await bucket.put(ctx, 'a', Buffer.from('mine'), ifAbsent)).bytes, 4);
  assert.equal(lost, 1);

  let calls = 0;
  const fail = (operation: string): Failure | undefined =>
    operation === 'put' && calls++ === 0 ? new Failure('unreachable', 'no answer') : undefined;
  await memory.put(ctx, 'b', Buffer.from('them'));
  const late = retryingBucket(faultyBucket(memory, { fail }));
  await assert.rejects(late.put(ctx, 'b', Buffer.from('mine'), ifAbsent), { code: 'exists' });
  assert.equal((await readAll(memory.get(ctx, 'b'))).toString(), 'them');
});

test('a stream, which can not be read twice, is not put twice', async () => {
  const ctx = sleeper();
  const { bucket, calls } = failing('unreachable');
  await assert.rejects(bucket.put(ctx, 'a', bytesOf('once')), { code: 'unreachable' });
  assert.equal(calls(), 1);
});

test('an object that is replaced by a shorter one while it is read is never taken for the old one', async () => {
  const ctx = testContext();
  const truth = memoryBucket();
  await truth.put(ctx, 'a', Buffer.alloc(10, 'x'));
  const bucket = retryingBucket(faultyBucket(truth, { breakOff: () => 7 }));
  await assert.rejects(
    async () => {
      for await (const _ of bucket.get(ctx, 'a')) await truth.put(ctx, 'a', Buffer.from('new'));
    },
    { code: 'different' },
  );
});
