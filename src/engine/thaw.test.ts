import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isFailure } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import type { RecoveryPoint } from '../core/point.ts';
import type { ArchivedObject, ThawTier } from '../core/storage.ts';
import { testContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { drillPoint } from './drill.ts';
import type { NamedStore } from './model.ts';
import { restorePoint } from './restore.ts';
import { planRestore } from './restore-plan.ts';
import { kv, kvSandboxes, kvServer } from './testing.ts';
import { disk, named } from './testing-store.ts';
import { archivedIn, askForThaw, type ThawNeed, untilThawed } from './thaw.ts';
import { thawOffers } from './thaw-prices.ts';

const GIB = 2 ** 30;

interface Vault extends ThawNeed {
  readonly objects: Map<string, 'archived' | 'thawing' | 'thawed'>;
  readonly asked: string[];
}

/** Objects of a GiB. What was asked for is back when it was looked at `looks` times; 'b' is known when 'a' is back. */
function vault(looks: number): Vault {
  const objects: Vault['objects'] = new Map([['a', 'archived']]);
  const seen = new Map<string, number>();
  const asked: string[] = [];
  async function* needed(): AsyncIterable<ArchivedObject> {
    for (const [key, state] of objects) {
      seen.set(key, (seen.get(key) ?? 0) + (state === 'thawing' ? 1 : 0));
      if (state === 'thawing' && (seen.get(key) ?? 0) > looks) objects.set(key, 'thawed');
    }
    if (objects.get('a') === 'thawed' && !objects.has('b')) objects.set('b', 'archived');
    for (const [key, state] of objects) {
      if (state === 'thawed') continue;
      const thawing = state === 'thawing' ? { thawing: true } : {};
      yield { key, bytes: GIB, modifiedAt: new Date(0), archived: true, storageClass: 'GLACIER', ...thawing };
    }
  }
  const thaw = async (_ctx: Context, key: string): Promise<void> => {
    asked.push(key);
    objects.set(key, 'thawing');
  };
  return { store: 'cold', what: 'point p', needed, thaw, objects, asked };
}

/** A clock that only sleeps move. */
function sleeper(): { readonly ctx: ReturnType<typeof testContext>; elapsedMs(): number } {
  let ms = 0;
  const ctx = testContext({
    monotonicMs: () => ms,
    sleep: async (more) => {
      ms += more;
    },
  });
  return { ctx, elapsedMs: () => ms };
}

describe('thawing', () => {
  test('asks for each object once, also for those that are known to be needed only on the way', async () => {
    const [cold, { ctx }] = [vault(3), sleeper()];
    await untilThawed(ctx, cold, 'Standard', async () => {});
    assert.deepEqual(cold.asked, ['a', 'b']);
    assert.equal(await archivedIn(ctx, cold), null);
    const told = ctx.events.map(({ items, itemsTotal }) => [items, itemsTotal]);
    assert.deepEqual(told.at(-1), [2, 2]);
    assert.ok(
      told.every(([items = 0], i) => items >= (told[i - 1]?.[0] ?? 0)),
      'progress goes back',
    );
  });

  test('counts what is on its way, and takes no money for it again', async () => {
    const [cold, { ctx }] = [vault(9), sleeper()];
    const before = await archivedIn(ctx, cold);
    assert.equal(before?.thawing, 0);
    assert.equal(before.offers.length, 3);
    assert.ok(before.offers.every(({ usd }) => usd > 0));
    await askForThaw(ctx, cold, 'Bulk');
    const after = await askForThaw(ctx, cold, 'Bulk');
    assert.deepEqual([after?.objects, after?.thawing, cold.asked.length], [1, 1, 1]);
    assert.deepEqual(
      after?.offers.map(({ usd }) => usd),
      [0, 0, 0],
    );
  });

  test('waits longer and longer, and not for ever', async () => {
    const [cold, { ctx, elapsedMs }] = [vault(Number.POSITIVE_INFINITY), sleeper()];
    await assert.rejects(
      untilThawed(ctx, cold, 'Standard', async () => {}),
      (error) => isFailure(error, 'timeout'),
    );
    const hours = elapsedMs() / 3_600_000;
    assert.ok(hours > 10 && hours < 11, `${hours} hours`);
    assert.ok(ctx.events.length < 200, `${ctx.events.length} looks`);
  });

  test('has a price for each tier of a class, and none for a tier that one of the classes lacks', () => {
    const glacier = { storageClass: 'GLACIER', objects: 1000, bytes: 100 * GIB };
    const deep = { ...glacier, storageClass: 'DEEP_ARCHIVE' };
    const cents = (tier: ThawTier, sums = [glacier]): number =>
      Math.round((thawOffers(sums).find((offer) => offer.tier === tier)?.usd ?? Number.NaN) * 100);
    // 100 GiB for a week in class Standard are 54 cents.
    assert.deepEqual([cents('Expedited'), cents('Standard'), cents('Bulk')], [300 + 1000 + 54, 100 + 5 + 54, 54]);
    assert.deepEqual(
      thawOffers([glacier, deep]).map(({ tier, hours }) => [tier, hours]),
      [
        ['Standard', 12],
        ['Bulk', 48],
      ],
    );
    assert.equal(cents('Standard', [deep]), 200 + 10 + 54);
  });
});

describe('a point that is archived', () => {
  async function archivedPoint(): Promise<{
    from: NamedStore;
    point: RecoveryPoint;
    server: ReturnType<typeof kvServer>;
  }> {
    const [ctx, inner, server] = [testContext(), named('a', disk()), kvServer({ a: '1' })];
    const { point } = await backUp(ctx, { stack: 'shop', plan: 'p', components: [kv('db', server)], stores: [inner] });
    assert.ok(point);
    const { needed, thaw } = vault(1);
    return { from: { ...inner, store: { ...inner.store, archive: { needed, thaw } } }, point, server };
  }

  test('is not restored, and the plan says why', async () => {
    const { from, point, server } = await archivedPoint();
    server.data.clear();
    const request = { from, point, components: [kv('db', server)] };
    assert.equal((await planRestore(testContext(), request)).archived?.objects, 1);
    await assert.rejects(restorePoint(testContext(), request), (error) => isFailure(error, 'archived'));
    assert.equal(server.data.size, 0);
  });

  test('is not rehearsed: waiting for S3 would be no measure of anything', async () => {
    const { from, point, server } = await archivedPoint();
    const drill = drillPoint(testContext(), { from, point, components: [kv('db', server)], sandboxes: kvSandboxes() });
    await assert.rejects(drill, (error) => isFailure(error, 'archived') && /--thaw/.test(error.hint ?? ''));
  });
});
