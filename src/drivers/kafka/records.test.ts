// Batches and digests, without a server; batches that we made are read by the client library's own code.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRecordsBatch, Reader, readRecordsBatches } from '@platformatic/kafka';
import { inventoryFrom } from '../../core/inventory.ts';
import type { InventoryReader } from '../../core/model.ts';
import { testContext } from '../../core/testing.ts';
import { type Batch, batchesIn, eachRecord, isWhole, recordsOf } from './batches.ts';
import { compare } from './compare.ts';
import { type Chain, chainer, EMPTY_CHAIN, hexOf, joined } from './hash.ts';
import { builderOf, outOfTransaction, resealed } from './sealing.ts';
import { tallyOf } from './tally.ts';

const writer = { producerId: 7n, epoch: 3 };
const TIMES = [0n, -1n, 1_700_000_000_000n, 1_700_000_000_000_000_000n, -(2n ** 60n), 2n ** 62n];

function batchOf(
  count: number,
  options: { compression?: 'gzip' | 'zstd' | 'lz4' | 'snappy'; time?: bigint } = {},
): Batch {
  const { compression, time = 1_700_000_000_000n } = options;
  const messages = Array.from({ length: count }, (_, n) => ({
    topic: 't',
    key: n % 3 === 0 ? undefined : Buffer.from(`key ${n}`),
    value: n % 5 === 4 ? undefined : Buffer.alloc((n * 7) % 300, n),
    headers: new Map([[Buffer.from('a'), Buffer.from([n])]]),
    timestamp: time + BigInt((n * 37) % 1000),
  }));
  const writing = createRecordsBatch(
    messages as Parameters<typeof createRecordsBatch>[0],
    compression ? { compression } : {},
  );
  const [batch] = [...batchesIn(writing.buffer, 't/0')];
  assert.ok(batch);
  return batch;
}

function chainOf(batches: readonly Batch[]): Chain {
  const tally = tallyOf('full', 't/0');
  for (const batch of batches) tally.add(batch, 0);
  return tally.chain() ?? EMPTY_CHAIN;
}

test('the digest of records is the same whatever their batches, compression and offsets are', () => {
  for (const time of TIMES) {
    const plain = batchOf(200, { time });
    assert.ok(isWhole(plain));
    const digest = hexOf(chainOf([plain]));
    for (const compression of ['gzip', 'zstd', 'lz4', 'snappy'] as const) {
      assert.equal(hexOf(chainOf([batchOf(200, { compression, time })])), digest, compression);
    }
    const builder = builderOf(0, 100);
    const rebuilt: Batch[] = [];
    eachRecord(plain, recordsOf(plain, 't/0'), 't/0', (record) => {
      builder.add(recordsOf(plain, 't/0'), record);
      if (builder.count === 17) rebuilt.push(...batchesIn(builder.seal(writer, 0).bytes, 't/0'));
    });
    rebuilt.push(...batchesIn(builder.seal(writer, 0).bytes, 't/0'));
    assert.ok(rebuilt.every(isWhole));
    assert.equal(hexOf(chainOf(rebuilt)), digest, String(time));
    const theirs = rebuilt
      .flatMap(({ bytes }) => readRecordsBatches(Reader.from(bytes)))
      .flatMap((batch) =>
        batch.records.map((record) => [record.key, record.value, batch.firstTimestamp + record.timestampDelta]),
      );
    const [before] = readRecordsBatches(Reader.from(plain.bytes));
    assert.deepEqual(
      theirs,
      before?.records.map((record) => [record.key, record.value, before.firstTimestamp + record.timestampDelta]),
    );
  }
});

test('a record more, less, changed or in another place has another digest', () => {
  const records: Buffer[] = Array.from({ length: 60 }, (_, n) => Buffer.from(`record ${n}`));
  const digest = (all: readonly Buffer[], time = 0): string => {
    const chain = chainer();
    for (const each of all) chain.add(new DataView(each.buffer, each.byteOffset, each.length), 0, each.length, 0, time);
    return hexOf(chain.chain());
  };
  const seen = new Set([digest(records), digest(records, 1), digest(records.slice(1)), digest(records.slice(0, -1))]);
  for (let at = 0; at + 1 < records.length; at++) {
    const swapped = records.with(at, records[at + 1] as Buffer).with(at + 1, records[at] as Buffer);
    seen.add(digest(swapped));
    seen.add(digest(records.with(at, Buffer.from(`record ${at}!`))));
  }
  assert.equal(seen.size, 4 + 2 * 59);
});

test('digests of neighbours join to the digest of both', () => {
  const batches = Array.from({ length: 9 }, (_, n) => batchOf(n + 1, { time: BigInt(n) }));
  for (let cut = 0; cut <= batches.length; cut++) {
    const both = joined(chainOf(batches.slice(0, cut)), chainOf(batches.slice(cut)));
    assert.equal(hexOf(both), hexOf(chainOf(batches)));
    assert.equal(both.count, 45);
  }
});

test('a batch that is sent again has another writer and the same records', () => {
  const batch = batchOf(20, { compression: 'zstd' });
  const [again] = [...batchesIn(resealed(batch, writer, 5).bytes, 't/0')];
  assert.ok(again && isWhole(again));
  assert.equal(again.producerId, 7n);
  assert.equal(hexOf(chainOf([again])), hexOf(chainOf([batch])));
  const free = outOfTransaction({ ...again, isTransactional: true });
  assert.ok(isWhole(free));
  assert.equal(free.producerId, -1n);
});

test('a batch that was changed or cut is never taken for a whole one', () => {
  const { bytes } = batchOf(20);
  for (let at = 21; at < bytes.length; at += 13) {
    const wrong = Buffer.from(bytes);
    wrong[at] = (wrong[at] ?? 0) ^ 1;
    const [batch] = [...batchesIn(wrong, 't/0')];
    assert.ok(batch && !isWhole(batch), `byte ${at}`);
  }
  for (let length = 0; length < bytes.length; length += 7) {
    assert.deepEqual([...batchesIn(bytes.subarray(0, length), 't/0')], []);
  }
  const old = Buffer.from(bytes);
  old[16] = 1;
  assert.throws(() => [...batchesIn(old, 't/0')], { code: 'version-mismatch' });
});

test('settings of a topic that differ are named', async () => {
  const ctx = testContext();
  const topic = (configs: Readonly<Record<string, string>>): InventoryReader =>
    inventoryFrom([{ kind: 'topic', name: 't', count: 1, digest: JSON.stringify(configs), detail: { configs } }]);
  const before = topic({ 'retention.ms': '5', 'cleanup.policy': 'compact' });
  const [found] = await Array.fromAsync(compare(ctx, before, topic({ 'cleanup.policy': 'compact' })));
  assert.equal(found?.verdict, 'fail');
  assert.equal(found?.detail, 'at the cut retention.ms=5, now nothing');
});
