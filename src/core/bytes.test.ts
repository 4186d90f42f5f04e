import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  batched,
  byteOrder,
  bytesOf,
  lineBatchesOf,
  linesOf,
  measured,
  readAll,
  reusedMemory,
  wholeOf,
} from './bytes.ts';
import type { Bytes } from './model.ts';

/** Cut where it hurts, with one buffer used again for every chunk: chunks are borrowed. */
async function* inPieces(data: Buffer, size: number): Bytes {
  const borrowed = Buffer.alloc(size);
  for (let at = 0; at < data.length; at += size) {
    yield borrowed.subarray(0, data.copy(borrowed, 0, at, at + size));
    borrowed.fill(0x21);
  }
}

test('what was cut into pieces is read as it was', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array(), fc.integer({ min: 1, max: 9 }), async (bytes, size) => {
      assert.deepEqual(await readAll(inPieces(Buffer.from(bytes), size)), Buffer.from(bytes));
    }),
  );
});

test('a document that is larger than expected is refused before it fills the memory', async () => {
  let given = 0;
  async function* endless(): Bytes {
    for (;;) {
      given += 1000;
      yield new Uint8Array(1000);
    }
  }
  await assert.rejects(readAll(endless(), 5000), RangeError);
  assert.equal(given, 6000);
  await assert.rejects(Array.fromAsync(linesOf(endless(), 5000)), RangeError);
});

test('lines are the same however the stream is cut', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll('\n', ''))),
      fc.boolean(),
      fc.integer({ min: 1, max: 9 }),
      async (lines, ended, size) => {
        const text = lines.join('\n') + (ended && lines.length > 0 ? '\n' : '');
        const expected = text === '' ? [] : text.replace(/\n$/, '').split('\n');
        assert.deepEqual(await Array.fromAsync(linesOf(inPieces(Buffer.from(text), size))), expected);
      },
    ),
  );
});

test('what goes by is counted and hashed', async () => {
  const { body, sum } = measured(inPieces(Buffer.from('abc'), 2));
  assert.equal((await readAll(body)).toString(), 'abc');
  const sha256 = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
  assert.deepEqual(sum(), { bytes: 3, sha256 });
});

test('small pieces are joined, and none is lost', async () => {
  async function* pieces(): AsyncIterable<string | Uint8Array> {
    yield 'über';
    yield* inPieces(Buffer.from('0123456789'), 3);
  }
  const chunks: Buffer[] = [];
  for await (const chunk of batched(pieces(), 6)) chunks.push(Buffer.from(chunk)); // they are borrowed
  assert.equal(Buffer.concat(chunks).toString(), 'über0123456789');
  assert.ok(chunks.length < 5);
  assert.deepEqual(await Array.fromAsync(batched(bytesOf(''))), []);
});

test('texts are ordered as their bytes are, whatever they hold', () => {
  const text = fc.string({
    unit: fc.constantFrom('a', 'b', '\u00e9', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{10ffff}'),
  });
  fc.assert(
    fc.property(text, text, (a, b) => {
      assert.equal(Math.sign(byteOrder(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)));
    }),
  );
});

test('a body that is there already can be had whole and as a stream, as often as one likes', async () => {
  const body = bytesOf('all of it');
  assert.equal(String(wholeOf(body)), 'all of it');
  for (let i = 0; i < 2; i++) assert.equal(String(await readAll(body)), 'all of it');
  assert.equal(wholeOf(inPieces(Buffer.from('all of it'), 9)), undefined);
});

test('lines come together that have come together', async () => {
  const batches = await Array.fromAsync(lineBatchesOf(inPieces(Buffer.from('a\nb\ncd\n\ne'), 5)));
  assert.deepEqual(batches, [['a', 'b'], ['cd', ''], ['e']]);
});

test('memory that is used again keeps what it is told to, and is given back when it was too large', () => {
  const memory = reusedMemory(1000);
  memory.room(3).write('abc');
  const grown = memory.room(600, 3);
  assert.equal(grown.toString('latin1', 0, 3), 'abc');
  assert.equal(memory.room(10), grown);
  const large = memory.room(5000, 3);
  assert.equal(large.toString('latin1', 0, 3), 'abc');
  assert.equal(memory.room(6000, 5000).toString('latin1', 0, 3), 'abc');
  assert.ok(memory.room(10).length <= 1000);
});
