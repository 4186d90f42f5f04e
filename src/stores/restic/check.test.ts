// What is said of a store while others work on it, and of what nobody can look at now.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FaultyBucket, faultyBucket } from '../../buckets/faulty.ts';
import { readAll } from '../../core/bytes.ts';
import { type ErrorCode, Failure, isFailure } from '../../core/errors.ts';
import type { Bucket } from '../../core/storage.ts';
import { type TestContext, testContext } from '../../core/testing.ts';
import { findings, HOUR_MS, noise, P1, P2, P3, save } from '../suite/rig.suite.ts';
import { keysOf, largest, made, openStore } from './testing.ts';

const SHARED = noise(5, 100_000);
const CONTENTS = {
  [P1]: { db: { one: noise(1, 300_000), shared: SHARED } },
  [P2]: { db: { two: noise(2, 300_000), shared: SHARED } },
};

for (const moment of ['the packs are listed', 'the first pack is read']) {
  for (const share of [0, 1]) {
    const how = share === 0 ? 'the structure' : 'all data';
    test(`a prune at the moment that ${moment} is no damage to a check of ${how} (fault 8)`, async () => {
      const ctx = testContext();
      const bucket = await filled(ctx);
      let pruned = false;
      async function prune(key: string): Promise<void> {
        if (pruned || !key.startsWith('data/')) return;
        pruned = true;
        await using other = await openStore(ctx, bucket);
        await other.remove(ctx, [P1]);
        for (let i = 0; i < 3; i++) await other.reclaim(ctx, { apply: true, graceMs: 0 });
      }
      const watched: Bucket = {
        ...bucket,
        async *list(within, prefix) {
          if (moment.includes('listed')) await prune(prefix);
          yield* bucket.list(within, prefix);
        },
        async *get(within, key, range) {
          if (moment.includes('read')) await prune(key);
          yield* bucket.get(within, key, range);
        },
      };
      const before = await keysOf(ctx, bucket, 'data/');
      await using store = await openStore(ctx, watched);
      assert.deepEqual(await findings(ctx, store, share), []);
      const left = await keysOf(ctx, bucket, 'data/');
      assert.ok(before.some((key) => !left.includes(key)) && left.some((key) => !before.includes(key)), 'it did prune');
    });
  }
}

for (const code of ['archived', 'denied', 'unreachable', 'timeout'] satisfies ErrorCode[]) {
  test(`a pack that can not be read (${code}) is unknown, and the check goes on to what is damaged (fault 1)`, async () => {
    const ctx = testContext();
    const bucket = await filled(ctx);
    const pack = await largest(ctx, bucket, 'data/');
    const others = (await keysOf(ctx, bucket, 'data/')).filter((key) => key !== pack);
    for (const key of others) {
      const data = await readAll(bucket.get(ctx, key));
      data.writeUInt8(data.readUInt8(40) ^ 1, 40);
      await bucket.put(ctx, key, data);
    }
    await using store = await openStore(ctx, without(bucket, [pack], code));
    const found = await findings(ctx, store);
    const { verdict, detail } = found.find(({ check }) => check.includes(pack.slice(8))) ?? {};
    assert.deepEqual([verdict, detail], ['unknown', `${pack} is ${code}`]);
    for (const key of others) {
      const damaged = found.find(({ check }) => check.includes(key.slice(8)));
      assert.equal(damaged?.verdict, 'fail', `${key}: ${JSON.stringify(found)}`);
    }
  });
}

test('of damaged packs one at a time is in memory a second time', async () => {
  const ctx = testContext();
  const bucket = await filled(ctx);
  const packs = await keysOf(ctx, bucket, 'data/');
  for (const key of packs) {
    const data = await readAll(bucket.get(ctx, key));
    data.writeUInt8(data.readUInt8(40) ^ 1, 40);
    await bucket.put(ctx, key, data);
  }
  let [whole, most] = [0, 0];
  const watched: Bucket = {
    ...bucket,
    async *get(within, key, range) {
      const isWhole = range === undefined && packs.includes(key);
      most = Math.max(most, (whole += Number(isWhole)));
      try {
        yield* bucket.get(within, key, range);
      } finally {
        whole -= Number(isWhole);
      }
    },
  };
  await using store = await openStore(ctx, watched);
  const damaged = (await findings(ctx, store)).filter(({ check }) => check.startsWith('pack '));
  assert.deepEqual([damaged.length, packs.length > 1, most], [packs.length, true, 1]);
});

test('points whose folders are archived are unknown, each by name, and the others are checked', async () => {
  const ctx = testContext();
  const bucket = await filled(ctx);
  const packs = await keysOf(ctx, bucket, 'data/');
  await using writing = await openStore(ctx, bucket);
  await save(ctx, writing, P3, { db: { three: noise(3, 300_000) } });
  await using store = await openStore(ctx, without(bucket, packs, 'archived'));
  const found = await findings(ctx, store, 0);
  assert.deepEqual(
    new Set(found.map(({ check, verdict }) => `${check}: ${verdict}`)),
    new Set([P1, P2].map((id) => `point ${id} is whole: unknown`)),
  );
});

test('a store that does not answer at all ends its check', async () => {
  const ctx = testContext();
  const bucket = await filled(ctx);
  let reads = 0;
  const silent: FaultyBucket = faultyBucket(bucket, {
    fail(_operation, key) {
      if (!key.startsWith('data/') || !key.slice(8)) return reads > 0 ? gone('everything') : undefined;
      reads += 1;
      return gone(key);
    },
  });
  await using store = await openStore(ctx, silent);
  await assert.rejects(findings(ctx, store), (error) => isFailure(error, 'unreachable'));
  assert.ok(reads <= 3, `${reads} packs were waited for`);
});

async function filled(ctx: TestContext): Promise<Bucket> {
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  for (const [id, contents] of Object.entries(CONTENTS)) await save(ctx, store, id, contents);
  ctx.advance(HOUR_MS);
  return bucket;
}

function without(bucket: Bucket, keys: readonly string[], code: ErrorCode): Bucket {
  return faultyBucket(bucket, {
    fail: (operation, key) =>
      operation === 'get' && keys.includes(key) ? new Failure(code, `${key} is ${code}`) : undefined,
  });
}

function gone(key: string): Failure {
  return new Failure('unreachable', `${key} does not answer`);
}
