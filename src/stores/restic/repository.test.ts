import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultyBucket } from '../../buckets/faulty.ts';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Bucket } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import { watching } from '../plain/testing.ts';
import { P1, save } from '../suite/rig.suite.ts';
import { createStore, keysOf, openStore, readParts } from './testing.ts';

const ctx = testContext();

/** A bucket that has, or has not, writes that fail when the key is there. */
function bucketOf(conditional: boolean): Bucket {
  const bucket = memoryBucket();
  return conditional ? bucket : { ...bucket, put: (within, key, body) => bucket.put(within, key, body) };
}

for (const conditional of [true, false]) {
  const where = conditional ? 'a bucket with conditional writes' : 'a bucket without conditional writes';

  test(`a store that is made while another one is being made in ${where} leaves one that opens (fault 19)`, async () => {
    let moments = 0;
    for (let moment = 1, met = true; met; moment++) {
      const bucket = bucketOf(conditional);
      let second: Promise<void> | undefined;
      const watched = watching(bucket, async (look) => {
        if (look === moment) await Promise.allSettled([(second = createStore(ctx, bucket))]);
      });
      const first = createStore(ctx, watched);
      const [one, two] = await Promise.allSettled([first, first.catch(() => {}).then(() => second)]);
      met = second !== undefined;
      const lost = [one, two].filter((each) => each.status === 'rejected');
      assert.deepEqual([lost.length, lost.every(({ reason }) => isFailure(reason, 'exists'))], [met ? 1 : 0, true]);
      await assertUsable(bucket);
      assert.ok(moment < 100);
      moments = moment;
    }
    assert.ok(moments > 5, `it looked ${moments} times`);
  });

  test(`of stores that are made in ${where} in the same instant one at most is there (fault 19)`, async () => {
    const bucket = bucketOf(conditional);
    const settled = await Promise.allSettled(Array.from({ length: 5 }, () => createStore(ctx, bucket)));
    const lost = settled.filter((each) => each.status === 'rejected');
    assert.ok(
      lost.every(({ reason }) => isFailure(reason, 'exists')),
      String(lost[0]?.reason),
    );
    assert.ok(lost.length >= 4);
    if (conditional) assert.equal(lost.length, 4);
    if (lost.length === 4) await assertUsable(bucket);
    else assert.deepEqual(await keysOf(ctx, bucket), [], 'and nothing is in the way of the next attempt');
  });
}

test('an init that is interrupted before its end leaves nothing in the way of the next one', async () => {
  let moments = 0;
  for (let moment = 1, met = true; met; moment++) {
    const bucket = memoryBucket();
    const stop = new AbortController();
    met = false;
    const watched = watching(bucket, async (look) => {
      if (look < moment || (await keysOf(ctx, bucket, 'config')).length > 0) return;
      if (look === moment) stop.abort(new Failure('interrupted', 'stopped'));
      met = stop.signal.aborted;
    });
    // Every call hears of it, as those of a real bucket do.
    const heard: Bucket = {
      ...watched,
      async put(within, key, ...rest) {
        if (key === 'config') return await bucket.put(within, key, ...rest);
        const info = await watched.put(within, key, ...rest);
        within.signal.throwIfAborted();
        return info;
      },
      async head(within, key) {
        within.signal.throwIfAborted();
        return await watched.head(within, key);
      },
      async delete(within, key) {
        within.signal.throwIfAborted();
        await watched.delete(within, key);
      },
    };
    const error = await createStore({ ...ctx, signal: stop.signal }, heard).then(
      () => null,
      (cause: unknown) => cause,
    );
    if (error === null) await assertUsable(bucket);
    else {
      assert.deepEqual([isFailure(error, 'interrupted'), await keysOf(ctx, bucket)], [true, []], String(error));
      await createStore(ctx, bucket);
    }
    assert.ok(moment < 100);
    moments = moment;
  }
  assert.ok(moments > 5, `it looked ${moments} times`);
});

test('where an init died, the next one names what is to be deleted', async () => {
  for (const changesMax of [1, 2]) {
    const bucket = memoryBucket();
    await assert.rejects(createStore(ctx, faultyBucket(bucket, { changesMax })));
    const left = await keysOf(ctx, bucket);
    await assert.rejects(
      createStore(ctx, bucket),
      (error) => error instanceof Failure && left.every((key) => error.hint?.includes(key)),
    );
    for (const key of left) await bucket.delete(ctx, key);
    await createStore(ctx, bucket);
  }
});

async function assertUsable(bucket: Bucket): Promise<void> {
  assert.equal((await keysOf(ctx, bucket, 'keys/')).length, 1);
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P1, { db: { one: '1' } });
  assert.equal((await readParts(ctx, store, P1, 'db')).one?.toString(), '1');
  await assert.rejects(openStore(ctx, bucket, { stack: 'other' }), (error) => isFailure(error, 'not-this-stack'));
}
