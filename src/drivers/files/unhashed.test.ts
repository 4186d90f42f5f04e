// A restore hashes what it writes, so that the store need not: what is wrong with a blob is found all the same.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bytesOf, readAll } from '../../core/bytes.ts';
import type { Bytes, Source } from '../../core/model.ts';
import { open, seal } from '../../stores/restic/crypto.ts';
import { fileNode } from '../../stores/restic/nodes.ts';
import { PACK_FRAME_BYTES, packKey } from '../../stores/restic/pack.ts';
import { openReader } from '../../stores/restic/reader.ts';
import { unhashedBodyOf } from '../../stores/restic/source-bodies.ts';
import { noise, type Rig, rig } from '../../stores/restic/writer-testing.ts';
import { filesDriver } from './driver.ts';
import { captured, freshDir, verdicts } from './testing.ts';

const MIB = 1024 * 1024;
const PART = 'data/file';

test('a blob that is sealed well and holds other bytes than its id says fails the restore, by its name', async () => {
  const { data, store, ids } = await stored();
  const target = freshDir();
  const changed = await changeBlob(store, ids);
  await assert.rejects(restored(data, store, ids, target), (error: Error & { code?: string }) => {
    return error.code === 'checksum' && error.message.includes(changed.blob);
  });
  assert.ok(!existsSync(join(target, 'file')));
});

test('where another pack has the blob as it should be, the file comes back', async () => {
  const { data, store, ids } = await stored();
  const changed = await changeBlob(store, ids);
  const other = 'ab'.repeat(32);
  await store.bucket.put(store.ctx, packKey(other), bytesOf(changed.before));
  store.index.add(other, store.packs.find(({ id }) => id === changed.pack)?.blobs ?? []);
  const target = freshDir();
  const { source, ctx } = await restored(data, store, ids, target);
  assert.ok(readFileSync(join(target, 'file')).equals(data));
  assert.deepEqual((await verdicts(ctx, source, target))[0]?.split(':')[0], 'pass');
});

test('where the blobs have another length than the file, they are read once more with all checks', async () => {
  const data = noise(2 * MIB);
  const { source, ctx } = await capturedFile(data);
  const store = rig();
  await using writer = await store.writer({ compressionLevel: 0 });
  const { ids } = await writer.addStream(store.ctx, bytesOf(noise(3 * MIB, 'other')));
  await writer.flush(store.ctx);
  await using reader = await openReader(ctx, store);
  const node = fileNode(Buffer.from('file'), { bytes: data.length, content: ids, attributes: undefined });
  const getUnhashed = (): Bytes => unhashedBodyOf(ctx, reader, { what: 'file', node });
  const target = freshDir();
  await filesDriver.open({ root: target, paths: ['/'] }).restore(ctx, { base: { ...source, getUnhashed } });
  assert.ok(readFileSync(join(target, 'file')).equals(data));
});

test('what came of the first try shows through no hole', async () => {
  const data = Buffer.concat([noise(MIB), Buffer.alloc(2 * MIB)]);
  const target = freshDir();
  const { source, ctx } = await capturedFile(data);
  const wrong = (): Bytes => bytesOf(noise(4 * MIB, 'other'));
  await filesDriver.open({ root: target, paths: ['/'] }).restore(ctx, { base: { ...source, getUnhashed: wrong } });
  assert.ok(readFileSync(join(target, 'file')).equals(data));
});

async function stored(): Promise<{ data: Buffer; store: Rig; ids: Buffer }> {
  const data = noise(6 * MIB);
  const store = rig();
  await using writer = await store.writer({ compressionLevel: 0 });
  const { ids } = await writer.addStream(store.ctx, bytesOf(data));
  await writer.flush(store.ctx);
  return { data, store, ids };
}

/** Somebody who has the key changes the second blob of the stream, or the memory of who wrote it did. */
async function changeBlob(store: Rig, ids: Buffer): Promise<{ blob: string; pack: string; before: Buffer }> {
  const { ctx, bucket, index, key } = store;
  const id = ids.subarray(32, 64);
  const place = index.find(id);
  assert.ok(place?.uncompressedLength === 0, 'noise is stored as it is');
  const before = await readAll(bucket.get(ctx, packKey(place.pack)));
  assert.ok(before.length > place.length + PACK_FRAME_BYTES);
  const pack = Buffer.from(before);
  const plain = open(key, pack.subarray(place.offset, place.offset + place.length));
  plain.writeUInt8(plain.readUInt8(1000) ^ 1, 1000);
  seal(key, plain).copy(pack, place.offset);
  await bucket.put(ctx, packKey(place.pack), bytesOf(pack));
  return { blob: id.toString('hex'), pack: place.pack, before };
}

async function capturedFile(data: Buffer): ReturnType<typeof captured> {
  const root = freshDir();
  writeFileSync(join(root, 'file'), data);
  return await captured(root);
}

/** The file's bytes are those of the store. */
async function restored(data: Buffer, store: Rig, ids: Buffer, target: string): ReturnType<typeof captured> {
  const { source, ctx } = await capturedFile(data);
  const { bucket, key, index } = store;
  await using reader = await openReader(ctx, { bucket, key, index });
  let unhashed = 0;
  const base: Source = {
    ...source,
    get: (c, name, range) => (name === PART ? reader.stream(c, ids, range) : source.get(c, name, range)),
    getUnhashed(c, name) {
      assert.equal(name, PART);
      unhashed += 1;
      return reader.unhashed(c, ids);
    },
  };
  try {
    await filesDriver.open({ root: target, paths: ['/'] }).restore(ctx, { base });
  } finally {
    assert.equal(unhashed, 1);
  }
  return { source, ctx };
}
