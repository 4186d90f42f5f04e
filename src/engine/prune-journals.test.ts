import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { faultyBucket } from '../buckets/faulty.ts';
import { isFailure } from '../core/errors.ts';
import { manifestJson } from '../core/manifest.ts';
import type { Context } from '../core/model.ts';
import type { RecoveryPoint } from '../core/point.ts';
import type { Bucket } from '../core/storage.ts';
import { testContext } from '../core/testing.ts';
import { copyOf } from '../stores/suite/rig.suite.ts';
import { backUp } from './backup.ts';
import { feedNumbers, grow, type NumbersServer, numbers, numbersServer, textOf } from './follow-testing.ts';
import type { NamedStore } from './model.ts';
import { type Pruned, type PruneRequest, prunePoints } from './prune.ts';
import { DATED, type Kind, made, opened, RESTIC } from './stores.suite.ts';

const rulesOf: PruneRequest['rulesOf'] = () => ({ keep: { last: 1 }, timezone: 'UTC' });

async function prune(ctx: Context, store: NamedStore, apply = true): Promise<Pruned> {
  return await prunePoints(ctx, { in: store, stack: 'shop', rulesOf, apply, allowMany: true });
}
async function backup(ctx: Context, store: NamedStore, server: NumbersServer): Promise<RecoveryPoint> {
  const request = { stack: 'shop', plan: 'nightly', components: [numbers('db', server)], stores: [store] };
  const { point } = await backUp(ctx, request);
  assert.ok(point);
  return point;
}

/** Two lineages; a point in the first, and two in the second, of which the newest stays. */
async function filled(ctx: Context, kind: Kind): Promise<{ disk: Bucket; server: NumbersServer }> {
  const disk = await made(ctx, kind);
  await using store = await opened(ctx, kind, disk);
  const server = numbersServer(1);
  await feedNumbers(ctx, store.store, 'db', server, 7);
  await backup(ctx, store, server);
  server.id = 'log-2';
  await feedNumbers(ctx, store.store, 'db', server, 4);
  await backup(ctx, store, server);
  await feedNumbers(ctx, store.store, 'db', server, 5);
  await backup(ctx, store, server);
  await feedNumbers(ctx, store.store, 'db', server, 4);
  return { disk, server };
}
const LEFT = ['2 17-20: 17,18,19', '2 20-21: 20'];

for (const kind of [DATED, RESTIC]) {
  describe(`journals in a store that is ${kind.title}`, () => {
    test('what no point that stays needs goes with the points, and the preview says how much', async () => {
      const ctx = testContext();
      await using store = await opened(ctx, kind, (await filled(ctx, kind)).disk);
      const { journals: preview } = await prune(ctx, store, false);
      assert.equal((await textOf(ctx, store.store, 'db')).length, 9);
      const { journals, removed } = await prune(ctx, store);
      assert.deepEqual([journals, removed.length], [preview, 2]);
      assert.deepEqual(await textOf(ctx, store.store, 'db'), LEFT);
      assert.ok(journals.objects >= 6 && journals.bytes > 0, JSON.stringify(journals));
      assert.deepEqual((await prune(ctx, store)).journals, { bytes: 0, objects: 0, left: [] });
      const wrong = await Array.fromAsync(store.store.check(ctx, { readData: 1 }));
      assert.deepEqual(wrong, []);
    });

    test('killed at any change it has removed nothing that is needed, and the next one ends it (fault 9)', async () => {
      const filledOnce = await filled(testContext(), kind);
      let deaths = -1;
      for (let changesMax = 0, ended = false; !ended; changesMax++, deaths++) {
        const ctx = testContext();
        ctx.advance(3_600_000);
        const disk = await copyOf(ctx, filledOnce.disk);
        ended = await dies(ctx, kind, faultyBucket(disk, { changesMax }));
        await using store = await opened(ctx, kind, disk);
        const there = await textOf(ctx, store.store, 'db');
        assert.deepEqual(there.slice(-LEFT.length), LEFT, `died at ${changesMax}`);
        await prune(ctx, store);
        assert.deepEqual(await textOf(ctx, store.store, 'db'), LEFT, `died at ${changesMax}`);
        assert.deepEqual(await Array.fromAsync(store.store.check(ctx, { readData: 1 })), []);
      }
      assert.ok(deaths >= 3, `only ${deaths} changes were made`);
    });
  });
}

async function dies(ctx: Context, kind: Kind, bucket: Bucket): Promise<boolean> {
  try {
    await using store = await opened(ctx, kind, bucket);
    await prune(ctx, store);
    return true;
  } catch (error) {
    if (!isFailure(error, 'unreachable') && !isFailure(error, 'denied')) throw error;
    return false;
  }
}

test('beside who follows a prune takes what is not needed, and what comes is stored', async () => {
  const ctx = testContext();
  const { disk, server } = await filled(ctx, DATED);
  await using store = await opened(ctx, DATED, disk);
  await using other = await opened(ctx, DATED, disk);
  await using writer = await store.store.journal('db').write(ctx);
  const pruned = await prune(ctx, other);
  assert.deepEqual([pruned.removed.length, pruned.journals.left], [2, []]);
  grow(server, 3);
  await feedNumbers(ctx, store.store, 'db', server, 0, writer);
  assert.deepEqual(await textOf(ctx, store.store, 'db'), [...LEFT, '2 21-24: 21,22,23']);
});

test('while a component is captured its journal stays as it is (fault 8)', async () => {
  const ctx = testContext();
  const { disk, server } = await filled(ctx, DATED);
  await using store = await opened(ctx, DATED, disk);
  await using other = await opened(ctx, DATED, disk);
  let during: Pruned | undefined;
  server.fault = async (step) => {
    if (step === 'base') during = await prune(ctx, other);
  };
  await backup(ctx, store, server);
  const [left] = during?.journals.left ?? [];
  assert.deepEqual([during?.journals.objects, left?.component, left?.error.code], [0, 'db', 'locked']);
  assert.equal((await textOf(ctx, store.store, 'db')).length, 9);
});

test('what a killed run has finished is needed as a point is: it may be gone on with', async () => {
  const ctx = testContext();
  await using store = await opened(ctx, DATED, (await filled(ctx, DATED)).disk);
  const [, second] = await Array.fromAsync(store.store.list(ctx));
  assert.ok(second?.components.db?.journal);
  const draft = { ...second, id: '2026-06-01-000000' };
  await store.store.records.put(ctx, 'captures', `${draft.id}/db`, manifestJson(draft));
  await prune(ctx, store);
  assert.equal(second.components.db.journal.from, '00000012');
  assert.deepEqual(await textOf(ctx, store.store, 'db'), ['2 12-15: 12,13,14', '2 15-17: 15,16', ...LEFT]);
});
