import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { type Faults, faultyBucket } from '../../buckets/faulty.ts';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { bytesOf, readAll } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import type { Bucket } from '../../core/storage.ts';
import { sha256 } from './crypto.ts';
import { blobIndex } from './index.ts';
import { packKey } from './pack.ts';
import { openReader, type Reader } from './reader.ts';
import { startReading } from './reader-blobs.ts';
import { packChecks } from './reader-packs.ts';
import { noise, type Rig, rig } from './writer-testing.ts';

const MIB = 1024 * 1024;

test('any range of a stream is exactly those bytes', async () => {
  const data = noise(12 * MIB);
  await using stored = await storedStream(data);
  const { reader, ids, ctx } = stored;
  const range = fc.record({ offset: fc.nat(data.length), length: fc.oneof(fc.nat(100), fc.nat(data.length)) });
  await fc.assert(
    fc.asyncProperty(range, async ({ offset, length }) => {
      const body = await readAll(reader.stream(ctx, ids, { offset, length }));
      assert.ok(body.equals(data.subarray(offset, offset + length)));
    }),
    { numRuns: 25 },
  );
});

test('a stream in which blobs repeat is read in its own order', async () => {
  await using stored = await storedStream(noise(5 * MIB));
  const { ids, ctx, reader } = stored;
  const shuffled = Buffer.concat([ids.subarray(32, 96), ids, ids.subarray(0, 32), ids.subarray(0, 32)]);
  const parts = [];
  for (let at = 0; at < shuffled.length; at += 32) parts.push(await reader.blob(ctx, shuffled.subarray(at, at + 32)));
  assert.ok((await readAll(reader.stream(ctx, shuffled))).equals(Buffer.concat(parts)));
});

test('small blobs that were written together are read with few requests', async () => {
  let gets = 0;
  const faults: Faults = { fail: (operation) => void (gets += operation === 'get' ? 1 : 0) };
  const { ctx, writer, index, key, bucket } = rig({ bucket: faultyBucket(memoryBucket(), faults) });
  const bodies = Array.from({ length: 3000 }, (_, i) => noise(500 + (i % 7) * 1000, `${i}`));
  await using w = await writer();
  const written = await Promise.all(bodies.map((body) => w.addStream(ctx, bytesOf(body))));
  await w.flush(ctx);
  await using reader = await openReader(ctx, { bucket, key, index });
  for (const inParallel of [1, 16]) {
    gets = 0;
    for (let at = 0; at < bodies.length; at += inParallel) {
      const some = written.slice(at, at + inParallel);
      const read = await Promise.all(some.map(({ ids }) => readAll(reader.stream(ctx, ids))));
      for (const [i, body] of read.entries()) assert.ok(body.equals(bodies[at + i] ?? body));
    }
    assert.ok(gets < 60, `${gets} requests, ${inParallel} at a time`);
  }
});

test('small blobs that lie in as many packs are read some at a time', async () => {
  let [reading, most] = [0, 0];
  const slow = memoryBucket();
  const bucket: Bucket = {
    ...slow,
    async *get(ctx, key, range) {
      most = Math.max(most, ++reading);
      await setImmediate();
      yield* slow.get(ctx, key, range);
      reading -= 1;
    },
  };
  const { ctx, writer, index, key } = rig({ bucket });
  const bodies = Array.from({ length: 200 }, (_, i) => noise(900, `${i}`));
  const ids: Uint8Array[] = [];
  await using w = await writer();
  for (const body of bodies) {
    ids.push((await w.addStream(ctx, bytesOf(body))).ids);
    await w.flush(ctx);
  }
  most = 0;
  await using reader = await openReader(ctx, { bucket, key, index });
  const read = await Array.fromAsync(reader.blobs(ctx, Buffer.concat(ids)), (some) => Buffer.concat(some));
  assert.ok(Buffer.concat(read).equals(Buffer.concat(bodies)));
  assert.ok(most > 4 && most <= 16, `${most} at a time`);
});

test('a bad read is tried again (fault 1)', async () => {
  const faults: Faults = {};
  await using stored = await storedStream(noise(4 * MIB), faults);
  const { reader, ids, ctx, data } = stored;
  let reads = 0;
  faults.damage = (_key, whole) => (reads++ % 2 === 0 ? flipped(whole, 5000) : whole);
  assert.ok((await readAll(reader.stream(ctx, ids))).equals(data));
  assert.ok((await readAll(reader.unhashed(ctx, ids))).equals(data));
  const small = await reader.blob(ctx, ids.subarray(0, 32));
  assert.ok(small.equals(data.subarray(0, small.length)));
});

test('a flipped bit is an error that names pack and blob, and its neighbours are still read (fault 1)', async () => {
  const faults: Faults = { damage: (_key, whole) => flipped(whole, 100) };
  await using stored = await storedStream(noise(6 * MIB), faults);
  const { reader, ids, ctx, index } = stored;
  let lost = 0;
  for (let at = 0; at < ids.length; at += 32) {
    const id = ids.subarray(at, at + 32);
    const place = index.find(id);
    if (place?.offset !== 0) {
      assert.ok(sha256(await readAll(reader.stream(ctx, id))).equals(id));
      continue;
    }
    lost += 1;
    const named = (error: unknown): boolean =>
      isFailure(error, 'checksum') && error.message.includes(id.toString('hex')) && error.message.includes(place.pack);
    await assert.rejects(readAll(reader.stream(ctx, id)), named);
    await assert.rejects(reader.blob(ctx, id), named);
    await assert.rejects(readAll(reader.stream(ctx, ids)), (error) => isFailure(error, 'checksum'));
    await assert.rejects(readAll(reader.unhashed(ctx, ids)), (error) => isFailure(error, 'checksum'));
  }
  assert.ok(lost > 0);
});

test('a pack that is cut short, empty or gone is an error that names it (faults 2 and 3)', async () => {
  const faults: Faults = {};
  await using stored = await storedStream(noise(3 * MIB), faults);
  const { reader, ids, ctx, bucket, packs } = stored;
  for (const length of [0, 1000]) {
    faults.damage = (_key, whole) => whole.subarray(0, length);
    await assert.rejects(readAll(reader.stream(ctx, ids)), lostPack);
  }
  faults.damage = (_key, whole) => whole;
  for (const { id } of packs) await bucket.delete(ctx, packKey(id));
  await assert.rejects(readAll(reader.stream(ctx, ids)), lostPack);

  function lostPack(error: unknown): boolean {
    return (
      (isFailure(error, 'missing') || isFailure(error, 'checksum')) &&
      packs.some(({ id }) => error.message.includes(id))
    );
  }
});

test('a whole pack is checked, and every damage in it listed (fault 1)', async () => {
  const faults: Faults = {};
  await using stored = await storedStream(noise(24 * MIB), faults);
  const { reader, ctx, packs } = stored;
  const pack = packs.find(({ blobs }) => blobs.length > 1);
  assert.ok(pack);
  const sound = await reader.checkPack(ctx, pack.id, pack.bytes);
  assert.deepEqual([sound.damages, sound.blobs.length], [[], pack.blobs.length]);
  faults.damage = (_key, whole) => flipped(flipped(whole, 100), (pack.blobs[1]?.offset ?? 0) + 100);
  const { damages } = await reader.checkPack(ctx, pack.id, pack.bytes);
  assert.deepEqual(
    damages.map(({ blob }) => blob?.offset ?? null),
    [null, 0, pack.blobs[1]?.offset],
  );
  const cut = await reader.checkPack(ctx, pack.id, pack.bytes + 1);
  assert.deepEqual([cut.blobs.length, cut.damages.length], [0, 1]);
});

test('of many small blobs, those that are damaged are named, wherever in their pack they lie (fault 1)', async () => {
  const faults: Faults = {};
  const { ctx, writer, index, key, bucket, packs } = rig({ bucket: faultyBucket(memoryBucket(), faults) });
  await using w = await writer();
  for (let i = 0; i < 3000; i++) await w.addStream(ctx, bytesOf(noise(500 + (i % 7) * 300, `${i}`)));
  await w.flush(ctx);
  await using reader = await openReader(ctx, { bucket, key, index });
  const pack = packs.find(({ blobs }) => blobs.length > 1200);
  assert.ok(pack);
  const wanted = [0, 511, 512, pack.blobs.length - 1].map((number) => pack.blobs[number]?.offset ?? 0);
  faults.damage = (_key, whole) => wanted.reduce((damaged, offset) => flipped(damaged, offset + 20), whole);
  const { damages } = await reader.checkPack(ctx, pack.id, pack.bytes);
  assert.deepEqual(
    damages.map(({ blob }) => blob?.offset ?? null),
    [null, ...wanted],
  );
});

test('packs larger than those of ours are checked one after another, so that memory does not grow with them', async () => {
  const { ctx, writer, index, key, bucket, packs } = rig();
  for (let i = 0; i < 4; i++) {
    await using w = await writer();
    await w.addStream(ctx, bytesOf(noise(MIB, `${i}`)));
    await w.flush(ctx);
  }
  let [open, most] = [0, 0];
  const watched: Bucket = {
    ...bucket,
    async *get(within, name, range) {
      most = Math.max(most, (open += 1));
      yield* bucket.get(within, name, range);
      await setImmediate();
      open -= 1;
    },
  };
  const reading = startReading({ bucket: watched, key, index });
  await using _pool = reading.pool;
  for (const [bytesMax, expected] of [
    [1, 1],
    [100 * MIB, packs.length],
  ] as const) {
    [open, most] = [0, 0];
    const { tryPack } = packChecks(reading, bytesMax);
    const checks = await Promise.all(packs.map(({ id, bytes }) => tryPack(ctx, id, bytes)));
    assert.deepEqual([checks.flatMap(({ damages }) => damages), most], [[], expected]);
  }
});

test('sizes that a hostile index makes up are refused before memory is taken (faults 4 and 21)', async () => {
  const { ctx, bucket, key } = rig();
  const index = blobIndex();
  const ids = [sha256(Buffer.from('a')), sha256(Buffer.from('b'))];
  const [huge, bomb] = ids.map((id) => ({ id, tree: false, offset: 0, length: 100, uncompressedLength: 0 }));
  assert.ok(huge && bomb);
  index.add('ab'.repeat(32), [
    { ...huge, length: 0xffffffff },
    { ...bomb, uncompressedLength: 0xffffffff },
  ]);
  await using reader = await openReader(ctx, { bucket, key, index });
  for (const id of ids) {
    await assert.rejects(reader.blob(ctx, id), (error) => isFailure(error, 'checksum'));
    await assert.rejects(readAll(reader.stream(ctx, Buffer.concat([id, id]))), (error) => isFailure(error, 'checksum'));
  }
});

test('a blob that no index knows is missing', async () => {
  const { ctx, bucket, key, index } = rig();
  await using reader = await openReader(ctx, { bucket, key, index });
  await assert.rejects(reader.blob(ctx, Buffer.alloc(32)), (error) => isFailure(error, 'missing'));
});

test('who stops reading early leaves nothing behind', async () => {
  await using stored = await storedStream(noise(40 * MIB));
  const { reader, ids, ctx, data } = stored;
  for (let i = 0; i < 5; i++) {
    for await (const chunk of reader.stream(ctx, ids)) {
      assert.ok(data.subarray(0, chunk.length).equals(chunk));
      break;
    }
  }
  assert.ok((await readAll(reader.stream(ctx, ids))).equals(data));
});

interface StoredStream extends Rig, AsyncDisposable {
  readonly data: Buffer;
  readonly ids: Buffer;
  readonly reader: Reader;
}

async function storedStream(data: Buffer, faults: Faults = {}): Promise<StoredStream> {
  const made = rig({ bucket: faultyBucket(memoryBucket(), faults) });
  const { ctx, bucket, key, index } = made;
  await using writer = await made.writer({ compressionLevel: 0 });
  const { ids } = await writer.addStream(ctx, bytesOf(data));
  await writer.flush(ctx);
  const reader = await openReader(ctx, { bucket, key, index });
  return { ...made, data, ids, reader, [Symbol.asyncDispose]: () => reader[Symbol.asyncDispose]() };
}

function flipped(whole: Buffer, at: number): Buffer {
  const copy = Buffer.from(whole);
  copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
  return copy;
}
