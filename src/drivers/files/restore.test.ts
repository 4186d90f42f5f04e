import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bytesOf, readAll } from '../../core/bytes.ts';
import { inventoryOf } from '../../core/inventory.ts';
import { getAll } from '../../core/many-parts.ts';
import type { Source } from '../../core/model.ts';
import { memoryParts, type TestContext } from '../../core/testing.ts';
import { liveInventory } from './capture.ts';
import { filesDriver } from './driver.ts';
import { ENTRIES_PART } from './entries.ts';
import { restore } from './restore.ts';
import { captured, filledRoot, freshDir, verdicts } from './testing.ts';
import { writtenFiles } from './written.ts';

test('fault 22: a target without space is refused before anything is written', async () => {
  const { ctx, source } = await captured(filledRoot());
  const target = join(freshDir(), 'new');
  const huge = await altered(ctx, source, (entry) =>
    entry.name === '/app/large.bin' ? { ...entry, bytes: 2 ** 52 } : entry,
  );
  await assert.rejects(filesDriver.open({ root: target, paths: ['/'] }).restore(ctx, { base: huge }), {
    code: 'no-space',
  });
  assert.ok(!existsSync(target));
});

test('fault 22: a disk that fills up meanwhile is a clear failure, and the mark stays', async (t) => {
  const disk = freshDir();
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'none', disk], { encoding: 'utf8' });
  if (status !== 0) return t.skip(`no small disk can be mounted here: ${stderr}`);
  t.after(() => execFileSync('umount', [disk]));
  const { ctx, source } = await captured(filledRoot());
  const crowded: Source = {
    ...source,
    get: (c, name, range) => {
      if (name === 'data/app/large.bin') writeFileSync(join(disk, 'somebody else'), Buffer.alloc(5 * 1024 * 1024));
      return source.get(c, name, range);
    },
  };
  const target = join(disk, 'target');
  const component = filesDriver.open({ root: target, paths: ['/'] });
  await assert.rejects(component.restore(ctx, { base: crowded }), { code: 'no-space' });
  assert.ok(existsSync(join(target, '.lifeboat-incomplete')));
  assert.ok(!existsSync(join(target, 'app/large.bin')), 'half a file does not look like one');
  rmSync(join(disk, 'somebody else'));
  rmSync(target, { recursive: true });
  await component.restore(ctx, { base: source });
  assert.deepEqual(await verdicts(ctx, source, target), ['pass: 13 paths, equal digests']);
});

test('fault 22: a restore that broke off leaves a mark, and its target is refused', async () => {
  const { ctx, source } = await captured(filledRoot());
  const target = freshDir();
  const component = filesDriver.open({ root: target, paths: ['/'] });
  const broken: Source = {
    ...source,
    get: (c, name, range) => (name === 'data/hosts' ? bytesOf('other bytes') : source.get(c, name, range)),
  };
  await assert.rejects(component.restore(ctx, { base: broken }), { code: 'checksum' });
  assert.ok(existsSync(join(target, '.lifeboat-incomplete')));
  assert.ok(!existsSync(join(target, 'hosts')));
  await assert.rejects(component.restore(ctx, { base: source }), { code: 'target-not-empty', message: /unfinished/ });
  await assert.rejects(component.capture(ctx, memoryParts().sink), { code: 'blocked' });
  await component.restore(ctx, { base: source }, { replace: true });
  assert.deepEqual(await verdicts(ctx, source, target), ['pass: 13 paths, equal digests']);
});

// ---- fault 24: hostile points ------------------------------------------------------------------------

interface LooseEntry {
  name: string;
  [field: string]: unknown;
}

/** The same point with other entries. */
async function altered(ctx: TestContext, source: Source, change: (entry: LooseEntry) => LooseEntry): Promise<Source> {
  const text = (await readAll(source.get(ctx, ENTRIES_PART))).toString();
  const entries = text
    .trim()
    .split('\n')
    .map((line) => change(JSON.parse(line)));
  return withEntries(source, entries);
}

function withEntries(source: Source, entries: readonly LooseEntry[]): Source {
  const text = entries.map((entry) => `${JSON.stringify(entry)}\n`).join('');
  return { ...source, get: (c, name, range) => (name === ENTRIES_PART ? bytesOf(text) : source.get(c, name, range)) };
}

const common = { mode: 0o644, uid: 0, gid: 0, mtime_ns: '0' };
/** A point of one file 'x' whose entries are those given. */
async function hostile(
  ...entries: (Partial<LooseEntry> & { name: string })[]
): Promise<{ ctx: TestContext; point: Source }> {
  const root = freshDir();
  writeFileSync(join(root, 'x'), 'x');
  const { ctx, source } = await captured(root);
  const [, file] = (await readAll(source.get(ctx, ENTRIES_PART))).toString().trim().split('\n');
  const { bytes, sha256 } = JSON.parse(file ?? '') as LooseEntry;
  const there = (part: string): string => (part.startsWith('data/') ? 'data/x' : part);
  const content: Source = {
    ...source,
    get: (c, part) => source.get(c, there(part)),
    part: (c, part) => source.part(c, there(part)),
  };
  const whole = entries.map((entry) => ({ ...common, ...(entry.type === 'file' ? { bytes, sha256 } : {}), ...entry }));
  return { ctx, point: withEntries(content, whole) };
}

for (const name of ['/../x', '/a/../../x', '/./x', '//x', '/%2E%2E/x', '/a%2Fb', '/a%00', '/a%zz', 'x', '']) {
  test(`fault 24: the name ${JSON.stringify(name)} is refused before anything is written`, async () => {
    const { ctx, point } = await hostile({ name, type: 'file' });
    const target = join(freshDir(), 'new');
    await assert.rejects(filesDriver.open({ root: target, paths: ['/'] }).restore(ctx, { base: point }), {
      code: 'malformed',
    });
    assert.ok(!existsSync(target));
  });
}

test('what was restored is not read again, and the comparison says so, unless it was touched since or a drill asks', async () => {
  const { ctx, source } = await captured(filledRoot());
  for (const reread of [false, true]) {
    const settings = { root: freshDir(), paths: ['/'], exclude: [] };
    const written = writtenFiles();
    await restore(ctx, settings, written, { base: source }, { reread });
    const compared = async () => {
      const findings = filesDriver.compare(ctx, inventoryOf(source), liveInventory(settings, written));
      return (await Array.fromAsync(findings)).map(({ check, detail, unread }) => [`${check}: ${detail}`, unread]);
    };
    const equal = 'files are the same: 13 paths, equal digests';
    const files = reread ? [equal, undefined] : [`${equal}; 5 files as written, not read again`, true];
    assert.deepEqual(await compared(), [files]);
    const file = join(settings.root, 'app/conf.d/tls.conf');
    assert.equal(written.sumOf(statSync(file, { bigint: true })) === null, reread);
    // Whoever writes to a file changes its ctime, also when all else is as it was.
    const times = join(freshDir(), 'times');
    execFileSync('touch', ['-r', file, times]);
    writeFileSync(file, 'C', { flag: 'r+' });
    execFileSync('touch', ['-r', times, file]);
    assert.deepEqual((await compared())[0], ['/app/conf.d/tls.conf is the same: the digests differ', undefined]);
  }
});

test('fault 24: a point does not write outside of the paths of its component', async () => {
  const { ctx, point } = await hostile({ name: '/app/x', type: 'file' }, { name: '/var/x', type: 'file' });
  const target = join(freshDir(), 'new');
  const component = filesDriver.open({ root: target, paths: ['/app'] });
  await assert.rejects(component.restore(ctx, { base: point }), { code: 'different', message: /\/var\/x/ });
  const linked = await hostile({
    name: '/app/x',
    type: 'hardlink',
    target: '/etc/shadow',
    bytes: 1,
    sha256: '0'.repeat(64),
  });
  await assert.rejects(component.restore(ctx, { base: linked.point }), { code: 'different', message: /shadow/ });
  assert.ok(!existsSync(target));
});

test('fault 24: a symbolic link and then a file beneath it writes nothing through the link', async () => {
  const outside = freshDir();
  for (const below of ['/a/x', '/a/b/x']) {
    const { ctx, point } = await hostile(
      { name: '/a', type: 'symlink', target: outside },
      { name: below, type: 'file' },
    );
    const restoring = filesDriver.open({ root: freshDir(), paths: ['/'] }).restore(ctx, { base: point });
    await assert.rejects(restoring, { code: 'target-not-empty', message: /not followed/ });
  }
  const { ctx, point } = await hostile(
    { name: '/a', type: 'symlink', target: outside },
    { name: '/a/', type: 'directory', mode: 0o777 },
  );
  await assert.rejects(filesDriver.open({ root: freshDir(), paths: ['/'] }).restore(ctx, { base: point }));
  assert.deepEqual(readdirSync(outside), []);
});

test('fault 24: a link that the target holds already is not followed', async () => {
  const outside = freshDir();
  const target = freshDir();
  mkdirSync(join(target, 'app'));
  symlinkSync(outside, join(target, 'app/conf.d'));
  const { ctx, source } = await captured(filledRoot());
  const component = filesDriver.open({ root: target, paths: ['/'] });
  const select = { paths: ['/app/conf.d/tls.conf'] };
  await assert.rejects(component.restore(ctx, { base: source }, { select, replace: true }), /not followed/);
  assert.deepEqual(readdirSync(outside), []);
});

test('fault 24: a hard link to a link does not reach what that leads to', async () => {
  const outside = freshDir();
  writeFileSync(join(outside, 'secret'), 'secret');
  const { ctx, point } = await hostile(
    { name: '/a', type: 'symlink', target: join(outside, 'secret') },
    { name: '/b', type: 'hardlink', target: '/a', bytes: 1, sha256: '0'.repeat(64) },
  );
  const target = freshDir();
  await filesDriver.open({ root: target, paths: ['/'] }).restore(ctx, { base: point });
  assert.equal(readlinkSync(join(target, 'b')), join(outside, 'secret'));
  assert.equal(statSync(join(outside, 'secret')).nlink, 1);
});

test('fault 24: devices are not made', async () => {
  const { ctx, point } = await hostile({ name: '/sda', type: 'other', target: 'device' });
  const target = freshDir();
  const { warnings } = await filesDriver.open({ root: target, paths: ['/'] }).restore(ctx, { base: point });
  assert.deepEqual(warnings, ['1 socket, pipe or device is noted in the point and not made']);
  assert.deepEqual(readdirSync(target), []);
});

test('fault 24: the same name twice, or out of order, is refused', async () => {
  for (const names of [
    ['/a', '/a'],
    ['/b', '/a'],
    ['/%41', '/A'],
  ]) {
    const { ctx, point } = await hostile(...names.map((name) => ({ name, type: 'file' })));
    const component = filesDriver.open({ root: freshDir(), paths: ['/'] });
    await assert.rejects(component.restore(ctx, { base: point }), (error: { code?: string }) =>
      ['malformed', 'target-not-empty'].includes(error.code ?? ''),
    );
  }
});

test('fault 24: two names that the file system takes for one are refused, and nothing is overwritten', async () => {
  const root = freshDir();
  writeFileSync(join(root, 'README'), 'large');
  writeFileSync(join(root, 'readme'), 'small');
  const { ctx, source } = await captured(root);
  const target = freshDir();
  // Where case is ignored, the second name finds the first one's file; here one as that appears.
  const caseless: Source = {
    ...source,
    async *getAll(c, names) {
      for (const name of names) {
        if (name === 'data/readme') writeFileSync(join(target, 'readme'), 'large');
        yield* getAll(c, source, [name]);
      }
    },
  };
  const restoring = filesDriver.open({ root: target, paths: ['/'] }).restore(ctx, { base: caseless }, { jobs: 1 });
  await assert.rejects(restoring, { code: 'target-not-empty', hint: /differ in case/ });
  assert.equal(readFileSync(join(target, 'readme'), 'utf8'), 'large');
});

for (const where of ['app/conf.d', 'app/conf.d/empty']) {
  test(`a mount at ${where} is refused before what it lies in is set aside`, async (t) => {
    const root = filledRoot();
    const { ctx, source } = await captured(root, { paths: ['/app'] });
    const mount = join(root, where);
    const refused = mounted(mount, mount);
    if (refused !== null) return t.skip(`nothing can be mounted here: ${refused}`);
    t.after(() => execFileSync('umount', [mount]));
    const before = readdirSync(join(root, 'app')).sort();
    const restoring = filesDriver.open({ root, paths: ['/app'] }).restore(ctx, { base: source }, { replace: true });
    const message = new RegExp(`${where} is a mount`);
    await assert.rejects(restoring, { code: 'blocked', message, hint: /unmount/ });
    assert.deepEqual(readdirSync(join(root, 'app')).sort(), before);
  });
}

test('what was set aside is not dropped while somebody has mounted a disk in it', async (t) => {
  const root = filledRoot();
  const { ctx, source } = await captured(root, { paths: ['/app'] });
  const component = filesDriver.open({ root, paths: ['/app'] });
  await component.restore(ctx, { base: source }, { replace: true });
  const [aside] = readdirSync(join(root, 'app')).filter((name) => name.startsWith('.lifeboat-replaced-'));
  const disk = freshDir();
  writeFileSync(join(disk, 'precious'), 'of somebody else');
  const mount = join(root, 'app', aside ?? '', 'conf.d/empty');
  const refused = mounted(disk, mount);
  if (refused !== null) return t.skip(`nothing can be mounted here: ${refused}`);
  t.after(() => execFileSync('umount', [mount]));
  await assert.rejects(async () => component.dropOld?.(ctx), { code: 'blocked', message: /empty is a mount/ });
  assert.ok(existsSync(join(disk, 'precious')));
});

function mounted(what: string, where: string): string | null {
  const { status, stderr } = spawnSync('mount', ['--bind', what, where], { encoding: 'utf8' });
  return status === 0 ? null : stderr;
}

test('a restore that breaks off leaves half-filled directories closed, and its own failure is what is told', async () => {
  const root = filledRoot();
  const { ctx, source } = await captured(root, { paths: ['/app'] });
  for (const hardlinks of [true, false]) {
    const point = hardlinks ? source : await withoutHardlinks(ctx, source);
    const target = freshDir();
    const broken: Source = {
      ...point,
      get(c, name, range) {
        if (name !== 'data/app/conf.d/tls.conf') return point.get(c, name, range);
        return bytesOf('other bytes');
      },
    };
    const restoring = filesDriver.open({ root: target, paths: ['/app'] }).restore(ctx, { base: broken }, { jobs: 1 });
    await assert.rejects(restoring, { code: 'checksum' });
    for (const dir of ['app', 'app/conf.d']) assert.equal(statSync(join(target, dir)).mode & 0o777, 0o700, dir);
  }
});

test('a directory that is left gets its own mode and time, also one that its owner may not write to', async () => {
  const root = filledRoot();
  for (const dir of ['app/conf.d', 'app', '.']) {
    chmodSync(join(root, dir), 0o555);
    utimesSync(join(root, dir), 1_200_000_000, 1_200_000_000);
  }
  const { ctx, source } = await captured(root);
  for (const point of [source, await withoutHardlinks(ctx, source)]) {
    const target = freshDir();
    await filesDriver.open({ root: target, paths: ['/'] }).restore(ctx, { base: point });
    for (const dir of ['app/conf.d', 'app', '.']) {
      const { mode, mtimeMs } = statSync(join(target, dir));
      assert.deepEqual([dir, mode & 0o777, mtimeMs], [dir, 0o555, 1_200_000_000_000]);
    }
  }
});

test('a chosen file of a private directory does not open that to others', async () => {
  const root = filledRoot();
  chmodSync(join(root, 'app/conf.d'), 0o700);
  const { ctx, source } = await captured(root, { paths: ['/app/conf.d'] });
  const target = freshDir();
  const component = filesDriver.open({ root: target, paths: ['/app/conf.d'] });
  await component.restore(ctx, { base: source }, { select: { paths: ['/app/conf.d/tls.conf'] } });
  const modes = ['app', 'app/conf.d'].map((dir) => statSync(join(target, dir)).mode & 0o777);
  assert.deepEqual(modes, [0o755, 0o700]);
});

/** Where none is, the attributes of a directory are set as soon as the walk leaves it. */
async function withoutHardlinks(ctx: TestContext, source: Source): Promise<Source> {
  const text = String(await readAll(source.get(ctx, ENTRIES_PART)));
  const entries: LooseEntry[] = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  return withEntries(
    source,
    entries.filter(({ type }) => type !== 'hardlink'),
  );
}
