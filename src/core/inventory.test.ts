import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bytesOf } from './bytes.ts';
import { inventoryFrom, inventoryOf, judge, paired, putInventory } from './inventory.ts';
import type { InventoryLine } from './model.ts';
import { memoryParts, testContext } from './testing.ts';
import { worst } from './verdict.ts';

const ctx = testContext();
const table = (name: string, count: number | null, digest: string | null): InventoryLine => ({
  kind: 'table',
  name,
  count,
  digest,
});

const lines = fc.uniqueArray(
  fc.record(
    {
      kind: fc.constantFrom('table', 'keys', 'Ünlike'),
      name: fc.string({ unit: 'binary' }),
      count: fc.option(fc.nat()),
      digest: fc.option(fc.string()),
    },
    { noNullPrototype: true },
  ),
  { selector: ({ kind, name }) => `${kind}\0${name}`, maxLength: 20 },
);

test('an inventory comes back as it was put, whatever the names', async () => {
  await fc.assert(
    fc.asyncProperty(lines, async (all) => {
      const { sink, source } = memoryParts();
      const ordered = await Array.fromAsync(inventoryFrom(all).lines(ctx));
      await putInventory(ctx, sink, ordered);
      assert.deepEqual(await Array.fromAsync(inventoryOf(source).lines(ctx)), ordered);
    }),
  );
});

test('two inventories are walked side by side, and no line is lost', async () => {
  await fc.assert(
    fc.asyncProperty(lines, lines, async (left, right) => {
      const pairs = await Array.fromAsync(paired(ctx, inventoryFrom(left), inventoryFrom(right)));
      assert.equal(pairs.filter(({ expected }) => expected).length, left.length);
      assert.equal(pairs.filter(({ actual }) => actual).length, right.length);
      const key = (line: InventoryLine): string => JSON.stringify([line.kind, line.name]);
      const known = new Set(left.map(key));
      const common = right.filter((line) => known.has(key(line)));
      assert.equal(pairs.filter(({ expected, actual }) => expected && actual).length, common.length);
    }),
  );
});

test('equal is only what was counted and digested alike', () => {
  const was = table('orders', 3, 'a');
  const verdict = (actual: InventoryLine | undefined, expected: InventoryLine | undefined = was): string =>
    judge({ expected, actual }, 'orders').verdict;
  assert.equal(verdict(was), 'pass');
  assert.equal(verdict(table('orders', 3, 'b')), 'fail');
  assert.equal(verdict(table('orders', 4, 'a')), 'fail');
  assert.equal(verdict(undefined), 'fail');
  assert.equal(judge({ expected: undefined, actual: was }, 'orders').verdict, 'fail');
  assert.equal(verdict(table('orders', 3, null)), 'unknown');
  assert.equal(verdict(table('orders', null, null)), 'unknown');
  assert.equal(verdict(table('orders', 4, null)), 'fail', 'counts that differ are a difference without digests too');
  assert.equal(verdict(table('orders', null, 'a')), 'pass');
});

test('a line that is none makes the inventory malformed, not short', async () => {
  for (const text of ['{', '{}', '{"kind":"table","name":"x","count":"3","digest":null}', '[]']) {
    const { sink, source } = memoryParts();
    await sink.put(ctx, 'inventory.ndjson', bytesOf(`${text}\n`));
    await assert.rejects(Array.fromAsync(inventoryOf(source).lines(ctx)), { code: 'malformed' });
  }
});

test('the worst verdict wins, and nothing checked is unknown', () => {
  assert.equal(worst([]), 'unknown');
  assert.equal(worst(['pass', 'pass']), 'pass');
  assert.equal(worst(['pass', 'unknown']), 'unknown');
  assert.equal(worst(['unknown', 'fail', 'pass']), 'fail');
});
