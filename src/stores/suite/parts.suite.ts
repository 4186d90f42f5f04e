// What a store does with the parts that it is given.

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { type Faults, faultyBucket } from '../../buckets/faulty.ts';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { bytesOf, readAll } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import { getAll, keepAll, putAll } from '../../core/many-parts.ts';
import type { Bytes } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import {
  assertWhole,
  commit,
  created,
  declare,
  fails,
  fillTogether,
  findings,
  inPieces,
  noise,
  P1,
  P2,
  planOf,
  reclaimed,
  reopened,
  STACK,
  type StoreRig,
  save,
} from './rig.suite.ts';

const ODD_NAMES = [
  'plain',
  'with space',
  'line\nbreak',
  'ümlaut/日本語',
  'a%2Fb',
  'a%',
  '..hidden/...',
  'back\\slash',
  `quo'te"s`,
  'Case',
  'case',
  'trailing.',
  'star*?[x]',
  ' ',
  'CON',
  '\u0001control',
  'é',
  'e\u0301',
  `${'deep/'.repeat(100)}end`,
  'n'.repeat(1024),
  '🚀'.repeat(256),
];

export function keepsWhatItIsGiven(rig: StoreRig): void {
  const it = declare(rig);
  const ctx = testContext();

  it('gives back what was committed', async () => {
    const { bucket, store } = await created(rig, ctx);
    const contents = { db: { one: '1', 'two/three': noise(2, 300_000) }, cache: { 'dump.rdb': noise(3, 70_000) } };
    const point = await save(ctx, store, P1, contents);
    await store[Symbol.asyncDispose]();
    await using again = await reopened(rig, ctx, bucket);
    assert.deepEqual(await Array.fromAsync(again.list(ctx)), [point]);
    await assertWhole(ctx, again, P1, contents);
    assert.deepEqual(await findings(ctx, again), []);
  });

  it('reads many parts at once, each as it is alone', async () => {
    await using store = (await created(rig, ctx)).store;
    const sizes = [0, 10, 900_000, 1_500_000, 1, 2_100_000, 5000, 0, 0, 700_000, 2_600_000, 0];
    const bodies = sizes.map((bytes, i) => noise(i, bytes));
    const names = bodies.map((_, i) => `folder-${i % 3}/part-${i}`);
    await save(ctx, store, P1, { db: Object.fromEntries(names.map((name, i) => [name, bodies[i] ?? ''])) });
    const source = await store.open(ctx, P1, 'db');
    for (const order of [names, [...names, ...names].toReversed(), []]) {
      let at = 0;
      for await (const wholes of getAll(ctx, source, order)) {
        for (const whole of wholes) {
          const body = bodies[names.indexOf(order[at++] ?? '')] ?? Buffer.of(1);
          assert.ok(body.equals(whole), `${body.length} bytes, and ${whole.length} are read`);
        }
      }
      assert.equal(at, order.length);
    }
    await assert.rejects(Array.fromAsync(getAll(ctx, source, [...names, 'nothing'])), { code: 'missing' });
  });

  it('reads a part that its reader hashes as it reads it otherwise', async () => {
    await using store = (await created(rig, ctx)).store;
    const bodies = { empty: Buffer.alloc(0), small: noise(1, 5000), large: noise(2, 5_000_000) };
    await save(ctx, store, P1, { db: bodies });
    const source = await store.open(ctx, P1, 'db');
    const { getUnhashed = source.get } = source;
    for (const [name, body] of Object.entries(bodies)) assert.ok((await readAll(getUnhashed(ctx, name))).equals(body));
    await fails('missing', readAll(getUnhashed(ctx, 'nothing')));
  });

  it('takes many small parts at once, each as it takes one alone', async () => {
    const { bucket, store } = await created(rig, ctx);
    const attributes = { mode: 0o640, uid: 10, gid: 20, mtime: '2025-12-31T23:59:59.123Z' };
    const sizes = [0, 1, 10, 10, 600_000, 1_000_000, ...Array.from({ length: 200 }, (_, i) => 5000 + i)];
    const bodies = sizes.map((bytes) => noise(bytes, bytes));
    const contents = Object.fromEntries(bodies.map((body, i) => [`folder-${i % 3}/part-${i}`, body]));
    const wholes = Object.entries(contents).map(([name, body]) => {
      return { name, whole: Buffer.from(body), sha256: hash('sha256', body), meta: { attributes } };
    });
    const draft = await store.begin(ctx, P1, planOf({ db: contents, alone: contents }));
    const sink = draft.sink('db');
    const put = await putAll(ctx, sink, wholes);
    for (const { whole } of wholes) whole.fill(0); // they are the caller's again
    const alone = draft.sink('alone');
    for (const [at, part] of put.entries()) {
      const { name, whole } = wholes[at] ?? { name: '', whole: Buffer.of() };
      const { digest } = await alone.put(ctx, name, inPieces(contents[name] ?? ''));
      assert.deepEqual([part.name, part.bytes, part.digest], [name, whole.length, digest]);
    }
    await commit(ctx, store, draft, [await sink.receipt(ctx), await alone.receipt(ctx)]);
    await assertWhole(ctx, store, P1, { db: contents, alone: contents });

    const before = await store.open(ctx, P1, 'db');
    const from = { point: P1, component: 'db' };
    const next = await store.begin(ctx, P2, planOf({ db: contents }));
    const kept = put.map(({ name, bytes }) => ({ name, from: { ...from, name, bytes }, meta: { attributes } }));
    const lost = { name: 'lost', from: { ...from, name: 'lost', bytes: 1 } };
    const taken = kept.slice(0, 20).map((part) => ({ ...part, name: `taken-${part.name}` }));
    await fails('missing', keepAll(ctx, next.sink('db'), [...taken, lost]));
    const again = next.sink('db'); // some may have been taken, but this one starts over
    assert.deepEqual(
      (await keepAll(ctx, again, kept)).map(({ name, digest }) => [name, digest]),
      put.map(({ name, digest }) => [name, digest]),
    );
    await commit(ctx, store, next, [await again.receipt(ctx)]);
    await store[Symbol.asyncDispose]();
    await using reopen = await reopened(rig, ctx, bucket);
    await assertWhole(ctx, reopen, P2, { db: contents });
    const part = await (await reopen.open(ctx, P2, 'db')).part(ctx, 'folder-1/part-1');
    assert.deepEqual(part.attributes, (await before.part(ctx, 'folder-1/part-1')).attributes);
    assert.deepEqual(await findings(ctx, reopen), []);
  });

  it('gives no receipt for small parts that found no room', async () => {
    const inner = memoryBucket();
    await rig.format.create(ctx, inner, rig.settings(STACK));
    const faults: Faults = {};
    await using store = await rig.format.open(ctx, faultyBucket(inner, faults), rig.settings(STACK));
    const parts = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`${i}`, noise(i, 3000)]));
    const draft = await store.begin(ctx, P1, planOf({ db: parts }));
    const full = new Failure('no-space', 'the disk is full');
    faults.fail = (operation, key) => (operation === 'put' && /db.77$|^data/.test(key) ? full : undefined);
    await fails('no-space', fillTogether(ctx, draft.sink('db'), parts));
    await draft[Symbol.asyncDispose]();
    await using again = await reopened(rig, ctx, inner);
    assert.deepEqual(await Array.fromAsync(again.list(ctx)), []);
    await save(ctx, again, P2, { db: parts }, fillTogether);
    await assertWhole(ctx, again, P2, { db: parts });
    assert.deepEqual(await findings(ctx, again), []);
  });

  it('reads a range of a part', async () => {
    await using store = (await created(rig, ctx)).store;
    const data = noise(4, 3_000_000);
    await save(ctx, store, P1, { db: { big: data } });
    const source = await store.open(ctx, P1, 'db');
    const ranges = [
      [0, 1],
      [0, 3_000_000],
      [999_999, 1_000_001],
      [1_500_000, 0],
      [2_999_999, 1],
    ] as const;
    for (const [offset, length] of ranges) {
      const read = await readAll(source.get(ctx, 'big', { offset, length }));
      assert.ok(read.equals(data.subarray(offset, offset + length)), `${length} bytes at ${offset}`);
    }
  });

  it('has no range that is not wholly there', async () => {
    await using store = (await created(rig, ctx)).store;
    await save(ctx, store, P1, { db: { small: 'ten bytes.' } });
    const source = await store.open(ctx, P1, 'db');
    for (const range of [
      { offset: 10, length: 1 },
      { offset: 8, length: 3 },
      { offset: 99, length: 0 },
    ]) {
      await fails('missing', readAll(source.get(ctx, 'small', range)));
    }
  });

  it('can be read in part and left', async () => {
    await using store = (await created(rig, ctx)).store;
    await save(ctx, store, P1, { db: { big: noise(5, 5_000_000) } });
    const source = await store.open(ctx, P1, 'db');
    for await (const chunk of source.get(ctx, 'big')) {
      assert.ok(chunk.length > 0);
      break;
    }
    assert.equal((await source.part(ctx, 'big')).bytes, 5_000_000);
  });

  it('keeps parts of no bytes, odd names and attributes', async () => {
    const { bucket, store } = await created(rig, ctx);
    const attributes = { mode: 0o640, uid: 10, gid: 20, mtime: '2025-12-31T23:59:59.123Z' };
    const draft = await store.begin(ctx, P1, planOf({ db: {} }));
    const sink = draft.sink('db');
    for (const name of ODD_NAMES) await sink.put(ctx, name, bytesOf(name));
    await sink.put(ctx, 'empty', bytesOf(''), { attributes });
    await sink.put(ctx, 'nothing', (async function* (): Bytes {})());
    await commit(ctx, store, draft, [await sink.receipt(ctx)]);
    await store[Symbol.asyncDispose]();
    await using again = await reopened(rig, ctx, bucket);
    const source = await again.open(ctx, P1, 'db');
    const names = (await Array.fromAsync(source.parts(ctx))).map((part) => part.name);
    const wanted = [...ODD_NAMES, 'empty', 'nothing'].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    assert.deepEqual(names, wanted, 'all of them, in byte order');
    for (const name of ODD_NAMES) assert.equal((await readAll(source.get(ctx, name))).toString(), name);
    assert.equal((await readAll(source.get(ctx, 'empty'))).length, 0);
    assert.equal((await source.part(ctx, 'nothing')).bytes, 0);
    assert.deepEqual((await source.part(ctx, 'empty')).attributes, attributes);
    assert.deepEqual(await findings(ctx, again), []);
  });

  it('lists parts by prefix and tells equal bytes by their digest', async () => {
    await using store = (await created(rig, ctx)).store;
    await save(ctx, store, P1, { db: { 'b/2': 'x', 'a/1': 'x', 'b/1': 'y', b: 'x', 'b-': 'z' } });
    const source = await store.open(ctx, P1, 'db');
    const parts = await Array.fromAsync(source.parts(ctx, 'b/'));
    assert.deepEqual(
      parts.map((part) => part.name),
      ['b/1', 'b/2'],
    );
    const one = await source.part(ctx, 'a/1');
    const other = await source.part(ctx, 'b/1');
    assert.equal(parts[1]?.digest, one.digest);
    assert.notEqual(other.digest, one.digest);
    assert.deepEqual([one.bytes, one.point, one.component], [1, P1, 'db']);
  });

  it('says missing of what is not there', async () => {
    await using store = (await created(rig, ctx)).store;
    await save(ctx, store, P1, { db: { one: '1' } });
    const source = await store.open(ctx, P1, 'db');
    await fails('missing', store.open(ctx, P2, 'db'));
    await fails('missing', store.open(ctx, P1, 'cache'));
    await fails('missing', source.part(ctx, 'two'));
    await fails('missing', readAll(source.get(ctx, 'two')));
  });

  it('takes many parts at once', async () => {
    await using store = (await created(rig, ctx)).store;
    const parts = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`part-${i}`, noise(i, 1 + i * 50)]));
    await save(ctx, store, P1, { db: parts, cache: parts });
    await assertWhole(ctx, store, P1, { db: parts, cache: parts });
  });

  it('takes ten thousand parts', async () => {
    await using store = (await created(rig, ctx)).store;
    const draft = await store.begin(ctx, P1, planOf({ db: {} }));
    const sink = draft.sink('db');
    const names = Array.from({ length: 10_000 }, (_, i) => `t/${String(i).padStart(5, '0')}`);
    for (let at = 0; at < names.length; at += 100) {
      await Promise.all(names.slice(at, at + 100).map((name) => sink.put(ctx, name, bytesOf(name))));
    }
    await commit(ctx, store, draft, [await sink.receipt(ctx)]);
    const source = await store.open(ctx, P1, 'db');
    assert.deepEqual(await Array.fromAsync(source.parts(ctx), (part) => part.name), names);
    for (const name of [names[0], names[5_000], names[9_999]]) {
      assert.equal((await readAll(source.get(ctx, name ?? ''))).toString(), name);
    }
  });

  it('keeps a part of an earlier point without reading it again', async () => {
    await using store = (await created(rig, ctx)).store;
    const data = noise(6, 400_000);
    await save(ctx, store, P1, { db: { old: data, empty: '' } });
    const before = await store.open(ctx, P1, 'db');
    const draft = await store.begin(ctx, P2, planOf({ db: {} }));
    const sink = draft.sink('db');
    const kept = await sink.keep(ctx, 'new/name', await before.part(ctx, 'old'));
    await sink.keep(ctx, 'empty', await before.part(ctx, 'empty'));
    assert.deepEqual([kept.name, kept.bytes, kept.point], ['new/name', 400_000, P2]);
    await commit(ctx, store, draft, [await sink.receipt(ctx)]);
    await store.remove(ctx, [P1]);
    await reclaimed(ctx, store);
    await assertWhole(ctx, store, P2, { db: { 'new/name': data, empty: '' } });
    assert.deepEqual(await findings(ctx, store), []);
  });

  it('does not keep a part whose stream breaks off', async () => {
    await using store = (await created(rig, ctx)).store;
    const draft = await store.begin(ctx, P1, planOf({ db: {} }));
    const sink = draft.sink('db');
    for (const name of ['bad', 'tried again']) {
      async function* breaking(): Bytes {
        yield noise(7, 200_000);
        throw new Error('the server went away');
      }
      await assert.rejects(sink.put(ctx, name, breaking()), /the server went away/);
    }
    await sink.put(ctx, 'good', bytesOf('good'));
    await sink.put(ctx, 'tried again', bytesOf('whole'));
    await commit(ctx, store, draft, [await sink.receipt(ctx)]);
    await assertWhole(ctx, store, P1, { db: { good: 'good', 'tried again': 'whole' } });
    assert.deepEqual(await findings(ctx, store), []);
  });

  it('holds back a fast source while the bucket is slow', async () => {
    const gate = Promise.withResolvers<void>();
    const inner = memoryBucket();
    await rig.format.create(ctx, inner, rig.settings(STACK));
    // Takes nothing large until the gate opens, and then throws it away.
    const slow: Bucket = {
      ...inner,
      put: async (c, key, body, options) => {
        if (body instanceof Uint8Array && body.length < 1_000_000) return await inner.put(c, key, body, options);
        await gate.promise;
        if (!(body instanceof Uint8Array)) for await (const chunk of body) assert.ok(chunk.length > 0);
        return await inner.put(c, key, Buffer.alloc(0), options);
      },
    };
    await using store = await rig.format.open(ctx, slow, rig.settings(STACK));
    await using draft = await store.begin(ctx, P1, planOf({ db: {} }));
    const chunk = noise(8, 1024 * 1024);
    let pulled = 0;
    let pulledAt = performance.now();
    const idle = setInterval(() => performance.now() - pulledAt > 400 && gate.resolve(), 50);
    async function* fast(): Bytes {
      for (let i = 0; i < 512; i += 1) {
        for (let at = 0; at < chunk.length; at += 65_536) chunk.writeUInt32LE(i, at); // never the same twice
        pulled += chunk.length;
        pulledAt = performance.now();
        yield chunk;
      }
    }
    const put = draft.sink('db').put(ctx, 'huge', fast());
    const ended = put.then(noop, noop); // what was thrown away can't be read back: only the flow counts here
    await Promise.race([ended, gate.promise]);
    clearInterval(idle);
    const ahead = pulled;
    gate.resolve();
    await ended;
    assert.ok(ahead <= 320 * 1024 * 1024, `${ahead} bytes were read ahead of a bucket that took none`);
  });

  it('keeps small records beside the points', async () => {
    const { bucket, store } = await created(rig, ctx);
    await store.records.put(ctx, 'proofs', `${P1}/d1`, { verdict: 'pass', n: 1 });
    await store.records.put(ctx, 'proofs', `${P1}/d1`, { verdict: 'pass', n: 2 });
    await store.records.put(ctx, 'proofs', `${P2}/d1`, { verdict: 'fail' });
    await store.records.put(ctx, 'evidence', 'd1', { list: [1, null, 'ü'] });
    await store[Symbol.asyncDispose]();
    await using again = await reopened(rig, ctx, bucket);
    assert.deepEqual(await again.records.get(ctx, 'proofs', `${P1}/d1`), { verdict: 'pass', n: 2 });
    assert.deepEqual(await again.records.get(ctx, 'evidence', 'd1'), { list: [1, null, 'ü'] });
    assert.deepEqual(await Array.fromAsync(again.records.list(ctx, 'proofs')), [`${P1}/d1`, `${P2}/d1`]);
    assert.deepEqual(await Array.fromAsync(again.records.list(ctx, 'proofs', `${P2}/`)), [`${P2}/d1`]);
    await again.records.delete(ctx, 'proofs', `${P1}/d1`);
    await again.records.delete(ctx, 'proofs', 'never');
    await fails('missing', again.records.get(ctx, 'proofs', `${P1}/d1`));
    assert.deepEqual(await Array.fromAsync(again.list(ctx)), []);
  });
}

function noop(): void {}
