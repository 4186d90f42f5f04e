import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { measured, readAll } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import { testContext } from '../../core/testing.ts';
import { type Entry, entrySpool } from './entries.ts';
import { openIndex } from './index.ts';
import { indexKey } from './keys.ts';

const PLACE = { point: '2026-01-01-020000', component: 'db' };

function entry(name: string): Entry {
  const sha256 = 'ab'.repeat(32);
  return { name, bytes: 1, sha256, key: `0-lifeboat/points/x/${name}`, gzip: false, stored: { bytes: 1, sha256 } };
}

test('a part list larger than memory allows is sorted on disk, and a name is found in it', async () => {
  const ctx = testContext();
  const bucket = memoryBucket();
  const count = 60_000;
  let sum: { bytes: number; sha256: string };
  {
    await using spool = entrySpool(ctx);
    for (let i = 0; i < count; i += 1) await spool.add([entry(nameOf((i * 70_001) % count))]);
    const list = measured(spool.lines());
    await bucket.put(ctx, indexKey(PLACE.point, PLACE.component), list.body);
    sum = list.sum();
  }
  assert.deepEqual(readdirSync(ctx.scratch), [], 'scratch files are gone');
  const index = await openIndex(ctx, bucket, PLACE, sum);
  let at = 0;
  for await (const { name } of index.entries(ctx)) assert.equal(name, nameOf(at++));
  assert.equal(at, count);
  for (const i of [0, 255, 256, 257, 47_777, count - 1]) {
    assert.equal((await index.find(ctx, nameOf(i)))?.name, nameOf(i));
    const [first] = await Array.fromAsync(firstOf(index.entries(ctx, nameOf(i))));
    assert.equal(first?.name, nameOf(i));
  }
  for (const none of ['', 'part-', 'part-007777x', 'zzz']) assert.equal(await index.find(ctx, none), null);
});

test('names are in the order of their bytes, also beyond the first plane of Unicode', async () => {
  const ctx = testContext();
  await using spool = entrySpool(ctx);
  for (const name of ['\u{1f680}', '\uffee', 'b', 'a/b', 'a', 'B', 'a-']) await spool.add([entry(name)]);
  const lines = (await readAll(spool.lines())).toString().trim().split('\n');
  const names = lines.map((line) => JSON.parse(line).name);
  assert.deepEqual(names, ['B', 'a', 'a-', 'a/b', 'b', '\uffee', '\u{1f680}']);
});

test('a part list that is not the one that was committed is refused', async () => {
  const ctx = testContext();
  const bucket = memoryBucket();
  const line = `${JSON.stringify(entry('a'))}\n`;
  const key = indexKey(PLACE.point, PLACE.component);
  await bucket.put(ctx, key, Buffer.from(line));
  const sha256 = '00'.repeat(32);
  await assert.rejects(openIndex(ctx, bucket, PLACE, { bytes: line.length, sha256 }), (error) =>
    isFailure(error, 'checksum'),
  );
});

function nameOf(i: number): string {
  return `part-${String(i).padStart(6, '0')}`;
}

async function* firstOf<T>(items: AsyncIterable<T>): AsyncIterable<T> {
  for await (const item of items) {
    yield item;
    return;
  }
}
