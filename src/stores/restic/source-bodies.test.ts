import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { bytesOf } from '../../core/bytes.ts';
import { type ErrorCode, isFailure } from '../../core/errors.ts';
import { WHOLE_BYTES_MAX } from '../../core/many-parts.ts';
import { testContext } from '../../core/testing.ts';
import { noise, P1, save } from '../suite/rig.suite.ts';
import type { TreeNode } from './nodes.ts';
import { openReader } from './reader.ts';
import { bodiesOf, type Wanted } from './source-bodies.ts';
import { largest, made, openStore, rewrite } from './testing.ts';
import { rig } from './writer-testing.ts';

test('a lost blob fails the part that it is of, after all that come before it were given (fault 1)', async () => {
  const ctx = testContext();
  const bucket = await made(ctx);
  const bodies = Array.from({ length: 50 }, (_, i) => noise(i, 3000));
  const names = bodies.map((_, i) => `part-${String(i).padStart(2, '0')}`);
  {
    await using store = await openStore(ctx, bucket);
    await save(ctx, store, P1, { db: Object.fromEntries(names.map((name, i) => [name, bodies[i] ?? ''])) });
  }
  await rewrite(ctx, bucket, await largest(ctx, bucket, 'data/'), (pack) => {
    pack.writeUInt8(pack.readUInt8(70_000) ^ 1, 70_000);
    return pack;
  });
  await using store = await openStore(ctx, bucket);
  const source = await store.open(ctx, P1, 'db');
  const given: Buffer[] = [];
  await assert.rejects(
    async () => {
      for await (const wholes of source.getAll?.(ctx, names) ?? []) {
        for (const whole of wholes) given.push(Buffer.from(whole));
      }
    },
    (error: Error & { code?: string }) =>
      error.code === 'checksum' && error.message.includes(`${P1}/db/${names[given.length]} can't be read`),
  );
  assert.ok(given.length > 5 && given.length < 45, `${given.length} were given`);
  assert.deepEqual(given, bodies.slice(0, given.length));
});

test('a part whose pack no index names fails as itself, after all that come before it were given (fault 2)', async () => {
  const { reading, wanted } = await stored([3000, 2_500_000, 0, 5000]);
  const lost: Wanted = { what: 'the lost one', node: nodeOf(5000, Buffer.alloc(32, 'lost')) };
  for (const before of [wanted, wanted.slice(0, 1), wanted.slice(2, 3), []]) {
    const { given, error } = await givenOf(reading([...before, lost, ...wanted]));
    assert.deepEqual(
      given,
      before.map(({ what }) => what),
    );
    assert.ok(isFailure(error, 'missing') && error.message.startsWith("the lost one can't be read"), String(error));
  }
});

test('a part that is not of the size that was told fails as itself, and takes no more memory than was told', async () => {
  const { reading, wanted } = await stored([3000, 2_500_000, 0, 5000]);
  const [small, large] = wanted;
  assert.ok(small && large);
  const cases: readonly [number, Buffer, ErrorCode][] = [
    [10, small.node.content, 'checksum'],
    [10, Buffer.concat([large.node.content, large.node.content]), 'checksum'],
    [3_000_000, large.node.content, 'checksum'],
    [10, Buffer.alloc(0), 'checksum'],
    [WHOLE_BYTES_MAX + 1, small.node.content, 'malformed'],
  ];
  for (const [bytes, content, code] of cases) {
    const wrong: Wanted = { what: 'the wrong one', node: nodeOf(bytes, content) };
    const { given, error } = await givenOf(reading([...wanted, wrong, ...wanted]));
    assert.deepEqual(
      given,
      wanted.map(({ what }) => what),
      `${bytes} bytes`,
    );
    assert.ok(isFailure(error, code) && error.message.includes('the wrong one'), String(error));
  }
});

/** Parts of these sizes, each named by its place and size. */
async function stored(sizes: readonly number[]): Promise<{
  readonly wanted: readonly Wanted[];
  reading(wanted: readonly Wanted[]): AsyncIterable<readonly Uint8Array[]>;
}> {
  const { ctx, writer, bucket, key, index } = rig();
  await using w = await writer();
  const wanted: Wanted[] = [];
  for (const [i, bytes] of sizes.entries()) {
    const { ids } = await w.addStream(ctx, bytesOf(noise(i, bytes)));
    wanted.push({ what: hash('sha256', noise(i, bytes)), node: nodeOf(bytes, ids) });
  }
  await w.flush(ctx);
  return {
    wanted,
    async *reading(some) {
      await using reader = await openReader(ctx, { bucket, key, index });
      yield* bodiesOf(ctx, reader, some);
    },
  };
}

function nodeOf(bytes: number, content: Buffer): TreeNode {
  return { name: Buffer.of(), type: 'file', subtree: undefined, bytes, content, attributes: undefined };
}

/** Hashes of what is given until it fails. */
async function givenOf(bodies: AsyncIterable<readonly Uint8Array[]>): Promise<{ given: string[]; error: unknown }> {
  const given: string[] = [];
  try {
    for await (const wholes of bodies) {
      for (const whole of wholes) given.push(hash('sha256', whole));
    }
  } catch (error) {
    return { given, error };
  }
  return { given, error: undefined };
}
