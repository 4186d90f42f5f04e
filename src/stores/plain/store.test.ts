import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { localBucket } from '../../buckets/local/bucket.ts';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import { createRepository } from '../restic/repository.ts';
import { resticSettings } from '../restic/settings.ts';
import { storeSuite } from '../store.suite.ts';
import { journalsInRealBuckets } from '../suite/real-buckets.suite.ts';
import type { StoreRig } from '../suite/rig.suite.ts';
import { plainFormat } from './store.ts';
import { keys, watching } from './testing.ts';

const rigOf = (layout: 'dated' | 'by-component'): StoreRig => {
  return { name: `plain ${layout}`, format: plainFormat, settings: (stack) => ({ stack, layout }) };
};
storeSuite(rigOf('dated'));
storeSuite(rigOf('by-component'));
await journalsInRealBuckets(rigOf('dated')); // they lie in the same place in either layout

test('of many who make a store in one place at once, one does, and the others are told', async () => {
  const ctx = testContext();
  for (const bucket of [memoryBucket(), localBucket(mkdtempSync(join(ctx.scratch, 'init-')))]) {
    const stacks = Array.from({ length: 8 }, (_, i) => `stack-${i}`);
    const made = await Promise.all(stacks.map((stack) => succeeds(plainFormat.create(ctx, bucket, { stack }))));
    assert.equal(made.filter(Boolean).length, 1);
    const stack = stacks[made.indexOf(true)];
    await using _ = await plainFormat.open(ctx, bucket, { stack });
    await bucket.close();
  }
});

test('a plain and a restic store that are made in one place at once never both stay', async () => {
  const ctx = testContext();
  const makers = {
    plain: (bucket: Bucket) => plainFormat.create(ctx, bucket, { stack: 's' }),
    restic: makeRestic(ctx),
  };
  for (const [slow, quick] of [
    ['plain', 'restic'],
    ['restic', 'plain'],
  ] as const) {
    for (let at = 1; at <= 12; at += 1) {
      const bucket = memoryBucket();
      let second: Promise<boolean> | undefined;
      const watched = watching(bucket, async (look) => {
        if (look === at) await (second = succeeds(makers[quick](bucket)));
      });
      const first = await succeeds(makers[slow](watched));
      if (!second) break;
      const found = await keys(ctx, bucket, '');
      const stay = { plain: found.includes('0-lifeboat/owner.json'), restic: found.includes('config') };
      assert.ok(!(stay.plain && stay.restic), `${slow} at ${at}`);
      assert.deepEqual({ [slow]: stay[slow], [quick]: stay[quick] }, { [slow]: first, [quick]: await second });
    }
  }
});

function makeRestic(ctx: Context): (bucket: Bucket) => Promise<void> {
  const settings = resticSettings.parse({ stack: 's', password: 'horse' });
  return (bucket) => createRepository(ctx, bucket, settings, { N: 2, r: 1, p: 1 });
}

async function succeeds(work: Promise<unknown>): Promise<boolean> {
  try {
    await work;
    return true;
  } catch (error) {
    if (isFailure(error, 'exists')) return false;
    throw error;
  }
}
