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
  assert.equal(await links.entryOf(a, store), entry);
  assert.equal(await links.entryOf(b, store), entry);
  assert.deepEqual([links.count(), links.unknown()], [1, 1]);
  assert.equal(await links.entryOf(a, assert.fail), entry);
  assert.equal(links.count(), 0);
  assert.equal(await links.entryOf(b, store), entry);

  const { ctx, source } = await captured(dir);
  const entries = Buffer.concat(await Array.fromAsync(source.get(ctx, 'entries.ndjson'))).toString();
  assert.deepEqual(entries.match(/"type":"(file|hardlink)"/g), [
    '"type":"file"',
    '"type":"hardlink"',
    '"type":"file"',
    '"type":"hardlink"',
  ]);
});

test('of a file whose first name vanishes while it is read, the next name is stored', async () => {
  const links = linkTable();
  const stat = { dev: 1n, ino: 2n, birthtimeNs: 3n, nlink: 3n };
  const entry = { name: '/b', type: 'file', mode: 0o644, uid: 0, gid: 0, mtime_ns: '0' } as const;
  const answers = [
    links.entryOf(stat, async () => null),
    links.entryOf(stat, async () => entry),
    links.entryOf(stat, assert.fail),
  ];
  assert.deepEqual(await Promise.all(answers), [null, entry, entry]);
});

test('a file that got the number of one that was removed meanwhile is no further name of that', async () => {
  const links = linkTable();
  const removed = { dev: 1n, ino: 2n, birthtimeNs: 3n, nlink: 2n };
  const named = (name: string) => ({ name, type: 'file', mode: 0o644, uid: 0, gid: 0, mtime_ns: '0' }) as const;
  await links.entryOf(removed, async () => named('/removed'));
  const entry = await links.entryOf({ ...removed, birthtimeNs: 4n }, async () => named('/new'));
  assert.equal(entry?.name, '/new');
});
