import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFailure } from '../../core/errors.ts';
import { testContext } from '../../core/testing.ts';
import { fileNode } from './nodes.ts';
import { partSpool } from './spool.ts';
import type { Folder, PartEntry } from './trees.ts';

const entry = (name: string, bytes = 0): PartEntry => ({
  name,
  bytes,
  content: Buffer.alloc(bytes * 32, name),
  attributes: undefined,
});

test('parts come back in byte order of name, however many do not fit into memory', async () => {
  const scratch = await mkdtemp(join(tmpdir(), 'lifeboat-spool-'));
  const ctx = testContext({ scratch });
  const names = Array.from({ length: 3000 }, (_, i) => `t/${(i * 7919) % 3000}-${i % 2 ? 'ü' : '🚀'}`);
  {
    await using spool = partSpool({ memoryBytesMax: 50_000 });
    await Promise.all(names.map((name, i) => spool.add(ctx, [entry(name, i % 500 === 0 ? 9000 : i % 5)])));
    assert.ok((await readdir(scratch)).length > 0, 'it went to disk');
    const sorted = (await Array.fromAsync(spool.sorted())).flat();
    const wanted = names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    assert.deepEqual(
      sorted.map(({ name }) => name),
      wanted,
    );
    for (const { name, bytes, content } of sorted) assert.ok(content.equals(entry(name, bytes).content), name);
  }
  assert.deepEqual(await readdir(scratch), [], 'nothing is left behind');
  await rm(scratch, { recursive: true });
});

test('two parts of one name are refused', async () => {
  const ctx = testContext();
  await using spool = partSpool();
  for (const name of ['b', 'a', 'b']) await spool.add(ctx, [entry(name)]);
  await assert.rejects(Array.fromAsync(spool.sorted()), (error) => isFailure(error, 'exists'));
});

test('a run on disk that has lost its end is told, also where the loss ends with a part', async () => {
  for (const bytesLeft of [0, 5, 200]) {
    const scratch = await mkdtemp(join(tmpdir(), 'lifeboat-spool-'));
    const ctx = testContext({ scratch });
    {
      await using spool = partSpool({ memoryBytesMax: 1500 });
      for (const name of ['c', 'b', 'a', 'd', 'e']) await spool.add(ctx, [entry(name, 3)]);
      const runs = (await readdir(scratch, { recursive: true })).filter((path) => path.endsWith('/0'));
      assert.equal(runs.length, 1);
      for (const run of runs) await truncate(join(scratch, run), bytesLeft);
      await assert.rejects(Array.fromAsync(spool.sorted()), (error) => isFailure(error, 'malformed'), `${bytesLeft}`);
    }
    await rm(scratch, { recursive: true });
  }
});

test('of the folders of what is kept, no more are held than fit, and never one that is too large', async () => {
  const ctx = testContext();
  await using spool = partSpool({ memoryBytesMax: 100_000 });
  const node = fileNode(Buffer.from('f'), entry('f'));
  function folderOf(id: number, bytes: number): Folder {
    return { id: Buffer.alloc(32, id), bytes, entries: [], file: () => node, folder: () => undefined };
  }
  const folders = [folderOf(0, 20_000), folderOf(1, 60_000), folderOf(2, 20_000), folderOf(3, 20_000)];
  for (const name of ['a', 'b']) {
    for (const [i, folder] of folders.entries()) {
      await spool.add(ctx, [{ ...entry(`${name}${i}`), kept: { node, folder } }]);
    }
  }
  const sorted = (await Array.fromAsync(spool.sorted())).flat();
  assert.deepEqual(
    sorted.map(({ kept }) => kept?.folder.id[0]),
    [0, undefined, 2, undefined, 0, undefined, 2, undefined],
  );
});
