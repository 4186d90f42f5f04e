// The faults of the store that need this format to be shown; the suite of all stores has the others.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultyBucket } from '../../buckets/faulty.ts';
import { bytesOf, readAll } from '../../core/bytes.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import { type Contents, findings, HOUR_MS, noise, P1, P2, pointOf, save } from '../suite/rig.suite.ts';
import { indexFiles, putIndexes } from './index-files.ts';
import { unlock } from './keys.ts';
import {
  begin,
  bytesBelow,
  createStore,
  fill,
  GRACE,
  keysOf,
  largest,
  MINUTE_MS,
  made,
  openStore,
  PASSWORD,
  readParts,
  rewrite,
} from './testing.ts';

/** A store with a point that nobody has open. */
async function withPoint(ctx: Context, contents: Contents): Promise<Bucket> {
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P1, contents);
  return bucket;
}

test("a missing pack's chunks are written again by the next backup (fault 3)", async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  const db = { one: noise(1, 300_000) };
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P1, { db });
  const pack = await largest(ctx, bucket, 'data/');
  await bucket.delete(ctx, pack);
  assert.match(JSON.stringify(await findings(ctx, store, 0)), /db\/one/);
  await save(ctx, store, P2, { db });
  assert.ok((await readParts(ctx, store, P1, 'db')).one?.equals(db.one), 'the older point is healed by it');
  await using again = await openStore(ctx, bucket);
  assert.ok((await readParts(ctx, again, P1, 'db')).one?.equals(db.one));
  const left = await findings(ctx, again);
  assert.deepEqual(
    left.map(({ hint }) => hint?.includes('lifeboat prune --apply')),
    [true],
    'only an index still names the lost pack',
  );
  await using fresh = await openStore(ctx, bucket);
  await fresh.reclaim(ctx, GRACE);
  assert.deepEqual(await findings(ctx, fresh), []);
});

test('an index file that is gone is no reason to forget a point: what brings it back is told first (fault 4)', async () => {
  const ctx = testContext();
  const bucket = await withPoint(ctx, { db: { one: noise(1, 300_000) } });
  for (const key of await keysOf(ctx, bucket, 'index/')) await bucket.delete(ctx, key);
  await using store = await openStore(ctx, bucket);
  const [found] = await findings(ctx, store);
  assert.match(found?.detail ?? '', /is in no index/);
  assert.match(found?.hint ?? '', /restic repair index; .* restic forget/);
});

test('a store that has lost data of one point is pruned again once the snapshots are forgotten that hints name', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P1, { db: { one: noise(1, 300_000) } });
  const pack = await largest(ctx, bucket, 'data/');
  await save(ctx, store, P2, { db: { one: noise(2, 5000) } });
  await bucket.delete(ctx, pack);
  await using again = await openStore(ctx, bucket);
  await assert.rejects(
    again.reclaim(ctx, GRACE),
    (error) => error instanceof Failure && /verify --all.*restic forget/.test(error.hint ?? ''),
  );
  const hints = (await findings(ctx, again)).map(({ hint }) => hint ?? '').join();
  const named = (await keysOf(ctx, bucket, 'snapshots/')).filter((key) =>
    hints.includes(`restic forget ${key.slice(10, 18)}`),
  );
  assert.equal(named.length, 1);
  for (const key of named) await bucket.delete(ctx, key); // as restic forget does
  await again.reclaim(ctx, GRACE);
  assert.deepEqual(await Array.fromAsync(again.list(ctx), ({ id }) => id), [P2]);
  assert.deepEqual(await findings(ctx, again), []);
});

test("a damaged pack's chunks are written again by the backup after the check (fault 3)", async () => {
  const ctx = testContext();
  const db = { one: noise(1, 300_000) };
  const bucket = await withPoint(ctx, { db });
  const pack = await largest(ctx, bucket, 'data/');
  await rewrite(ctx, bucket, pack, flipped);
  {
    await using store = await openStore(ctx, bucket);
    const [first] = await findings(ctx, store);
    assert.ok(first?.check.includes(pack.slice(8)) && first.hint?.includes('lifeboat backup'), JSON.stringify(first));
  }
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P2, { db });
  assert.ok((await readParts(ctx, store, P2, 'db')).one?.equals(db.one));
  await using again = await openStore(ctx, bucket);
  await again.reclaim(ctx, GRACE);
  ctx.advance(25 * HOUR_MS);
  await again.reclaim(ctx, GRACE);
  assert.equal((await keysOf(ctx, bucket)).includes(pack), false, 'the damaged pack is gone');
  assert.deepEqual(await findings(ctx, again), []);
  for (const point of [P1, P2]) assert.ok((await readParts(ctx, again, point, 'db')).one?.equals(db.one));
});

test('an unreadable index costs no point, and is named (fault 4)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P1, { db: { one: noise(1, 5000) } });
  const [index] = await keysOf(ctx, bucket, 'index/');
  await bucket.put(ctx, index ?? '', Buffer.from('not even sealed'));
  await using again = await openStore(ctx, bucket);
  await save(ctx, again, P2, { db: { one: noise(2, 5000) } });
  for (const [i, point] of [P1, P2].entries()) {
    assert.ok((await readParts(ctx, again, point, 'db')).one?.equals(noise(i + 1, 5000)));
  }
  assert.ok((await findings(ctx, again)).some(({ check }) => check.includes(index?.slice(6) ?? '-')));
});

test('a giant index file is set aside (faults 4 and 21)', async () => {
  const ctx = testContext();
  const db = { one: noise(1, 5000) };
  const bucket = await withPoint(ctx, { db });
  await bucket.put(ctx, `index/${'0'.repeat(64)}`, Buffer.alloc(65 * 1024 * 1024));
  await using store = await openStore(ctx, bucket);
  assert.ok((await readParts(ctx, store, P1, 'db')).one?.equals(db.one));
  await save(ctx, store, P2, { db });
  assert.equal((await findings(ctx, store)).length, 1);
});

test('an index that says where blobs do not lie is believed nowhere, and costs no other point (fault 4)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P1, { db: { one: noise(1, 5000), two: noise(2, 5000) } });
  const before = await keysOf(ctx, bucket, 'index/');
  await save(ctx, store, P2, { db: { three: noise(3, 5000) } });
  for (const key of before) await lie(ctx, bucket, key.slice('index/'.length));
  await using again = await openStore(ctx, bucket);
  await assert.rejects(readParts(ctx, again, P1, 'db'), (error) => isFailure(error, 'checksum'));
  assert.ok((await readParts(ctx, again, P2, 'db')).three?.equals(noise(3, 5000)));
  const found = await findings(ctx, again);
  assert.ok(found.some(({ check }) => check.includes(P1)) && !found.some(({ check }) => check.includes(P2)));
});

test('damage that is found while a point is written is not part of the point (fault 1)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  const contents = { db: { one: noise(1, 300_000) } };
  await using store = await openStore(ctx, bucket);
  await using other = await openStore(ctx, bucket);
  await save(ctx, store, P1, contents);
  await using draft = await begin(ctx, store, P2, contents);
  const receipts = [await fill(ctx, draft, 'db', contents.db)];
  await rewrite(ctx, bucket, await largest(ctx, bucket, 'data/'), flipped);
  assert.notDeepEqual(await findings(ctx, other), []);
  await assert.rejects(store.commit(ctx, draft, pointOf(P2, receipts), receipts), (e) => isFailure(e, 'checksum'));
});

test('what an interrupted backup stored is used by the next', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  const db: Record<string, Buffer> = {};
  const dead = await openStore(ctx, bucket);
  const sink = (await begin(ctx, dead, P1, { db: {} })).sink('db');
  while ((await keysOf(ctx, bucket, 'index/')).length === 0) {
    const name = `${Object.keys(db).length}`;
    assert.ok(name !== '9', 'no index was written along the way');
    await sink.put(ctx, name, bytesOf((db[name] = noise(Number(name), 9_000_000))));
    ctx.advance(3 * MINUTE_MS);
  }
  await dead[Symbol.asyncDispose](); // killed: no receipt, no point
  const before = await bytesBelow(ctx, bucket, 'data/');
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P2, { db });
  const written = (await bytesBelow(ctx, bucket, 'data/')) - before;
  const all = Object.keys(db).length * 9_000_000;
  assert.ok(written < all - 12_000_000, `${written} of ${all} bytes were written again`);
});

test('a full store stops the backup at once and is valid, and the next one goes on (fault 16)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  let left = 1;
  const full = faultyBucket(bucket, {
    fail: (operation, key) =>
      operation === 'put' && key.startsWith('data/') && left-- <= 0
        ? new Failure('no-space', 'the disk is full')
        : undefined,
  });
  const db = { one: noise(1, 20_000_000), two: noise(2, 20_000_000) };
  {
    await using store = await openStore(ctx, full);
    await assert.rejects(save(ctx, store, P1, { db }), (error) => isFailure(error, 'no-space'));
    assert.deepEqual(await findings(ctx, store), []);
    left = Number.POSITIVE_INFINITY;
    await save(ctx, store, P2, { db });
    assert.deepEqual(await findings(ctx, store), []);
  }
  assert.deepEqual(await keysOf(ctx, bucket, 'locks/'), []);
});

test('a listing that shows nothing is not believed: no store is made over another (fault 19)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  const before = await keysOf(ctx, bucket);
  const blind = faultyBucket(bucket, { listing: () => [] });
  await assert.rejects(createStore(ctx, blind), (error) => isFailure(error, 'exists'));
  assert.deepEqual(await keysOf(ctx, bucket), before);
});

test('a list of points opens no pack', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  {
    await using store = await openStore(ctx, bucket);
    for (let day = 10; day < 20; day++) await save(ctx, store, `2026-01-${day}-020000`, { db: { one: `${day}` } });
  }
  const read: string[] = [];
  const watched = faultyBucket(bucket, {
    fail: (operation, key) => {
      if (operation === 'get') read.push(key);
      return undefined;
    },
  });
  await using store = await openStore(ctx, watched);
  assert.equal((await Array.fromAsync(store.list(ctx))).length, 10);
  assert.deepEqual(
    read.filter((key) => /^(data|index)\//.test(key)),
    [],
  );
});

test('nothing in a store can be read without its key', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  await using store = await openStore(ctx, bucket);
  await save(ctx, store, P1, { db: { 'canary-name': 'canary-data' } });
  await store.records.put(ctx, 'proofs', `${P1}/1`, { text: 'canary-record' });
  await using _draft = await begin(ctx, store, P2, { db: {} });
  const all = await keysOf(ctx, bucket);
  assert.ok(all.length > 5);
  for (const key of all) {
    assert.equal((await readAll(bucket.get(ctx, key))).includes('canary'), false, key);
    assert.equal(key.includes('canary'), false);
  }
});

test('damage to what lies beside the points stops neither a restore nor a backup (fault 4)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  const db = { one: noise(1, 5000) };
  {
    await using store = await openStore(ctx, bucket);
    await save(ctx, store, P1, { db });
    await save(ctx, store, P2, { db: { two: noise(2, 5000) } });
    await store.remove(ctx, [P2]);
    await store.reclaim(ctx, { apply: true, graceMs: 0 });
  }
  const keys = await keysOf(ctx, bucket, 'lifeboat/');
  assert.deepEqual(
    keys.map((key) => key.split('/')[1]),
    ['owner.json', 'pending-delete'],
  );
  for (const key of keys) await bucket.put(ctx, key, Buffer.from('rubbish'));
  await using store = await openStore(ctx, bucket);
  assert.ok((await readParts(ctx, store, P1, 'db')).one?.equals(db.one));
  assert.equal((await findings(ctx, store)).length, 2, 'it is named');
  await save(ctx, store, P2, { db });
  for (let i = 0; i < 3; i++) await store.reclaim(ctx, { apply: true, graceMs: 0 });
  assert.deepEqual(await findings(ctx, store), [], 'and repaired');
});

/** Whoever has the key puts another index in place of this one: each blob lies where the one after it lies. */
async function lie(ctx: Context, bucket: Bucket, file: string): Promise<void> {
  const { key } = await unlock(ctx, bucket, PASSWORD);
  const vault = { bucket, key };
  const indexes = indexFiles(vault);
  await indexes.refresh(ctx);
  const { blobs } = indexes;
  const packs = (indexes.files().get(file) ?? []).map((id) => {
    const entries = [...blobs.entriesOf(id)];
    const placed = entries.map((entry, i) => ({
      ...blobs.placeAt(entries[(i + 1) % entries.length] ?? entry),
      id: blobs.idAt(entry),
    }));
    return { id, blobs: placed };
  });
  await putIndexes(ctx, vault, packs);
  await bucket.delete(ctx, `index/${file}`);
}

function flipped(data: Buffer): Buffer {
  data.writeUInt8(data.readUInt8(1000) ^ 1, 1000);
  return data;
}
