// What is left of journals after a crash, and what is said of damage. In memory: these play some hundred processes.

import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type Faults, faultyBucket } from '../../buckets/faulty.ts';
import { readAll } from '../../core/bytes.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { JournalPlace, JournalRange, JournalWriter } from '../../core/journal.ts';
import type { Context, Finding } from '../../core/model.ts';
import type { Bucket, Store } from '../../core/storage.ts';
import { type TestContext, testContext } from '../../core/testing.ts';
import { DAMAGE } from './damage.suite.ts';
import {
  COMPONENT,
  counting,
  cut,
  gap,
  interrupting,
  range,
  readAllOf,
  start,
  stretches,
  written,
} from './journal-rig.suite.ts';
import {
  copyOf,
  created,
  declare,
  fails,
  findings,
  keys,
  reopened,
  reopenedIfItCan,
  type StoreRig,
} from './rig.suite.ts';

const MINUTE_MS = 60_000;
const RUNS = 40;

export function survivesInJournals(rig: StoreRig): void {
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

  it('has all that was acknowledged, whatever change the machine dies at (fault 45)', async () => {
    const ctx = testContext();
    const { bucket: base, store } = await created(rig, ctx);
    await store[Symbol.asyncDispose]();
    let deaths = 0;
    for (let finished = false; !finished; deaths += 1) {
      const disk = await copyOf(ctx, base);
      const dying = faultyBucket(disk, { changesMax: deaths });
      const told: Told = { entries: [], kept: [], pruned: 0 };
      finished = await life(rig, ctx, dying, told).then(
        () => true,
        (error: unknown) => {
          if (dying.changes() <= deaths) throw error;
          return false;
        },
      );
      await assertKept(rig, ctx, disk, told, `died after ${deaths} changes`);
    }
    assert.ok(deaths > 15, `only ${deaths} changes were made`);
  });

  it('goes on after a reply was lost, when the same is asked for again (fault 13)', async () => {
    const ctx = testContext();
    const { bucket } = await created(rig, ctx);
    const faults: Faults = {};
    await using store = await reopened(rig, ctx, faultyBucket(bucket, faults));
    await using writer = await store.journal(COMPONENT).write(ctx);
    const id = await written(ctx, writer, start(), [10]);
    faults.loseReply = (operation, key) => operation === 'put' && key.includes('/journal/');
    await fails('unreachable', writer.append(ctx, range(10, 20)));
    assert.deepEqual(writer.durable(), cut(10));
    faults.loseReply = () => false;
    await writer.append(ctx, range(10, 20));
    await writer.append(ctx, range(20, 30));
    const refusal = new Failure('unreachable', 'no answer');
    faults.fail = (operation, key) => (operation === 'put' && /-[0-9a-f]{64}$/.test(key) ? refusal : undefined);
    await fails('unreachable', writer.append(ctx, range(30, 40)));
    delete faults.fail;
    await writer.append(ctx, range(30, 40));
    assert.deepEqual(
      await readAllOf(ctx, store, id, 0),
      [0, 10, 20, 30].map((at) => range(at, at + 10)),
    );
    assert.deepEqual(await findings(ctx, store), []);
  });

  it('stops who was taken for dead, before he writes over his successor (fault 7)', async () => {
    const ctx = testContext();
    const { bucket, store } = await created(rig, ctx);
    await using other = await reopened(rig, ctx, bucket);
    const slow = await store.journal(COMPONENT).write(ctx);
    const id = await written(ctx, slow, start(), [10]);
    ctx.advance(11 * MINUTE_MS);
    await using writer = await other.journal(COMPONENT).write(ctx);
    await fails('lease-lost', slow.append(ctx, range(10, 19)));
    await writer.append(ctx, range(10, 20));
    await fails('lease-lost', slow.append(ctx, range(10, 20)));
    await fails('lease-lost', slow.begin(ctx, start(10)));
    await slow[Symbol.asyncDispose]();
    await writer.append(ctx, range(20, 30));
    assert.deepEqual(
      await readAllOf(ctx, other, id, 0),
      [0, 10, 20].map((at) => range(at, at + 10)),
    );
    assert.deepEqual(await findings(ctx, other), []);
    await store[Symbol.asyncDispose]();
  });

  it('keeps its lease while it is away for a while, and while another one asks for it', async () => {
    const ctx = testContext();
    const { bucket, store } = await created(rig, ctx);
    await using other = await reopened(rig, ctx, bucket);
    await using writer = await store.journal(COMPONENT).write(ctx);
    await written(ctx, writer, start(), [10]);
    for (let at = 10; at < 60; at += 10) {
      ctx.advance(3 * MINUTE_MS);
      const [asked] = await Promise.allSettled([
        other.journal(COMPONENT).write(ctx),
        writer.append(ctx, range(at, at + 10)),
      ]);
      assert.ok(asked.status === 'rejected' && isFailure(asked.reason, 'locked'));
      assert.deepEqual(writer.durable(), cut(at + 10));
    }
    await store[Symbol.asyncDispose]();
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
    for (const key of (await keys(ctx, disk)).filter((each) => /\/journal\/.*-[0-9a-f]{64}$/.test(each))) {
      const hurt = await copyOf(ctx, disk);
      await DAMAGE.flipped(ctx, hurt, key);
      await using store = await reopened(rig, ctx, hurt);
      const halves = [await findings(ctx, store, 0.5, 0), await findings(ctx, store, 0.5, 50)];
      const told = halves.map((found) => found.filter(({ detail }) => !detail.includes('the slot was lost')).length);
      assert.deepEqual(told.toSorted(), [0, 1], key);
    }
  });

  it('takes nothing for lost that is pruned while it is looked at', async () => {
    for (const keepsFirst of [true, false]) {
      for (let moment = 1; moment < 20; moment++) {
        const ctx = testContext();
        const { bucket, store } = await created(rig, ctx);
        const journal = store.journal(COMPONENT);
        await using writer = await journal.write(ctx);
        const first = { lineage: await written(ctx, writer, start(), [10, 20, 30]), position: cut(20).position };
        await written(ctx, writer, start(100), [110]);
        const prune = (): Promise<unknown> => journal.prune(ctx, keepsFirst ? [first] : [], { apply: true });
        await using looking = await reopened(rig, ctx, interrupting(bucket, moment, prune));
        assert.deepEqual(await findings(ctx, looking), [], `pruned at look ${moment}`);
        await store[Symbol.asyncDispose]();
      }
    }
  });

  it('is opened without its journals, which an archive may hold', async () => {
    const ctx = testContext();
    const { disk } = await filled(rig, ctx);
    const needed = (await keys(ctx, disk)).filter((key) => rig.format.isEssential(key));
    assert.ok(needed.length > 0 && !needed.some((key) => key.includes('/journal/')), needed.join());
  });

  it('finds its place among many ranges by a listing of few', async () => {
    const ctx = testContext();
    const { bucket, listed } = counting((await created(rig, ctx)).bucket);
    await using store = await reopened(rig, ctx, bucket);
    const many = 4500;
    const body = Buffer.from('one');
    {
      await using writer = await store.journal(COMPONENT).write(ctx);
      await writer.begin(ctx, start());
      for (let at = 0; at < many; at++) await writer.append(ctx, range(at, at + 1, body));
    }
    const before = listed();
    await using writer = await store.journal(COMPONENT).write(ctx);
    assert.deepEqual(writer.durable(), cut(many));
    const id = writer.lineage()?.id ?? '';
    assert.equal((await readAllOf(ctx, store, id, many - 5)).length, 5);
    assert.ok(listed() - before < many / 2, `${listed() - before} objects were listed`);
    assert.equal((await readAllOf(ctx, store, id, 4090, 4100)).length, 10);
    assert.deepEqual(await findings(ctx, store, 0), []);
  });

  it('reads what was written, whatever was written, killed and begun again', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(STEP, { minLength: 10, maxLength: 40, size: 'max' }), (steps) =>
        assertHistory(rig, steps),
      ),
      { numRuns: RUNS },
    );
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

async function failures(ctx: Context, store: Store, readData = 1): Promise<Finding[]> {
  return (await findings(ctx, store, readData)).filter(({ verdict }) => verdict === 'fail');
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
        const said = found.some(({ check, detail }) => {
          return check.includes(component) && check.includes(lineage) && !detail.includes('the slot was lost');
        });
        assert.ok(said, `${what}: ${component}/${lineage} can't be read, and check says ${JSON.stringify(found)}`);
      }
    }
    assert.deepEqual(given, ranges.slice(0, given.length), what);
  }
  return harmed;
}

/** What was acknowledged. */
interface Told {
  readonly entries: { lineage: string; from: number; to: number; isGap: boolean }[];
  /** What was to be kept by a prune: in the first lineage, what ends at `pruned` or before may be gone. */
  kept: JournalPlace[];
  pruned: number;
}

async function life(rig: StoreRig, ctx: TestContext, disk: Bucket, told: Told): Promise<void> {
  await using store = await rig.format.open(ctx, disk, rig.settings('shop'));
  const journal = store.journal(COMPONENT);
  async function tell(writer: JournalWriter, from: number, ends: readonly number[]): Promise<void> {
    const lineage = writer.lineage()?.id ?? '';
    let at = from;
    for (const end of ends) {
      const to = Math.abs(end);
      if (end < 0) await writer.gap(ctx, gap(at, to));
      else await writer.append(ctx, range(at, to));
      told.entries.push({ lineage, from: at, to, isGap: end < 0 });
      at = to;
    }
  }
  {
    await using writer = await journal.write(ctx);
    await writer.begin(ctx, start());
    await tell(writer, 0, [10, 20, -30, 40]);
  }
  await using writer = await journal.write(ctx);
  const first = writer.lineage()?.id ?? '';
  await tell(writer, 40, [50]);
  ctx.advance(2 * MINUTE_MS); // the lease is refreshed
  const { id: second } = await writer.begin(ctx, start(100));
  await tell(writer, 100, [110, 120]);
  told.pruned = 30;
  told.kept.push({ lineage: first, position: cut(30).position }, { lineage: second, position: cut(100).position });
  await journal.prune(ctx, told.kept, { apply: true });
  await tell(writer, 120, [130]);
}

async function assertKept(rig: StoreRig, ctx: TestContext, disk: Bucket, told: Told, what: string): Promise<void> {
  await using store = await reopened(rig, ctx, disk);
  const firstId = told.entries[0]?.lineage;
  for (const { lineage, from, to, isGap } of told.entries) {
    if (isGap || (lineage === firstId && to <= told.pruned)) continue;
    assert.deepEqual(await readAllOf(ctx, store, lineage, from, to), [range(from, to)], what);
  }
  const wrong = async () => (await failures(ctx, store)).filter(({ detail }) => !detail.includes('the slot was lost'));
  assert.deepEqual(await wrong(), [], what);
  if (told.pruned > 0) {
    await store.journal(COMPONENT).prune(ctx, told.kept, { apply: true });
    const left = (await keys(ctx, disk)).filter(
      (key) => key.includes(`/${firstId}/`) && /\/\d{8}-000000[123]0-/.test(key),
    );
    assert.deepEqual(left, [], `${what}: what a prune left is cleared away by the next`);
  }
  await using writer = await store.journal(COMPONENT).write(ctx);
  const { id } = writer.lineage() ?? (await writer.begin(ctx, start(900)));
  const at = Number(writer.durable()?.position);
  await writer.append(ctx, range(at, at + 10));
  assert.deepEqual(await readAllOf(ctx, store, id, at), [range(at, at + 10)], what);
  await store.journal(COMPONENT).prune(ctx, [{ lineage: id, position: cut(at).position }], { apply: true });
  assert.deepEqual(await readAllOf(ctx, store, id, at), [range(at, at + 10)], what);
  assert.deepEqual(await wrong(), [], what);
}

const STEP = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('append' as const), by: fc.integer({ min: 1, max: 40 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('gap' as const), by: fc.integer({ min: 1, max: 40 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lineage' as const), by: fc.integer({ min: 0, max: 9 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const), by: fc.constant(0) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('kill' as const), by: fc.integer({ min: 0, max: 6 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('prune' as const), by: fc.integer({ min: 0, max: 99 }) }) },
);
type StepOf = typeof STEP extends fc.Arbitrary<infer T> ? T : never;
interface Modelled {
  readonly id: string;
  entries: { from: number; to: number; isGap: boolean }[];
}

/** Plays the steps in processes that die, and compares what is there afterwards with what was acknowledged. */
async function assertHistory(rig: StoreRig, steps: readonly StepOf[]): Promise<void> {
  const ctx = testContext();
  const { bucket: disk } = await created(rig, ctx);
  const model: Modelled[] = [];
  let life = await alive(rig, ctx, disk);
  model.push({ id: (await life.writer.begin(ctx, start())).id, entries: [] });
  for (const step of steps) {
    const line = model.at(-1);
    const at = Number(life.writer.durable()?.position ?? 0);
    try {
      if (step.do === 'kill') life.faults.changesMax = life.changes() + step.by;
      else if (step.do === 'lineage') {
        const { id } = await life.writer.begin(ctx, start(at + 1000 * step.by));
        model.push({ id, entries: [] });
      } else if (step.do === 'restart') throw new Failure('unreachable', 'ended');
      else if (!line) continue;
      else if (step.do === 'prune') await prune(ctx, life.store, model, step.by);
      else {
        const isGap = step.do === 'gap';
        const entry = { from: at, to: at + step.by, isGap };
        if (isGap) await life.writer.gap(ctx, gap(entry.from, entry.to));
        else await life.writer.append(ctx, range(entry.from, entry.to));
        line.entries.push(entry);
      }
    } catch (error) {
      if (!isFailure(error, 'unreachable')) throw error;
      await life.end();
      life = await alive(rig, ctx, disk);
      adopt(model, life.writer, step, at);
    }
  }
  await life.end();
  await assertModel(rig, ctx, disk, model);
}

interface Life {
  readonly store: Store;
  readonly writer: JournalWriter;
  readonly faults: Faults;
  changes(): number;
  end(): Promise<void>;
}
async function alive(rig: StoreRig, ctx: TestContext, disk: Bucket): Promise<Life> {
  const faults: Faults = {};
  const bucket = faultyBucket(disk, faults);
  const store = await reopened(rig, ctx, bucket);
  const writer = await store.journal(COMPONENT).write(ctx);
  const end = async (): Promise<void> => {
    await writer[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
  };
  return { store, writer, faults, changes: bucket.changes, end };
}

/** What a process was doing when it died was done or not; nothing between. */
function adopt(model: Modelled[], writer: JournalWriter, step: StepOf, at: number): void {
  const id = writer.lineage()?.id;
  if (id !== model.at(-1)?.id) {
    assert.ok(step.do === 'lineage' && id !== undefined, `${id} was begun by nobody`);
    model.push({ id, entries: [] });
    return;
  }
  const now = Number(writer.durable()?.position ?? 0);
  if (now === at) return;
  assert.ok((step.do === 'append' || step.do === 'gap') && now === at + step.by, `it ends at ${now}, not at ${at}`);
  model.at(-1)?.entries.push({ from: at, to: now, isGap: step.do === 'gap' });
}

/** Keeps every other lineage from some entry of it on. Whether the prune died or not, the rest may be gone. */
async function prune(ctx: Context, store: Store, model: Modelled[], by: number): Promise<void> {
  const kept: { lineage: string; position: string }[] = [];
  const newest = model.at(-1);
  for (const [at, line] of model.entries()) {
    const entry = line.entries[by % Math.max(1, line.entries.length)];
    if ((at + by) % 2 === 0 && entry) {
      kept.push({ lineage: line.id, position: cut(entry.from).position });
      line.entries = line.entries.filter(({ to }) => to > entry.from);
    } else if (line !== newest) line.entries = [];
  }
  await store.journal(COMPONENT).prune(ctx, kept, { apply: true });
}

async function assertModel(rig: StoreRig, ctx: TestContext, disk: Bucket, model: readonly Modelled[]): Promise<void> {
  await using store = await reopened(rig, ctx, disk);
  for (const { id, entries } of model) {
    for (const { from, to, isGap } of entries) {
      if (isGap) await fails('missing', readAllOf(ctx, store, id, from, to));
      else assert.deepEqual(await readAllOf(ctx, store, id, from, to), [range(from, to)]);
    }
    const [first] = entries;
    const until = entries.findIndex(({ isGap }) => isGap);
    const whole = until < 0 ? entries : entries.slice(0, until);
    const last = whole.at(-1);
    if (!first || !last) continue;
    const all = await readAllOf(ctx, store, id, first.from, last.to);
    assert.deepEqual(
      all,
      whole.map(({ from, to }) => range(from, to)),
    );
  }
  const wrong = (await failures(ctx, store)).filter(({ detail }) => !detail.includes('the slot was lost'));
  assert.deepEqual(wrong, []);
}
