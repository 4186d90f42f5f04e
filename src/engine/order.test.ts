import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { dependencies, inOrder, waves } from './order.ts';

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
