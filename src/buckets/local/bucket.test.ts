import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { smallDisk } from '../../../test/servers/disks.ts';
import { readAll } from '../../core/bytes.ts';
import type { Bytes } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import { bucketSuite } from '../bucket.suite.ts';
import { localBucket } from './bucket.ts';

const ctx = testContext();
const freshDir = (): string => mkdtempSync(join(ctx.scratch, 'local-'));

bucketSuite('local', () => localBucket(join(freshDir(), 'not', 'yet')));

test('a closed bucket leaves nothing behind that was not put into it', async () => {
  const dir = freshDir();
  const trial = localBucket(join(dir, 'trial'));
  await trial.put(ctx, 'a/b', Buffer.from('x'));
  await trial.delete(ctx, 'a/b');
  await trial.close();
  assert.deepEqual(readdirSync(dir), []);

  const there = localBucket(dir);
  await there.put(ctx, 'a/b', Buffer.from('x'));
  await there.close();
  assert.deepEqual(readdirSync(dir), ['a']);
  await there.delete(ctx, 'a/b');
  await there.close();
  assert.deepEqual(readdirSync(dir), []);
});

test('objects can be put while others close the same bucket', async () => {
  const bucket = localBucket(freshDir());
  let closing = true;
  const close = async (): Promise<void> => {
    while (closing) await bucket.close();
  };
  const closers = [close(), close()];
  const names = Array.from({ length: 50 }, (_, name) => `${name}`);
  const puts = Promise.all(names.map((name) => bucket.put(ctx, name, Buffer.from('x'))));
  await puts.finally(() => (closing = false));
  await Promise.all(closers);
  assert.equal((await keysOf(bucket)).length, names.length);
});

const keysOf = async (bucket: Bucket): Promise<string[]> =>
  await Array.fromAsync(bucket.list(ctx, ''), ({ key }) => key);
const text = async (bucket: Bucket, key: string): Promise<string> => (await readAll(bucket.get(ctx, key))).toString();

test('files and folders are for their owner alone', async () => {
  const dir = join(freshDir(), 'made');
  await localBucket(dir).put(ctx, 'a/b', Buffer.from('x'));
  const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);
  assert.deepEqual([dir, join(dir, 'a'), join(dir, 'a/b')].map(modeOf), ['700', '700', '600']);
});

test('links lead nowhere: not out of the directory, not to another object', async () => {
  const [dir, outside] = [freshDir(), freshDir()];
  const bucket = localBucket(dir);
  await bucket.put(ctx, 'real/a', Buffer.from('x'));
  writeFileSync(join(outside, 'secret'), 'secret');
  symlinkSync(outside, join(dir, 'folder'));
  symlinkSync(join(outside, 'secret'), join(dir, 'file'));
  symlinkSync(join(dir, 'real'), join(dir, 'inner'));
  for (const key of ['folder/secret', 'file', 'inner/a']) {
    await assert.rejects(text(bucket, key), { code: 'denied' }, key);
  }
  for (const key of ['folder/secret', 'folder/new', 'folder/new/deep', 'inner/b']) {
    await assert.rejects(bucket.put(ctx, key, Buffer.from('y')), { code: 'denied' }, key);
  }
  await assert.rejects(bucket.delete(ctx, 'folder/secret'), { code: 'denied' });
  assert.deepEqual(await keysOf(bucket), ['real/a']);
  assert.deepEqual(await Array.fromAsync(bucket.folders(ctx, '')), ['real/']);
  await bucket.put(ctx, 'file', Buffer.from('a file of ours now'));
  assert.deepEqual(readdirSync(outside), ['secret']);
  assert.equal(statSync(join(outside, 'secret')).size, 6);
  assert.equal(await text(bucket, 'file'), 'a file of ours now');
});

test('a pipe in place of an object is none, and nobody waits for it', async () => {
  const dir = freshDir();
  const bucket = localBucket(dir);
  await bucket.put(ctx, 'a', Buffer.from('x'));
  assert.equal(spawnSync('/usr/bin/mkfifo', [join(dir, 'pipe')]).status, 0);
  await assert.rejects(text(bucket, 'pipe'), { code: 'missing' });
  await assert.rejects(bucket.head(ctx, 'pipe'), { code: 'missing' });
  assert.deepEqual(await keysOf(bucket), ['a']);
});

test('the directory itself may be a link', async () => {
  const dir = freshDir();
  symlinkSync(freshDir(), join(dir, 'link'));
  const bucket = localBucket(join(dir, 'link'));
  await bucket.put(ctx, 'a/b', Buffer.from('x'));
  assert.deepEqual(await keysOf(bucket), ['a/b']);
  assert.equal(await text(localBucket(join(dir, 'link')), 'a/b'), 'x');
});

test('faults 16 and 22: a full disk is no-space, what is there stays, and the next run succeeds', async (t) => {
  const dir = smallDisk(t, 1024 * 1024)?.dir;
  if (dir === undefined) return;
  const bucket = localBucket(dir);
  await bucket.put(ctx, 'a', Buffer.alloc(600_000, 'a'));
  async function* large(): Bytes {
    for (let i = 0; i < 100; i++) yield Buffer.alloc(10_000, 'b');
  }
  for (const body of [Buffer.alloc(600_000, 'b'), large()]) {
    await assert.rejects(bucket.put(ctx, 'b', body), { code: 'no-space' });
    assert.deepEqual(await keysOf(bucket), ['a']);
    assert.deepEqual(readdirSync(join(dir, '.tmp-lifeboat')), []);
  }
  assert.equal((await text(bucket, 'a')).length, 600_000);
  await bucket.delete(ctx, 'a');
  await bucket.put(ctx, 'b', Buffer.alloc(600_000, 'b'));
  assert.deepEqual(await keysOf(bucket), ['b']);
});

test('a read-only disk denies changes and is read all the same', async (t) => {
  const dir = smallDisk(t, 1024 * 1024)?.dir;
  if (dir === undefined) return;
  await localBucket(dir).put(ctx, 'a', Buffer.from('x'));
  assert.equal(spawnSync('/bin/mount', ['-o', 'remount,ro', dir]).status, 0);
  const bucket = localBucket(dir);
  await assert.rejects(bucket.put(ctx, 'b', Buffer.from('x')), { code: 'denied', hint: /mounted read-only/ });
  await assert.rejects(bucket.delete(ctx, 'a'), { code: 'denied' });
  const none = localBucket(join(dir, 'not', 'there'));
  await assert.rejects(none.put(ctx, 'a', Buffer.from('x')), { code: 'denied', message: /EROFS/ });
  assert.match((await bucket.deleteAll(ctx, ['a']))[0]?.reason ?? '', /EROFS/);
  assert.equal(await text(bucket, 'a'), 'x');
});

test('fault 19: a directory that goes away is an outage, not an empty bucket', async () => {
  const dir = join(freshDir(), 'bucket');
  const bucket = localBucket(dir);
  await bucket.put(ctx, 'a/b', Buffer.from('x'));
  renameSync(dir, `${dir}-unmounted`);
  for (const there of ['nothing', 'an empty mount point']) {
    if (there !== 'nothing') mkdirSync(dir);
    await assert.rejects(text(bucket, 'a/b'), { code: 'unreachable' }, there);
    await assert.rejects(bucket.head(ctx, 'a/b'), { code: 'unreachable' }, there);
    await assert.rejects(keysOf(bucket), { code: 'unreachable' }, there);
    await assert.rejects(Array.fromAsync(bucket.folders(ctx, '')), { code: 'unreachable' }, there);
    await assert.rejects(bucket.delete(ctx, 'a/b'), { code: 'unreachable' }, there);
    await assert.rejects(bucket.put(ctx, 'a/c', Buffer.from('x')), { code: 'unreachable' }, there);
    if (there === 'nothing') assert.ok(!existsSync(dir));
    else assert.deepEqual(readdirSync(dir), []);
  }
});

test('a process killed in the middle of a put leaves no object, and its rubbish goes a day later', async () => {
  const dir = freshDir();
  const program = `
    import { localBucket } from ${JSON.stringify(join(import.meta.dirname, 'bucket.ts'))};
    import { testContext } from ${JSON.stringify(join(import.meta.dirname, '../../core/testing.ts'))};
    async function* endless() {
      for (;;) { yield Buffer.alloc(600000); process.stdout.write('.'); await new Promise(setImmediate); }
    }
    await localBucket(${JSON.stringify(dir)}).put(testContext(), 'a/b', endless());`;
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'close');

  const bucket = localBucket(dir);
  assert.deepEqual(await keysOf(bucket), []);
  assert.deepEqual(await Array.fromAsync(bucket.folders(ctx, '')), []);
  const rubbish = readdirSync(dir, { recursive: true }).filter((name) => statSync(join(dir, String(name))).isFile());
  assert.equal(rubbish.length, 1);
  const left = join(dir, String(rubbish[0]));
  await bucket.put(ctx, 'b', Buffer.from('x'));
  assert.ok(existsSync(left), 'it may be the draft of a living process');
  const yesterday = Date.now() / 1000 - 25 * 3600;
  utimesSync(left, yesterday, yesterday);
  await localBucket(dir).put(ctx, 'c', Buffer.from('x'));
  assert.ok(!existsSync(left));
  assert.deepEqual(await keysOf(bucket), ['b', 'c']);
});

test('an object and a folder can not have one name', async () => {
  const bucket = localBucket(freshDir());
  await bucket.put(ctx, 'a/b', Buffer.from('x'));
  await assert.rejects(bucket.put(ctx, 'a', Buffer.from('x')), { code: 'exists' });
  await assert.rejects(bucket.put(ctx, 'a/b/c', Buffer.from('x')), { code: 'exists' });
  assert.equal(await text(bucket, 'a/b'), 'x');
});

test('a name longer than the file system allows is refused', async () => {
  await assert.rejects(localBucket(freshDir()).put(ctx, 'a'.repeat(300), Buffer.from('x')), { code: 'malformed' });
});
