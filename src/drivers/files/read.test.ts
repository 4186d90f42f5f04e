import assert from 'node:assert/strict';
import { lstatSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bytesOf, readAll } from '../../core/bytes.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { filesDriver } from './driver.ts';
import { fileReader } from './read.ts';
import { freshDir } from './testing.ts';

const MIB = 1024 * 1024;
const openFiles = (): number => readdirSync('/proc/self/fd').length;

test('a large file whose bytes nobody takes is closed', async () => {
  const root = freshDir();
  writeFileSync(join(root, 'large'), Buffer.alloc(2 * MIB, 1));
  const { sink } = memoryParts();
  const put = () => Promise.reject(new Error('the store is full'));
  const ctx = liveContext();
  const before = openFiles();
  for (let i = 0; i < 10; i++) {
    const capturing = filesDriver.open({ root, paths: ['/'] }).capture(ctx, { ...sink, put });
    await assert.rejects(capturing, /the store is full/);
  }
  const left = openFiles() - before;
  assert.ok(left < 10, `${left} are still open`);
});

test('nothing is read any more from a large file once its reader has left it', async () => {
  const root = freshDir();
  const path = join(root, 'large');
  writeFileSync(path, Buffer.alloc(8 * MIB, 1));
  const seen = lstatSync(path, { bigint: true });
  using file = await fileReader(liveContext(), root).read(Buffer.from(path), seen);
  assert.ok(file);
  for await (const piece of file.body) {
    assert.equal(piece.length, MIB);
    break;
  }
  assert.equal(file.sum().bytes, 2 * MIB, 'the read that was under way has ended');
});

test('a file is the same whether it is read at once or, where the disk takes long, by a thread', async () => {
  const root = freshDir();
  const path = Buffer.from(join(root, 'small'));
  writeFileSync(path, 'as it was');
  const seen = lstatSync(path, { bigint: true });
  let callMs = 0.1;
  let ms = 0;
  const reader = fileReader(liveContext({ monotonicMs: () => (ms += callMs) }), root);
  const memory = Buffer.alloc(100);
  await reader.look([{ path, stat: seen }]);
  const now = reader.readNow(path, seen, memory);
  assert.equal(now?.data.toString(), 'as it was');
  callMs = 100;
  const answers = Array.from({ length: 20 }, () => reader.readNow(path, seen, memory));
  assert.equal(answers.at(-1), undefined, 'the disk takes long');
  using file = await reader.read(path, seen);
  assert.deepEqual(String(await readAll(file?.body ?? bytesOf(''))), 'as it was');
  assert.deepEqual(file?.sum(), { bytes: 9, sha256: now?.sha256 });
  assert.equal(file?.changed(), false);
});

test('what has no room is not read at once, and what has grown out of it is left to a thread', async () => {
  const root = freshDir();
  const path = Buffer.from(join(root, 'grown'));
  writeFileSync(path, 'small');
  const reader = fileReader(liveContext(), root);
  const seen = lstatSync(path, { bigint: true });
  await reader.look([{ path, stat: seen }]);
  writeFileSync(path, 'not so small any more');
  const before = openFiles();
  assert.equal(reader.readNow(path, seen, Buffer.alloc(10)), undefined);
  assert.equal(reader.readNow(path, seen, Buffer.alloc(100))?.data.length, 21);
  rmSync(path);
  assert.equal(reader.readNow(path, seen, Buffer.alloc(100)), null);
  assert.equal(openFiles(), before);
});

test('what lies on no disk of this machine is left to a thread: it might hang', async () => {
  const root = freshDir();
  const here = Buffer.from(join(root, 'here'));
  writeFileSync(here, 'here');
  const elsewhere = Buffer.from('/proc/sys/kernel/ostype');
  const files = [here, elsewhere].map((path) => ({ path, stat: lstatSync(path, { bigint: true }) }));
  const reader = fileReader(liveContext(), '/');
  const lengths = (): unknown[] =>
    files.map(({ path, stat }) => reader.readNow(path, stat, Buffer.alloc(100))?.data.length);
  assert.deepEqual(lengths(), [undefined, undefined]);
  await reader.look(files);
  assert.deepEqual(lengths(), [4, undefined]);
});
