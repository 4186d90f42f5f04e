import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { identityOf } from '../../core/liveness.ts';
import { liveContext } from '../../core/testing.ts';
import { sandboxSuite } from '../sandbox.suite.ts';
import { tinyDriver } from '../testing.ts';
import { processSandboxes, sandboxUserIn } from './runner.ts';

const parent = mkdtempSync(join(tmpdir(), 'lifeboat-runner-'));
after(() => rmSync(parent, { recursive: true, force: true }));

sandboxSuite('process', {
  runner: (readyMs) => processSandboxes({ parent, readyMs }),
  leftovers: () => readdirSync(parent),
});

test('a server that refuses root runs as somebody else', {
  skip: process.getuid?.() === 0 ? false : 'only root can become somebody else',
}, async () => {
  const ctx = liveContext();
  await using sandbox = await processSandboxes().start(ctx, tinyDriver, 'unprivileged');
  const [, uid] = (await sandbox.component.probe(ctx)).identity.split(' ');
  assert.notEqual(Number(uid), 0);
});

test('a sandbox of root runs as the owner of live data only where there is neither a user lifeboat nor nobody', () => {
  const lines = ['root:x:0:0::/:', 'postgres:x:101:104::/:', 'nobody:x:65534:65533::/:', 'lifeboat:x:7:8::/:'];
  assert.deepEqual(sandboxUserIn(lines.join('\n')), { uid: 7, gid: 8 });
  assert.deepEqual(sandboxUserIn(lines.slice(0, 3).join('\n')), { uid: 65534, gid: 65533 });
  assert.deepEqual(sandboxUserIn(lines.slice(0, 2).join('\n')), { uid: 101, gid: 104 });
  assert.equal(sandboxUserIn(lines.slice(0, 1).join('\n')), null);
});

test('a directory that the server could not get to is told before it is started', {
  skip: process.getuid?.() === 0 ? false : 'only root can become somebody else',
}, async () => {
  const starting = processSandboxes({ parent }).start(liveContext(), tinyDriver, 'unprivileged'); // ours alone
  await assert.rejects(starting, { code: 'denied', message: /pass through/, hint: /TMPDIR/ });
});

test('a port that somebody else took meanwhile is no failure', async () => {
  const ctx = liveContext();
  let attempts = 0;
  const unlucky = {
    ...tinyDriver,
    serverSpec: async (...[c, need]: Parameters<typeof tinyDriver.serverSpec>) => {
      attempts += 1;
      const taken = await tinyDriver.serverSpec(c, need);
      if (attempts > 1) return taken;
      const words = "console.error('Address already in use'); process.exit(1)";
      return { ...taken, run: { program: process.execPath, args: ['-e', words] } };
    },
  };
  await using second = await processSandboxes({ parent }).start(ctx, unlucky, 'second');
  assert.equal(attempts, 2);
  assert.equal((await second.component.probe(ctx)).version, 'second');
});

test('what a killed Lifeboat left behind is removed by the next start', {
  skip: existsSync('/proc/self') ? false : 'without /proc nothing is proved',
}, async () => {
  const script = `
    import { liveContext } from '${import.meta.resolve('../../core/testing.ts')}';
    import { tinyDriver } from '${import.meta.resolve('../testing.ts')}';
    import { processSandboxes } from '${import.meta.resolve('./runner.ts')}';
    const ctx = liveContext();
    const { component, dir } = await processSandboxes({ parent: ${JSON.stringify(parent)} }).start(ctx, tinyDriver, 'left');
    console.log(JSON.stringify([dir, (await component.probe(ctx)).identity]));
    setInterval(() => {}, 1000);
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await once(child.stdout, 'data');
  const [dir, identity] = JSON.parse(String(line)) as [string, string];
  const pid = Number(identity.split(' ')[0]);
  const ctx = liveContext();
  const runner = processSandboxes({ parent });
  {
    await using _ = await runner.start(ctx, tinyDriver, 'beside');
    assert.ok(existsSync(dir), 'its owner lives, so it stays');
  }
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.notEqual(await identityOf(pid), null, 'the server runs on');
  await using _ = await runner.start(ctx, tinyDriver, 'next');
  assert.ok(!existsSync(dir));
  assert.equal(await identityOf(pid), null);
});

test('what may belong to a living process of another host or container is left alone', async () => {
  const ctx = liveContext();
  const own = await identityOf(process.pid);
  const owners = [null, own && { ...own, host: 'elsewhere' }, own && { ...own, namespace: 'pid:[1]' }];
  const dirs = owners.map((owner) => {
    const dir = mkdtempSync(join(parent, 'lifeboat-sandbox-'));
    writeFileSync(join(dir, 'owner.json'), JSON.stringify({ owner, server: null }));
    return dir;
  });
  {
    await using _ = await processSandboxes({ parent }).start(ctx, tinyDriver, 'beside');
    assert.ok(dirs.every((dir) => existsSync(dir)));
  }
  for (const dir of dirs) rmSync(dir, { recursive: true });
});

test('a server may start on what was restored, on a port that is free by then', async () => {
  const ctx = liveContext();
  const opened: unknown[] = [];
  const writing = { program: process.execPath, args: ['-e', 'process.stdin.pipe(fs.createWriteStream("prepared"))'] };
  const later = {
    ...tinyDriver,
    open(settings: unknown) {
      opened.push(settings);
      return tinyDriver.open(settings);
    },
    serverSpec: async (...[c, need]: Parameters<typeof tinyDriver.serverSpec>) => ({
      ...(await tinyDriver.serverSpec(c, need)),
      prepare: [{ ...writing, stdin: 'a secret' }],
      restoreTo: { port: 1 },
    }),
  };
  {
    await using sandbox = await processSandboxes({ parent }).start(ctx, later, 'later');
    assert.deepEqual(opened, [{ port: 1 }]);
    assert.ok(!existsSync(join(sandbox.dir, 'prepared')), 'nothing runs before the restore');
    const served = await sandbox.serve?.(ctx);
    assert.equal((await served?.probe(ctx))?.version, 'later');
    assert.equal(readFileSync(join(sandbox.dir, 'prepared'), 'utf8'), 'a secret');
  }
  assert.deepEqual(readdirSync(parent), []);
});
