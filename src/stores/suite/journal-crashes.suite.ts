// What is left of journals when their writer dies, is cut off or taken for dead. In memory: these play some hundred
// processes.

import assert from 'node:assert/strict';
import { type Faults, faultyBucket } from '../../buckets/faulty.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { JournalPlace, JournalWriter } from '../../core/journal.ts';
import type { Bucket } from '../../core/storage.ts';
import { type TestContext, testContext } from '../../core/testing.ts';
import {
  COMPONENT,
  cut,
  failures,
  gap,
  interrupting,
  isOfDamage,
  range,
  readAllOf,
  start,
  written,
} from './journal-rig.suite.ts';
import { copyOf, created, declare, fails, findings, keys, reopened, type StoreRig } from './rig.suite.ts';

const MINUTE_MS = 60_000;

export function keepsWhatWasAcknowledged(rig: StoreRig): void {
  const it = declare(rig);

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
  const wrong = async () => (await failures(ctx, store)).filter(isOfDamage);
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
