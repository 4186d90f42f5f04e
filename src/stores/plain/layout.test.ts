// The layouts of the two plans, to the letter, and what lies beside them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultyBucket } from '../../buckets/faulty.ts';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { bytesOf, readAll } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import type { Rendition } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { captured, type TestContext, testContext } from '../../core/testing.ts';
import { plainFormat } from './store.ts';
import {
  dump,
  fill,
  globals,
  ID,
  inventory,
  keys,
  LATER,
  type Layout,
  opened,
  PLAN,
  planOf,
  pointOf,
  rdb,
  rendered,
  save,
  text,
  WITH_LOGS,
} from './testing.ts';

const OLD_MANIFEST = '{"timestamp":"2024-02-22T02:00:00Z","version":"0.4.0","components":{"postgresql":{"file":"x"}}}';

test('the dated layout is the folder of the plan, with its manifest', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'dated');
  await save(ctx, store, ID, WITH_LOGS);
  assert.deepEqual(await keys(ctx, bucket, `${ID}/`), [
    `${ID}/loki-${ID}.json.gz`,
    `${ID}/manifest.json`,
    `${ID}/postgres-${ID}-globals.sql.gz`,
    `${ID}/postgres-${ID}.sql.gz`,
    `${ID}/redis-${ID}.rdb`,
  ]);
  assert.deepEqual(await Array.fromAsync(bucket.folders(ctx, '')), ['0-lifeboat/', `${ID}/`]);
  const manifest = JSON.parse(await text(ctx, bucket, `${ID}/manifest.json`));
  assert.equal(manifest.timestamp, '2024-02-23T02:00:00Z');
  assert.equal(manifest.version, '0.4.0');
  const { postgresql, redis, loki } = manifest.components;
  assert.equal(postgresql.file, `postgres-${ID}.sql.gz`);
  assert.equal(postgresql.size, (await bucket.head(ctx, `${ID}/postgres-${ID}.sql.gz`)).bytes);
  assert.deepEqual(
    postgresql.files.map((each: { file: string }) => each.file),
    [`postgres-${ID}.sql.gz`, `postgres-${ID}-globals.sql.gz`],
  );
  assert.deepEqual([redis.file, redis.size], [`redis-${ID}.rdb`, 9]);
  assert.deepEqual([loki.file, loki.files.length], [`loki-${ID}.json.gz`, 1]);
  assert.equal(loki.size, (await bucket.head(ctx, `${ID}/loki-${ID}.json.gz`)).bytes);
});

test('`aws s3 ls PREFIX/ | sort -r | head -1` finds the newest point', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'dated');
  for (const id of [LATER, ID]) await save(ctx, store, id, PLAN);
  await store.records.put(ctx, 'proofs', `${ID}/d`, {});
  const listing = (await Array.fromAsync(bucket.folders(ctx, ''))).map((folder) => `PRE ${folder}`);
  assert.equal(listing.sort().reverse()[0], `PRE ${LATER}/`);
});

test('the layout by component has one folder for each kind and dated file names', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'by-component');
  await save(ctx, store, '2026-01-28-120000', {
    postgresql: { kind: 'postgresql', parts: [dump('soriano_core'), globals(), inventory] },
    redis: { kind: 'redis', parts: [rdb, inventory] },
  });
  const files = (await keys(ctx, bucket, '')).filter((key) => !key.startsWith('0-lifeboat/'));
  assert.deepEqual(files, [
    'postgres/postgres_20260128_120000-globals.sql.gz',
    'postgres/postgres_soriano_core_20260128_120000.sql.gz',
    'redis/redis_20260128_120000.rdb',
  ]);
});

test('several components of a kind and several databases are told apart by name, odd characters as %XX', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'dated');
  await save(ctx, store, ID, {
    'main-db': { kind: 'postgresql', parts: [dump('shop', false), dump('a/b "ü"', false), globals(false)] },
    'other-db': { kind: 'postgresql', parts: [dump('shop')] },
    cache: { kind: 'redis', parts: [rdb] },
  });
  assert.deepEqual(await keys(ctx, bucket, `${ID}/`), [
    `${ID}/main-db-${ID}-globals.sql.gz`,
    `${ID}/main-db-a%2Fb%20%22%C3%BC%22-${ID}.sql.gz`,
    `${ID}/main-db-shop-${ID}.sql.gz`,
    `${ID}/manifest.json`,
    `${ID}/other-db-shop-${ID}.sql.gz`,
    `${ID}/redis-${ID}.rdb`,
  ]);
});

test('a part is read by the name of its plain form, transformed and unpacked', async () => {
  const ctx = testContext();
  const { store } = await opened(ctx, 'dated');
  const shout: Rendition = {
    ...dump('shop').rendition,
    name: 'shop.sql',
    word: 'postgres',
    item: 'shop',
    alone: true,
    suffix: '.sql',
    gzip: true,
    async *transform(_ctx, body) {
      yield Buffer.from((await readAll(body)).toString().toUpperCase());
    },
  };
  await save(ctx, store, ID, {
    db: { kind: 'postgresql', parts: [{ name: 'shop.dump', data: 'select', rendition: shout }] },
  });
  const source = await store.open(ctx, ID, 'db');
  assert.deepEqual(await Array.fromAsync(source.parts(ctx), ({ name, bytes }) => [name, bytes]), [['shop.sql', 6]]);
  assert.equal((await readAll(source.get(ctx, 'shop.sql'))).toString(), 'SELECT');
});

test('a kept file is there again under its new date', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'dated');
  await save(ctx, store, ID, PLAN);
  const before = await store.open(ctx, ID, 'redis');
  await using draft = await store.begin(ctx, LATER, planOf(PLAN));
  const sink = draft.sink('redis');
  await sink.keep(ctx, 'dump.rdb', await before.part(ctx, 'dump.rdb'), { rendition: rendered(rdb) });
  const receipt = await sink.receipt(ctx);
  await store.commit(ctx, draft, pointOf(LATER, { redis: PLAN.redis ?? { kind: 'redis', parts: [] } }), [receipt]);
  assert.equal(await text(ctx, bucket, `${LATER}/redis-${LATER}.rdb`), 'REDIS0011');
});

test('folders that other scripts made are neither listed, nor checked, nor touched', async () => {
  const ctx = testContext();
  for (const layout of ['dated', 'by-component'] as const) {
    const bucket = memoryBucket();
    const foreign = ['2024-02-22-020000/manifest.json', '2024-02-22-020000/postgres-2024-02-22-020000.sql.gz'];
    for (const key of [
      ...foreign,
      '2024-02-21-020000/redis.rdb',
      'postgres/postgres_x_20240222_020000.sql.gz',
      'notes',
    ]) {
      await bucket.put(ctx, key, Buffer.from(key.endsWith('json') ? OLD_MANIFEST : 'old'));
    }
    const before = await keys(ctx, bucket, '');
    await plainFormat.create(ctx, bucket, { stack: 's', layout });
    await using store = await plainFormat.open(ctx, bucket, { stack: 's', layout });
    await save(ctx, store, ID, PLAN);
    assert.deepEqual(await Array.fromAsync(store.list(ctx), ({ id }) => id), [ID]);
    assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
    await store.remove(ctx, [ID, '2024-02-22-020000']);
    ctx.advance(1e9);
    await store.reclaim(ctx, { apply: true, graceMs: 0 });
    assert.deepEqual(await keys(ctx, bucket, ''), [...before, '0-lifeboat/owner.json'].sort());
  }
});

test('an id whose folder other scripts fill is taken', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'dated');
  await bucket.put(ctx, `${ID}/redis-${ID}.rdb`, Buffer.from('theirs'));
  await assert.rejects(store.begin(ctx, ID, planOf(PLAN)), (error) => isFailure(error, 'exists'));
});

test('a draft that was given up leaves nothing in the bucket', async () => {
  const ctx = testContext();
  for (const layout of ['dated', 'by-component'] as const) {
    const { bucket, store } = await opened(ctx, layout);
    const before = await keys(ctx, bucket, '');
    {
      await using draft = await store.begin(ctx, ID, planOf(PLAN));
      await fill(ctx, draft.sink('postgresql'), PLAN.postgresql?.parts ?? []);
      await draft.sink('redis').put(ctx, 'dump.rdb', bytesOf('x'), { rendition: rendered(rdb) });
    }
    assert.deepEqual(await keys(ctx, bucket, ''), before);
  }
});

test('the files of a component that failed are no part of the point', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'dated');
  await using draft = await store.begin(ctx, ID, planOf(PLAN));
  await draft.sink('redis').put(ctx, 'dump.rdb', bytesOf('half'), { rendition: rendered(rdb) });
  await draft.sink('redis').put(ctx, 'inventory.ndjson', bytesOf('half'));
  const receipt = await fill(ctx, draft.sink('postgresql'), PLAN.postgresql?.parts ?? []);
  const point = pointOf(ID, PLAN);
  const redis = captured({ kind: 'redis', error: { code: 'unreachable', message: 'no answer' } });
  await store.commit(ctx, draft, { ...point, components: { ...point.components, redis } }, [receipt]);
  assert.deepEqual(
    (await keys(ctx, bucket, '')).filter((key) => /redis/.test(key)),
    [],
  );
});

test('what was saved before a restore is no backup to those who look at the folders', async () => {
  const ctx = testContext();
  for (const layout of ['dated', 'by-component'] as const) {
    const { bucket, store } = await opened(ctx, layout);
    {
      await using draft = await store.begin(ctx, ID, { ...planOf(PLAN), aside: true });
      const receipts = await Promise.all(
        Object.entries(PLAN).map(([name, { parts }]) => fill(ctx, draft.sink(name), parts)),
      );
      await store.commit(ctx, draft, pointOf(ID, PLAN), receipts);
    }
    assert.deepEqual(await Array.fromAsync(bucket.folders(ctx, '')), ['0-lifeboat/']);
    assert.deepEqual(await Array.fromAsync(store.list(ctx), ({ id }) => id), [ID]);
    const source = await store.open(ctx, ID, 'postgresql');
    assert.equal((await readAll(source.get(ctx, 'infershield.sql'))).toString(), '-- infershield\n');
    assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
    await store.remove(ctx, [ID]);
    assert.deepEqual(await keys(ctx, bucket, ''), ['0-lifeboat/owner.json']);
  }
});

test('what is saved before a restore never takes the id of a point that is there', async () => {
  const ctx = testContext();
  for (const layout of ['dated', 'by-component'] as const) {
    const { store } = await opened(ctx, layout);
    {
      await using draft = await store.begin(ctx, ID, planOf(PLAN));
      const receipts = await Promise.all(
        Object.entries(PLAN).map(([name, { parts }]) => fill(ctx, draft.sink(name), parts)),
      );
      await store.commit(ctx, draft, pointOf(ID, PLAN), receipts);
    }
    await assert.rejects(
      async () => {
        await using _ = await store.begin(ctx, ID, { ...planOf(PLAN), aside: true });
      },
      { code: 'exists' },
    );
    const source = await store.open(ctx, ID, 'postgresql');
    assert.equal((await readAll(source.get(ctx, 'infershield.sql'))).toString(), '-- infershield\n');
    assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
  }
});

test('two parts never become one file', async () => {
  const ctx = testContext();
  const { store } = await opened(ctx, 'dated');
  await using draft = await store.begin(ctx, ID, planOf(PLAN));
  const sink = draft.sink('redis');
  await sink.put(ctx, 'a', bytesOf('a'), { rendition: { ...rendered(rdb), name: 'a' } });
  const second = sink.put(ctx, 'b', bytesOf('b'), { rendition: { ...rendered(rdb), name: 'b' } });
  await assert.rejects(second, (error) => isFailure(error, 'exists'));
});

test('whatever change the machine dies at, no file stays that no point needs, and no foreign one goes', async () => {
  for (const layout of ['dated', 'by-component'] as const) {
    const foreign = layout === 'dated' ? '2024-02-22-020000/redis.rdb' : 'redis/redis_20240223_030000.rdb';
    let finished = false;
    for (let changes = 0; !finished; changes += 1) {
      const ctx = testContext();
      const { bucket: disk } = await opened(ctx, layout);
      await disk.put(ctx, foreign, Buffer.from('theirs'));
      const dying = faultyBucket(disk, { changesMax: changes });
      finished = await life(ctx, layout, dying).then(
        () => true,
        (error: unknown) => {
          if (dying.changes() <= changes) throw error;
          return false;
        },
      );
      await using store = await plainFormat.open(ctx, disk, { stack: 's', layout });
      const left = await Array.fromAsync(store.list(ctx), ({ id }) => id);
      ctx.advance(1e9);
      await store.reclaim(ctx, { apply: true, graceMs: 1e6 });
      assert.deepEqual(await Array.fromAsync(store.list(ctx), ({ id }) => id), left);
      assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), [], `died after ${changes} changes`);
      await store.remove(ctx, left);
      const rest = await keys(ctx, disk, '');
      assert.deepEqual(rest, ['0-lifeboat/owner.json', foreign].sort(), `died after ${changes} changes`);
    }
  }
});

/** A backup, another one, and the removal of the first. */
async function life(ctx: TestContext, layout: Layout, bucket: Bucket): Promise<void> {
  await using store = await plainFormat.open(ctx, bucket, { stack: 's', layout });
  await save(ctx, store, ID, WITH_LOGS);
  await save(ctx, store, LATER, WITH_LOGS);
  await store.remove(ctx, [ID]);
}
