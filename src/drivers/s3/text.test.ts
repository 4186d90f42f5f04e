import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  bytesOfText,
  headerOfText,
  isText,
  keyOrder,
  percentDecoded,
  percentEncoded,
  textOf,
  textOfHeader,
} from './text.ts';

test('every key comes back as it was, whatever its bytes (fault 44)', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 20 }),
    fc.string({ unit: 'binary' }).map((text) => Buffer.from(text)),
  );
  fc.assert(
    fc.property(bytes, (given) => {
      const key = Buffer.from(given);
      const text = textOf(key);
      assert.ok(isText(text));
      assert.deepEqual(bytesOfText(text), key);
      assert.equal(JSON.parse(JSON.stringify(text)), text);
      assert.equal(percentDecoded(percentEncoded(text)), text);
      assert.equal(textOfHeader(headerOfText(text)), text);
    }),
  );
});

test('keys are ordered by their bytes', () => {
  const bytes = fc.uint8Array({ maxLength: 6 }).map((given) => Buffer.from(given));
  fc.assert(
    fc.property(bytes, bytes, (a, b) => {
      assert.equal(Math.sign(keyOrder(textOf(a), textOf(b))), Buffer.compare(a, b));
    }),
  );
  assert.ok(keyOrder('\uff01', '😀') < 0);
});

test('half of a pair stands for no byte', () => {
  for (const text of ['\ud83d', 'a\udc00', '\udd00']) assert.equal(isText(text), false, JSON.stringify(text));
});
