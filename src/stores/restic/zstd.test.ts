import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { isFailure } from '../../core/errors.ts';
import { compress, decompress, decompressTo } from './zstd.ts';

const isRefused = (error: unknown): boolean => isFailure(error, 'checksum');

function text(bytes: number): Buffer {
  return Buffer.alloc(bytes, randomBytes(1000).toString('hex'));
}

test('what was compressed comes back, whatever its size, and is what other programs write and read', () => {
  for (const bytes of [0, 1, 100, 65_536, 1_000_000, 8 * 1024 * 1024, 9 * 1024 * 1024]) {
    for (const plain of [text(bytes), randomBytes(bytes)]) {
      const frame = Buffer.from(compress(plain, 3));
      const near = { [constants.ZSTD_c_windowLog]: 18 };
      assert.ok(frame.equals(zstdCompressSync(plain, { params: near })), `${bytes} bytes`);
      assert.ok(decompressTo(frame, bytes).equals(plain), `${bytes} bytes`);
      assert.ok(decompress(frame, 16 * 1024 * 1024).equals(plain), `${bytes} bytes`);
      assert.ok(zstdDecompressSync(frame).equals(plain), `${bytes} bytes`);
    }
  }
});

test('large blobs are searched with a larger table at the usual level, and are as other programs write them', () => {
  const words = randomBytes(4096).toString('hex').match(/.{8}/g) ?? [];
  const plain = Buffer.from(Array.from(randomBytes(120_000), (byte, i) => words[byte * 4 + (i % 4)]).join(' '));
  const params = { [constants.ZSTD_c_compressionLevel]: 2, [constants.ZSTD_c_windowLog]: 18 };
  const wide = zstdCompressSync(plain, { params: { ...params, [constants.ZSTD_c_hashLog]: 17 } });
  assert.ok(compress(plain, 2).equals(wide) && !wide.equals(zstdCompressSync(plain, { params })));
  const small = plain.subarray(0, 200_000);
  assert.ok(compress(small, 2).equals(zstdCompressSync(small, { params })));
});

test('what was decompressed stays as it is when more is', () => {
  const frames = [text(500), text(500)].map((plain) => ({ plain, frame: Buffer.from(compress(plain, 3)) }));
  const opened = frames.map(({ frame }) => decompress(frame, 1000));
  for (const [at, { plain }] of frames.entries()) assert.ok(opened[at]?.equals(plain));
});

test('what a frame says of its length is not believed', () => {
  const plain = text(9 * 1024 * 1024);
  const frame = Buffer.from(compress(plain, 3));
  assert.equal(frame.readUInt32LE(6), plain.length, 'where it says so');
  for (const told of [0, 1, 8 * 1024 * 1024, plain.length - 1, plain.length + 1, 2 ** 32 - 1]) {
    const lying = Buffer.from(frame);
    lying.writeUInt32LE(told, 6);
    assert.throws(() => decompress(lying, 16 * 1024 * 1024), isRefused, String(told));
  }
  assert.throws(() => decompress(frame, plain.length - 1), isRefused);
  assert.ok(decompress(frame, plain.length).equals(plain));
});

test('levels do not mix', () => {
  const plain = text(100_000);
  const sizes = [1, 19, 1, 19].map((level) => compress(plain, level).length);
  assert.deepEqual(sizes, [sizes[0], sizes[1], sizes[0], sizes[1]]);
  assert.ok(decompressTo(Buffer.from(compress(plain, 19)), plain.length).equals(plain));
});

test('a frame that was cut short, changed, or is of another length is refused and does no harm to the next', () => {
  const plain = text(5000);
  const frame = Buffer.from(compress(plain, 3));
  const next = text(700);
  const nextFrame = Buffer.from(compress(next, 3));
  const refused = (data: Uint8Array, bytes: number): void => {
    assert.throws(() => decompressTo(data, bytes), isRefused);
    assert.ok(decompressTo(nextFrame, next.length).equals(next));
  };
  for (let length = 0; length < frame.length; length += 1) refused(frame.subarray(0, length), plain.length);
  for (let length = 1; length < frame.length; length += 97) {
    assert.throws(() => decompress(frame.subarray(0, length), 10_000), isRefused);
    assert.ok(decompress(nextFrame, 10_000).equals(next));
  }
  for (const bytes of [0, plain.length - 1, plain.length + 1, 9 * 1024 * 1024]) refused(frame, bytes);
  for (let at = 0; at < 4; at++) refused(frame.with(at, (frame[at] ?? 0) ^ 1), plain.length);
});

test('a compression bomb is refused before it fills the memory (fault 21)', () => {
  const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));
  assert.ok(bomb.length < 10_000);
  for (const open of [decompress, decompressTo]) assert.throws(() => open(bomb, 1024 * 1024), isRefused);
  assert.throws(() => decompress(Buffer.from('no zstd at all'), 1024), isRefused);
  assert.equal(decompress(zstdCompressSync(Buffer.alloc(1000)), 1000).length, 1000);
});
