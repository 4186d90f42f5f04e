import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOf } from '../../core/bytes.ts';
import { memoryParts, testContext } from '../../core/testing.ts';
import { type Entry, entryLine, OBJECTS_PART, partOf } from './entries.ts';
import { recogniseFolder } from './mirror.ts';
import { plainNames, renditions } from './plain.ts';
import { keyOrder } from './text.ts';

function entry(key: string, more: Partial<Entry> = {}): Entry {
  const sha256 = '0'.repeat(64);
  const modified = '2026-01-28T03:00:00.000Z';
  return { bucket: 'b', key, version: null, latest: true, modified, etag: 'e', bytes: 1, sha256, ...more };
}

function pathsOf(entries: readonly Entry[]): string[] {
  const names = plainNames();
  for (const { bucket, key } of entries) names.see(bucket, key);
  return entries.map((each) => names.pathOf(each).join('/'));
}

function aside(of: Entry): string {
  return `_lifeboat/${partOf(of)}`;
}

test('an object lies under its bucket and key', () => {
  const keys = ['a b/ü', 'deep/er/x', 'x'];
  assert.deepEqual(
    pathsOf(keys.map((key) => entry(key))),
    keys.map((key) => `b/${key}`),
  );
});

test('what no file can be called by lies by its id', () => {
  for (const key of ['a//b', 'a/', '/a', '../a', 'a/./b', 'a\udc80']) {
    assert.deepEqual(pathsOf([entry(key)]), [aside(entry(key))], JSON.stringify(key));
  }
  const odd = entry('a', { bucket: '_b' });
  assert.deepEqual(pathsOf([odd]), [aside(odd)]);
});

test('where one key is the folder of others, it is the file, and they lie by their ids', () => {
  const entries = ['a', 'a!', 'a-b/c', 'a/b', 'a/b/c', 'a0', 'c'].map((key) => entry(key));
  const below = ['a/b', 'a/b/c'];
  const expected = entries.map((each) => (below.includes(each.key) ? aside(each) : `b/${each.key}`));
  assert.deepEqual(pathsOf(entries), expected);
});

test('of several versions the latest has the name', () => {
  const [old, now] = [entry('a', { version: '1', latest: false }), entry('a', { version: '2' })];
  assert.deepEqual(pathsOf([old, now]), [aside(old), 'b/a']);
});

test('whatever the keys are, no two objects are one file, and none is the folder of another', () => {
  let seed = 7;
  const letters = ['a', 'b', '/', '/', '.', '-', '%', '\udc80', 'ü'];
  const random = (below: number): number => (seed = (seed * 48271) % 2147483647) % below;
  const keys = new Set(
    Array.from({ length: 3000 }, () =>
      Array.from({ length: 1 + random(6) }, () => letters[random(letters.length)]).join(''),
    ),
  );
  const paths = pathsOf([...keys].sort(keyOrder).map((key) => entry(key)));
  const files = new Set(paths);
  assert.equal(files.size, paths.length);
  for (const path of paths) {
    for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) assert.ok(!files.has(path.slice(0, at)));
  }
});

test('a point that is copied gives each object the name that its capture gave it, in the order of parts', async () => {
  const ctx = testContext();
  const { sink, source } = memoryParts();
  const entries = ['a', 'a/b', 'x/y'].map((key) => entry(key));
  await sink.put(ctx, OBJECTS_PART, bytesOf(entries.map(entryLine).join('')));
  const forms = await Array.fromAsync(renditions(ctx, source));
  const parts = forms.map(({ part }) => part);
  assert.deepEqual(parts, parts.toSorted());
  const paths = new Map(forms.map(({ part, rendition }) => [part, rendition.path?.join('/')]));
  assert.deepEqual(
    entries.map((each) => paths.get(partOf(each))),
    pathsOf(entries),
  );
});

test('a mirror is known by its name alone', () => {
  assert.equal(recogniseFolder('minio_20260128_030000')?.stamp, '20260128_030000');
  assert.equal(recogniseFolder('minio-2026-01-28-030000')?.stamp, '2026-01-28-030000');
  for (const name of ['minio', 'minio_uploads_20260128_030000', 'uploads']) assert.equal(recogniseFolder(name), null);
});
