import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { isFailure } from '../../core/errors.ts';
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
    }
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

async function assertUsable(bucket: Bucket): Promise<void> {
  assert.equal((await keysOf(ctx, bucket, 'keys/')).length, 1);
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P1, { db: { one: '1' } });
  assert.equal((await readParts(ctx, store, P1, 'db')).one?.toString(), '1');
  await assert.rejects(openStore(ctx, bucket, { stack: 'other' }), (error) => isFailure(error, 'not-this-stack'));
}
