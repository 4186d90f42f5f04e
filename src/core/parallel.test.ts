import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { gate, mapBounded, mapOrdered } from './parallel.ts';

/** Counts how much of it runs at once; the earlier an item, the longer it takes. */
function counted(items: number): { work: (item: number) => Promise<number>; most: () => number; now: () => number } {
  let [running, most] = [0, 0];
  return {
    async work(item) {
      most = Math.max(most, (running += 1));
      for (let i = item; i < items; i++) await turn();
      running -= 1;
      return item * 2;
    },
    most: () => most,
    now: () => running,
  };
}
const numbers = Array.from({ length: 20 }, (_, i) => i);
const doubled = numbers.map((n) => n * 2);
async function* stream(): AsyncIterable<number> {
  yield* numbers;
}

test('results keep the order of the inputs, and no more than the limit run at once', async () => {
  for (const items of [numbers, stream()]) {
    const { work, most } = counted(numbers.length);
    assert.deepEqual(await mapBounded(items, 3, work), doubled);
    assert.equal(most(), 3);
  }
  const { work, most } = counted(numbers.length);
  assert.deepEqual(await Array.fromAsync(mapOrdered(stream(), 3, work)), doubled);
  assert.equal(most(), 3);
});

test('after a failure nothing new begins, and nothing runs on behind the back', async () => {
  const { work, now } = counted(numbers.length);
  const begun: number[] = [];
  const failing = async (item: number): Promise<number> => {
    begun.push(item);
    if (item === 4) throw new Error('the fourth');
    return await work(item);
  };
  await assert.rejects(mapBounded(numbers, 3, failing), /the fourth/);
  assert.equal(now(), 0);
  assert.ok(begun.length < numbers.length);
  await assert.rejects(Array.fromAsync(mapOrdered(stream(), 3, failing)), /the fourth/);
  assert.equal(now(), 0);
});

test('inputs that fail are failures too, after what runs has ended', async () => {
  async function* broken(): AsyncIterable<number> {
    yield 1;
    yield 2;
    throw new Error('no more');
  }
  for (const map of [mapBounded, (...args: Parameters<typeof mapOrdered>) => Array.fromAsync(mapOrdered(...args))]) {
    const { work, now } = counted(5);
    await assert.rejects(Promise.resolve(map(broken(), 8, work as (item: unknown) => Promise<unknown>)), /no more/);
    assert.equal(now(), 0);
  }
});

test('after a failure the inputs are closed, and it is the one that is thrown if that fails too', async () => {
  let closed = 0;
  const inputs = (close: () => Promise<never>): AsyncIterable<number> => ({
    [Symbol.asyncIterator]: () => ({
      next: async () => ({ done: false, value: 1 }),
      return() {
        closed += 1;
        return close();
      },
    }),
  });
  const broken = (): never => {
    throw new Error('closing failed');
  };
  for (const close of [async () => broken(), broken]) {
    await assert.rejects(
      mapBounded(inputs(close), 2, async () => await Promise.reject(new Error('the first'))),
      /the first/,
    );
  }
  assert.equal(closed, 2);
});

test('whoever stops reading early stops the work', async () => {
  const { work, now } = counted(numbers.length);
  for await (const result of mapOrdered(stream(), 3, work)) if (result === 4) break;
  assert.equal(now(), 0);
});

test('a gate lets so many through, and the next one when one leaves, also by failing', async () => {
  const { run } = gate(2);
  const { work, most } = counted(10);
  const all = numbers.slice(0, 10).map((n) =>
    run(async () => {
      await work(n);
      if (n === 3) throw new Error('left in anger');
    }),
  );
  const results = await Promise.allSettled(all);
  assert.equal(results.filter(({ status }) => status === 'rejected').length, 1);
  assert.equal(most(), 2);
});

test('a gate lets in what weighs more while anything is left, and the others when it leaves', async () => {
  const { run } = gate(10);
  const inside: number[] = [];
  const leave = new Map<number, () => void>();
  const enter = (weight: number): Promise<void> =>
    run(async () => {
      inside.push(weight);
      await new Promise<void>((resolve) => leave.set(weight, resolve));
    }, weight);
  const all = [4, 5, 30, 9, 3, 1].map(enter);
  assert.deepEqual(inside, [4, 5, 30]);
  leave.get(4)?.();
  leave.get(5)?.();
  await turn();
  assert.deepEqual(inside, [4, 5, 30], 'what is larger than all of it is in alone');
  leave.get(30)?.();
  await turn();
  assert.deepEqual(inside, [4, 5, 30, 9, 3]);
  leave.get(3)?.();
  await turn();
  for (const go of leave.values()) go();
  await Promise.all(all);
});
