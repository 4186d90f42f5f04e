import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { faultyBucket } from '../../buckets/faulty.ts';
import { localBucket } from '../../buckets/local/bucket.ts';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { bytesOf } from '../../core/bytes.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Bytes } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import { sha256 } from './crypto.ts';
import { putNamed } from './documents.ts';
import { indexFiles } from './index-files.ts';
import { unlock } from './keys.ts';
import { fileJson, treeBlob } from './nodes.ts';
import { createRepository } from './repository.ts';
import { inPieces, noise, rig } from './writer-testing.ts';

const MIB = 1024 * 1024;

test('whatever is written in parallel is read back the same', { timeout: 120_000 }, async () => {
  const size = fc.oneof(fc.nat(300), fc.nat(3 * MIB), fc.constantFrom(0, 1, MIB / 2 - 1, MIB / 2, 9 * MIB));
  const streams = fc.array(fc.record({ size, seed: fc.nat(3), piece: fc.integer({ min: 1000, max: 2 * MIB }) }), {
    maxLength: 8,
  });
  await fc.assert(
    fc.asyncProperty(streams, fc.constantFrom(0, 1, 3), async (wanted, compressionLevel) => {
      const { ctx, writer, read } = rig();
      await using w = await writer({ compressionLevel });
      const bodies = wanted.map((each) => ({ ...each, data: textual(each.size, `${each.seed}`) }));
      const written = await Promise.all(bodies.map(({ data, piece }) => w.addStream(ctx, inPieces(data, piece))));
      await w.flush(ctx);
      for (const [i, { data }] of bodies.entries()) {
        assert.equal(written[i]?.bytes, data.length);
        assert.ok(data.equals(await read(written[i]?.ids ?? Buffer.alloc(0))), 'the same bytes');
      }
    }),
    { numRuns: 6 },
  );
});

test('the same bytes are stored once, at the same time and later', async () => {
  const { ctx, writer, packs } = rig();
  const data = noise(5 * MIB);
  const small = noise(1000);
  for (const run of [1, 2]) {
    await using w = await writer();
    const streams = [data, small, data, small].map((body) => w.addStream(ctx, inPieces(body, 100_000)));
    const [a, b, c, d] = await Promise.all(streams);
    assert.deepEqual([a?.ids, b?.ids], [c?.ids, d?.ids]);
    await w.flush(ctx);
    const stored = packs.reduce((sum, { bytes }) => sum + bytes, 0);
    assert.ok(stored > data.length && stored < data.length + 10_000, `${stored} bytes after run ${run}`);
  }
});

test('of what changes in place, a page that changed makes one piece of it new, wherever it lies', async () => {
  const { ctx, writer, packs } = rig();
  await using w = await writer();
  const data = noise(5 * MIB + 8192);
  const { ids } = await w.addStream(ctx, inPieces(data, 100_000), true);
  assert.equal(ids.length, 6 * 32);
  const stored = (): number => packs.reduce((sum, { blobs }) => sum + blobs.length, 0);
  for (const [at, border] of [
    [0, 0],
    [MIB - 1, 0],
    [MIB, 1],
    [5 * MIB + 8191, 5],
  ] as const) {
    await w.flush(ctx);
    const before = stored();
    const changed = Buffer.from(data);
    changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
    const again = await w.addStream(ctx, inPieces(changed, 77_777), true);
    await w.flush(ctx);
    const differing = [0, 1, 2, 3, 4, 5].filter((i) =>
      ids.compare(again.ids, i * 32, i * 32 + 32, i * 32, i * 32 + 32),
    );
    assert.deepEqual([differing, stored() - before], [[border], 1]);
  }
});

test('trees and data lie in packs of their own, also where their bytes are the same', async () => {
  const { ctx, writer, packs, index } = rig();
  await using w = await writer();
  const plain = Buffer.alloc(1000, 'both');
  const ids = [await w.addBlob(ctx, 'tree', plain), await w.addBlob(ctx, 'data', plain)];
  await w.flush(ctx);
  assert.deepEqual(ids, [sha256(plain), sha256(plain)]);
  assert.deepEqual(packs.map(({ blobs }) => blobs.map(({ tree }) => tree)).sort(), [[false], [true]]);
  assert.ok(index.has(sha256(plain), true) && index.has(sha256(plain), false));
});

test('a blob is new again once its pack is lost', async () => {
  const { ctx, writer, packs, index } = rig();
  await using w = await writer();
  await w.addBlob(ctx, 'data', Buffer.from('precious'));
  await w.flush(ctx);
  index.forget(packs[0]?.id ?? '');
  await w.addBlob(ctx, 'data', Buffer.from('precious'));
  await w.flush(ctx);
  assert.equal(packs.length, 2);
});

test('data of which a wrong id was told is found before its pack is stored', async () => {
  const { ctx, writer, packs } = rig();
  await using w = await writer();
  const blobs = [{ id: sha256(Buffer.from('this')), plain: Buffer.from('that') }];
  await w.addBlobs(ctx, blobs);
  await assert.rejects(w.flush(ctx), (error) => isFailure(error, 'checksum'));
  assert.deepEqual(packs, []);
});

test('an id that can not be one is refused, and one that is known with another length is found at once', async () => {
  const { ctx, writer, packs } = rig();
  await using w = await writer();
  const plain = Buffer.from('known');
  const cut = Buffer.from('abcz', 'hex');
  await assert.rejects(w.addBlobs(ctx, [{ id: cut, plain }]), { code: 'ERR_ASSERTION' });
  await w.addBlobs(ctx, [{ id: sha256(plain), plain }]);
  await w.flush(ctx);
  const other = w.addBlobs(ctx, [
    { id: sha256(plain), plain: Buffer.from('other') },
    { id: sha256(plain), plain: cut },
  ]);
  await assert.rejects(other, (error) => isFailure(error, 'checksum'));
  assert.deepEqual(
    packs.map(({ blobs }) => blobs.length),
    [1],
  );
});

test('a blob for which there was no memory is never taken for one that is on its way', async () => {
  const real = globalThis.SharedArrayBuffer;
  const noMemory = new RangeError('Array buffer allocation failed');
  for (const add of ['addBlob', 'addBlobs'] as const) {
    const { ctx, writer, packs } = rig();
    await using w = await writer();
    const plain = Buffer.from('precious');
    const once = async (): Promise<unknown> =>
      add === 'addBlob' ? await w.addBlob(ctx, 'data', plain) : await w.addBlobs(ctx, [{ id: sha256(plain), plain }]);
    globalThis.SharedArrayBuffer = new Proxy(real, {
      construct() {
        throw noMemory;
      },
    });
    try {
      await assert.rejects(once(), noMemory);
    } finally {
      globalThis.SharedArrayBuffer = real;
    }
    await assert.rejects(once(), noMemory);
    await assert.rejects(w.flush(ctx), noMemory);
    assert.deepEqual(packs, []);
  }
});

test('a pack stays as it is until its put has ended, however many are filled meanwhile', async () => {
  const later = Promise.withResolvers<void>();
  const damaged: string[] = [];
  let puts = 0;
  const bucket: Bucket = {
    ...memoryBucket(),
    async put(ctx, key, body) {
      assert.ok(body instanceof Uint8Array);
      puts += 1;
      if (puts === 1) await later.promise;
      if (puts === 4) later.resolve();
      if (!key.endsWith(sha256(body).toString('hex'))) damaged.push(key);
      return { key, bytes: body.length, modifiedAt: ctx.now() };
    },
  };
  const { ctx, writer, packs } = rig({ bucket });
  await using w = await writer();
  // Trees: one thread fills all their packs.
  for (let i = 0; i < 15; i++) await w.addBlob(ctx, 'tree', noise(5 * MIB, `${i}`));
  await w.flush(ctx);
  assert.ok(packs.length >= 4, `${packs.length} packs`);
  assert.deepEqual(damaged, []);
});

test('more than a blob may have is refused, and spoils nothing', async () => {
  const { ctx, writer, read } = rig();
  await using w = await writer();
  const tooLarge = Buffer.alloc(128 * MIB + 1);
  await assert.rejects(w.addBlob(ctx, 'tree', tooLarge), (error) => isFailure(error, 'value-too-large'));
  const id = await w.addBlob(ctx, 'data', Buffer.from('still works'));
  await w.flush(ctx);
  assert.equal((await read(id)).toString(), 'still works');
});

test('nothing is reported before it is stored, and a bucket that fails ends every call', async () => {
  const full = new Failure('no-space', 'the disk is full');
  const bucket = faultyBucket(memoryBucket(), { fail: (operation) => (operation === 'put' ? full : undefined) });
  const { ctx, writer, packs, index } = rig({ bucket });
  await using w = await writer();
  const streams = ['a', 'b', 'c'].map((seed) => w.addStream(ctx, endless(seed)));
  await Promise.all(streams.map((stream) => assert.rejects(stream, (error) => error === full)));
  await assert.rejects(w.flush(ctx), (error) => error === full);
  await assert.rejects(w.addBlob(ctx, 'tree', Buffer.from('late')), (error) => error === full);
  assert.deepEqual([packs.length, index.size], [0, 0]);
});

test('a run that is aborted ends every call', async () => {
  const { writer } = rig();
  const controller = new AbortController();
  const ctx = testContext({ signal: controller.signal });
  await using w = await writer({ ctx });
  const streams = ['a', 'b'].map((seed) => w.addStream(ctx, endless(seed)));
  setImmediate(() => controller.abort());
  await Promise.all(streams.map((stream) => assert.rejects(stream, (error) => isFailure(error, 'interrupted'))));
  await assert.rejects(w.flush(ctx), (error) => isFailure(error, 'interrupted'));
});

test('a body that breaks off fails its own call only', async () => {
  const { ctx, writer, read } = rig();
  await using w = await writer();
  async function* broken(): Bytes {
    yield noise(3 * MIB);
    throw new Failure('program-failed', 'the dump broke off');
  }
  await assert.rejects(w.addStream(ctx, broken()), (error) => isFailure(error, 'program-failed'));
  const { ids } = await w.addStream(ctx, bytesOf(noise(MIB, 'other')));
  await w.flush(ctx);
  assert.ok((await read(ids)).equals(noise(MIB, 'other')));
});

test('closing while streams are written ends them, and leaves no thread behind', async () => {
  const { ctx, writer } = rig();
  const w = await writer();
  const stream = w.addStream(ctx, endless('a'));
  const ended = assert.rejects(stream, (error) => isFailure(error, 'interrupted'));
  await w[Symbol.asyncDispose]();
  await ended;
});

test('streams that are fed in lockstep do not block one another', { timeout: 60_000 }, async () => {
  const { ctx, writer } = rig();
  await using w = await writer();
  const gates = Array.from({ length: 12 }, () => ({ turn: 0 }));
  let wake: (() => void)[] = [];
  // Each stream gets its next piece only when all others have taken theirs.
  const lockstep = async function* (mine: { turn: number }, seed: string): Bytes {
    for (let i = 0; i < 6; i++) {
      while (gates.some(({ turn }) => turn < i)) await new Promise<void>((resolve) => wake.push(resolve));
      yield noise(MIB, `${seed} ${i}`);
      mine.turn = i + 1;
      for (const resolve of wake.splice(0)) resolve();
    }
  };
  const written = await Promise.all(gates.map((gate, i) => w.addStream(ctx, lockstep(gate, `${i}`))));
  await w.flush(ctx);
  assert.ok(written.every(({ bytes }) => bytes === 6 * MIB));
  wake = [];
});

test('stock restic checks and dumps what was written', async (t) => {
  const restic = resticProgram();
  if (!restic) return t.skip('there is no restic here');
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-restic-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const ctx = testContext();
  const bucket = localBucket(dir);
  const settings = { stack: 'shop', password: 'x', compression: 'default' as const };
  await createRepository(ctx, bucket, settings, { N: 1024, r: 8, p: 1 });
  const { key } = await unlock(ctx, bucket, 'x');
  const indexes = indexFiles({ bucket, key });
  const { writer, packs } = rig({ bucket, key, index: indexes.blobs });
  const files = {
    'a.sql': textual(20 * MIB, 'a'),
    'b.bin': noise(3 * MIB),
    'c.txt': Buffer.from('small'),
    d: Buffer.alloc(0),
  };
  await using w = await writer({ compressionLevel: 3 });
  const entries = [];
  for (const [name, data] of Object.entries(files)) {
    const { ids, bytes } = await w.addStream(ctx, inPieces(data, 65_536));
    entries.push(fileJson(Buffer.from(name), bytes, ids, undefined));
  }
  const tree = (await w.addBlob(ctx, 'tree', treeBlob(entries))).toString('hex');
  await w.flush(ctx);
  for (const pack of packs) await indexes.stored(ctx, pack);
  await indexes.save(ctx);
  await putNamed(ctx, { bucket, key }, 'snapshots', {
    time: ctx.now().toISOString(),
    tree,
    paths: ['/'],
    hostname: 'h',
  });
  const run = (...args: string[]): Buffer =>
    execFileSync(restic, ['--no-cache', '-r', dir, ...args], {
      env: { ...process.env, RESTIC_PASSWORD: 'x' },
      maxBuffer: 64 * MIB,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  assert.match(run('check', '--read-data').toString(), /no errors were found/);
  for (const [name, data] of Object.entries(files)) assert.ok(run('dump', 'latest', name).equals(data), name);
});

function resticProgram(): string | undefined {
  for (const program of [process.env.RESTIC, 'restic019', 'restic']) {
    if (!program) continue;
    try {
      execFileSync(program, ['version'], { stdio: 'ignore' });
      return program;
    } catch {} // the next one, then
  }
  if (process.env.REQUIRE_SERVERS === 'all') throw new Error('restic is required and missing');
  return undefined;
}

/** Half of it compresses. */
function textual(bytes: number, seed: string): Buffer {
  return Buffer.from(
    noise(Math.ceil(bytes / 2), seed)
      .toString('hex')
      .slice(0, bytes),
    'latin1',
  );
}

async function* endless(seed: string): Bytes {
  for (let i = 0; ; i++) {
    yield noise(MIB, `${seed} ${i}`);
    await new Promise(setImmediate);
  }
}
