import assert from 'node:assert/strict';
import { renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { filesStack } from './testing.ts';

/** Where a folder is wanted, a link is refused: the store opens, and can not be listed. */
function breakListing(store: string): Disposable {
  const [folder, aside] = [join(store, 'snapshots'), join(store, '..', 'aside')];
  renameSync(folder, aside);
  symlinkSync(aside, folder);
  return {
    [Symbol.dispose]() {
      rmSync(folder);
      renameSync(aside, folder);
    },
  };
}

describe('one store that can not be listed', () => {
  test('is named with exit 3, and the others are read all the same', async () => {
    using stack = await filesStack();
    using _broken = breakListing(join(stack.dir, 'one'));
    const commands = ['list', 'show', 'status', 'verify', 'verify latest', 'restore latest --preview', 'drill'];
    for (const command of commands) {
      const [name = '', ...args] = command.split(' ');
      const told = await stack.run(name, ...args);
      assert.equal(told.exit, 3, `${command}: ${told.failure}`);
      assert.deepEqual(told.json.unreadable_stores, ['one'], command);
      assert.match(told.notes, /store one could not be read/, command);
    }
  });

  test('is named beside the rows that another one gives', async () => {
    using stack = await filesStack();
    using _broken = breakListing(join(stack.dir, 'one'));
    const rows = join(stack.dir, 'rows.ndjson');
    const { exit, json } = await stack.run('extract', '--from', 'docs', '--path', 'a.txt', '--output', rows);
    assert.deepEqual([exit, json.rows, json.unreadable_stores], [3, 1, ['one']]);
  });

  test('does not keep prune from the others', async () => {
    using stack = await filesStack();
    using _broken = breakListing(join(stack.dir, 'one'));
    const { exit, json } = await stack.run('prune');
    const stores = json.stores as { store: string; error?: object }[];
    assert.equal(exit, 3);
    assert.deepEqual(
      stores.map(({ store, error }) => [store, error !== undefined]),
      [
        ['one', true],
        ['two', false],
      ],
    );
  });

  test('does not matter for a point that was named in full', async () => {
    using stack = await filesStack();
    const { points } = (await stack.run('list')).json as { points: { id: string }[] };
    using _broken = breakListing(join(stack.dir, 'one'));
    rmSync(join(stack.dir, 'data'), { recursive: true });
    assert.equal((await stack.run('restore', points[0]?.id ?? '', '--yes')).exit, 0);
  });

  test('is the reason when the point is in no other', async () => {
    using stack = await filesStack();
    using _broken = breakListing(join(stack.dir, 'one'));
    const { exit, failure } = await stack.run('restore', '1999', '--preview');
    assert.match(failure, /there is no point 1999, and store one could not be read/);
    assert.equal(exit, 17);
  });
});
