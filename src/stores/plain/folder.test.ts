import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { faultyBucket } from '../../buckets/faulty.ts';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { bytesOf, readAll } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import type { Context, Rendition } from '../../core/model.ts';
import type { Adopted, AdoptOptions, Bucket, Store } from '../../core/storage.ts';
import { type TestContext, testContext } from '../../core/testing.ts';
import { plainFormat } from './store.ts';
import {
  fill,
  ID,
  inventory,
  keys,
  LATER,
  type Layout,
  opened,
  type Put,
  planOf,
  pointOf,
  save,
  text,
} from './testing.ts';

const FOLDERS: Readonly<Record<Layout, string>> = {
  dated: `${ID}/minio-${ID}/`,
  'by-component': 'minio/minio_20240223_020000/',
};
const OBJECTS = {
  minio: {
    kind: 's3',
    parts: [
      object('objects/aa/1', ['uploads', 'a b', 'ü.txt'], 'one'),
      object('objects/bb/2', ['uploads', 'c'], ''),
      object('objects.ndjson', ['_lifeboat', 'objects.ndjson'], '{}\n', true),
      inventory,
    ],
  },
};
const COMPONENTS: AdoptOptions['components'] = [{ name: 'minio', kind: 's3' }];

function object(name: string, path: readonly string[], data: string, gzip = false): Put {
  const rendition: Rendition = { name, word: 'minio', item: null, alone: true, suffix: '', gzip, path };
  return { name, data, rendition };
}

test('a component of many parts is one folder, with a list of its files and what the manifest says of it', async () => {
  for (const layout of ['dated', 'by-component'] as const) {
    const ctx = testContext();
    const { bucket, store } = await opened(ctx, layout);
    await save(ctx, store, ID, OBJECTS);
    const folder = FOLDERS[layout];
    assert.deepEqual(
      (await keys(ctx, bucket, folder)).map((key) => key.slice(folder.length)),
      [
        '_lifeboat/component.json',
        '_lifeboat/files.ndjson.gz',
        '_lifeboat/objects.ndjson.gz',
        '_lifeboat/parts/inventory.ndjson',
        'uploads/a%20b/%C3%BC.txt',
        'uploads/c',
      ],
    );
    assert.equal(await text(ctx, bucket, `${folder}uploads/a%20b/%C3%BC.txt`), 'one');
    const source = await store.open(ctx, ID, 'minio');
    assert.equal((await readAll(source.get(ctx, 'objects.ndjson'))).toString(), '{}\n');
    assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
    await store.remove(ctx, [ID]);
    assert.deepEqual(await keys(ctx, bucket, folder), []);
  }
});

test('a folder that was copied away alone is the point again, with its cut, its version and its inventory', async () => {
  for (const layout of ['dated', 'by-component'] as const) {
    const ctx = testContext();
    const { store, copied } = await elsewhere(ctx, layout);
    const [adopted] = await adoptAll(ctx, store);
    assert.deepEqual([adopted?.id, adopted?.files, adopted?.findings], [ID, [FOLDERS[layout]], []]);
    assert.deepEqual(adopted?.point?.components, pointOf(ID, OBJECTS).components);
    const source = await store.open(ctx, ID, 'minio');
    assert.deepEqual(await Array.fromAsync(source.parts(ctx), ({ name }) => name), [
      'inventory.ndjson',
      'objects.ndjson',
      'objects/aa/1',
      'objects/bb/2',
    ]);
    assert.equal((await readAll(source.get(ctx, 'objects/aa/1'))).toString(), 'one');
    assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
    assert.deepEqual(await adoptAll(ctx, store), [], 'it is a point by now');
    await store.remove(ctx, [ID]);
    assert.deepEqual(await keys(ctx, copied, FOLDERS[layout]), []);
  }
});

test('files that other programs leave in a folder are in nobody’s way', async () => {
  const ctx = testContext();
  const { store, copied } = await elsewhere(ctx, 'by-component');
  await copied.put(ctx, `${FOLDERS['by-component']}uploads/.DS_Store`, Buffer.from('x'));
  assert.deepEqual((await adoptAll(ctx, store))[0]?.findings, []);
});

test('what is missing or changed in a folder is told by name, and the folder is no point', async () => {
  const folder = FOLDERS['by-component'];
  const harm: Readonly<Record<string, [string, RegExp]>> = {
    'uploads/c': ['', /uploads\/c is whole: it is missing/],
    'uploads/a%20b/%C3%BC.txt': ['on', /has 2 bytes and its list says 3/],
    '_lifeboat/files.ndjson.gz': ['', /files\.ndjson\.gz/],
    '_lifeboat/component.json': ['', /component\.json is missing: the backup was not finished/],
  };
  for (const [file, [content, expected]] of Object.entries(harm)) {
    const ctx = testContext();
    const { store, copied } = await elsewhere(ctx, 'by-component');
    if (content === '') await copied.delete(ctx, folder + file);
    else await copied.put(ctx, folder + file, Buffer.from(content));
    const [adopted] = await adoptAll(ctx, store);
    assert.equal(adopted?.point, null, file);
    assert.match(adopted?.findings.map(({ check, detail }) => `${check}: ${detail}`).join() ?? '', expected);
    assert.ok(adopted?.findings.every(({ verdict }) => verdict === 'fail'));
  }
});

test('a list that names files of others, or is another one, makes no point', async () => {
  const folder = FOLDERS['by-component'];
  const ctx = testContext();
  const { store, copied } = await elsewhere(ctx, 'by-component');
  const key = `${folder}_lifeboat/files.ndjson.gz`;
  const packed = await readAll(copied.get(ctx, key));
  await copied.put(ctx, key, Buffer.concat([packed, Buffer.from([0])]));
  assert.deepEqual(
    (await adoptAll(ctx, store)).map(({ point }) => point),
    [null],
  );
  const lines = gunzipSync(packed).toString().replace('"key":"uploads/c"', '"key":"../other/c"');
  const about = JSON.parse(await text(ctx, copied, `${folder}_lifeboat/component.json`));
  const stored = gzipSync(lines);
  await copied.put(ctx, key, stored);
  about.files.list = { bytes: stored.length, sha256: hash('sha256', stored) };
  about.files.count += 1; // so that the files are looked at one by one
  await copied.put(ctx, `${folder}_lifeboat/component.json`, Buffer.from(JSON.stringify(about)));
  const [adopted] = await adoptAll(ctx, store);
  assert.match(adopted?.findings[0]?.detail ?? '', /\.\.\/other\/c does not belong there/);
});

test('a component that is begun again has nothing of its first try in the folder', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'by-component');
  const plan = planOf(OBJECTS);
  await using draft = await store.begin(ctx, ID, plan);
  const gone = object('objects/cc/3', ['uploads', 'gone'], 'of the first try');
  await draft.sink('minio').put(ctx, gone.name, bytesOf(gone.data), { rendition: renditionOf(gone) });
  const receipt = await fill(ctx, draft.sink('minio'), OBJECTS.minio.parts);
  await store.commit(ctx, draft, pointOf(ID, OBJECTS), [receipt]);
  assert.ok(!(await keys(ctx, bucket, '')).some((key) => key.endsWith('uploads/gone')));
});

test('a folder that others have filled is neither written into nor deleted', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'by-component');
  const foreign = `${FOLDERS['by-component']}uploads/theirs`;
  await bucket.put(ctx, foreign, Buffer.from('x'));
  await assert.rejects(save(ctx, store, ID, OBJECTS), (error) => isFailure(error, 'exists'));
  assert.deepEqual(await keys(ctx, bucket, 'minio/'), [foreign]);
});

test('what is kept of a folder lies in the next one, perhaps under another name', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'by-component');
  await save(ctx, store, ID, OBJECTS);
  const before = await store.open(ctx, ID, 'minio');
  await using draft = await store.begin(ctx, LATER, planOf(OBJECTS));
  const sink = draft.sink('minio');
  const moved = renditionOf(object('objects/aa/1', ['_lifeboat', 'objects', 'aa', '1'], ''));
  await sink.keep(ctx, 'objects/aa/1', await before.part(ctx, 'objects/aa/1'), { rendition: moved });
  await store.commit(ctx, draft, pointOf(LATER, OBJECTS), [await sink.receipt(ctx)]);
  assert.equal(await text(ctx, bucket, 'minio/minio_20240224_020000/_lifeboat/objects/aa/1'), 'one');
});

test('a folder that another program has filled is imported, its files stay, and whether it is whole is unknown', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'by-component');
  const folder = 'minio/minio_20260728_120000/';
  for (const name of ['a', 'b/c']) await bucket.put(ctx, folder + name, Buffer.from(name));
  const recogniseFolder: AdoptOptions['components'][number]['recogniseFolder'] = (name) => {
    const [, stamp] = /^minio_(.*)$/.exec(name) ?? [];
    if (stamp === undefined) return null;
    return {
      stamp,
      async *parts(_ctx, files) {
        const seen: string[] = [];
        for await (const file of files) {
          seen.push(file.path);
          yield { name: `objects/${file.path}`, file };
        }
        yield { name: 'index', body: bytesOf(seen.join()) };
      },
    };
  };
  const components = [{ name: 'minio', kind: 's3', recogniseFolder }];
  const options = { stack: 's', components, timeZone: 'Europe/Madrid', plan: null };
  const [adopted] = await Array.fromAsync(store.adopt?.(ctx, options) ?? []);
  assert.deepEqual([adopted?.id, adopted?.findings.map(({ verdict }) => verdict)], ['2026-07-28-100000', ['unknown']]);
  const source = await store.open(ctx, '2026-07-28-100000', 'minio');
  const contents = await Array.fromAsync(source.parts(ctx), async ({ name }) => [
    name,
    (await readAll(source.get(ctx, name))).toString(),
  ]);
  assert.deepEqual(Object.fromEntries(contents), { index: 'a,b/c', 'objects/a': 'a', 'objects/b/c': 'b/c' });
  assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
  await store.remove(ctx, ['2026-07-28-100000']);
  assert.deepEqual(await keys(ctx, bucket, ''), ['0-lifeboat/owner.json']);
});

test('damage to what a folder says of itself is found where the point is, too', async () => {
  const ctx = testContext();
  const { bucket, store } = await opened(ctx, 'by-component');
  await save(ctx, store, ID, OBJECTS);
  await bucket.delete(ctx, `${FOLDERS['by-component']}_lifeboat/component.json`);
  const [finding, ...more] = await Array.fromAsync(store.check(ctx, { readData: 0 }));
  assert.deepEqual([finding?.verdict, more], ['fail', []]);
  assert.match(finding?.detail ?? '', /component\.json is missing/);
});

test('whatever change the machine dies at, no folder stays that no point needs, and no point lacks its own', async () => {
  let finished = false;
  for (let changes = 0; !finished; changes += 1) {
    const ctx = testContext();
    const { bucket: disk } = await opened(ctx, 'by-component');
    const dying = faultyBucket(disk, { changesMax: changes });
    finished = await life(ctx, dying).then(
      () => true,
      (error: unknown) => {
        if (dying.changes() <= changes) throw error;
        return false;
      },
    );
    await using store = await plainFormat.open(ctx, disk, { stack: 's', layout: 'by-component' });
    const left = await Array.fromAsync(store.list(ctx), ({ id }) => id);
    ctx.advance(1e9);
    await store.reclaim(ctx, { apply: true, graceMs: 1e6 });
    assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), [], `died after ${changes} changes`);
    await store.remove(ctx, left);
    assert.deepEqual(await keys(ctx, disk, ''), ['0-lifeboat/owner.json'], `died after ${changes} changes`);
  }
});

/** A backup, another one, and the removal of the first. */
async function life(ctx: Context, bucket: Bucket): Promise<void> {
  await using store = await plainFormat.open(ctx, bucket, { stack: 's', layout: 'by-component' });
  await save(ctx, store, ID, OBJECTS);
  await save(ctx, store, LATER, OBJECTS);
  await store.remove(ctx, [ID]);
}

/** Another machine, which has got nothing but the folder. */
async function elsewhere(ctx: TestContext, layout: Layout): Promise<{ copied: Bucket; store: Store }> {
  const { bucket, store: original } = await opened(ctx, layout);
  await save(ctx, original, ID, OBJECTS);
  const copied = memoryBucket();
  for (const key of await keys(ctx, bucket, FOLDERS[layout])) {
    await copied.put(ctx, key, await readAll(bucket.get(ctx, key)));
  }
  await plainFormat.create(ctx, copied, { stack: 's', layout });
  return { copied, store: await plainFormat.open(ctx, copied, { stack: 's', layout }) };
}

async function adoptAll(ctx: Context, store: Store): Promise<Adopted[]> {
  assert.ok(store.adopt);
  return await Array.fromAsync(store.adopt(ctx, { stack: 's', components: COMPONENTS, timeZone: 'UTC', plan: null }));
}

function renditionOf({ rendition }: Put): Rendition {
  assert.ok(rendition);
  return rendition;
}
