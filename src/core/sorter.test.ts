import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readlinkSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { byteOrder, readAll } from './bytes.ts';
import { type Sorting, sorter } from './sorter.ts';
import { spool } from './spool.ts';
import { testContext } from './testing.ts';

interface Named {
  readonly name: string;
  readonly at: number;
}
const byName: Sorting<Named> = {
  order: (a, b) => byteOrder(a.name, b.name),
  lineOf: ({ name, at }) => JSON.stringify([name, at]),
  itemOf(line) {
    const [name, at] = JSON.parse(line) as [string, number];
    return { name, at };
  },
  charsOf: ({ name }) => name.length,
};

function scratchBytes(dir: string): number {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
  return files.reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);
}

function openFiles(dir: string): string[] {
  const paths = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ''; // that of reading the folder
    }
  });
  return paths.filter((path) => path.startsWith(dir));
}

describe('a long list', () => {
  test('comes back in order, equal ones as they came, whatever has to wait on disk, and leaves nothing', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: 'binary', minLength: 1, maxLength: 2 }), { maxLength: 60 }),
        fc.integer({ min: 1, max: 100 }),
        fc.boolean(),
        async (names, heldCharsMax, isSorted) => {
          const ctx = testContext();
          const given = (isSorted ? names.toSorted(byteOrder) : names).map((name, at) => ({ name, at }));
          {
            await using list = sorter(ctx.scratch, 'a list', { ...byName, heldCharsMax });
            await Promise.all(given.map((each) => list.add([each])));
            assert.equal(list.count, names.length);
            const read = (await Array.fromAsync(list.sorted())).flat();
            assert.deepEqual(read, given.toSorted(byName.order));
          }
          assert.deepEqual(readdirSync(ctx.scratch), []);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('that is not read to its end leaves nothing open', async () => {
    const ctx = testContext();
    {
      await using list = sorter(ctx.scratch, 'a list', { ...byName, heldCharsMax: 1 });
      for (const name of ['c', 'a', 'b', 'd', 'e']) await list.add([{ name, at: 0 }]);
      for await (const [first] of list.sorted()) {
        assert.equal(first?.name, 'a');
        break;
      }
    }
    assert.deepEqual([readdirSync(ctx.scratch), openFiles(ctx.scratch)], [[], []]);
  });

  test('takes as much memory as its lines are long, so that usual ones need no file and long ones do', async () => {
    for (const { nameChars, isInFile } of [
      { nameChars: 60, isInFile: false },
      { nameChars: 1024, isInFile: true },
    ]) {
      const ctx = testContext();
      await using list = sorter(ctx.scratch, 'a list', byName);
      for (let at = 0; at < 20_000; at++) await list.add([{ name: String(at).padStart(nameChars, 'n'), at }]);
      assert.equal(scratchBytes(ctx.scratch) > 0, isInFile);
    }
  });
});

describe('text that waits', () => {
  test('comes back whole, and each piece from its place', async () => {
    const ctx = testContext();
    const texts = ['', 'é'.repeat(200_000), 'x', '\u{1f680}\n', 'y'.repeat(300_000), 'z'];
    {
      await using waiting = spool(ctx.scratch, 'text');
      assert.equal((await readAll(waiting.body())).length, 0, 'nothing was added yet');
      const places = await Promise.all(texts.map((text) => waiting.add(text)));
      assert.equal((await readAll(waiting.body())).toString(), texts.join(''));
      for (const [i, place] of places.entries()) {
        assert.equal((await readAll(waiting.body(place, 1000))).toString(), texts[i]);
      }
    }
    assert.deepEqual(readdirSync(ctx.scratch), []);
  });

  test('of which some was lost on the disk is not taken for all of it', async () => {
    const ctx = testContext();
    await using waiting = spool(ctx.scratch, 'the tree');
    await waiting.add('x'.repeat(300_000));
    const [file = ''] = openFiles(ctx.scratch);
    truncateSync(file, 1000);
    await assert.rejects(readAll(waiting.body()), { code: 'malformed', message: /the tree/ });
  });

  test('for which there is no room is no-space, and says what it is (fault 22)', async (t) => {
    const disk = mkdtempSync(join(tmpdir(), 'lifeboat-spool-'));
    t.after(() => rmSync(disk, { recursive: true }));
    const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', disk], { encoding: 'utf8' });
    if (status !== 0) return t.skip(`no small disk can be mounted here: ${stderr}`);
    try {
      await using waiting = spool(disk, 'the tree');
      await waiting.add('x'.repeat(600_000));
      await assert.rejects(waiting.add('x'.repeat(600_000)), { code: 'no-space', message: /the tree/ });
    } finally {
      execFileSync('umount', [disk]);
    }
  });
});
