import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { merged } from './merged.ts';

test('runs that are in order become one list that is in order, whatever they came in', async () => {
  const run = fc.array(fc.integer(), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(fc.array(run, { maxLength: 12 }), fc.integer({ min: 1, max: 4 }), async (runs, size) => {
      let closed = 0;
      async function* batches(items: number[]): AsyncIterable<readonly number[]> {
        const sorted = items.toSorted((a, b) => a - b);
        try {
          yield [];
          for (let at = 0; at < sorted.length; at += size) yield sorted.slice(at, at + size);
        } finally {
          closed += 1;
        }
      }
      const list = await Array.fromAsync(merged(runs.map(batches), (a, b) => a - b));
      assert.deepEqual(
        list.flat(),
        runs.flat().sort((a, b) => a - b),
      );
      assert.equal(closed, runs.length);
    }),
  );
});

test('of equal items those of earlier runs come first', async () => {
  const item = fc.integer({ min: 0, max: 3 });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(item, { maxLength: 6 }), { maxLength: 9 }), async (runs) => {
      const named = runs.map((run, source) => run.toSorted().map((value, at) => ({ value, source, at })));
      async function* whole<T>(items: T): AsyncIterable<T> {
        yield items;
      }
      const list = await Array.fromAsync(merged(named.map(whole), (a, b) => a.value - b.value));
      const expected = named.flat().sort((a, b) => a.value - b.value); // which is stable
      assert.deepEqual(list.flat(), expected);
    }),
  );
});
