import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freshKey } from './crypto.ts';
import { isSealed, sealCompressed } from './documents.ts';

const PLAIN = Buffer.from('what is to be stored '.repeat(1000));

test('what is sealed is told from all else without being copied (fault 5)', () => {
  const key = freshKey();
  const sealed = sealCompressed(key, PLAIN);
  const other = Buffer.from(PLAIN).fill('x', 7, 8);
  assert.equal(isSealed(key, sealed, PLAIN), true);
  assert.equal(isSealed(key, sealed, other), false);
  for (const bytes of [PLAIN.length - 1, 0]) {
    assert.throws(() => isSealed(key, sealed, PLAIN.subarray(0, bytes)), { code: 'checksum' });
  }
  assert.throws(() => isSealed(key, sealed, Buffer.concat([PLAIN, PLAIN])), { code: 'checksum' });
  sealed.fill(sealed.readUInt8(40) ^ 1, 40, 41);
  assert.throws(() => isSealed(key, sealed, PLAIN), { code: 'checksum' });
});
