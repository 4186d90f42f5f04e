import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { byteOrder } from '../core/bytes.ts';
import { testContext } from '../core/testing.ts';
import { dependencies, inOrder, waves } from './order.ts';
import { spool } from './spool.ts';

const left = (dir: string): string[] => readdirSync(dir).filter((name) => name.startsWith('spool-'));

describe('a long list', () => {
  test('comes back in byte order of name, from as many files as it took, and leaves none', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.string({ unit: 'binary', minLength: 1, maxLength: 8 }), { maxLength: 60 }),
        fc.integer({ min: 1, max: 100 }),
        async (names, charsMax) => {
          const ctx = testContext();
          {
            await using list = spool(ctx, charsMax);
            await Promise.all(names.map((name, at) => list.add([{ name, text: String(at) }])));
            assert.equal(list.count, names.length);
            const read = (await Array.fromAsync(list.sorted())).flat();
            assert.deepEqual(
              read.map(({ name }) => name),
              names.toSorted(byteOrder),
            );
            for (const { name, text } of read) assert.equal(names[Number(text)], name);
          }
          assert.deepEqual(left(ctx.scratch), []);
        },
      ),
      { numRuns: 40 },
    );
  });

  test('that is not read to its end leaves nothing open', async () => {
    const ctx = testContext();
    {
      await using list = spool(ctx, 4);
      for (const name of ['c', 'a', 'b', 'd', 'e']) await list.add([{ name, text: name }]);
      for await (const [first] of list.sorted()) {
        assert.equal(first?.name, 'a');
        break;
      }
    }
    assert.deepEqual(left(ctx.scratch), []);
  });

  test('takes as much memory as its names are long, so that usual ones need no file and long ones do', async () => {
    for (const { entries, nameChars, files } of [
      { entries: 20_000, nameChars: 60, files: 0 },
      { entries: 20_000, nameChars: 1024, files: 2 },
    ]) {
      const ctx = testContext();
      await using list = spool(ctx);
      for (let i = 0; i < entries; i++) {
        await list.add([{ name: String(i).padStart(nameChars, 'n'), text: `4096 sha256:${'0'.repeat(64)}` }]);
      }
      const runs = left(ctx.scratch).flatMap((dir) => readdirSync(join(ctx.scratch, dir)));
      assert.equal(runs.length, files);
    }
  });
});

describe('an order', () => {
  const all = [
    { name: 'web', restoreAfter: ['app', 'cache'] },
    { name: 'app', restoreAfter: ['db'] },
    { name: 'cache', restoreAfter: [] },
    { name: 'db', restoreAfter: [] },
  ];

  test('runs each after what it needs and otherwise at the same time, within the limit', async () => {
    const before = dependencies(all, ['web', 'app', 'cache', 'db']);
    assert.deepEqual(waves(before), [['cache', 'db'], ['app'], ['web']]);
    for (const limit of [1, 2, 9]) {
      const done: string[] = [];
      let [running, most] = [0, 0];
      const results = await inOrder<number>(before, limit, async (name, earlier) => {
        most = Math.max(most, ++running);
        for (const each of before.get(name) ?? []) assert.ok(done.includes(each) && earlier.has(each));
        await new Promise((resolve) => setImmediate(resolve));
        done.push(name);
        running -= 1;
        return name.length;
      });
      assert.deepEqual(
        [...results],
        [
          ['web', 3],
          ['app', 3],
          ['cache', 5],
          ['db', 2],
        ],
      );
      assert.equal(most, Math.min(limit, 2));
    }
  });

  test('of one that follows itself is refused', () => {
    assert.throws(() => dependencies([{ name: 'a', restoreAfter: ['a'] }], ['a']), /a after a/);
  });
});
