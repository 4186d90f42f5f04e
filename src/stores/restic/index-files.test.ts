import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { faultyBucket } from '../../buckets/faulty.ts';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import type { Bucket } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import { freshKey } from './crypto.ts';
import type { Vault } from './documents.ts';
import { type Indexes, indexFiles, type PackList, putIndexes } from './index-files.ts';
import { keysOf } from './testing.ts';

const ctx = testContext();
const vaultOf = (bucket: Bucket = memoryBucket()): Vault => ({ bucket, key: freshKey() });

function pack(): PackList {
  const blob = { id: randomBytes(32), tree: false, offset: 0, length: 100, uncompressedLength: 0 };
  return { id: randomBytes(32).toString('hex'), blobs: [blob] };
}
function has({ blobs }: Indexes, { blobs: [blob] }: PackList): boolean {
  return blob !== undefined && blobs.has(blob.id);
}
async function deleteFiles({ bucket }: Vault): Promise<void> {
  for (const key of await keysOf(ctx, bucket, 'index/')) await bucket.delete(ctx, key);
}

test('a pack that is known to be bad stays so when another index file names it', async () => {
  const vault = vaultOf();
  const [bad, good] = [pack(), pack()];
  const indexes = indexFiles(vault);
  await putIndexes(ctx, vault, [bad]);
  await indexes.refresh(ctx);
  indexes.blobs.forget(bad.id);
  await deleteFiles(vault);
  await putIndexes(ctx, vault, [bad, good]);
  await indexes.refresh(ctx);
  assert.deepEqual([has(indexes, bad), has(indexes, good)], [false, true]);
});

test('a pack that no index file names is left out, and is back as soon as one does', async () => {
  const vault = vaultOf();
  const one = pack();
  const indexes = indexFiles(vault);
  for (const _ of [1, 2]) {
    await putIndexes(ctx, vault, [one]);
    await indexes.refresh(ctx);
    assert.equal(has(indexes, one), true);
    await deleteFiles(vault);
    await indexes.refresh(ctx);
    assert.equal(has(indexes, one), false);
  }
});

test('an index file that is replaced between its listing and its reading costs no pack', async () => {
  const faults: { listed?: () => Promise<void> } = {};
  const inner = memoryBucket();
  const vault = vaultOf(whenListed(inner, faults));
  const one = pack();
  await putIndexes(ctx, vault, [one]);
  const indexes = indexFiles(vault);
  faults.listed = async () => {
    await deleteFiles({ ...vault, bucket: inner });
    await putIndexes(ctx, vault, [one, pack()]);
  };
  await indexes.refresh(ctx);
  assert.equal(has(indexes, one), true);
});

test('what is saved while the index files are listed is not taken for vanished', async () => {
  const faults: { listed?: () => Promise<void> } = {};
  const vault = vaultOf(whenListed(memoryBucket(), faults));
  const own = pack();
  const indexes = indexFiles(vault);
  faults.listed = async () => {
    indexes.blobs.add(own.id, own.blobs);
    await indexes.stored(ctx, own);
    await indexes.save(ctx);
  };
  await indexes.refresh(ctx);
  assert.equal(has(indexes, own), true);
  assert.deepEqual([...indexes.packs()], [own.id]);
});

test('an index listing that is out of date does not keep anybody waiting for ever', async () => {
  const vanished = `index/${'0'.repeat(64)}`;
  const inner = memoryBucket();
  const stale = faultyBucket(inner, {
    listing: (objects) => [{ key: vanished, bytes: 1, modifiedAt: ctx.now() }, ...objects],
  });
  const vault = vaultOf(stale);
  const one = pack();
  await putIndexes(ctx, vault, [one]);
  const indexes = indexFiles(vault);
  await indexes.refresh(ctx);
  assert.equal(has(indexes, one), true);
});

/** Something happens once after the bucket was listed, before anybody is told. */
function whenListed(inner: Bucket, faults: { listed?: () => Promise<void> }): Bucket {
  return {
    ...inner,
    async *list(within, prefix) {
      const objects = await Array.fromAsync(inner.list(within, prefix));
      const { listed } = faults;
      delete faults.listed;
      await listed?.();
      yield* objects;
    },
  };
}
