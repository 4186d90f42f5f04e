// What a store does with journals.

import assert from 'node:assert/strict';
import type { JournalRange, JournalWriter } from '../../core/journal.ts';
import type { Context } from '../../core/model.ts';
import { testContext } from '../../core/testing.ts';
import { COMPONENT, cut, gap, range, readAllOf, start, stretches, written } from './journal-rig.suite.ts';
import {
  created,
  declare,
  fails,
  findings,
  keys,
  noise,
  P1,
  reopened,
  type StoreRig,
  save,
  total,
} from './rig.suite.ts';

/** In any bucket. */
export function keepsJournals(rig: StoreRig): void {
  const it = declare(rig);
  const ctx = testContext();

  it('gives back a journal range by range, from any position to any', async () => {
    const { bucket, store } = await created(rig, ctx);
    const begin = start(0, { detail: { history: '1\t0/5000000\tno recovery target specified\n' } });
    const history = [range(0, 10), range(10, 20, Buffer.alloc(0)), range(20, 50, noise(1, 1_500_000))];
    {
      await using writer = await store.journal(COMPONENT).write(ctx);
      assert.deepEqual([writer.lineage(), writer.durable()], [null, null]);
      const lineage = await writer.begin(ctx, begin);
      assert.deepEqual([writer.lineage(), writer.durable()], [lineage, cut(0)]);
      assert.equal(await writer.last(ctx), null);
      for (const each of history) {
        await writer.append(ctx, each);
        assert.deepEqual(writer.durable(), each.to);
      }
    }
    await store[Symbol.asyncDispose]();
    await using again = await reopened(rig, ctx, bucket);
    const [lineage, ...others] = await Array.fromAsync(again.journal(COMPONENT).lineages(ctx));
    assert.ok(lineage && others.length === 0);
    const { id, begunAt: _, ...told } = lineage;
    assert.deepEqual(told, begin);
    assert.deepEqual(await readAllOf(ctx, again, id, 0), history);
    assert.deepEqual(await readAllOf(ctx, again, id, 15, 20), history.slice(1, 2));
    assert.deepEqual(await readAllOf(ctx, again, id, 9, 21), history);
    assert.deepEqual(await readAllOf(ctx, again, id, 50), []);
    await fails('missing', readAllOf(ctx, again, id, 0, 51));
    await fails('missing', readAllOf(ctx, again, id, 51));
    await fails('missing', readAllOf(ctx, again, '00000009', 0));
    assert.deepEqual(await stretches(ctx, again), ['1: 0-50 3']);
    assert.deepEqual(await Array.fromAsync(again.journals(ctx)), [COMPONENT]);
    assert.deepEqual(await findings(ctx, again), []);
  });

  it('goes on with a journal where it ends', async () => {
    const { bucket, store } = await created(rig, ctx);
    {
      await using writer = await store.journal(COMPONENT).write(ctx);
      await written(ctx, writer, start(), [10, 20]);
    }
    await using again = await reopened(rig, ctx, bucket);
    await using writer = await again.journal(COMPONENT).write(ctx);
    const id = writer.lineage()?.id ?? '';
    assert.deepEqual([writer.lineage()?.source, writer.durable()], [{ timeline: 1 }, cut(20)]);
    assert.deepEqual(await lastOf(ctx, writer), range(10, 20));
    await writer.append(ctx, range(20, 30));
    assert.deepEqual(await lastOf(ctx, writer), range(20, 30));
    assert.deepEqual(await readAllOf(ctx, again, id, 0), [range(0, 10), range(10, 20), range(20, 30)]);
    assert.deepEqual(await findings(ctx, again), []);
    await store[Symbol.asyncDispose]();
  });

  it('takes a range once, and stops at the same positions with other bytes (fault 33)', async () => {
    await using store = (await created(rig, ctx)).store;
    await using writer = await store.journal(COMPONENT).write(ctx);
    const id = await written(ctx, writer, start(), [10, 20, -30, 40]);
    await writer.append(ctx, range(10, 20));
    await writer.gap(ctx, gap(20, 30, 'told in other words'));
    await fails('different', writer.append(ctx, range(10, 20, noise(9, 100))));
    await fails('different', writer.append(ctx, range(10, 15)));
    await fails('different', writer.append(ctx, range(35, 45)));
    await fails('different', writer.append(ctx, range(20, 30)));
    await fails('different', writer.gap(ctx, gap(10, 20)));
    assert.deepEqual(writer.durable(), cut(40));
    await assert.rejects(writer.append(ctx, range(41, 50)), /noted as a gap first/);
    await writer.append(ctx, range(40, 50));
    assert.deepEqual(await readAllOf(ctx, store, id, 0, 20), [range(0, 10), range(10, 20)]);
  });

  it('tells where a gap is and why, and replays nothing across it (fault 25)', async () => {
    await using store = (await created(rig, ctx)).store;
    await using writer = await store.journal(COMPONENT).write(ctx);
    const id = await written(ctx, writer, start(), [10, 20, -30, 40]);
    assert.deepEqual(await stretches(ctx, store), ['1: 0-20 2', '1: 20-30 the slot was lost', '1: 30-40 1']);
    const place = { lineage: id, position: cut(0).position };
    const given: string[] = [];
    const reading = async (): Promise<void> => {
      for await (const { to } of store.journal(COMPONENT).read(ctx, place, null)) given.push(to.position);
    };
    await assert.rejects(reading(), { code: 'missing', message: /a gap from 0*20 .* to 0*30 .*the slot was lost/ });
    assert.deepEqual(given, [cut(10).position, cut(20).position]);
    assert.deepEqual(await readAllOf(ctx, store, id, 0, 20), [range(0, 10), range(10, 20)]);
    assert.deepEqual(await readAllOf(ctx, store, id, 30), [range(30, 40)]);
    for (const readData of [0, 1]) {
      const [found, ...others] = await findings(ctx, store, readData);
      assert.deepEqual([found?.verdict, others], ['fail', []]);
      assert.match(`${found?.check} ${found?.detail}`, /main-db.*from 0*20 to 0*30 .*the slot was lost/);
    }
  });

  it('finds the range that arrived first after a moment, and tells the clocks at both ends', async () => {
    await using store = (await created(rig, ctx)).store;
    const clock = (aheadMs: number) => ({ aheadMs, errorMs: 3 });
    let id = '';
    {
      await using first = await store.journal(COMPONENT).write(ctx);
      id = (await first.begin(ctx, start())).id;
      await first.append(ctx, { ...range(0, 10), clock: clock(1) });
      await first.append(ctx, { ...range(10, 20), clock: clock(2) });
    }
    await using writer = await store.journal(COMPONENT).write(ctx); // in a folder of its own
    await writer.gap(ctx, gap(20, 30));
    await writer.append(ctx, { ...range(30, 40), clock: clock(3) });
    await writer.append(ctx, range(40, 50));
    const journal = store.journal(COMPONENT);
    const found = async (at: number) => (await journal.arrived(ctx, id, new Date(cut(at).at)))?.to.position ?? null;
    const wanted = [0, 10, 11, 20, 21, 40, 50, 51];
    const expected = [10, 10, 20, 20, 40, 40, 50, null].map((at) => at && cut(at).position);
    assert.deepEqual(await Promise.all(wanted.map(found)), expected);
    const { body: _, ...told } = { ...range(30, 40), clock: clock(3) };
    assert.deepEqual(await journal.arrived(ctx, id, new Date(cut(25).at)), told);
    assert.deepEqual(
      await Array.fromAsync(journal.stretches(ctx), ({ clocks: { from, to } }) => [from?.aheadMs, to?.aheadMs]),
      [
        [1, 2],
        [undefined, undefined],
        [3, undefined],
      ],
    );
  });

  it('keeps lineages apart', async () => {
    await using store = (await created(rig, ctx)).store;
    await using writer = await store.journal(COMPONENT).write(ctx);
    const first = await written(ctx, writer, start(), [10, 20]);
    const parent = { lineage: first, position: cut(15).position };
    const second = await written(ctx, writer, start(15, { base: null, why: 'failover', parent }), [18, 30]);
    assert.ok(first < second);
    const told = await Array.fromAsync(store.journal(COMPONENT).lineages(ctx), ({ why, parent: from }) => [why, from]);
    assert.deepEqual(told, [
      ['first', null],
      ['failover', parent],
    ]);
    assert.deepEqual(await readAllOf(ctx, store, first, 0), [range(0, 10), range(10, 20)]);
    assert.deepEqual(await readAllOf(ctx, store, second, 15), [range(15, 18), range(18, 30)]);
    await fails('missing', readAllOf(ctx, store, second, 10));
    assert.deepEqual(await stretches(ctx, store), ['1: 0-20 2', '2: 15-30 2']);
    assert.deepEqual(await findings(ctx, store), []);
  });

  it('lets one process at a time write the journal of a component', async () => {
    const { bucket, store } = await created(rig, ctx);
    await using other = await reopened(rig, ctx, bucket);
    {
      await using writer = await store.journal(COMPONENT).write(ctx);
      await written(ctx, writer, start(), [10]);
      await fails('locked', other.journal(COMPONENT).write(ctx));
      await fails('locked', other.journal(COMPONENT).forget(ctx));
      await using beside = await other.journal('cache').write(ctx);
      await written(ctx, beside, start(), [5]);
      await writer.append(ctx, range(10, 20));
    }
    await using writer = await other.journal(COMPONENT).write(ctx);
    assert.deepEqual(writer.durable(), cut(20));
    assert.deepEqual(await Array.fromAsync(other.journals(ctx)), ['cache', COMPONENT]);
    await store[Symbol.asyncDispose]();
  });

  it('prunes what no kept point needs, and nothing before', async () => {
    const { bucket, store } = await created(rig, ctx);
    await using writer = await store.journal(COMPONENT).write(ctx);
    const journal = store.journal(COMPONENT);
    const first = await written(ctx, writer, start(), [10, 20, 30]);
    const second = await written(ctx, writer, start(100, { why: 'full resync' }), [110, 120]);
    const parent = { lineage: first, position: cut(30).position };
    const third = await written(ctx, writer, start(30, { why: 'failover', parent }), [40, 50]);
    const at = (lineage: string, position: number) => ({ lineage, position: cut(position).position });

    assert.equal((await journal.prune(ctx, [at(first, 5), at(second, 100)], { apply: true })).objects, 0);
    const before = await total(ctx, bucket);
    const pruned = await journal.prune(ctx, [at(first, 15), at(first, 25), at(second, 110)], { apply: true });
    assert.equal(pruned.objects, 2);
    assert.ok(pruned.bytes > 0 && (await total(ctx, bucket)) < before + 2000);
    assert.deepEqual(await stretches(ctx, store), ['1: 10-30 2', '2: 110-120 1', '3: 30-50 2']);
    assert.deepEqual(await readAllOf(ctx, store, first, 15), [range(10, 20), range(20, 30)]);
    await fails('missing', readAllOf(ctx, store, first, 9));
    assert.deepEqual(await findings(ctx, store), []);

    await journal.prune(ctx, [at(third, 50)], { apply: true });
    await fails('missing', readAllOf(ctx, store, first, 15));
    assert.deepEqual(await stretches(ctx, store), []);
    await writer.append(ctx, range(50, 60));
    await journal.prune(ctx, [], { apply: true });
    assert.deepEqual(await stretches(ctx, store), ['3: 50-60 1'], 'its base may not be a point yet');
    assert.deepEqual(await findings(ctx, store), []);
    await writer[Symbol.asyncDispose]();

    await using again = await journal.write(ctx);
    assert.deepEqual(again.durable(), cut(60));
    await journal.prune(ctx, [at(third, 60)], { apply: true });
    assert.equal(await again.last(ctx), null, 'nobody needs it any more');
    await again.append(ctx, range(60, 70));
    assert.deepEqual(await readAllOf(ctx, store, third, 60), [range(60, 70)]);
    assert.deepEqual(await findings(ctx, store), []);
    await store[Symbol.asyncDispose]();
  });

  it('keeps a lineage that a kept point leads into', async () => {
    await using store = (await created(rig, ctx)).store;
    await using writer = await store.journal(COMPONENT).write(ctx);
    const first = await written(ctx, writer, start(), [10, 20]);
    const parent = { lineage: first, position: cut(15).position };
    await written(ctx, writer, start(15, { base: null, parent }), [18, 30]);
    await written(ctx, writer, start(100), [110]);
    const journal = store.journal(COMPONENT);
    await journal.prune(ctx, [{ lineage: first, position: cut(15).position }], { apply: true });
    assert.deepEqual(await stretches(ctx, store), ['1: 10-20 1', '2: 15-30 2', '3: 100-110 1']);
    await journal.prune(ctx, [{ lineage: first, position: cut(16).position }], { apply: true });
    assert.deepEqual(await stretches(ctx, store), ['1: 10-20 1', '3: 100-110 1']);
    assert.deepEqual(await findings(ctx, store), []);
  });

  it('goes on where it ended when all of a journal was pruned', async () => {
    await using store = (await created(rig, ctx)).store;
    const journal = store.journal(COMPONENT);
    {
      await using writer = await journal.write(ctx);
      const lineage = await written(ctx, writer, start(), [10, 20]);
      await journal.prune(ctx, [{ lineage, position: cut(20).position }], { apply: true });
    }
    await using writer = await journal.write(ctx);
    assert.deepEqual(writer.durable(), cut(20));
    await writer.append(ctx, range(20, 30));
    assert.deepEqual(await stretches(ctx, store), ['1: 20-30 1']);
    assert.deepEqual(await findings(ctx, store), []);
  });

  it('forgets the journal of one component', async () => {
    const { bucket, store } = await created(rig, ctx);
    const before = await keys(ctx, bucket);
    for (const component of [COMPONENT, 'cache']) {
      await using writer = await store.journal(component).write(ctx);
      await written(ctx, writer, start(), [10, -20, 30]);
      await written(ctx, writer, start(100), [110]);
    }
    await store.journal(COMPONENT).forget(ctx);
    assert.deepEqual(await Array.fromAsync(store.journals(ctx)), ['cache']);
    assert.equal((await stretches(ctx, store, 'cache')).length, 4);
    await store.journal('cache').forget(ctx);
    assert.deepEqual(await keys(ctx, bucket), before);
    await store[Symbol.asyncDispose]();
  });

  it('counts journals among its bytes, and frees and removes points beside them', async () => {
    const own = testContext({ now: () => new Date() }); // real buckets have a clock of their own
    const { store } = await created(rig, own);
    await save(own, store, P1, { db: { one: '1' } });
    const before = await store.bytes(own);
    await using writer = await store.journal(COMPONENT).write(own);
    const id = await written(own, writer, start(), [10]);
    await writer.append(own, range(10, 20, noise(5, 100_000)));
    assert.ok((await store.bytes(own)) > before + 100_000);
    await store.remove(own, [P1]);
    for (let i = 0; i < 2; i++) await store.reclaim(own, { apply: true, graceMs: 0 });
    assert.equal((await readAllOf(own, store, id, 0)).length, 2);
    assert.deepEqual(await findings(own, store), []);
    await store[Symbol.asyncDispose]();
  });
}

async function lastOf(ctx: Context, writer: JournalWriter): Promise<JournalRange | null> {
  const last = await writer.last(ctx);
  return last && { ...last, body: Buffer.from(last.body) };
}
