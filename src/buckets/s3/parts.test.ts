import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readAll } from '../../core/bytes.ts';
import type { Bytes } from '../../core/model.ts';
import { testContext } from '../../core/testing.ts';
import { PART_SIZES, PARTS_MAX, type Part, partsOf } from './parts.ts';

const TIB = 2 ** 40;
const small = { memoryParts: 2, memoryBytes: 10, scratchBytes: 25 };

/** Its chunks are one buffer that is used again. */
async function* counting(bytes: number, chunkBytes: number): Bytes {
  const chunk = Buffer.alloc(chunkBytes);
  for (let at = 0; at < bytes; at += chunkBytes) {
    for (let i = 0; i < chunkBytes; i++) chunk[i] = (at + i) % 251;
    yield chunk.subarray(0, bytes - at);
  }
}
async function bodyOf(part: { open(): Uint8Array | AsyncIterable<Uint8Array> }): Promise<Buffer> {
  const body = part.open();
  return body instanceof Uint8Array ? Buffer.from(body) : await readAll(body);
}

test('ten thousand parts hold an object of 5 TiB, within the limits of S3', () => {
  const { memoryParts, memoryBytes, scratchBytes } = PART_SIZES;
  assert.ok(memoryParts * memoryBytes + (PARTS_MAX - memoryParts) * scratchBytes >= 5 * TIB);
  assert.ok(memoryBytes >= 5 * 2 ** 20 && scratchBytes <= 5 * 2 ** 30);
});

test('parts are the stream, cut at the sizes, in memory and then in scratch files that can be read twice', async () => {
  for (const [bytes, chunkBytes] of [
    [0, 7],
    [1, 7],
    [10, 10],
    [20, 3],
    [21, 100],
    [45, 45],
    [70, 7],
    [71, 64],
  ] as const) {
    const ctx = testContext({ scratch: mkdtempSync(join(testContext().scratch, 'parts-')) });
    const found: Buffer[] = [];
    for await (const part of partsOf(ctx, counting(bytes, chunkBytes), small)) {
      const body = await bodyOf(part);
      assert.ok(body.equals(await bodyOf(part)));
      assert.equal(part.bytes, body.length);
      assert.equal(part.sha256, createHash('sha256').update(body).digest('base64'));
      assert.equal(part.number, found.length + 1);
      found.push(body);
      await part[Symbol.asyncDispose]();
    }
    assert.ok(Buffer.concat(found).equals(await readAll(counting(bytes, chunkBytes))), `${bytes} bytes`);
    const sizes = found.map(({ length }) => length);
    assert.ok(
      sizes.slice(0, -1).every((size, i) => size === (i < 2 ? 10 : 25)),
      String(sizes),
    );
    assert.deepEqual(readdirSync(ctx.scratch), []);
  }
});

test('a part keeps its bytes until it is disposed, while others are filled', async () => {
  const sizes = { memoryParts: 100, memoryBytes: 10, scratchBytes: 25 };
  const expected = await readAll(counting(200, 7));
  const held: Part[] = [];
  const letGo = async (): Promise<void> => {
    const part = held.shift();
    if (!part) return;
    const at = (part.number - 1) * 10;
    assert.ok((await bodyOf(part)).equals(expected.subarray(at, at + 10)), `part ${part.number}`);
    await part[Symbol.asyncDispose]();
  };
  for await (const part of partsOf(testContext(), counting(200, 7), sizes)) {
    held.push(part);
    if (held.length > 3) for (let i = 0; i < 2; i++) await letGo();
  }
  while (held.length > 0) await letGo();
});

test('a source that breaks off leaves nothing in the scratch directory', async () => {
  const ctx = testContext({ scratch: mkdtempSync(join(testContext().scratch, 'parts-')) });
  async function* broken(): Bytes {
    yield* counting(60, 10);
    throw new Error('broken off');
  }
  await assert.rejects(async () => {
    for await (const part of partsOf(ctx, broken(), small)) await part[Symbol.asyncDispose]();
  }, /broken off/);
  assert.deepEqual(readdirSync(ctx.scratch), []);
});
