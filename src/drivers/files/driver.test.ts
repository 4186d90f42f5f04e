import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { hash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { bytesOf, readAll } from '../../core/bytes.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Sink, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { driverSuite } from '../driver.suite.ts';
import { filesDriver } from './driver.ts';
import { asRoot, captured, filledRoot, freshDir, verdicts } from './testing.ts';

const paths = ['/app', '/hosts'];

driverSuite({
  driver: filesDriver,
  async filled() {
    const root = filledRoot();
    return {
      settings: { root, paths },
      change: async () => appendFileSync(join(root, 'app/main.conf'), 'workers = 5\n'),
      extract: {
        selection: { paths: ['/app/conf.d', '/hosts', '/app/current', '/app/empty'] },
        keys: ['/app/conf.d/tls.conf', '/hosts', '/app/current', '/app/empty'],
        damage: async () => {
          unlinkSync(join(root, 'app/conf.d/tls.conf'));
          writeFileSync(join(root, 'hosts'), 'mistaken\n');
        },
      },
      [Symbol.asyncDispose]: async () => rmSync(root, { recursive: true }),
    };
  },
  async empty() {
    const root = freshDir();
    return { settings: { root, paths }, [Symbol.asyncDispose]: async () => rmSync(root, { recursive: true }) };
  },
  except: {
    'says so when the service does not answer': 'a directory is no service',
    'restores beside the live data, which stays until it is published': 'restore --to does that',
  },
});

test('modes, owners, times, links, holes and odd names come back', async () => {
  const root = filledRoot();
  const odd = Buffer.concat([Buffer.from(join(root, 'app/')), Buffer.from([0x66, 0xff, 0x25, 0x34, 0x31, 0x0a])]);
  writeFileSync(odd, 'a name that is not UTF-8');
  for (const name of ['100%41.txt', 'two\nlines', ' ', 'ｆｕｌｌ', '😀', '"quoted"', '-rf', '*', 'x'.repeat(255)]) {
    writeFileSync(join(root, 'app', name), name);
  }
  mkdirSync(join(root, 'app', ...Array.from({ length: 5 }, () => 'ü'.repeat(120))), { recursive: true });
  writeFileSync(join(root, 'app', ...Array.from({ length: 5 }, () => 'ü'.repeat(120)), 'deep'), 'a long way down');
  chmodSync(join(root, 'app/main.conf'), 0o4751);
  chmodSync(join(root, 'app/conf.d'), 0o1777);
  if (asRoot) chownSync(join(root, 'app/empty'), 1234, 4321);
  truncateSync(join(root, 'app/large.bin'), 64 * 1024 * 1024);
  lutimesSync(join(root, 'app/broken'), 1_000_000_000, 1_000_000_000);
  utimesSync(join(root, 'app/empty'), 1_100_000_000.25, 1_100_000_000.25);
  utimesSync(join(root, 'app/conf.d'), 1_200_000_000, 1_200_000_000);
  const { ctx, source } = await captured(root);

  const target = freshDir();
  await filesDriver.open({ root: target, paths: ['/'] }).restore(ctx, { base: source });
  assert.deepEqual(
    execFileSync('find', [target, '-printf', '%P %m %U:%G %y %n %l\n']).toString().split('\n').sort(),
    execFileSync('find', [root, '-printf', '%P %m %U:%G %y %n %l\n']).toString().split('\n').sort(),
  );
  execFileSync('diff', ['-r', '--no-dereference', root, target]);
  assert.equal(lstatSync(join(target, 'app/broken')).mtimeMs, 1_000_000_000_000);
  assert.equal(statSync(join(target, 'app/empty')).mtimeMs, 1_100_000_000_250);
  assert.equal(statSync(join(target, 'app/conf.d')).mtimeMs, 1_200_000_000_000);
  assert.ok(statSync(join(target, 'app/large.bin')).blocks * 512 < 16 * 1024 * 1024, 'a hole stays a hole');
  assert.equal(statSync(join(target, 'app/zz-same')).ino, statSync(join(target, 'app/main.conf')).ino);
});

test('another mode, type or link target is a difference, another owner is unknown, another time is none', async () => {
  const changes: [change: (root: string) => void, verdict: string | undefined][] = [
    [(root) => chmodSync(join(root, 'hosts'), 0o777), 'fail: its mode was 0640 and is 0777'],
    [(root) => chmodSync(join(root, 'app/conf.d'), 0o700), 'fail: its mode was 0755 and is 0700'],
    [
      (root) => {
        unlinkSync(join(root, 'app/current'));
        symlinkSync('elsewhere', join(root, 'app/current'));
      },
      'fail: its target was main.conf and is elsewhere',
    ],
    [
      (root) => {
        unlinkSync(join(root, 'app/empty'));
        symlinkSync('elsewhere', join(root, 'app/empty'));
      },
      'fail: its type was file and is symlink',
    ],
    [(root) => utimesSync(join(root, 'app/empty'), 1, 1), undefined],
  ];
  if (asRoot)
    changes.push([(root) => chownSync(join(root, 'app/empty'), 7, 8), 'unknown: its owner was 0:0 and is 7:8']);
  for (const [change, verdict] of changes) {
    const root = filledRoot();
    const { ctx, source } = await captured(root);
    change(root);
    const unlike = (await verdicts(ctx, source, root)).filter((each) => !each.startsWith('pass'));
    assert.deepEqual(unlike, verdict === undefined ? [] : [verdict]);
  }
});

test('unchanged files are kept unread, changed ones are read', async () => {
  const root = freshDir();
  mkdirSync(join(root, 'd'));
  const names = ['d/a', 'd/b', 'd-c', 'ｄ', '😀', 'e'];
  for (const name of names) writeFileSync(join(root, name), name);
  // Time passes: a file that changed a moment ago is read again, because it may change without a trace.
  const ctx = liveContext({ now: () => new Date(Date.now() + 60_000) });
  const component = filesDriver.open({ root, paths: ['/'] });
  const first = memoryParts();
  await component.capture(ctx, first.sink);
  const again = async (before: Source) => {
    const calls: string[] = [];
    const { sink, source } = memoryParts();
    const noting: Sink = {
      ...sink,
      put: async (c, name, body, meta) => {
        if (name.startsWith('data/')) calls.push(`put ${name}`);
        return await sink.put(c, name, body, meta);
      },
      keep: async (c, name, from, meta) => {
        calls.push(`keep ${from.name}`);
        return await sink.put(c, name, before.get(c, from.name), meta);
      },
    };
    await component.capture(ctx, noting, before);
    return { calls: calls.sort(), source };
  };
  const unchanged = await again(first.source);
  assert.deepEqual(unchanged.calls, names.map((name) => `keep data/${name}`).sort());
  const entriesOf = async (source: Source) => String(await readAll(source.get(ctx, 'entries.ndjson')));
  assert.equal(await entriesOf(unchanged.source), await entriesOf(first.source), 'nothing new is to be stored');
  writeFileSync(join(root, 'd/b'), 'B!!');
  chmodSync(join(root, 'e'), 0o600);
  writeFileSync(join(root, 'd/new'), 'new');
  unlinkSync(join(root, 'd-c'));
  const { calls, source } = await again(unchanged.source);
  assert.deepEqual(
    calls.filter((call) => call.startsWith('put')),
    ['put data/d/b', 'put data/d/new', 'put data/e'],
  );
  assert.deepEqual(calls.filter((call) => call.startsWith('keep')).length, 3);
  assert.deepEqual(await verdicts(ctx, source, root), ['pass: 8 paths, equal digests']);
});

test('points from when an inventory had whole digests are compared as well', async () => {
  const root = freshDir();
  writeFileSync(join(root, 'a'), 'as it was');
  const { ctx, source } = await captured(root);
  const today = await readAll(source.get(ctx, 'inventory.ndjson'));
  const whole = hash('sha256', 'as it was');
  const line = today.toString().replace(`sha256-128:${whole.slice(0, 32)}`, `sha256:${whole}`);
  assert.ok(line.includes(`"sha256:${whole}"`));
  const then: Source = {
    ...source,
    get: (within, name) => (name === 'inventory.ndjson' ? bytesOf(line) : source.get(within, name)),
  };
  assert.deepEqual(await verdicts(ctx, then, root), ['pass: 2 paths, equal digests']);
  writeFileSync(join(root, 'a'), 'as it is!');
  assert.deepEqual(await verdicts(ctx, then, root), ['fail: the digests differ', 'pass: 1 paths, equal digests']);
});

test('a file that was changed a moment ago is read again', async () => {
  const root = freshDir();
  writeFileSync(join(root, 'a'), 'just written');
  const { ctx, source } = await captured(root);
  const { sink } = memoryParts();
  const keep: Sink['keep'] = () => Promise.reject(new Error('it might have changed'));
  await filesDriver.open({ root, paths: ['/'] }).capture(ctx, { ...sink, keep }, source);
});

test('what is excluded is neither captured nor compared', async () => {
  const root = filledRoot();
  mkdirSync(join(root, 'app/cache/deep'), { recursive: true });
  writeFileSync(join(root, 'app/cache/deep/x'), 'x');
  writeFileSync(join(root, 'app/conf.d/old.tmp'), 'x');
  const exclude = ['*.tmp', '/app/cache/', '/app/*.bin', 'hosts'];
  const { ctx, source } = await captured(root, { exclude });
  const lines = await Array.fromAsync(inventoryOf(source).lines(ctx));
  assert.deepEqual(
    lines.map(({ name }) => name).filter((name) => /tmp|cache|bin|hosts/.test(name)),
    [],
  );
  assert.ok(lines.some(({ name }) => name === '/app/conf.d/tls.conf'));
});

test('a file that changes or vanishes while it is read is a warning', async () => {
  const root = freshDir();
  writeFileSync(join(root, 'log'), Buffer.alloc(5 * 1024 * 1024, 1));
  for (const dir of ['dir-a', 'dir-b']) mkdirSync(join(root, dir));
  // More than are in flight at once, so that the walk has not come to the last one yet.
  for (let i = 0; i < 100; i++) writeFileSync(join(root, 'dir-a', i === 0 ? 'first' : `of-many-${i}`), '');
  writeFileSync(join(root, 'dir-b/x'), 'x');
  const ctx = liveContext();
  const { sink, source } = memoryParts();
  const meddling: Sink = {
    ...sink,
    put: async (c, name, body, meta) => {
      if (name === 'data/log') truncateSync(join(root, 'log'), 2 * 1024 * 1024 + 5);
      if (name === 'data/dir-a/first') rmSync(join(root, 'dir-b'), { recursive: true });
      return await sink.put(c, name, body, meta);
    },
  };
  const { warnings } = await filesDriver.open({ root, paths: ['/'] }).capture(ctx, meddling);
  assert.deepEqual(warnings.toSorted(), ['/dir-b/ vanished while it was captured', '/log changed while it was read']);
  const line = (await Array.fromAsync(inventoryOf(source).lines(ctx))).find(({ name }) => name === '/log');
  assert.equal(line?.count, (await source.part(ctx, 'data/log')).bytes, 'the inventory tells what was read');
});

test('sockets and pipes are noted, not read', async () => {
  const root = freshDir();
  execFileSync('mkfifo', [join(root, 'pipe')]);
  const server = createServer();
  await new Promise<void>((done) => server.listen(join(root, 'socket'), done));
  try {
    const ctx = liveContext();
    const { sink, source } = memoryParts();
    const { warnings, totals } = await filesDriver.open({ root, paths: ['/'] }).capture(ctx, sink);
    assert.equal(totals.others, 2);
    assert.deepEqual(warnings, ['2 sockets, pipes or devices are noted, not captured']);
    const one = { root, paths: ['/'], exclude: ['pipe'] };
    const alone = await filesDriver.open(one).capture(ctx, memoryParts().sink);
    assert.deepEqual(alone.warnings, ['1 socket, pipe or device is noted, not captured']);
    const target = freshDir();
    const restored = await filesDriver.open({ root: target, paths: ['/'] }).restore(ctx, { base: source });
    assert.equal(restored.warnings.length, 1);
    assert.deepEqual(readdirSync(target), []);
  } finally {
    server.close();
  }
});

test('a missing path, or one behind a link, is refused', async () => {
  const root = filledRoot();
  symlinkSync('app', join(root, 'link'));
  await assert.rejects(captured(root, { paths: ['/no'] }), { code: 'missing' });
  await assert.rejects(captured(root, { paths: ['/link/conf.d'] }), { code: 'settings-invalid', hint: /app\/conf\.d/ });
});

test('a look at a path says how far it went', {
  skip: asRoot ? 'root may read everything' : false,
}, async () => {
  const root = filledRoot();
  const look = async (): Promise<readonly string[]> => {
    const { findings } = await filesDriver.open({ root, paths: ['/app', '/hosts'] }).probe(liveContext());
    return findings.map(({ verdict, detail }) => `${verdict}: ${detail}`);
  };
  const folder = 'pass: the folder can be read; what is in it was not tried';
  assert.deepEqual(await look(), [folder, 'pass: it can be read']);
  chmodSync(join(root, 'app/main.conf'), 0);
  chmodSync(join(root, 'hosts'), 0);
  const [app, hosts] = await look();
  assert.equal(app, folder);
  assert.match(hosts ?? '', /^fail: .*hosts/);
});

test('an unreadable file fails the capture by name', {
  skip: asRoot ? 'root may read everything' : false,
}, async () => {
  const root = filledRoot();
  chmodSync(join(root, 'app/main.conf'), 0);
  await assert.rejects(captured(root), { code: 'denied', message: /main\.conf/, hint: /exclude/ });
});

test('chosen files are restored beside others, and never over them unless told', async () => {
  const root = filledRoot();
  const { ctx, source } = await captured(root);
  const target = freshDir();
  mkdirSync(join(target, 'app'));
  writeFileSync(join(target, 'app/mine'), 'mine');
  const component = filesDriver.open({ root: target, paths: ['/'] });
  const select = { paths: ['/app/zz-same', '/app/conf.d'] };
  await component.restore(ctx, { base: source }, { select });
  assert.deepEqual(readdirSync(join(target, 'app')).sort(), ['conf.d', 'mine', 'zz-same']);
  assert.equal(readFileSync(join(target, 'app/zz-same'), 'utf8'), 'workers = 4\n');
  writeFileSync(join(target, 'app/zz-same'), 'changed');
  await assert.rejects(component.restore(ctx, { base: source }, { select }), { code: 'target-not-empty' });
  await component.restore(ctx, { base: source }, { select, replace: true });
  assert.equal(readFileSync(join(target, 'app/zz-same'), 'utf8'), 'workers = 4\n');
  await assert.rejects(component.restore(ctx, { base: source }, { select: { tables: ['x'] } }), {
    code: 'settings-invalid',
  });
});

test('a choice of files that are not in the point is told, not taken for done', async () => {
  const { ctx, source } = await captured(filledRoot());
  const component = filesDriver.open({ root: freshDir(), paths: ['/'] });
  const chosen = { paths: ['/app/mistyped'] };
  const refused = { code: 'missing', message: /no file at \/app\/mistyped/ };
  await assert.rejects(component.restore(ctx, { base: source }, { select: chosen }), refused);
  assert.ok(component.extract);
  const rows = component.extract(ctx, { base: source }, chosen, async () => component);
  await assert.rejects(Array.fromAsync(rows), refused);
});

test('what is replaced is kept aside until it is dropped', async () => {
  const root = filledRoot();
  const { ctx, source } = await captured(root, { paths });
  writeFileSync(join(root, 'app/main.conf'), 'broken');
  writeFileSync(join(root, 'hosts'), 'broken');
  const component = filesDriver.open({ root, paths });
  await component.restore(ctx, { base: source }, { replace: true });
  assert.equal(readFileSync(join(root, 'hosts'), 'utf8'), '127.0.0.1 localhost\n');
  const [aside] = readdirSync(join(root, 'app')).filter((name) => name.startsWith('.lifeboat-'));
  assert.equal(readFileSync(join(root, 'app', aside ?? '', 'main.conf'), 'utf8'), 'broken');
  const dropped = (await component.dropOld?.(ctx)) ?? [];
  assert.equal(dropped.length, 2);
  assert.ok(dropped.every((path) => !existsSync(path)));
});
