// What is left after a crash, and what is said of damage.

import assert from 'node:assert/strict';
import { faultyBucket } from '../../buckets/faulty.ts';
import { readAll } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Bucket, Store } from '../../core/storage.ts';
import { type TestContext, testContext } from '../../core/testing.ts';
import {
  assertWhole,
  type Contents,
  copyOf,
  created,
  declare,
  fillTogether,
  findings,
  ids,
  keys,
  noise,
  P1,
  P2,
  P3,
  reclaimed,
  reopened,
  reopenedIfItCan,
  STACK,
  type StoreRig,
  save,
} from './rig.suite.ts';

export function survives(rig: StoreRig): void {
  const it = declare(rig);

  it('has each listed point whole, whatever change the machine dies at (fault 45)', async () => {
    const ctx = testContext();
    const { bucket: base, store } = await created(rig, ctx);
    const contents: Record<string, Contents> = {
      [P1]: { db: { one: noise(1, 90_000), two: '2' } },
      [P2]: { db: { one: noise(2, 90_000) }, cache: { 'three/four': noise(3, 9_000) } },
      [P3]: { db: { one: noise(4, 90_000), ...smallParts(5) } },
    };
    await save(ctx, store, P1, contents[P1] ?? {});
    await store[Symbol.asyncDispose]();
    let finished = false;
    let deaths = 0;
    for (; !finished; deaths += 1) {
      const disk = await copyOf(ctx, base);
      const dying = faultyBucket(disk, { changesMax: deaths });
      finished = await life(rig, ctx, dying, contents).then(
        () => true,
        (error: unknown) => {
          if (dying.changes() <= deaths) throw error;
          return false; // it died, as it should: what counts is what it left
        },
      );
      await using after = await reopened(rig, ctx, disk);
      for (const id of await ids(ctx, after)) await assertWhole(ctx, after, id, contents[id] ?? {});
      const bad = (await findings(ctx, after)).filter((each) => each.verdict === 'fail');
      assert.deepEqual(bad, [], `died after ${deaths} changes`);
      await save(ctx, after, '2026-01-04-020000', contents[P1] ?? {});
      await reclaimed(ctx, after);
      for (const id of await ids(ctx, after)) await assertWhole(ctx, after, id, contents[id] ?? contents[P1] ?? {});
    }
    assert.ok(deaths > 5, `only ${deaths} changes were made`);
  });

  it('names every part that damage reaches, and damage to one object takes one point at most (faults 1-4)', async () => {
    const ctx = testContext();
    const { bucket: base, store } = await created(rig, ctx);
    const contents: Record<string, Contents> = {
      [P1]: { db: { one: noise(1, 90_000), 'folder/two': noise(2, 500) } },
      [P2]: { db: { three: noise(3, 90_000) }, cache: { four: noise(4, 500) } },
    };
    for (const [id, each] of Object.entries(contents)) await save(ctx, store, id, each);
    await store[Symbol.asyncDispose]();
    let harmful = 0;
    for (const key of await keys(ctx, base)) {
      for (const [kind, damage] of Object.entries(DAMAGE)) {
        const disk = await copyOf(ctx, base);
        await damage(ctx, disk, key);
        harmful += await assertHonest(rig, ctx, disk, contents, `${kind} ${key}`, kind);
      }
    }
    assert.ok(harmful >= 8, `only ${harmful} damages reached a part`);
  });

  it('finds a flipped bit with two sampled checks that share the data', async () => {
    const ctx = testContext();
    const { bucket: base, store } = await created(rig, ctx);
    const contents = { db: Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`p${i}`, noise(i, 40_000)])) };
    await save(ctx, store, P1, contents);
    await store[Symbol.asyncDispose]();
    let harmful = 0;
    for (const key of await keys(ctx, base)) {
      const disk = await copyOf(ctx, base);
      await DAMAGE.flipped(ctx, disk, key);
      await using again = await reopenedIfItCan(rig, ctx, disk);
      if (!again || !(await unreadable(ctx, again, P1, contents))) continue;
      const halves = [await findings(ctx, again, 0.5, 0), await findings(ctx, again, 0.5, 50)];
      assert.ok(halves.flat().length > 0, `${key} was changed and neither half saw it`);
      harmful += 1;
    }
    assert.ok(harmful > 0, 'no damage reached a part');
  });
}

export const DAMAGE = {
  flipped: (ctx: Context, disk: Bucket, key: string) =>
    rewrite(ctx, disk, key, (data) => {
      const at = data.length >> 1;
      if (data.length > 0) data.writeUInt8(data.readUInt8(at) ^ 1, at);
      return data;
    }),
  truncated: (ctx: Context, disk: Bucket, key: string) =>
    rewrite(ctx, disk, key, (data) => data.subarray(0, data.length >> 1)),
  emptied: (ctx: Context, disk: Bucket, key: string) => rewrite(ctx, disk, key, () => Buffer.alloc(0)),
  missing: (ctx: Context, disk: Bucket, key: string) => disk.delete(ctx, key),
} as const;

async function rewrite(ctx: Context, disk: Bucket, key: string, change: (data: Buffer) => Buffer): Promise<void> {
  await disk.put(ctx, key, change(await readAll(disk.get(ctx, key))));
}

/** The life of one process: a backup, a record, a removal, another backup, a clean-up. */
async function life(rig: StoreRig, ctx: TestContext, disk: Bucket, contents: Record<string, Contents>): Promise<void> {
  await using store = await rig.format.open(ctx, disk, rig.settings(STACK));
  await save(ctx, store, P2, contents[P2] ?? {});
  await store.records.put(ctx, 'proofs', `${P2}/d`, { verdict: 'pass' });
  await store.remove(ctx, [P1]);
  await save(ctx, store, P3, contents[P3] ?? {}, fillTogether);
  await reclaimed(ctx, store);
}

function smallParts(count: number): Contents[string] {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`small/${i}`, noise(i, 100 + i)]));
}

/** Returns 1 when the damage reached a part; fails when the store lies about it. */
async function assertHonest(
  rig: StoreRig,
  ctx: TestContext,
  disk: Bucket,
  contents: Record<string, Contents>,
  what: string,
  kind: string,
): Promise<number> {
  await using store = await reopenedIfItCan(rig, ctx, disk);
  if (!store) return 0;
  const listed = await ids(ctx, store);
  const deep = await findings(ctx, store);
  const shallow = kind === 'flipped' ? deep : await findings(ctx, store, 0);
  const hit = new Set<string>();
  let parts = 0;
  for (const [id, each] of Object.entries(contents)) {
    if (!listed.includes(id)) {
      hit.add(id);
      if (kind !== 'missing') assert.ok(deep.length > 0, `${what}: ${id} is gone and check says nothing`);
      continue;
    }
    for (const lost of await unreadableParts(ctx, store, id, each)) {
      hit.add(id);
      parts += 1;
      const name = (await canBeListed(ctx, store, id)) ? lost : id; // when what names the parts is lost, the point is named
      for (const found of [deep, shallow]) {
        const said = found.some((each) => each.verdict === 'fail' && `${each.check} ${each.detail}`.includes(name));
        assert.ok(said, `${what}: ${id}/${lost} can't be read and check does not say so: ${JSON.stringify(found)}`);
      }
    }
  }
  assert.ok(hit.size <= 1, `${what}: takes ${[...hit].join(' and ')}`);
  return parts > 0 ? 1 : 0;
}

async function unreadable(ctx: Context, store: Store, id: string, contents: Contents): Promise<boolean> {
  return (await unreadableParts(ctx, store, id, contents)).length > 0;
}

async function canBeListed(ctx: Context, store: Store, id: string): Promise<boolean> {
  try {
    for await (const point of store.list(ctx)) {
      if (point.id !== id) continue;
      for (const component of Object.keys(point.components)) {
        await Array.fromAsync((await store.open(ctx, id, component)).parts(ctx));
      }
    }
    return true;
  } catch (error) {
    if (!isFailure(error)) throw error;
    return false;
  }
}

/** The parts that can't be read. One that reads as something else fails the test. */
async function unreadableParts(ctx: Context, store: Store, id: string, contents: Contents): Promise<string[]> {
  const lost: string[] = [];
  for (const [component, parts] of Object.entries(contents)) {
    for (const [name, data] of Object.entries(parts)) {
      try {
        const source = await store.open(ctx, id, component);
        const read = await readAll(source.get(ctx, name));
        assert.ok(read.equals(Buffer.from(data)), `${id}/${component}/${name} reads as something else`);
      } catch (error) {
        if (!isFailure(error)) throw error;
        lost.push(name);
      }
    }
  }
  return lost;
}
