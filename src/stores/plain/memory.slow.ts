import assert from 'node:assert/strict';
import { createCipheriv } from 'node:crypto';
import { test } from 'node:test';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import type { Bytes } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import { plainFormat } from './store.ts';

const MIB = 1024 * 1024;
const rendition = { name: 'shop.sql', word: 'postgres', item: 'shop', alone: true, suffix: '.sql', gzip: true };

test('a stream of 2 GiB goes through the plain store in less than 512 MiB', async () => {
  const ctx = testContext();
  const settings = { stack: 's', layout: 'dated' };
  await using store = await plainFormat.open(ctx, await madeIn(settings), settings);
  const before = process.resourceUsage().maxRSS;
  await using draft = await store.begin(ctx, '2026-01-01-020000', {
    stack: 's',
    components: [{ name: 'db', kind: 'postgresql' }],
  });
  const part = await draft.sink('db').put(ctx, 'shop.dump', stream(2048), { rendition });
  assert.equal(part.bytes, 2048 * MIB);
  const peakMib = process.resourceUsage().maxRSS / 1024;
  assert.ok(peakMib < 512, `${peakMib} MiB at the peak, ${before / 1024} before`);
});

/** A store whose bucket takes large objects and forgets them. */
async function madeIn(settings: unknown): Promise<Bucket> {
  const memory = memoryBucket();
  await plainFormat.create(testContext(), memory, settings);
  return {
    ...memory,
    async put(ctx, key, body, options) {
      if (body instanceof Uint8Array) return await memory.put(ctx, key, body, options);
      for await (const chunk of body) assert.ok(chunk.length > 0);
      return await memory.put(ctx, key, Buffer.alloc(0), options);
    },
  };
}

/** Half of it can be packed. */
async function* stream(mib: number): Bytes {
  const noise = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16));
  const quiet = Buffer.alloc(MIB / 2, 'id\tname\tvalue\n');
  for (let i = 0; i < mib; i += 1) {
    yield noise.update(Buffer.alloc(MIB / 2));
    yield quiet;
  }
}
