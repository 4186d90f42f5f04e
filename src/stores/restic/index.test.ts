import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { blobIndex, type PackedBlob } from './index.ts';

const packName = (): string => randomBytes(32).toString('hex');
const blob = (fields: Partial<PackedBlob> = {}): PackedBlob => ({
  id: randomBytes(32),
  tree: false,
  offset: 0,
  length: 100,
  uncompressedLength: 0,
  ...fields,
});

test('each of many blobs is found where it was put', () => {
  const index = blobIndex();
  const packs = Array.from({ length: 50 }, (_, i) => ({
    name: packName(),
    blobs: Array.from({ length: 1000 }, (_, j) => blob({ offset: j * 100, length: 99 + i, uncompressedLength: j })),
  }));
  for (const { name, blobs } of packs) index.add(name, blobs);
  assert.equal(index.size, 50_000);
  for (const { name, blobs } of packs) {
    for (const { id, ...place } of blobs) assert.deepEqual(index.find(id), { pack: name, ...place });
  }
  assert.equal(index.find(randomBytes(32)), undefined);
});

test('the largest offsets and lengths are kept', () => {
  const index = blobIndex();
  const big = blob({ offset: 0xffffffff, length: 0xfffffffe, uncompressedLength: 0xfffffffd, tree: true });
  index.add('a', [big]);
  const { id, ...place } = big;
  assert.deepEqual(index.find(id), { pack: 'a', ...place });
});

test('a blob of a forgotten pack is found in the other pack that has it, and has to be written again if none has', () => {
  const index = blobIndex();
  const [both, only] = [blob(), blob()];
  index.add('first', [both, only]);
  index.add('second', [{ ...both, offset: 500 }]);
  index.forget('first');
  assert.equal(index.find(both.id)?.pack, 'second');
  assert.equal(index.has(only.id), false);
  assert.equal(index.find(only.id)?.pack, 'first', 'what is left of it can still be tried');
});

test('a pack that is added again is back when it was dropped, and not when it was forgotten', () => {
  const index = blobIndex();
  const one = blob();
  index.add('p', [one]);
  index.drop('p');
  assert.deepEqual([index.has(one.id), index.find(one.id)?.pack], [false, 'p']);
  index.add('p', [one]);
  assert.equal(index.has(one.id), true);
  index.forget('p');
  index.add('p', [one]);
  assert.equal(index.has(one.id), false);
  assert.equal(index.size, 1, 'nothing is entered twice');
  const later = blob();
  index.forget('q');
  index.add('q', [later]);
  assert.equal(index.has(later.id), false);
});

test('the same bytes as a tree and as data are two blobs', () => {
  const index = blobIndex();
  const data = blob();
  index.add('data', [data]);
  assert.equal(index.has(data.id, true), false);
  index.add('trees', [{ ...data, tree: true }]);
  assert.equal(index.find(data.id, true)?.pack, 'trees');
  assert.equal(index.find(data.id, false)?.pack, 'data');
});

test('two descriptions of one pack are joined', () => {
  const index = blobIndex();
  const [a, b, c] = [blob(), blob({ offset: 100 }), blob({ offset: 200 })];
  index.add('p', [a, b]);
  index.add('p', [b, c]);
  const offsets = [...index.entriesOf('p')].map((entry) => index.placeAt(entry).offset);
  assert.deepEqual(offsets, [0, 100, 200]);
  assert.deepEqual(index.sumsOf('p'), { blobs: 3, compressed: 0, bytes: 300 });
  assert.deepEqual(Buffer.from(index.idAt(2)), c.id);
});
