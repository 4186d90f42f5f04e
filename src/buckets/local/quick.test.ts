import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readAll } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import { isLocalDisk } from '../../core/local-disk.ts';
import { testContext } from '../../core/testing.ts';
import { localBucket } from './bucket.ts';
import { quickLook } from './quick.ts';
import { openRoot } from './root.ts';

const ctx = testContext();
const freshDir = (): string => mkdtempSync(join(ctx.scratch, 'quick-'));

function dirWith(objects: Readonly<Record<string, string>>): string {
  const dir = freshDir();
  mkdirSync(join(dir, 'a'));
  for (const [key, text] of Object.entries(objects)) writeFileSync(join(dir, key), text);
  return dir;
}

test('a small object is read at once, whole, once its directory has been seen', async () => {
  const root = openRoot(dirWith({ 'a/b': 'small', c: '' }));
  const { read } = quickLook(root);
  assert.equal(read(ctx, 'a/b'), null);
  await root.folderOf('a/b');
  assert.equal(read(ctx, 'a/b')?.toString(), 'small');
  assert.equal(read(ctx, 'c')?.toString(), '');
});

test('what is large, missing, a folder or a link is left to the long way', async () => {
  const dir = dirWith({ large: 'x'.repeat(100_000), 'a/b': 'small' });
  symlinkSync('a/b', join(dir, 'link'));
  symlinkSync('a', join(dir, 'folder'));
  const root = openRoot(dir);
  await root.folderOf('');
  const { read } = quickLook(root);
  for (const key of ['large', 'missing', 'missing/too', 'a', 'link', 'folder/b'])
    assert.equal(read(ctx, key), null, key);
  await assert.rejects(readAll(localBucket(dir).get(ctx, 'folder/b')), (error) => isFailure(error, 'denied'));
});

test('what lies in a folder is looked at at once, links and folders left out', async () => {
  const dir = dirWith({ 'a/b': 'small', c: '' });
  symlinkSync('c', join(dir, 'link'));
  const root = openRoot(dir);
  await root.folderOf('');
  const { info } = quickLook(root);
  const { mtime } = statSync(join(dir, 'a/b'));
  assert.deepEqual(info(ctx, join(dir, 'a'), 'a/b'), { key: 'a/b', bytes: 5, modifiedAt: mtime });
  for (const key of ['a', 'link', 'missing']) assert.equal(info(ctx, dir, key), null, key);
  let nowMs = 0;
  const slow = { ...ctx, monotonicMs: () => (nowMs += 50) };
  const listed = await Array.fromAsync(localBucket(dir).list(slow, ''), ({ key, bytes }) => `${key} ${bytes}`);
  assert.deepEqual(listed, ['a/b 5', 'c 0']);
});

test('what no local disk holds is never waited for: a mount that hangs would stop the process', async () => {
  assert.equal(await isLocalDisk(ctx.scratch), true);
  for (const path of ['/proc', join(ctx.scratch, 'missing')]) assert.equal(await isLocalDisk(path), false, path);
  const root = openRoot('/proc/sys/kernel');
  const folder = await root.folderOf('ostype');
  const { read, info } = quickLook(root);
  assert.equal(read(ctx, 'ostype'), null);
  assert.equal(info(ctx, folder, 'ostype'), null);
});

test('a slow disk is asked by threads', async () => {
  let nowMs = 0;
  const slow = { ...ctx, monotonicMs: () => (nowMs += 50) };
  const root = openRoot(dirWith({ 'a/b': 'small' }));
  await root.folderOf('a/b');
  const { read } = quickLook(root);
  assert.equal(read(slow, 'a/b')?.toString(), 'small');
  assert.equal(read(slow, 'a/b'), null);
  const bucket = localBucket(root.path());
  for (let n = 0; n < 5; n++) assert.equal((await readAll(bucket.get(slow, 'a/b'))).toString(), 'small');
});

test('an object of another directory that took the place of ours is not looked for at once', async () => {
  const dir = dirWith({ 'a/b': 'small' });
  const root = openRoot(dir);
  await root.folderOf('a/b');
  renameSync(dir, `${dir}-moved`);
  symlinkSync(`${dir}-moved`, dir);
  assert.equal(quickLook(root).read(ctx, 'a/b'), null);
});
