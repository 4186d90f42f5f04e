import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { isFailure } from '../../core/errors.ts';
import { freshKey, open, openInto, SEAL_BYTES, seal, sealInto } from './crypto.ts';

const key = freshKey();

test('what was sealed opens to the same bytes, whatever its size', () => {
  for (const bytes of [0, 1, 15, 16, 17, 65_535, 65_536, 65_537, 300_000]) {
    const plain = randomBytes(bytes);
    const sealed = seal(key, plain);
    assert.equal(sealed.length, bytes + SEAL_BYTES);
    assert.ok(open(key, sealed).equals(plain));
  }
});

test('a thing sealed in place opens in place', () => {
  const plain = randomBytes(100_000);
  const target = Buffer.alloc(200_000);
  assert.equal(sealInto(key, plain, target, 77), plain.length + SEAL_BYTES);
  const back = Buffer.alloc(100_100);
  assert.equal(openInto(key, target.subarray(77, 77 + plain.length + SEAL_BYTES), back, 50), plain.length);
  assert.ok(back.subarray(50, 100_050).equals(plain));
});

test('the same bytes are sealed differently each time', () => {
  const plain = Buffer.from('the same');
  assert.ok(!seal(key, plain).equals(seal(key, plain)));
});

test('each flipped bit breaks the seal', () => {
  const sealed = seal(key, Buffer.from('short'));
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const changed = Buffer.from(sealed);
    changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    assert.throws(
      () => open(key, changed),
      (error) => isFailure(error, 'checksum'),
    );
  }
  assert.throws(
    () => open(key, sealed.subarray(0, 31)),
    (error) => isFailure(error, 'checksum'),
  );
  assert.throws(
    () => open(freshKey(), sealed),
    (error) => isFailure(error, 'checksum'),
  );
});

test('seals are made by libsodium, and never beyond the end of their target', () => {
  assert.ok(readFileSync('/proc/self/maps', 'utf8').includes('sodium-native'), 'it did not load');
  for (const short of [1, 15, 16, 31]) {
    assert.throws(() => sealInto(key, Buffer.alloc(100), Buffer.alloc(100 + SEAL_BYTES - short), 0), RangeError);
  }
});
