import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { isFailure } from '../../core/errors.ts';
import { freshKey, SEAL_BYTES, seal, sha256 } from './crypto.ts';
import { BLOB_BYTES_MAX, checkPack, openBlob, PACK_BYTES_MAX } from './pack.ts';
import { type FinishedPack, type PackBuilder, packBuilder } from './pack-builder.ts';
import { giveBack, lentBuffers } from './pool-buffers.ts';
import { noise } from './writer-testing.ts';

const KEY = freshKey();
const BLOBS = [Buffer.from('a'), Buffer.alloc(5000, 'text '), noise(3000, 'b'), Buffer.alloc(70_000)];

test('a pack says itself what it holds', () => {
  const { pack, id } = packOf(BLOBS);
  const { blobs, damages } = checkPack(KEY, pack, id);
  assert.deepEqual(damages, []);
  const ids = blobs.map((blob) => Buffer.from(blob.id).toString('hex'));
  assert.deepEqual(
    ids,
    BLOBS.map((plain) => sha256(plain).toString('hex')),
  );
  const stored = blobs.map((blob) => blob.uncompressedLength > 0);
  assert.deepEqual(stored, [false, true, false, true], 'what does not shrink is stored as it is');
});

test('a bit that flips anywhere in a pack is found, and the blob it hit is named (fault 1)', () => {
  const { pack, id } = packOf(BLOBS);
  const whole = checkPack(KEY, pack, id).blobs;
  fc.assert(
    fc.property(fc.nat(pack.length - 1), fc.nat(7), (at, bit) => {
      const damaged = Buffer.from(pack);
      damaged.writeUInt8(damaged.readUInt8(at) ^ (1 << bit), at);
      const hit = whole.findIndex(({ offset, length }) => at >= offset && at < offset + length);
      const { damages } = checkPack(KEY, damaged, id);
      const named = damages.map(({ blob }) => (blob ? whole.findIndex(({ offset }) => offset === blob.offset) : null));
      assert.deepEqual(named, [null, hit < 0 ? null : hit]);
      assert.notEqual(checkPack(KEY, damaged, sha256(damaged)).damages.length, 0, 'also where its name fits');
    }),
    { numRuns: 300 },
  );
});

test('a pack cut short is found, down to nothing (fault 2)', () => {
  const { pack, id } = packOf(BLOBS);
  for (const length of [0, 3, 4, 40, 3000, pack.length - 1]) {
    assert.notEqual(checkPack(KEY, pack.subarray(0, length), id).damages.length, 0, `${length} bytes`);
  }
});

test('each pack is decrypted, decompressed and hashed before it counts: what memory spoils becomes none (fault 5)', () => {
  const builder = builderOf({ tree: false, compressionLevel: 3 });
  const plain = Buffer.alloc(5000, 'text ');
  const id = sha256(plain);
  plain.write('flipped');
  assert.throws(() => builder.add(id, plain), isSpoiled);
  const memory = lentBuffers(PACK_BYTES_MAX);
  const lent: SharedArrayBuffer[] = [];
  const take = (): SharedArrayBuffer => {
    const buffer = memory.take();
    lent.push(buffer);
    return buffer;
  };
  for (const at of [20, 5000, 6000]) {
    const other = packBuilder({ key: KEY, memory: { ...memory, take }, tree: false, compressionLevel: 0 });
    other.add(sha256(plain), plain);
    other.add(sha256(noise(3000, 'b')), noise(3000, 'b'));
    const pack = Buffer.from(lent.at(-1) ?? memory.take());
    pack.writeUInt8(pack.readUInt8(at) ^ 1, at);
    assert.throws(() => other.finish(), isSpoiled, `later, at ${at}`);
  }
});

test('what nobody has hashed is in no pack before it is kept, and has the id of what was read back', () => {
  for (const compressionLevel of [0, 2]) {
    const builder = builderOf({ tree: false, compressionLevel });
    for (const plain of BLOBS) {
      const [kept, known] = [builder.hold(plain), builder.hold(plain)];
      assert.deepEqual([kept.id, known.id], [sha256(plain), sha256(plain)]);
      builder.drop(known);
      assert.equal(builder.keep(kept), undefined);
    }
    const finished = builder.finish();
    assert.ok(finished);
    const pack = Buffer.from(finished.buffer, 0, finished.bytes);
    const { blobs, damages } = checkPack(KEY, pack, Buffer.from(finished.id, 'hex'));
    assert.deepEqual([blobs.length, damages], [BLOBS.length, []]);
  }
});

test('what memory spoils after it was sealed and proved is in no pack: held, kept, or in the open pack (fault 5)', () => {
  const plain = noise(3000, 'held');
  for (const compressionLevel of [0, 2]) {
    for (const at of [0, 20, 1500, 3000 + SEAL_BYTES - 1]) {
      const builder = builderOf({ tree: false, compressionLevel });
      const held = builder.hold(plain);
      flip(held.memory, at);
      builder.keep(held);
      assert.throws(() => builder.finish(), isSpoiled, `held, at ${at}`);

      const lending = lentBuffers(PACK_BYTES_MAX);
      const lent = lending.take();
      const memory = { ...lending, take: () => lent };
      const open = packBuilder({ key: KEY, tree: false, compressionLevel, memory });
      open.keep(open.hold(plain));
      flip(lent, at);
      assert.throws(() => open.finish(), isSpoiled, `kept, at ${at}`);
    }
  }
});

test('a piece that nobody has hashed and that changes while it is sealed is in no pack (fault 5)', async () => {
  const shared = new SharedArrayBuffer(65_536);
  const plain = Buffer.from(shared);
  noise(plain.length, 'changing').copy(plain);
  const changing = new Worker(CHANGING, { eval: true, workerData: shared });
  try {
    await once(changing, 'message');
    const builder = builderOf({ tree: false, compressionLevel: 0 });
    let told: unknown;
    for (let tries = 0; tries < 20_000 && told === undefined; tries++) {
      try {
        builder.drop(builder.hold(plain));
      } catch (error) {
        told = error;
      }
    }
    assert.ok(isSpoiled(told) && /other bytes come out than were put in/.test(String(told)), String(told));
  } finally {
    await changing.terminate();
  }
});
const CHANGING = `const { parentPort, workerData } = require('node:worker_threads');
const bytes = new Uint8Array(workerData);
parentPort.postMessage('begun');
for (;;) Atomics.xor(bytes, 77, 1);`;

function flip(memory: ArrayBufferLike, at: number): void {
  const bytes = new Uint8Array(memory);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
}

function isSpoiled(error: unknown): boolean {
  return isFailure(error, 'checksum') && /read back/.test(error.message);
}

test('a pack is closed before it grows too large, unless by a single blob', () => {
  const builder = builderOf({ tree: true, compressionLevel: 0 });
  const packs: FinishedPack[] = [];
  for (const bytes of [6_000_000, 6_000_000, 6_000_000, 20_000_000, 1000]) {
    const plain = noise(bytes, `${bytes}`);
    packs.push(...[builder.add(sha256(plain), plain)].filter((pack) => pack !== undefined));
  }
  packs.push(...[builder.finish()].filter((pack) => pack !== undefined));
  assert.deepEqual(
    packs.map(({ bytes }) => Math.round(bytes / 1_000_000)),
    [12, 6, 20, 0],
  );
  assert.ok(packs.every(({ bytes }) => bytes <= PACK_BYTES_MAX || bytes > 20_000_000));
});

test('a zstd bomb is refused before it fills the memory (fault 21)', () => {
  const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));
  const sealed = seal(KEY, bomb);
  const id = sha256(Buffer.alloc(1000));
  for (const uncompressedLength of [1000, BLOB_BYTES_MAX + 1, 0xffffffff]) {
    assert.throws(
      () => openBlob(KEY, sealed, { id, uncompressedLength }, () => assert.fail('it was opened')),
      (error) => isFailure(error, 'checksum'),
    );
  }
});

test('what a pack was filled into is filled again only after it was given back', () => {
  const builder = builderOf({ tree: false, compressionLevel: 0 });
  const next = (name: string): Buffer => {
    const plain = noise(1000, name);
    builder.add(sha256(plain), plain);
    const pack = builder.finish();
    assert.ok(pack);
    return Buffer.from(pack.buffer, 0, pack.bytes);
  };
  const [first, second] = [next('first'), next('second')];
  assert.ok(first.buffer !== second.buffer);
  const copy = Buffer.from(second);
  giveBack(first.buffer);
  assert.ok(next('third').buffer === first.buffer);
  assert.ok(next('fourth').buffer !== first.buffer && second.equals(copy));
});

function builderOf(options: { tree: boolean; compressionLevel: number }): PackBuilder {
  return packBuilder({ key: KEY, memory: lentBuffers(PACK_BYTES_MAX), ...options });
}

function packOf(blobs: readonly Buffer[]): { pack: Buffer; id: Buffer } {
  const builder = builderOf({ tree: false, compressionLevel: 3 });
  for (const plain of blobs) assert.equal(builder.add(sha256(plain), plain), undefined);
  const finished = builder.finish();
  assert.ok(finished);
  return { pack: Buffer.from(finished.buffer, 0, finished.bytes), id: Buffer.from(finished.id, 'hex') };
}
