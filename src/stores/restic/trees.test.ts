import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context, Source } from '../../core/model.ts';
import { testContext } from '../../core/testing.ts';
import { freshKey, sha256 } from './crypto.ts';
import { blobIndex } from './index.ts';
import { indexFiles } from './index-files.ts';
import { dirJson, fileNode, treeBlob } from './nodes.ts';
import { plainLength } from './pack.ts';
import type { Reader } from './reader.ts';
import type { Repository } from './repository.ts';
import { treeSource } from './source.ts';
import { partSpool } from './spool.ts';
import { type KeptNode, type PartEntry, type Trees, treeReader, writeTree } from './trees.ts';
import { walkTrees } from './walk.ts';
import type { Writer } from './writer.ts';

const ctx = testContext();
const blobs = { has: () => false };

/** Blobs in memory. */
function heap(): { writer: Writer; read(ctx: Context, id: Buffer): Promise<Buffer>; put(blob: Buffer): Buffer } {
  const blobs = new Map<string, Buffer>();
  const put = (blob: Buffer): Buffer => {
    const id = sha256(blob);
    blobs.set(id.toString('hex'), blob);
    return id;
  };
  return {
    put,
    async read(_ctx, id) {
      const found = blobs.get(id.toString('hex'));
      if (!found) throw new Failure('missing', `there is no blob ${id.toString('hex')}`);
      return found;
    },
    writer: {
      addStream: async () => ({ ids: Buffer.alloc(0), bytes: 0 }),
      addBlob: async (_ctx, _kind, plain) => put(Buffer.from(plain)),
      addBlobs: () => Promise.reject(new Error('trees come one by one')),
      flush: async () => {},
      async [Symbol.asyncDispose]() {},
    },
  };
}
/** What a walk needs of a repository. The index says how large trees are. */
function walked(trees: Trees): Pick<Repository, 'trees' | 'indexes' | 'url'> {
  const bucket = memoryBucket();
  return { trees, url: bucket.url, indexes: indexFiles({ bucket, key: freshKey() }) };
}
function sourceOf(tree: Buffer, read: (ctx: Context, id: Buffer) => Promise<Buffer>): Source {
  const reader = { blob: read } as Partial<Reader> as Reader; // trees are all that is read here
  return treeSource({ point: 'p', component: 'c', tree, trees: treeReader(read), reader, blobs: blobIndex() });
}

const segment = fc
  .oneof(
    fc.constantFrom('a', 'b', 'a-', 'a.', '%file-a', '%file-', '%folder-a', '%folder-%file-a', 'ü', '🚀', '\u0001'),
    fc.string({ minLength: 1, unit: 'binary' }),
  )
  .filter((text) => text.isWellFormed() && !/[/\0]/.test(text) && text !== '.' && text !== '..');
const partName = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => segments.join('/'));

test('any names of parts come back from folders, in byte order, also by prefix', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(partName, { maxLength: 40 }),
      fc.string({ maxLength: 3 }),
      async (names, prefix) => {
        const { writer, read } = heap();
        await using spool = partSpool({ memoryBytesMax: 5000 });
        for (const name of names) {
          await spool.add(ctx, [{ name, bytes: 3, content: sha256(Buffer.from(name)), attributes: undefined }]);
        }
        const trees = treeReader(read);
        const source = sourceOf(await writeTree(ctx, { writer, blobs, trees }, spool.sorted()), read);
        const wanted = names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
        assert.deepEqual(await Array.fromAsync(source.parts(ctx), ({ name }) => name), wanted);
        for (const start of [prefix, ...names.slice(0, 3).map((name) => name.slice(0, 2))]) {
          assert.deepEqual(
            await Array.fromAsync(source.parts(ctx, start), ({ name }) => name),
            wanted.filter((name) => name.startsWith(start)),
          );
        }
        for (const name of names) {
          const { digest } = await source.part(ctx, name);
          assert.equal(digest, `sha256:${sha256(Buffer.from(name)).toString('hex')}`);
        }
      },
    ),
  );
});

test('what was just written is known as it would be read', async () => {
  const attributes = fc.record({
    mode: fc.nat(0o7777),
    uid: fc.nat(2 ** 31),
    gid: fc.nat(2 ** 31),
    mtime: fc
      .date({ min: new Date(0), max: new Date('9999-12-31'), noInvalidDate: true })
      .map((at) => at.toISOString()),
  });
  const part = fc.record({
    name: partName,
    bytes: fc.nat(),
    content: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((id) => Buffer.from(id)),
    attributes: fc.option(attributes, { nil: undefined }),
  });
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(part, { maxLength: 20, selector: ({ name }) => name }), async (parts) => {
      const { writer, read } = heap();
      await using spool = partSpool();
      await spool.add(ctx, parts);
      const trees = treeReader(() => Promise.reject(new Error('nothing is read')));
      const tree = await writeTree(ctx, { writer, blobs, trees }, spool.sorted());
      await sameFolders(tree, trees, treeReader(read));
    }),
  );
});

test('a file of the year 1970 that has what a part without attributes has is known as it would be read', async () => {
  const { writer, read } = heap();
  const attributes = { mode: 0o600, uid: 0, gid: 0 };
  async function* parts(): AsyncIterable<readonly PartEntry[]> {
    for (const [name, mtime] of Object.entries({
      epoch: '1970-01-01T00:00:00.000Z',
      nanoseconds: '2026-01-01T00:00:00.120000000Z',
    }))
      yield [{ name, bytes: 0, content: Buffer.alloc(0), attributes: { ...attributes, mtime } }];
  }
  const trees = treeReader(() => Promise.reject(new Error('nothing is read')));
  await sameFolders(await writeTree(ctx, { writer, blobs, trees }, parts()), trees, treeReader(read));
});

test('what is kept of folders is bounded by the ids of their content, too', async () => {
  const content = Buffer.alloc(8 * 1024 * 1024);
  let reads = 0;
  const trees = treeReader(async () => {
    reads += 1;
    return treeBlob([]);
  });
  const ids = Array.from({ length: 100 }, (_, i) => sha256(Buffer.from(`${i}`)));
  for (const id of ids) trees.enter(id, [fileNode(Buffer.from('f'), { bytes: 1, content, attributes: undefined })]);
  for (const id of ids.toReversed()) await trees.load(ctx, id);
  assert.ok(reads > 90, `${reads} of 100 folders were read again`);
});

async function sameFolders(tree: Buffer, known: Trees, read: Trees): Promise<void> {
  const [a, b] = await Promise.all([known.load(ctx, tree), read.load(ctx, tree)]);
  assert.deepEqual(a.entries, b.entries);
  for (const { node } of b.entries) if (node.subtree) await sameFolders(node.subtree, known, read);
}

test('a folder that takes too many bytes is refused, however few characters they are', async () => {
  const part: PartEntry = { name: '€'.repeat(1000), bytes: 0, content: Buffer.alloc(0), attributes: undefined };
  async function* parts(): AsyncIterable<readonly PartEntry[]> {
    yield [part];
  }
  const { writer, read } = heap();
  const written = (bytesMax: number): Promise<Buffer> =>
    writeTree(ctx, { writer, blobs, trees: treeReader(read) }, parts(), bytesMax);
  await assert.rejects(written(3000), (error) => isFailure(error, 'value-too-large'));
  await written(4000);
});

test('folders without end are refused (fault 21)', async () => {
  const { put, read } = heap();
  let tree = put(treeBlob([]));
  for (let depth = 0; depth < 1100; depth++) tree = put(treeBlob([dirJson(Buffer.from('d'), tree)]));
  const isHostile = (error: unknown): boolean => isFailure(error, 'malformed');
  await assert.rejects(Array.fromAsync(sourceOf(tree, read).parts(ctx)), isHostile);
  const walk = walkTrees(ctx, walked(treeReader(read)), [tree], { blob: () => {} });
  await assert.rejects(walk, isHostile);
});

test('folders that hold one another twice are walked once (fault 21)', async () => {
  const { put, read } = heap();
  let tree = put(treeBlob([]));
  for (let depth = 0; depth < 60; depth++) {
    tree = put(treeBlob([dirJson(Buffer.from('a'), tree), dirJson(Buffer.from('b'), tree)])); // 2^60 paths
  }
  let trees = 0;
  await walkTrees(ctx, walked(treeReader(read)), [tree], { blob: () => void (trees += 1) });
  assert.equal(trees, 61);
});

test('a walk reads many small folders at a time, and few large ones', async () => {
  const MIB = 1024 * 1024;
  const sizes = [...Array<number>(40).fill(1000), ...Array<number>(10).fill(3 * MIB), 90 * MIB, 90 * MIB];
  const empty = treeReader(async () => treeBlob([]));
  let [folders, bytes] = [0, 0];
  const most = { folders: 0, together: 0 };
  const repository = walked({
    async load(within, id) {
      const size = plainLength(repository.indexes.blobs.find(id, true) ?? assert.fail('it is in the index'));
      folders += 1;
      bytes += size;
      most.folders = Math.max(most.folders, folders);
      if (folders > 1) most.together = Math.max(most.together, bytes);
      await ctx.sleep(1);
      folders -= 1;
      bytes -= size;
      return await empty.load(within, id);
    },
    enter: () => assert.fail('nothing is written here'),
  });
  const ids = sizes.map((_, i) => sha256(Buffer.from(`${i}`)));
  repository.indexes.blobs.add(
    'ab'.repeat(32),
    ids.map((id, i) => ({ id, tree: true, offset: 0, length: 100, uncompressedLength: sizes[i] ?? 0 })),
  );
  await walkTrees(ctx, repository, ids, { blob: () => {} });
  assert.deepEqual([most.folders, most.together <= 8 * MIB], [16, true], `${most.together} bytes at a time`);
});

test('a folder that many ask for at once is read once, and again when that failed', async () => {
  const ctx = testContext();
  let reads = 0;
  const { load } = treeReader(async () => {
    reads += 1;
    if (reads === 1) throw new Error('stopped');
    return treeBlob([]);
  });
  const asked = await Promise.allSettled([1, 2].map(() => load(ctx, Buffer.alloc(32))));
  assert.deepEqual(
    asked.map(({ status }) => status),
    ['rejected', 'fulfilled'],
  );
  await Promise.all([1, 2, 3].map((id) => Promise.all([1, 2, 3].map(() => load(ctx, Buffer.alloc(32, id))))));
  assert.equal(reads, 5);
});

test('a folder of which all is kept is not written again, and any other one is', async () => {
  const { writer, read } = heap();
  const trees = treeReader(read);
  const attributes = { mode: 0o644, uid: 1, gid: 2, mtime: '2026-11-22T02:00:00.120Z' };
  const entries = ['a/b/x', 'a/b/y', 'a/z'].map((name) => {
    return { name, bytes: 3, content: sha256(Buffer.from(name)), attributes };
  });
  let written = 0;
  const counting = {
    addBlob: (...args: Parameters<Writer['addBlob']>) => {
      written += 1;
      return writer.addBlob(...args);
    },
  };
  async function write(parts: readonly PartEntry[], isThere = true): Promise<[tree: string, written: number]> {
    written = 0;
    const to = { writer: counting, trees, blobs: { has: () => isThere } };
    const sorted = (async function* () {
      yield parts;
    })();
    return [(await writeTree(ctx, to, sorted)).toString('hex'), written];
  }
  const [tree] = await write(entries);
  const reader = { blob: read } as Partial<Reader> as Reader; // trees are all that is read here
  const source = treeSource({
    point: 'p',
    component: 'c',
    tree: Buffer.from(tree, 'hex'),
    trees: treeReader(read),
    reader,
    blobs: blobIndex(),
  });
  const names = entries.map(({ name }) => name);
  const nodes = await source.nodes(ctx, names);
  const kept = entries.map((entry, at) => ({ ...entry, kept: nodes[at] as KeptNode }));
  const [x, y, z] = kept as [PartEntry, PartEntry, PartEntry];
  assert.deepEqual(await write(kept), [tree, 1], 'the outermost holds no part');
  assert.deepEqual(await write(kept, false), [tree, 3], 'what is lost is written once more');
  for (const others of [
    [x, z],
    [x, { ...y, attributes: { ...attributes, mode: 0o600 } }, z],
    [x, { ...y, name: 'a/b/yy' }, z],
    [x, { ...y, kept: undefined, content: sha256(Buffer.from('other')) }, z],
    [x, y, { ...z, name: 'a/b/z' }],
    [x, y, z, { ...entries[0], name: 'a/zz' } as PartEntry],
  ] as PartEntry[][]) {
    const plain = others.map(({ kept: _, ...entry }) => entry);
    const [given, again] = await write(others);
    assert.equal(given, (await write(plain))[0]);
    assert.ok(again >= 2, 'what holds something else is written');
  }
});
