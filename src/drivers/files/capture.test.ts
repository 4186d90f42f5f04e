import assert from 'node:assert/strict';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readAll } from '../../core/bytes.ts';
import type { Capture, FileAttributes, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { filesDriver } from './driver.ts';
import type { Entry } from './entries.ts';
import { freshDir } from './testing.ts';

interface Meddled {
  readonly warnings: Capture['warnings'];
  readonly entries: readonly Entry[];
  readonly attributes: ReadonlyMap<string, FileAttributes | undefined>;
  readonly source: Source;
}

/**
 * Of a directory with the file 'first' and some more: when it is stored, by itself as it fills what is stored together,
 * the others were looked at, and not opened.
 */
async function capturedWhile(fill: (root: string) => void, meddle: (root: string) => void): Promise<Meddled> {
  const root = join(freshDir(), 'root');
  mkdirSync(root);
  writeFileSync(join(root, 'first'), Buffer.alloc(1024 * 1024));
  for (let i = 10; i < 30; i++) writeFileSync(join(root, `of-many-${i}`), '');
  fill(root);
  const ctx = liveContext();
  const { sink, source } = memoryParts();
  const attributes = new Map<string, FileAttributes | undefined>();
  const { warnings } = await filesDriver.open({ root, paths: ['/'] }).capture(ctx, {
    ...sink,
    put: async (c, name, body, meta) => {
      attributes.set(name, meta?.attributes);
      if (name === 'data/first') meddle(root);
      return await sink.put(c, name, body, meta);
    },
  });
  const text = String(await readAll(source.get(ctx, 'entries.ndjson')));
  const entries: Entry[] = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  return { warnings, entries, attributes, source };
}

test('a symbolic link that vanishes, or gives way to a file, after it was looked at is a warning', async () => {
  const { warnings, entries } = await capturedWhile(
    (root) => {
      for (const name of ['x-gone', 'x-replaced', 'x-stays']) symlinkSync('anywhere', join(root, name));
    },
    (root) => {
      for (const name of ['x-gone', 'x-replaced']) rmSync(join(root, name));
      writeFileSync(join(root, 'x-replaced'), 'a file now');
    },
  );
  assert.deepEqual(warnings, ['/x-gone vanished while it was captured', '/x-replaced vanished while it was captured']);
  assert.equal(entries.find(({ name }) => name === '/x-stays')?.target, 'anywhere');
});

test('a file is never read through a link that took the place of its directory', async () => {
  const outside = freshDir();
  writeFileSync(join(outside, 'shadow'), 'the secrets of others', { mode: 0o600 });
  const { warnings, entries, attributes } = await capturedWhile(
    (root) => {
      mkdirSync(join(root, 'x'));
      writeFileSync(join(root, 'x/shadow'), 'harmless');
    },
    (root) => {
      renameSync(join(root, 'x'), join(root, '../x'));
      symlinkSync(outside, join(root, 'x'));
    },
  );
  assert.deepEqual(warnings, ['/x/shadow vanished while it was captured']);
  assert.ok(!attributes.has('data/x/shadow'));
  assert.ok(!entries.some(({ name }) => name === '/x/shadow'));
});

test('a directory that gives way to a link before the walk comes to it is not walked', async () => {
  const outside = freshDir();
  writeFileSync(join(outside, 'shadow'), 'the secrets of others', { mode: 0o600 });
  const { warnings, entries } = await capturedWhile(
    (root) => {
      for (let i = 100; i < 200; i++) writeFileSync(join(root, `of-many-${i}`), '');
      mkdirSync(join(root, 'x'));
    },
    (root) => {
      renameSync(join(root, 'x'), join(root, '../x'));
      symlinkSync(outside, join(root, 'x'));
    },
  );
  assert.deepEqual(warnings, ['/x/ vanished while it was captured']);
  assert.ok(!entries.some(({ name }) => name.startsWith('/x/')));
});

test('a file that a rename replaced after it was looked at is stored with its own mode, time and inode', async () => {
  const whole = 2 * 1024 * 1024;
  for (const bytes of [11, whole]) {
    let ino = 0;
    const { warnings, entries, attributes } = await capturedWhile(
      (root) => writeFileSync(join(root, 'x'), 'old', { mode: 0o644 }),
      (root) => {
        writeFileSync(join(root, '../x'), Buffer.alloc(bytes, 'new'));
        chmodSync(join(root, '../x'), 0o600);
        utimesSync(join(root, '../x'), 1_100_000_000, 1_100_000_000);
        renameSync(join(root, '../x'), join(root, 'x'));
        ino = statSync(join(root, 'x')).ino;
      },
    );
    assert.deepEqual(warnings, []);
    const entry = entries.find(({ name }) => name === '/x');
    assert.deepEqual([entry?.bytes, entry?.mode, entry?.mtime_ns], [bytes, 0o600, '1100000000000000000']);
    assert.ok(entry?.seen === undefined || entry.seen.ino === String(ino));
    const { mode, mtime } = attributes.get('data/x') ?? {};
    assert.deepEqual([mode, mtime], [0o600, '2004-11-09T11:33:20.000Z']);
  }
});

test('a file with several names that a rename replaced is not taken for what its other names hold', async () => {
  const { warnings, entries } = await capturedWhile(
    (root) => {
      writeFileSync(join(root, 'x-a'), 'shared');
      linkSync(join(root, 'x-a'), join(root, 'x-b'));
    },
    (root) => {
      writeFileSync(join(root, '../x'), 'saved anew');
      renameSync(join(root, '../x'), join(root, 'x-a'));
    },
  );
  assert.deepEqual(warnings, ['/x-a vanished while it was captured']);
  const [a, b] = ['/x-a', '/x-b'].map((name) => entries.find((entry) => entry.name === name));
  assert.equal(a, undefined);
  assert.deepEqual([b?.type, b?.bytes], ['file', 6]);
});

test('a file that was just written is read again the next time, however long it took to store it', async () => {
  const root = freshDir();
  writeFileSync(join(root, 'x'), 'just written');
  let aheadMs = 0;
  const ctx = liveContext({ now: () => new Date(Date.now() + aheadMs) });
  const { sink, source } = memoryParts();
  await filesDriver.open({ root, paths: ['/'] }).capture(ctx, {
    ...sink,
    put: async (c, name, body, meta) => {
      aheadMs += 60_000;
      return await sink.put(c, name, body, meta);
    },
  });
  assert.doesNotMatch(String(await readAll(source.get(ctx, 'entries.ndjson'))), /seen/);
});
