// Small parts that go into the bucket together, while those who put them go on.

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { bytesOf, measured, readAll } from '../../core/bytes.ts';
import { getAll, keepAll, putAll } from '../../core/many-parts.ts';
import type { Part, Rendition, WholePart } from '../../core/model.ts';
import type { Bucket, Draft, Store } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import { plainFormat } from './store.ts';
import { ID, keys, LATER, planOf, pointOf, type Stack, text } from './testing.ts';

const SETTINGS = { stack: 's', layout: 'dated' };
const STACK: Stack = { objects: { kind: 's3', parts: [] } };
const ctx = testContext();
const FOLDER = `${ID}/minio-${ID}/`;

const wholes = (names: readonly string[], say: string, rendition?: (name: string) => Rendition): WholePart[] =>
  names.map((name) => {
    const whole = Buffer.from(`${say} ${name}`);
    return { name, whole, sha256: hash('sha256', whole), meta: rendition ? { rendition: rendition(name) } : {} };
  });
const inFolder = (name: string): Rendition => {
  return { name, word: 'minio', item: null, alone: true, suffix: '', gzip: false, path: ['uploads', name] };
};
const NAMES = Array.from({ length: 40 }, (_, n) => `part-${n}`);

/** Its first put of many waits until it is let go. */
async function held(): Promise<{ bucket: Bucket; store: Store; begun: Promise<void>; letGo: () => void }> {
  const bucket = memoryBucket();
  await plainFormat.create(ctx, bucket, SETTINGS);
  const [begun, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const slow: Bucket = {
    ...bucket,
    async putAll(...args) {
      begun.resolve();
      await gate.promise;
      await bucket.putAll?.(...args);
    },
  };
  const store = await plainFormat.open(ctx, slow, SETTINGS);
  return { bucket, store, begun: begun.promise, letGo: gate.resolve };
}
const begin = (store: Store, id = ID): Promise<Draft> => store.begin(ctx, id, planOf(STACK));

async function committed(store: Store, draft: Draft, sink: ReturnType<Draft['sink']>): Promise<void> {
  await store.commit(ctx, draft, pointOf(draft.id, STACK), [await sink.receipt(ctx)]);
}

test('small parts are taken before they are stored, and there is no receipt until they are', async () => {
  const { bucket, store, begun, letGo } = await held();
  await using draft = await begin(store);
  const sink = draft.sink('objects');
  const parts = await putAll(ctx, sink, wholes(NAMES, 'first', inFolder));
  assert.deepEqual(
    parts.map(({ name }) => name),
    NAMES,
  );
  await begun;
  const receipt = sink.receipt(ctx);
  assert.equal(await Promise.race([receipt, setTimeout(300, 'none yet')]), 'none yet');
  assert.deepEqual(await keys(ctx, bucket, FOLDER), []);
  letGo();
  await store.commit(ctx, draft, pointOf(ID, STACK), [await receipt]);
  assert.equal(await text(ctx, bucket, `${FOLDER}uploads/part-7`), 'first part-7');
});

test('what a component has on its way is never written over that of its next try', async () => {
  for (const form of [inFolder, undefined]) {
    const { bucket, store, begun, letGo } = await held();
    await using draft = await begin(store);
    await putAll(ctx, draft.sink('objects'), wholes([...NAMES, 'of the first try'], 'first', form));
    await begun;
    const again = draft.sink('objects');
    const meta = form ? { rendition: form('alone') } : {};
    const alone = again.put(ctx, 'alone', bytesOf('second alone'), meta);
    const all = putAll(ctx, again, wholes(NAMES, 'second', form));
    await Promise.race([alone, setTimeout(300)]);
    letGo();
    await Promise.all([alone, all]);
    await committed(store, draft, again);
    const source = await store.open(ctx, ID, 'objects');
    for (const name of NAMES) assert.equal((await readAll(source.get(ctx, name))).toString(), `second ${name}`);
    if (form) assert.deepEqual((await keys(ctx, bucket, `${FOLDER}uploads/`)).length, NAMES.length + 1);
    assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
  }
});

test('a draft that is given up while parts are on their way leaves nothing', async () => {
  const { bucket, store, begun, letGo } = await held();
  const before = await keys(ctx, bucket, '');
  const draft = await begin(store);
  await putAll(ctx, draft.sink('objects'), wholes(NAMES, 'first', inFolder));
  await begun;
  const gone = draft[Symbol.asyncDispose]();
  await Promise.race([gone, setTimeout(300)]);
  letGo();
  await gone;
  assert.deepEqual(await keys(ctx, bucket, ''), before);
});

test('small parts that are packed or changed in their plain form are taken at once all the same', async () => {
  const { bucket, store, letGo } = await held();
  letGo();
  await using draft = await begin(store);
  const sink = draft.sink('objects');
  await putAll(
    ctx,
    sink,
    wholes(NAMES, 'packed', (name) => ({ ...inFolder(name), gzip: true })),
  );
  const shout: Rendition = {
    ...inFolder('loud'),
    async *transform(_ctx, body) {
      yield Buffer.from((await readAll(body)).toString().toUpperCase());
    },
  };
  await putAll(
    ctx,
    sink,
    wholes(['loud'], 'say', () => shout),
  );
  await committed(store, draft, sink);
  assert.equal(gunzipSync(await readAll(bucket.get(ctx, `${FOLDER}uploads/part-3.gz`))).toString(), 'packed part-3');
  const source = await store.open(ctx, ID, 'objects');
  const read = (await Array.fromAsync(getAll(ctx, source, ['part-3', 'loud', 'part-4']))).flat();
  assert.deepEqual(read.map(String), ['packed part-3', 'SAY LOUD', 'packed part-4']);
});

test('parts of an earlier point are kept together, and its part list is read once for all of them', async () => {
  const { bucket, store, letGo } = await held();
  letGo();
  const large = Buffer.alloc(400_000, 'large');
  let before: readonly Part[];
  {
    await using draft = await begin(store);
    const sink = draft.sink('objects');
    before = [
      ...(await putAll(ctx, sink, wholes(NAMES, 'kept', inFolder))),
      ...(await putAll(
        ctx,
        sink,
        wholes(['packed'], 'kept', (name) => ({ ...inFolder(name), gzip: true })),
      )),
      await sink.put(ctx, 'large', bytesOf(large), { rendition: inFolder('large') }),
    ];
    await committed(store, draft, sink);
  }
  let lists = 0;
  const counting: Bucket = {
    ...bucket,
    get(getCtx, key, range) {
      if (key.includes('/index/')) lists += 1;
      return bucket.get(getCtx, key, range);
    },
  };
  const next = await plainFormat.open(ctx, counting, SETTINGS);
  await using draft = await next.begin(ctx, LATER, planOf(STACK));
  const sink = draft.sink('objects');
  const kept = before.toReversed().map((from) => {
    const rendition = { ...inFolder(from.name), gzip: from.name === 'packed' };
    return { name: from.name, from, meta: { rendition } };
  });
  const after = await keepAll(ctx, sink, kept);
  assert.deepEqual(
    after.map(({ name, digest, bytes }) => [name, digest, bytes]),
    before.toReversed().map(({ name, digest, bytes }) => [name, digest, bytes]),
  );
  assert.ok(lists <= 3, `the part list was read ${lists} times`); // its manifest's checksum, its marks, one block
  await committed(next, draft, sink);
  await next.remove(ctx, [ID]);
  const source = await next.open(ctx, LATER, 'objects');
  const [packed, part, whole] = (await Array.fromAsync(getAll(ctx, source, ['packed', 'part-5', 'large']))).flat();
  assert.deepEqual([`${packed}`, `${part}`], ['kept packed', 'kept part-5']);
  assert.ok(whole && large.equals(whole));
  assert.deepEqual(await Array.fromAsync(next.check(ctx, { readData: 1 })), []);
});

test('a part that was changed is not kept, and of parts that are read at once those before it are given', async () => {
  const { bucket, store, letGo } = await held();
  letGo();
  await using draft = await begin(store);
  const sink = draft.sink('objects');
  const parts = await putAll(ctx, sink, wholes(NAMES, 'first', inFolder));
  await committed(store, draft, sink);
  for (const damage of ['other', 'much longer than it ever was']) {
    await bucket.put(ctx, `${FOLDER}uploads/part-20`, Buffer.from(damage));
    const given: string[] = [];
    const reading = async (): Promise<void> => {
      const source = await store.open(ctx, ID, 'objects');
      for await (const some of getAll(ctx, source, NAMES)) given.push(...some.map(String));
    };
    await assert.rejects(reading, { code: 'checksum' });
    assert.deepEqual(
      given,
      NAMES.slice(0, 20).map((name) => `first ${name}`),
    );
    await using next = await begin(store, LATER);
    const kept = parts.map((from) => ({ name: from.name, from, meta: { rendition: inFolder(from.name) } }));
    await assert.rejects(keepAll(ctx, next.sink('objects'), kept), { code: 'checksum' });
  }
});

test('a part is not hashed again that was hashed as it passed, also where it is packed', async () => {
  const bucket = memoryBucket();
  await plainFormat.create(ctx, bucket, SETTINGS);
  const store = await plainFormat.open(ctx, bucket, SETTINGS);
  await using draft = await begin(store);
  const sink = draft.sink('objects');
  const digest = `sha256:${hash('sha256', 'large')}`;
  for (const [name, gzip] of [
    ['a', false],
    ['b', true],
  ] as const) {
    const { body, sum } = measured(bytesOf('large'));
    const part = await sink.put(ctx, name, body, { rendition: { ...inFolder(name), gzip }, sum });
    assert.equal(part.digest, digest);
  }
  const wrong = { bytes: 5, sha256: hash('sha256', 'other') };
  await sink.put(ctx, 'c', bytesOf('large'), { rendition: inFolder('c'), sum: () => wrong });
  await committed(store, draft, sink);
  const findings = await Array.fromAsync(store.check(ctx, { readData: 1 }));
  assert.equal(findings.length, 1);
  assert.match(findings[0]?.detail ?? '', /\bc\b/);
});
