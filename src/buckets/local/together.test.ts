import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { imageDisk, smallDisk } from '../../../test/servers/disks.ts';
import { readAll } from '../../core/bytes.ts';
import type { Bucket, SmallObject } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import { localBucket } from './bucket.ts';

const ctx = testContext();
const freshDir = (): string => mkdtempSync(join(ctx.scratch, 'together-'));
const keysOf = async (bucket: Bucket): Promise<string[]> =>
  await Array.fromAsync(bucket.list(ctx, ''), ({ key }) => key);
const text = async (bucket: Bucket, key: string): Promise<string> => (await readAll(bucket.get(ctx, key))).toString();
const objects = (...keys: string[]): SmallObject[] => keys.map((key) => ({ key, body: Buffer.from(key) }));
const many = (bucket: Bucket, all: readonly SmallObject[], within = ctx): Promise<void> => {
  assert.ok(bucket.putAll);
  return bucket.putAll(within, all);
};
const DRAFTS = '.tmp-lifeboat';

test('of many, files and folders are for their owner alone, and nothing else stays', async () => {
  const dir = join(freshDir(), 'made');
  await many(localBucket(dir), objects('a', 'b/c', 'b/d/e'));
  const modeOf = (path: string): string => (statSync(join(dir, path)).mode & 0o777).toString(8);
  assert.deepEqual(['', 'a', 'b', 'b/c', 'b/d'].map(modeOf), ['700', '600', '700', '600', '700']);
  assert.deepEqual(readdirSync(join(dir, DRAFTS)), []);
  await localBucket(dir).close();
  assert.deepEqual(readdirSync(dir), ['a', 'b']);
});

test('a link in the way of one of many leads nowhere, and no draft stays', async () => {
  const [dir, outside] = [freshDir(), freshDir()];
  const bucket = localBucket(dir);
  await many(bucket, objects('real/a'));
  writeFileSync(join(outside, 'secret'), 'secret');
  symlinkSync(outside, join(dir, 'folder'));
  symlinkSync(join(outside, 'secret'), join(dir, 'file'));
  symlinkSync(join(dir, 'real'), join(dir, 'inner'));
  for (const key of ['folder/secret', 'folder/new', 'folder/new/deep', 'inner/b']) {
    await assert.rejects(many(bucket, objects('real/b', key)), { code: 'denied' }, key);
    assert.deepEqual(readdirSync(join(dir, DRAFTS)), [], key);
  }
  await many(bucket, objects('file', 'real/c'));
  assert.deepEqual(readdirSync(outside), ['secret']);
  assert.equal(readFileSync(join(outside, 'secret'), 'utf8'), 'secret');
  assert.equal(await text(bucket, 'file'), 'file');
});

test('one of many whose name a folder has is refused, and so is one below an object', async () => {
  const dir = freshDir();
  const bucket = localBucket(dir);
  await many(bucket, objects('a/b'));
  await assert.rejects(many(bucket, objects('c', 'a')), { code: 'exists' });
  await assert.rejects(many(bucket, objects('d', 'a/b/c')), { code: 'exists' });
  assert.equal(await text(bucket, 'a/b'), 'a/b');
  assert.deepEqual(readdirSync(join(dir, DRAFTS)), []);
});

test('faults 16 and 22: of many on a disk that fills up each is whole or not there, and the next run succeeds', async (t) => {
  const dir = smallDisk(t, 1024 * 1024)?.dir;
  if (dir === undefined) return;
  const bucket = localBucket(dir);
  await bucket.put(ctx, 'large', Buffer.alloc(600_000));
  const all = Array.from({ length: 200 }, (_, n) => ({ key: `a/${n}`, body: Buffer.alloc(4096, `${n}`) }));
  await assert.rejects(many(bucket, all), { code: 'no-space' });
  assert.deepEqual(readdirSync(join(dir, DRAFTS)), []);
  for (const { key, body } of all) {
    const there = await bucket.head(ctx, key).catch(() => null);
    if (there) assert.ok((await readAll(bucket.get(ctx, key))).equals(body), key);
  }
  await bucket.delete(ctx, 'large');
  await many(bucket, all);
  assert.equal((await keysOf(bucket)).length, all.length);
});

test('many on a read-only disk are denied', async (t) => {
  const dir = smallDisk(t, 1024 * 1024)?.dir;
  if (dir === undefined) return;
  await many(localBucket(dir), objects('a'));
  assert.equal(spawnSync('/bin/mount', ['-o', 'remount,ro', dir]).status, 0);
  await assert.rejects(many(localBucket(dir), objects('b', 'c')), { code: 'denied', hint: /mounted read-only/ });
  assert.deepEqual(await keysOf(localBucket(dir)), ['a']);
});

test('many that are stopped leave no draft, and none of them in part', async () => {
  const dir = freshDir();
  const controller = new AbortController();
  const body = Buffer.alloc(4096, 'x');
  const all = Array.from({ length: 2000 }, (_, n) => ({ key: `${n}`, body }));
  const bucket = localBucket(dir);
  const put = many(bucket, all, testContext({ signal: controller.signal }));
  const stopped = assert.rejects(put, /stopped/);
  const begun = async (): Promise<void> => {
    while (!existsSync(join(dir, DRAFTS)) || readdirSync(join(dir, DRAFTS)).length === 0) await setImmediate();
  };
  await Promise.race([begun(), stopped]);
  controller.abort(new Error('stopped'));
  await stopped;
  assert.deepEqual(readdirSync(join(dir, DRAFTS)), []);
  for (const { bytes } of await Array.fromAsync(bucket.list(ctx, ''))) assert.equal(bytes, 4096);
});

test('on a slow disk, threads are asked for each of many', async () => {
  let nowMs = 0;
  const slow = testContext({ monotonicMs: () => (nowMs += 50) });
  const bucket = localBucket(freshDir());
  const names = Array.from({ length: 300 }, (_, n) => `${n % 7}/${n}`);
  for (let round = 0; round < 2; round++) await many(bucket, objects(...names), slow);
  assert.deepEqual((await keysOf(bucket)).sort(), names.sort());
  for (const name of names) assert.equal(await text(bucket, name), name);
});

test('many that are put twice at once, deleted and put again while others close the bucket, are there once each', async () => {
  const dir = freshDir();
  const [one, other] = [localBucket(dir), localBucket(dir)];
  const names = Array.from({ length: 600 }, (_, n) => `${n % 5}/${n % 11}/${n}`);
  let closing = true;
  const close = async (): Promise<void> => {
    for (; closing; await setTimeout(20)) await other.close();
  };
  const closer = close();
  try {
    for (let round = 0; round < 3; round++) {
      await Promise.all([many(one, objects(...names)), many(other, objects(...names)), one.deleteAll(ctx, names)]);
      await many(one, objects(...names));
      assert.deepEqual((await keysOf(one)).sort(), names.toSorted());
    }
  } finally {
    closing = false;
    await closer;
  }
  for (const name of names) assert.equal(await text(one, name), name);
});

const KEYS = 1500;
const bodyOf = (n: number): Buffer => Buffer.alloc(1 + ((n * 37) % 9000), `${n}.`);
const keyOf = (n: number): string => `f${n % 3}/${n}`;

/** A process that puts the same objects again and again, some at a time, and tells how many it has put. */
function endless(dir: string): ChildProcess & { readonly put: () => number } {
  const program = `
    import { localBucket } from ${JSON.stringify(join(import.meta.dirname, 'bucket.ts'))};
    import { testContext } from ${JSON.stringify(join(import.meta.dirname, '../../core/testing.ts'))};
    const [bodyOf, keyOf] = [${bodyOf}, ${keyOf}];
    const bucket = localBucket(${JSON.stringify(dir)});
    for (let put = 0; ; ) {
      const some = Array.from({ length: 60 }, () => put++ % ${KEYS});
      await bucket.putAll(testContext(), some.map((n) => ({ key: keyOf(n), body: bodyOf(n) })));
      process.stdout.write(put + '\\n');
    }`;
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let put = 0;
  child.stdout.on('data', (data: Buffer) => (put = Number(`${data}`.trim().split('\n').at(-1))));
  return Object.assign(child, { put: () => put });
}

/** Those that were told of are there, and what is there is whole. */
function assertWhole(dir: string, put: number): void {
  const there = new Set<string>();
  for (let n = 0; n < KEYS; n++) {
    const path = join(dir, keyOf(n));
    if (!existsSync(path)) continue;
    assert.ok(readFileSync(path).equals(bodyOf(n)), `${path} is not what was put`);
    there.add(path);
  }
  assert.ok(there.size >= Math.min(put, KEYS), `${put} were put, and ${there.size} are there`);
}

test('a process killed while it puts many leaves whole ones, and its rubbish goes a day later', async () => {
  const dir = freshDir();
  const child = endless(dir);
  while (child.put() < 300) await once(child.stdout ?? child, 'data');
  child.kill('SIGKILL');
  await once(child, 'close');
  assertWhole(dir, child.put());

  const rubbish = readdirSync(join(dir, DRAFTS)).map((name) => join(dir, DRAFTS, name));
  const left = join(dir, DRAFTS, 'left');
  writeFileSync(left, '');
  await many(localBucket(dir), objects('b'));
  assert.ok(existsSync(left), 'it may be the draft of a living process');
  const yesterday = Date.now() / 1000 - 25 * 3600;
  for (const path of [...rubbish, left]) utimesSync(path, yesterday, yesterday);
  await many(localBucket(dir), objects('c'));
  assert.deepEqual(readdirSync(join(dir, DRAFTS)), []);
});

test('when the power goes, the disk has all that were put, and none in part', async (t) => {
  const dir = freshDir();
  const image = join(dir, 'image');
  writeFileSync(image, '');
  truncateSync(image, 64 * 1024 * 1024);
  if (spawnSync('/sbin/mkfs.ext4', ['-q', '-F', image]).status !== 0) return t.skip('there is no mkfs.ext4 here');
  const disk = imageDisk(t, image);
  if (disk === null) return;
  const child = endless(join(disk, 'bucket'));
  try {
    for (let cut = 1; cut <= 5; cut++) {
      const from = child.put();
      while (child.put() < from + 120 + cut * 10) await once(child.stdout ?? child, 'data');
      child.kill('SIGSTOP');
      while (!/^State:\s+T/m.test(readFileSync(`/proc/${child.pid}/status`, 'utf8'))) await setImmediate();
      const put = child.put();
      const copy = join(dir, `cut-${cut}`); // what the disk has, and not what the kernel has in memory for it
      copyFileSync(image, copy);
      child.kill('SIGCONT');
      const after = imageDisk(t, copy);
      assert.ok(after);
      assertWhole(join(after, 'bucket'), put);
    }
  } finally {
    child.kill('SIGKILL');
    await once(child, 'close');
  }
});
