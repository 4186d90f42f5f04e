// Long lives of a journal: of many ranges, and of any steps with deaths between, compared with what was acknowledged.

import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type Faults, faultyBucket } from '../../buckets/faulty.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { JournalWriter } from '../../core/journal.ts';
import type { Context } from '../../core/model.ts';
import type { Bucket, Store } from '../../core/storage.ts';
import { type TestContext, testContext } from '../../core/testing.ts';
import { COMPONENT, counting, cut, failures, gap, isOfDamage, range, readAllOf, start } from './journal-rig.suite.ts';
import { created, declare, fails, findings, reopened, type StoreRig } from './rig.suite.ts';

const RUNS = 40;

export function outlivesMuch(rig: StoreRig): void {
  const it = declare(rig);

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
  const wrong = (await failures(ctx, store)).filter(isOfDamage);
  assert.deepEqual(wrong, []);
}
