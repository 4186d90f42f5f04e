// What is said of damage to journals, each kind of it tried on each object. In memory: these open some hundred stores.

import assert from 'node:assert/strict';
import { readAll } from '../../core/bytes.ts';
import { isFailure } from '../../core/errors.ts';
import type { JournalRange } from '../../core/journal.ts';
import type { Context } from '../../core/model.ts';
import type { Bucket, Store } from '../../core/storage.ts';
import { type TestContext, testContext } from '../../core/testing.ts';
import { DAMAGE } from './damage.suite.ts';
import {
  COMPONENT,
  cut,
  failures,
  isOfDamage,
  range,
  readAllOf,
  start,
  stretches,
  written,
} from './journal-rig.suite.ts';
import { copyOf, created, declare, findings, keys, reopened, reopenedIfItCan, type StoreRig } from './rig.suite.ts';

export function tellsDamageToJournals(rig: StoreRig): void {
  const it = declare(rig);

  it('names each damage to a journal, and never gives other bytes for it (faults 1, 2 and 25)', async () => {
    const ctx = testContext();
    const { disk, histories } = await filled(rig, ctx);
    let harmful = 0;
    for (const key of (await keys(ctx, disk)).filter((each) => each.includes('/journal/'))) {
      for (const [kind, damage] of Object.entries(DAMAGE)) {
        const hurt = await copyOf(ctx, disk);
        await damage(ctx, hurt, key);
        harmful += await assertTold(rig, ctx, hurt, histories, `${kind} ${key}`, kind === 'missing');
      }
    }
    assert.ok(harmful >= 20, `only ${harmful} damages did harm`);
  });

  it('finds ranges that were swapped, renamed, replayed or taken away (fault 25)', async () => {
    const ctx = testContext();
    const { disk, histories, forgotten } = await filled(rig, ctx);
    const ranges = (await keys(ctx, disk)).filter((key) => /\/journal\/.*-[0-9a-f]{64}$/.test(key));
    const [first = '', second = '', third = ''] = ranges.filter((key) => key.includes(`/${COMPONENT}/00000001/`));
    const foreign = ranges.find((key) => key.includes(`/${COMPONENT}/00000002/`)) ?? '';
    const sibling = ranges.find((key) => key.includes('/sibling/')) ?? '';
    const nameOf = (key: string): string => key.slice(key.lastIndexOf('/') + 1);
    const folderOf = (key: string): string => key.slice(0, key.lastIndexOf('/') + 1);
    const get = (on: Bucket, key: string): Promise<Buffer> => readAll(on.get(ctx, key));
    const tricks: Record<string, (on: Bucket) => Promise<unknown>> = {
      async 'two swapped'(on) {
        const bytes = await get(on, first);
        await on.put(ctx, first, await get(on, second));
        await on.put(ctx, second, bytes);
      },
      async 'renamed to other positions'(on) {
        const [, , hash] = nameOf(second).split('-');
        const [from, to] = nameOf(third).split('-');
        await on.put(ctx, `${folderOf(third)}${from}-${to}-${hash}`, await get(on, second));
        await on.delete(ctx, third);
      },
      async 'replayed from another lineage'(on) {
        await on.put(ctx, folderOf(first) + nameOf(foreign), await get(on, foreign));
        await on.delete(ctx, first);
      },
      async 'replayed from another component'(on) {
        await on.put(ctx, folderOf(first) + nameOf(sibling), await get(on, sibling));
        await on.delete(ctx, first);
      },
      async 'replayed from a journal that was forgotten'(on) {
        await on.put(ctx, folderOf(second) + nameOf(forgotten.key), forgotten.bytes);
        await on.delete(ctx, second);
      },
      async 'a whole lineage gone'(on) {
        for (const key of await keys(ctx, on)) if (key.includes(`/${COMPONENT}/00000001/`)) await on.delete(ctx, key);
      },
      'the first gone': (on) => on.delete(ctx, first),
      'one gone in the middle': (on) => on.delete(ctx, second),
      'the last gone': (on) => on.delete(ctx, third),
      async 'one named twice'(on) {
        await on.put(ctx, `${folderOf(second)}${cut(5).position}-${nameOf(second).slice(9)}`, await get(on, second));
      },
    };
    for (const [what, trick] of Object.entries(tricks)) {
      const hurt = await copyOf(ctx, disk);
      await trick(hurt);
      assert.equal(await assertTold(rig, ctx, hurt, histories, what, what.includes('gone')), 1, what);
    }
  });

  it('begins a new lineage where the end of the old one is damaged, and says so', async () => {
    const ctx = testContext();
    const { disk: whole } = await filled(rig, ctx);
    const last = (await keys(ctx, whole)).findLast((key) => /\/main-db\/.*-[0-9a-f]{64}$/.test(key)) ?? '';
    const twin = last.replace(/(\d{8})-(\d{8})-(?=[0-9a-f]{64}$)/, `${cut(125).position}-$2-`);
    const hurts: ((disk: Bucket) => Promise<unknown>)[] = [
      (disk) => DAMAGE.flipped(ctx, disk, last),
      (disk) => disk.delete(ctx, last),
      async (disk) => disk.put(ctx, twin, await readAll(disk.get(ctx, last))),
    ];
    for (const hurt of hurts) {
      const disk = await copyOf(ctx, whole);
      await hurt(disk);
      await assertBeginsAnew(rig, disk);
    }
  });

  it('finds a flipped bit of a journal with two sampled checks that share the ranges', async () => {
    const ctx = testContext();
    const { disk } = await filled(rig, ctx);
    const ranges = (await keys(ctx, disk)).filter((each) => /\/journal\/.*-[0-9a-f]{64}$/.test(each));
    assert.equal(ranges.length, 7);
    for (const key of ranges) {
      const hurt = await copyOf(ctx, disk);
      await DAMAGE.flipped(ctx, hurt, key);
      await using store = await reopened(rig, ctx, hurt);
      const halves = [await findings(ctx, store, 0.5, 0), await findings(ctx, store, 0.5, 50)];
      const told = halves.map((found) => found.filter(isOfDamage).length);
      assert.deepEqual(told.toSorted(), [0, 1], key);
    }
  });

  it('is opened without its journals, which an archive may hold', async () => {
    const ctx = testContext();
    const { disk } = await filled(rig, ctx);
    const needed = (await keys(ctx, disk)).filter((key) => rig.format.isEssential(key));
    assert.ok(needed.length > 0 && !needed.some((key) => key.includes('/journal/')), needed.join());
  });
}

async function assertBeginsAnew(rig: StoreRig, disk: Bucket): Promise<void> {
  const ctx = testContext();
  await using store = await reopened(rig, ctx, disk);
  await using writer = await store.journal(COMPONENT).write(ctx);
  assert.deepEqual([writer.lineage(), writer.durable()], [null, null]);
  assert.ok(ctx.logged.some(({ level, message }) => level === 'warn' && message.includes('new lineage')));
  const id = await written(ctx, writer, start(500), [510]);
  assert.deepEqual(await readAllOf(ctx, store, id, 500), [range(500, 510)]);
}

/** What can be read of a lineage without a gap. */
interface History {
  readonly component: string;
  readonly lineage: string;
  readonly from: number;
  readonly ranges: readonly JournalRange[];
}

interface Filled {
  readonly disk: Bucket;
  readonly histories: readonly History[];
  readonly forgotten: { readonly key: string; readonly bytes: Buffer };
}

/** Two lineages, one with a gap, and a component beside them of which a part was pruned. */
async function filled(rig: StoreRig, ctx: Context): Promise<Filled> {
  const { bucket: disk, store } = await created(rig, ctx);
  const forgotten = await forgottenRange(ctx, disk, store);
  const histories: History[] = [];
  const add = (component: string, lineage: string, ...ends: readonly number[]): void => {
    const [from = 0, ...rest] = ends;
    histories.push({ component, lineage, from, ranges: rest.map((end, at) => range(ends[at] ?? 0, end)) });
  };
  {
    await using writer = await store.journal(COMPONENT).write(ctx);
    add(COMPONENT, await written(ctx, writer, start(), [10, 20, 30]), 0, 10, 20, 30);
    const second = await written(ctx, writer, start(100, { why: 'full resync' }), [110, -120, 130]);
    add(COMPONENT, second, 100, 110);
    add(COMPONENT, second, 120, 130);
  }
  {
    await using writer = await store.journal('sibling').write(ctx);
    const lineage = await written(ctx, writer, start(), [10, 20, 30]);
    await store.journal('sibling').prune(ctx, [{ lineage, position: cut(10).position }], { apply: true });
    add('sibling', lineage, 10, 20, 30);
  }
  assert.equal((await failures(ctx, store)).length, 1, 'the gap that was noted');
  await store[Symbol.asyncDispose]();
  return { disk, histories, forgotten };
}

/** Of the same component, lineage and positions as one that comes later. */
async function forgottenRange(ctx: Context, disk: Bucket, store: Store): Promise<Filled['forgotten']> {
  {
    await using writer = await store.journal(COMPONENT).write(ctx);
    await written(ctx, writer, start(), [10]);
    await writer.append(ctx, range(10, 20, Buffer.from('another life')));
  }
  const key = (await keys(ctx, disk)).findLast((each) => /-[0-9a-f]{64}$/.test(each)) ?? '';
  const bytes = await readAll(disk.get(ctx, key));
  await store.journal(COMPONENT).forget(ctx);
  return { key, bytes };
}

/** Returns 1 when something can't be read any more; fails when nobody is told, or when it reads as something else. */
async function assertTold(
  rig: StoreRig,
  ctx: TestContext,
  disk: Bucket,
  histories: readonly History[],
  what: string,
  shallow: boolean,
): Promise<number> {
  await using store = await reopenedIfItCan(rig, ctx, disk);
  if (!store) return 0;
  await stretches(ctx, store); // whatever was damaged, it can be asked
  let harmed = 0;
  for (const { component, lineage, from, ranges } of histories) {
    const last = ranges.at(-1)?.to.position ?? '';
    const given: JournalRange[] = [];
    try {
      for await (const each of store.journal(component).read(ctx, { lineage, position: cut(from).position }, last)) {
        given.push({ ...each, body: Buffer.from(each.body) });
      }
      assert.equal(given.length, ranges.length, what);
    } catch (error) {
      if (!isFailure(error)) throw error;
      harmed = 1;
      for (const readData of shallow ? [0, 1] : [1]) {
        const found = await failures(ctx, store, readData);
        const said = found.some((each) => {
          return each.check.includes(component) && each.check.includes(lineage) && isOfDamage(each);
        });
        assert.ok(said, `${what}: ${component}/${lineage} can't be read, and check says ${JSON.stringify(found)}`);
      }
    }
    assert.deepEqual(given, ranges.slice(0, given.length), what);
  }
  return harmed;
}
