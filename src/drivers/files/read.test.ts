import assert from 'node:assert/strict';
import { lstatSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
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
