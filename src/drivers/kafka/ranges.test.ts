// The list of pieces: it waits on disk, and each partition has its own back.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readAll } from '../../core/bytes.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { partitionKey, partName, putRanges, type Range, rangeList, rangesOf } from './ranges.ts';

function range(topic: string, partition: number, first: number): Range {
  const size = { records: 10, bytes: 1_000, epoch: 2, largestBatch: 500, maxTime: 1_740_000_000_000 };
  const chain = { count: 10, lanes: Int32Array.from([first, -1, 2 ** 31 - 1, -(2 ** 31)]) };
  return { part: partName(topic, partition, first), topic, partition, first, last: first + 9, ...size, chain };
}

test('each partition has its own pieces back, in order, whatever came between them', async () => {
  const ctx = liveContext();
  await using list = rangeList(ctx);
  const [a, b] = [
    { topic: 'a', partition: 0 },
    { topic: 'b', partition: 7 },
  ];
  await list.add(b, [range('b', 7, 20)]);
  await list.add(a, [range('a', 0, 0), { ...range('a', 0, 10), chain: null }]);
  await list.add(b, [range('b', 7, 0), range('b', 7, 10)]);
  assert.deepEqual(await list.of(a), [range('a', 0, 0), { ...range('a', 0, 10), chain: null }]);
  const firsts = (await list.of(b)).map(({ first }) => first);
  assert.deepEqual([firsts, await list.of({ topic: 'a', partition: 7 })], [[0, 10, 20], []]);
  const { sink, source } = memoryParts();
  await putRanges(ctx, sink, list, [a, b]);
  const text = (await readAll(source.get(ctx, 'ranges.ndjson'))).toString();
  const keys = text
    .trimEnd()
    .split('\n')
    .map((line) => partitionKey(JSON.parse(line)));
  assert.deepEqual(keys, ['a/0', 'a/0', 'b/7', 'b/7', 'b/7']);
  await using stored = await rangesOf(ctx, source);
  assert.deepEqual(await Promise.all([a, b].map(stored.of)), await Promise.all([a, b].map(list.of)));
});
