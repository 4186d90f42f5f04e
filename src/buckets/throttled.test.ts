import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOf, readAll } from '../core/bytes.ts';
import { type TestContext, testContext } from '../core/testing.ts';
import { bucketSuite } from './bucket.suite.ts';
import { memoryBucket } from './memory/bucket.ts';
import { throttledBucket } from './throttled.ts';

bucketSuite('throttled', () => throttledBucket(memoryBucket(), { bytesPerSecond: 1e12 }));

/** A clock that only sleeping moves; those who sleep at once wake in turn. */
function sleeper(): TestContext & { clock(): number } {
  let clock = 0;
  const sleep = async (ms: number): Promise<void> => {
    const until = clock + ms;
    await new Promise((resolve) => setImmediate(resolve));
    clock = Math.max(clock, until);
  };
  return { ...testContext({ monotonicMs: () => clock, sleep }), clock: () => clock };
}

test('so many bytes a second pass, both ways together, however many calls run at once', async () => {
  const ctx = sleeper();
  const bucket = throttledBucket(memoryBucket(), { bytesPerSecond: 1_000 });
  const body = Buffer.alloc(2_000);
  await Promise.all(['a', 'b', 'c'].map((key) => bucket.put(ctx, key, body)));
  await bucket.put(ctx, 'd', bytesOf(body));
  await bucket.putAll?.(
    ctx,
    ['e', 'f'].map((key) => ({ key, body })),
  );
  await Promise.all(['a', 'b'].map((key) => readAll(bucket.get(ctx, key))));
  // 16 000 bytes; the last of them need not be waited for.
  assert.equal(ctx.clock(), 14_000);
});

test('what was not used of the rate is not saved up', async () => {
  const ctx = sleeper();
  const bucket = throttledBucket(memoryBucket(), { bytesPerSecond: 1_000 });
  await bucket.put(ctx, 'first', Buffer.alloc(1_000));
  await ctx.sleep(60_000);
  for (const key of ['a', 'b', 'c']) await bucket.put(ctx, key, Buffer.alloc(1_000));
  assert.equal(ctx.clock(), 62_000);
});
