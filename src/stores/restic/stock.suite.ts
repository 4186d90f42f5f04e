// Whatever we write stock restic reads, and the other way round.

import assert from 'node:assert/strict';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { localBucket } from '../../buckets/local/bucket.ts';
import { bytesOf, readAll } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import { liveContext } from '../../core/testing.ts';
import { range, readAllOf, start, written } from '../suite/journal-rig.suite.ts';
import { noise, P1, P2, P3, pointOf, save } from '../suite/rig.suite.ts';
import { diesAnywhere, madePlace, type Program, stock, stockFiles } from './stock-testing.ts';
import { begin, createStore, fill, keysOf, openStore, readParts } from './testing.ts';

const ctx = liveContext();

export function stockSuite(program: Program): void {
  describe(`with ${program.name}`, { skip: program.missing }, () => {
    test('stock restic checks and reads what we wrote', () => checksAndReads(program));
    test('restic and we write in turn, and both find all of it whole', () => writesInTurn(program));
    test('a repository that restic made holds our points', () => takesOver(program));
    test('a key that one adds opens for the other', () => sharesKeys(program));
    test('a point that stock restic tagged anew is still a point', () => tagsAnew(program));
    test('stock restic forgets and prunes a point, and the others stay whole', () => prunes(program));
    test('what we reclaim leaves a repository that stock restic finds whole', () => reclaims(program));
    test('stock restic takes no notice of journals, and leaves them as they are', () => leavesJournals(program));
    test('a flipped bit is found by both', () => findsDamage(program));
    test('stock restic waits for us, and we for it', () => waits(program));
    test('a repository of version 1 is read, and not written', () => readsVersion1(program));
    test('an index that is lost is made anew by either', () => repairsIndex(program));
    test('whatever change we die at, stock restic finds no error (fault 45)', () => diesAnywhere(program, 7));
    test('stock restic copies a point to another repository, which is a store of ours then', () => copies(program));
    const tooOld = program.name.includes(' 0.14') && 'restic 0.14 has no rewrite';
    test('stock restic rewrites a point without a file', { skip: tooOld }, () => rewrites(program));
  });
}

const CONTENTS = {
  db: { 'shop.dump': noise(1, 3_000_000), 'globals.sql': 'create role x;', empty: '' },
  objects: { 'a/b/c': 'deep', a: 'file beside its folder', 'ü "quoted" \\ <&>': 'odd', '%file-a': 'marked' },
};

async function checksAndReads(program: Program): Promise<void> {
  await using place = await madePlace(program);
  await createStore(ctx, place.bucket);
  await using store = await openStore(ctx, place.bucket);
  await using draft = await begin(ctx, store, P1, CONTENTS);
  const sink = draft.sink('db');
  const attributes = { mode: 0o640, uid: 0, gid: 0, mtime: '2025-12-31T23:59:59.120Z' };
  await sink.put(ctx, 'shop.dump', bytesOf(CONTENTS.db['shop.dump']), { attributes });
  await sink.put(ctx, 'empty', bytesOf(''));
  const receipts = [await sink.receipt(ctx), await fill(ctx, draft, 'objects', CONTENTS.objects)];
  await store.commit(ctx, draft, pointOf(P1, receipts), receipts);
  await draft[Symbol.asyncDispose]();

  await place.restic('check', '--read-data');
  const [snapshot] = JSON.parse(await place.restic('snapshots', '--json', '--tag', P1));
  assert.deepEqual([snapshot.hostname, snapshot.tags], ['shop', ['lifeboat', P1]]);
  const listed = await place.restic('ls', 'latest');
  for (const path of ['/manifest.json', '/db/shop.dump', '/objects/a/b/c', '/objects/%file-a']) {
    assert.ok(listed.split('\n').includes(path), `${path} is listed in ${listed}`);
  }
  assert.match(await place.restic('find', 'shop.dump'), /shop\.dump/);
  assert.equal(
    JSON.parse(await place.restic('stats', '--json', '--mode', 'restore-size')).total_size > 3_000_000,
    true,
  );
  assert.equal(JSON.parse(await place.restic('dump', 'latest', '/manifest.json')).id, P1);
  const target = join(place.dir, 'out');
  await place.restic('restore', 'latest', '--target', target);
  assert.ok((await readFile(join(target, 'db/shop.dump'))).equals(CONTENTS.db['shop.dump']));
  const dumped = await stat(join(target, 'db/shop.dump'));
  assert.deepEqual([dumped.mode & 0o777, dumped.mtime.toISOString()], [0o640, attributes.mtime]);
  assert.equal(await readFile(join(target, 'objects/%file-a'), 'utf8'), 'file beside its folder');
  assert.equal(await readFile(join(target, 'objects/%file-%file-a'), 'utf8'), 'marked');
  assert.equal(await readFile(join(target, 'objects/ü "quoted" \\ <&>'), 'utf8'), 'odd');
}

async function writesInTurn(program: Program): Promise<void> {
  await using place = await madePlace(program);
  await createStore(ctx, place.bucket);
  await using store = await openStore(ctx, place.bucket);
  await save(ctx, store, P1, CONTENTS);
  const source = await stockFiles(place);
  await place.restic('backup', source);
  await save(ctx, store, P2, { db: { 'shop.dump': noise(2, 1_000_000) } });
  await place.restic('backup', source, '--tag', 'second');

  await place.restic('check', '--read-data');
  assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
  assert.deepEqual(await Array.fromAsync(store.list(ctx), ({ id }) => id), [P1, P2]);
  const foreign = (await store.snapshots(ctx)).filter(({ tags }) => !tags.includes('lifeboat'));
  assert.equal(foreign.length, 2);
  const files = await store.openSnapshot(ctx, foreign[0]?.id ?? '');
  const names = await Array.fromAsync(files.parts(ctx), ({ name }) => name);
  const at = source.slice(1);
  assert.deepEqual(names, [`${at}/big`, `${at}/empty`, `${at}/folder/small`]);
  assert.ok((await readAll(files.get(ctx, `${at}/big`))).equals(noise(9, 2_000_000)));
  assert.equal((await readAll(files.get(ctx, `${at}/folder/small`))).toString(), 'small');
  // What only stock restic needs is not ours to free.
  await store.reclaim(ctx, { apply: true, graceMs: 0 });
  await store.reclaim(ctx, { apply: true, graceMs: 0 });
  await place.restic('check', '--read-data');
}

async function takesOver(program: Program): Promise<void> {
  await using place = await madePlace(program);
  await place.restic('init');
  await place.restic('backup', await stockFiles(place));
  await using store = await openStore(ctx, place.bucket);
  assert.deepEqual(await Array.fromAsync(store.list(ctx)), []);
  await save(ctx, store, P1, CONTENTS);
  await place.restic('check', '--read-data');
  assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
  await assert.rejects(openStore(ctx, place.bucket, { stack: 'other' }), (error) => isFailure(error, 'not-this-stack'));
  const parts = await readParts(ctx, store, P1, 'db');
  assert.ok(parts['shop.dump']?.equals(CONTENTS.db['shop.dump']));
}

async function sharesKeys(program: Program): Promise<void> {
  await using place = await madePlace(program);
  await place.restic('init');
  await using store = await openStore(ctx, place.bucket);
  await store.keys?.add(ctx, 'ours');
  await stock(program, ['-r', place.repo, 'snapshots'], 'ours');
  const file = join(place.dir, 'password');
  await writeFile(file, 'theirs');
  await place.restic('key', 'add', '--new-password-file', file);
  await using again = await openStore(ctx, place.bucket, { password: 'theirs' });
  assert.equal((await again.keys?.list(ctx))?.length, 3);
}

async function tagsAnew(program: Program): Promise<void> {
  await using place = await madePlace(program);
  await createStore(ctx, place.bucket);
  await using store = await openStore(ctx, place.bucket);
  const point = await save(ctx, store, P1, CONTENTS);
  await place.restic('tag', '--add', 'kept', 'latest');
  const [snapshot] = await store.snapshots(ctx);
  assert.deepEqual([snapshot?.tags.includes('kept'), snapshot?.summary], [true, null]);
  assert.deepEqual(await Array.fromAsync(store.list(ctx)), [point]);
  assert.ok((await readParts(ctx, store, P1, 'db'))['shop.dump']?.equals(CONTENTS.db['shop.dump']));
  assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
  await store.remove(ctx, [P1]);
  assert.deepEqual(await store.snapshots(ctx), []);
}

async function prunes(program: Program): Promise<void> {
  await using place = await madePlace(program);
  await createStore(ctx, place.bucket);
  {
    await using store = await openStore(ctx, place.bucket);
    await save(ctx, store, P1, { db: { one: noise(1, 900_000), shared: noise(5, 100_000) } });
    await save(ctx, store, P2, { db: { two: noise(2, 900_000), shared: noise(5, 100_000) } });
    const [first] = await store.snapshots(ctx);
    await place.restic('forget', '--prune', '--max-unused', '0', first?.id ?? '');
    const [left] = await Array.fromAsync(store.list(ctx));
    const parts = await readParts(ctx, store, left?.id ?? '', 'db');
    assert.ok(parts.shared?.equals(noise(5, 100_000)), 'an open store sees where the data went');
    await save(ctx, store, P3, { db: { one: noise(1, 900_000), two: noise(2, 900_000) } });
  }
  await using store = await openStore(ctx, place.bucket);
  assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
  assert.ok((await readParts(ctx, store, P3, 'db')).one?.equals(noise(1, 900_000)));
  await place.restic('check', '--read-data');
}

async function reclaims(program: Program): Promise<void> {
  await using place = await madePlace(program);
  await createStore(ctx, place.bucket);
  await using store = await openStore(ctx, place.bucket);
  const shared = noise(5, 100_000);
  await save(ctx, store, P1, { db: { one: noise(1, 900_000), shared } });
  await save(ctx, store, P2, { db: { two: noise(2, 900_000), shared } });
  await store.remove(ctx, [P1]);
  for (let i = 0; i < 3; i++) {
    await store.reclaim(ctx, { apply: true, graceMs: 0 });
    await place.restic('check', '--read-data');
  }
  const packs = await keysOf(ctx, place.bucket, 'data/');
  const sizes = await Promise.all(packs.map(async (key) => (await place.bucket.head(ctx, key)).bytes));
  assert.ok(sizes.reduce((sum, bytes) => sum + bytes, 0) < 1_100_000, 'the mixed pack was repacked and deleted');
  const parts = await readParts(ctx, store, P2, 'db');
  assert.ok(parts.shared?.equals(shared) && parts.two?.equals(noise(2, 900_000)));
  assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
}

async function leavesJournals(program: Program): Promise<void> {
  await using place = await madePlace(program);
  await createStore(ctx, place.bucket);
  await using store = await openStore(ctx, place.bucket);
  await save(ctx, store, P1, CONTENTS);
  await save(ctx, store, P2, { db: { 'shop.dump': noise(2, 1_000_000) } });
  await using writer = await store.journal('db').write(ctx);
  const lineage = await written(ctx, writer, start(), [10, 20, 30]);
  await place.restic('check', '--read-data');
  const [first] = await store.snapshots(ctx);
  await place.restic('forget', '--prune', '--max-unused', '0', first?.id ?? '');
  await place.restic('check', '--read-data');
  const expected = [range(0, 10), range(10, 20), range(20, 30)];
  assert.deepEqual(await readAllOf(ctx, store, lineage, 0, null, 'db'), expected);
}

async function findsDamage(program: Program): Promise<void> {
  await using place = await madePlace(program);
  await createStore(ctx, place.bucket);
  await using store = await openStore(ctx, place.bucket);
  await save(ctx, store, P1, CONTENTS);
  const [pack] = await keysOf(ctx, place.bucket, 'data/');
  const path = join(place.repo, pack ?? '');
  const data = await readFile(path);
  data.writeUInt8(data.readUInt8(100) ^ 4, 100);
  await rm(path);
  await writeFile(path, data);
  await assert.rejects(place.restic('check', '--read-data'));
  const findings = await Array.fromAsync(store.check(ctx, { readData: 1 }));
  assert.ok(
    findings.some(({ check }) => check.includes(pack?.slice(8) ?? '-')),
    JSON.stringify(findings),
  );
}

async function waits(program: Program): Promise<void> {
  await using place = await madePlace(program);
  await createStore(ctx, place.bucket);
  await using store = await openStore(ctx, place.bucket);
  await save(ctx, store, P1, { db: { one: '1' } });
  {
    await using _draft = await begin(ctx, store, P2, {});
    await place.restic('check', '--no-lock');
    await place.restic('backup', await stockFiles(place)); // two may write
    await assert.rejects(place.restic('prune'), /lock/);
  }
  await place.restic('prune');
}

async function readsVersion1(program: Program): Promise<void> {
  await using place = await madePlace(program);
  await place.restic('init', '--repository-version', '1');
  const source = await stockFiles(place);
  await place.restic('backup', source);
  await using store = await openStore(ctx, place.bucket);
  const [snapshot] = await store.snapshots(ctx);
  const files = await store.openSnapshot(ctx, snapshot?.id ?? '');
  assert.ok((await readAll(files.get(ctx, `${source.slice(1)}/big`))).equals(noise(9, 2_000_000)));
  assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
  await assert.rejects(save(ctx, store, P1, CONTENTS), (error) => isFailure(error, 'version-mismatch'));
}

async function repairsIndex(program: Program): Promise<void> {
  await using place = await madePlace(program);
  await createStore(ctx, place.bucket);
  {
    await using store = await openStore(ctx, place.bucket);
    await save(ctx, store, P1, CONTENTS);
  }
  for (const key of await keysOf(ctx, place.bucket, 'index/')) {
    await rm(join(place.repo, key));
    await writeFile(join(place.repo, key), 'rubbish');
  }
  await using store = await openStore(ctx, place.bucket);
  assert.ok((await readParts(ctx, store, P1, 'db'))['shop.dump']?.equals(CONTENTS.db['shop.dump']));
  assert.match(JSON.stringify(await Array.fromAsync(store.check(ctx, { readData: 0 }))), /lifeboat prune --apply/);
  await store.reclaim(ctx, { apply: true, graceMs: 0 });
  assert.deepEqual(await Array.fromAsync(store.check(ctx, { readData: 1 })), []);
  await place.restic('check', '--read-data');
}

async function copies(program: Program): Promise<void> {
  await using place = await madePlace(program);
  await createStore(ctx, place.bucket);
  await using store = await openStore(ctx, place.bucket);
  const point = await save(ctx, store, P1, CONTENTS);
  const other = join(place.dir, 'other');
  await stock(program, ['-r', other, 'init']);
  const args = program.name.includes(' 0.14')
    ? ['-r', place.repo, 'copy', '--repo2', other]
    : ['-r', other, 'copy', '--from-repo', place.repo];
  await stock(program, args);
  await using copy = await openStore(ctx, localBucket(other));
  assert.deepEqual(await Array.fromAsync(copy.list(ctx)), [point]);
  assert.deepEqual(await readParts(ctx, copy, P1, 'objects'), await readParts(ctx, store, P1, 'objects'));
  assert.deepEqual(await Array.fromAsync(copy.check(ctx, { readData: 1 })), []);
}

async function rewrites(program: Program): Promise<void> {
  await using place = await madePlace(program);
  await createStore(ctx, place.bucket);
  await using store = await openStore(ctx, place.bucket);
  await save(ctx, store, P1, CONTENTS);
  await place.restic('rewrite', '--exclude', 'globals.sql', '--forget', 'latest');
  assert.deepEqual(Object.keys(await readParts(ctx, store, P1, 'db')), ['empty', 'shop.dump']);
  assert.deepEqual(await readParts(ctx, store, P1, 'objects'), objectsOf(CONTENTS.objects));
  await place.restic('check', '--read-data');
}
function objectsOf(parts: Readonly<Record<string, string>>): Record<string, Buffer> {
  return Object.fromEntries(Object.entries(parts).map(([name, text]) => [name, Buffer.from(text)]));
}
