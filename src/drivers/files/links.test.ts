import assert from 'node:assert/strict';
import { linkSync, lstatSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { linkTable } from './links.ts';
import { captured, freshDir } from './testing.ts';

test('a file with several names is remembered until the last of them was seen, and no more than may be', async () => {
  const dir = freshDir();
  const file = (name: string) => {
    writeFileSync(join(dir, name), name);
    linkSync(join(dir, name), join(dir, `${name}-again`));
    return lstatSync(join(dir, name), { bigint: true });
  };
  const [a, b] = [file('a'), file('b')];
  const entry = { name: '/a', type: 'file', mode: 0o644, uid: 0, gid: 0, mtime_ns: '0' } as const;
  const store = async () => entry;
  const links = linkTable(1);
  assert.deepEqual(await links.entryOf(a, store), { entry, first: true });
  assert.deepEqual(await links.entryOf(b, store), { entry, first: true });
  assert.deepEqual([links.count(), links.unknown()], [1, 1]);
  assert.deepEqual(await links.entryOf(a, assert.fail), { entry, first: false });
  assert.equal(links.count(), 0);
  assert.equal((await links.entryOf(b, store)).first, true);

  const { ctx, source } = await captured(dir);
  const entries = Buffer.concat(await Array.fromAsync(source.get(ctx, 'entries.ndjson'))).toString();
  assert.deepEqual(entries.match(/"type":"(file|hardlink)"/g), [
    '"type":"file"',
    '"type":"hardlink"',
    '"type":"file"',
    '"type":"hardlink"',
  ]);
});
