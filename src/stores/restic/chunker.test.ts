import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, chunker, gearTable } from './chunker.ts';
import { freshKey, type MasterKey } from './crypto.ts';
import { noise } from './writer-testing.ts';

const KEY: MasterKey = { encrypt: noise(32, 'e'), macK: noise(16, 'k'), macR: noise(16, 'r') };
const DATA = noise(24 * 1024 * 1024, 'chunks');

test('chunks keep to their limits and are 1 MiB on average', () => {
  const lengths = lengthsOf(DATA);
  assert.ok(lengths.slice(0, -1).every((length) => length >= CHUNK_BYTES_MIN && length <= CHUNK_BYTES_MAX));
  assert.ok(lengths.length > 12 && lengths.length < 40, `${lengths.length} chunks`);
});

test('bytes in which no border is found are cut at the largest length', () => {
  // Whatever the table says of zeros: either every position is a border or none is.
  const lengths = new Set(lengthsOf(Buffer.alloc(2 * CHUNK_BYTES_MAX)));
  assert.equal(lengths.size, 1);
  assert.ok(lengths.has(CHUNK_BYTES_MAX) || lengths.has(CHUNK_BYTES_MIN + 1));
});

test('borders do not depend on how the bytes arrive', () => {
  assert.deepEqual(lengthsOf(DATA, KEY, 4099), lengthsOf(DATA));
});

test('borders behind an insertion are those from before it', () => {
  const at = 5_000_000;
  const changed = Buffer.concat([DATA.subarray(0, at), Buffer.from('inserted'), DATA.subarray(at)]);
  const before = bordersOf(DATA).map((border) => DATA.length - border);
  const after = bordersOf(changed).map((border) => changed.length - border);
  const lost = before.filter((border) => !after.includes(border));
  assert.ok(lost.length < before.length / 4, `${lost.length} of ${before.length} borders moved`);
});

test('borders are where they were in every release: else each large file would be stored once more', () => {
  assert.deepEqual(
    lengthsOf(DATA.subarray(0, 6_000_000)),
    [1_063_540, 1_255_582, 1_095_418, 967_616, 1_139_663, 478_181],
  );
});

test('another key cuts elsewhere, the same key always at the same places', () => {
  assert.deepEqual(lengthsOf(DATA, { ...KEY }), lengthsOf(DATA));
  const others = new Set(bordersOf(DATA, freshKey()).slice(0, -1));
  const shared = bordersOf(DATA)
    .slice(0, -1)
    .filter((border) => others.has(border));
  assert.deepEqual(shared, []);
});

function lengthsOf(data: Buffer, key = KEY, step = 256 * 1024): number[] {
  const { cut } = chunker(gearTable(key, 'seed'));
  const lengths: number[] = [];
  let length = 0;
  for (let at = 0; at < data.length; at += step) {
    const piece = data.subarray(at, at + step);
    for (let from = 0; from < piece.length; ) {
      const border = cut(piece, from);
      const end = border < 0 ? piece.length : border;
      length += end - from;
      from = end;
      if (border < 0) continue;
      lengths.push(length);
      length = 0;
    }
  }
  return length > 0 ? [...lengths, length] : lengths;
}

function bordersOf(data: Buffer, key = KEY): number[] {
  let border = 0;
  return lengthsOf(data, key).map((length) => (border += length));
}
