import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { merged } from './merged.ts';

test('runs that are in order become one list that is in order, whatever they came in', async () => {
  const run = fc.array(fc.integer(), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(fc.array(run, { maxLength: 5 }), fc.integer({ min: 1, max: 4 }), async (runs, size) => {
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
