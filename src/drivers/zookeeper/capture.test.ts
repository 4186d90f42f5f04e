import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { installed } from '../../../test/servers/install.ts';
import { missing } from '../../../test/servers/need.ts';
import { removeDir, temporaryDir } from '../../../test/servers/processes.ts';
import { startZookeeper, type Zookeeper } from '../../../test/servers/zookeeper.ts';
import { readAll } from '../../core/bytes.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Sink } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { worst } from '../../core/verdict.ts';
import { processSandboxes } from '../../sandboxes/process/runner.ts';
import { zookeeperDriver } from './driver.ts';
import { request } from './protocol.ts';
import { readSettings } from './settings.ts';
import { fill, make, openClient, proxyTo, remove } from './testing.ts';

const exec = promisify(execFile);
const skip = await missing('zookeeper-3.9');
const withoutKazoo = skip === false && (await missing('kazoo'));
let shared: Promise<Zookeeper> | undefined;
after(async () => await (await shared)?.[Symbol.asyncDispose]());
async function server(): Promise<Zookeeper> {
  shared ??= startZookeeper({ superPassword: 'secret' });
  return await shared;
}
const user = { username: 'super', password: 'secret' };

describe('a capture of ZooKeeper', { skip }, () => {
  it('has its server catch up with the leader before it reads, and so has a comparison', async () => {
    const ctx = liveContext();
    const { port, hosts } = await server();
    await using client = await openClient(ctx, { hosts, ...user });
    for (const path of ['/late', '/late/a']) await make(client, path, { data: path });
    await using proxy = await proxyTo(port);
    const component = zookeeperDriver.open({ hosts: proxy.hosts, root: '/late', ...user });
    const { sink, source } = memoryParts();
    await component.capture(ctx, sink);
    // Under the watch: what the server has not heard of until then it tells as a change.
    const [reading = [], ...others] = proxy.asked().filter((each) => each.includes('addWatch'));
    assert.deepEqual(others, []);
    const [, first, ...rest] = reading.slice(reading.indexOf('addWatch'));
    assert.equal(first, 'sync');
    assert.ok(rest.includes('getData') && rest.includes('getChildren2'), rest.join());
    const restored = await component.restore(ctx, { base: source }, { rename: { '/late': '/late-back' } });
    await Array.fromAsync((await restored.inventory?.(ctx))?.lines(ctx) ?? assert.fail());
    assert.deepEqual(proxy.asked().at(-1)?.slice(0, 3), ['auth', 'sync', 'getData']);
  });

  it('is of one moment, whatever is written meanwhile', async () => {
    const ctx = liveContext();
    const { hosts } = await server();
    const settings = { hosts, root: '/moving', ...user };
    await using client = await openClient(ctx, settings);
    await make(client, '/moving', { data: '' });
    await Promise.all(Array.from({ length: 3000 }, (_, n) => make(client, `/moving/n${n}`, { data: '0' })));
    // Pairs are always written together: a capture that has one of them only is of no moment that ever was.
    let [writing, pairs] = [true, 0];
    const first = Promise.withResolvers<void>();
    const writer = (async () => {
      await using other = await openClient(ctx, settings);
      for (let n = 0; writing; n = (n + 1) % 1500) {
        const pair = [`/moving/n${n}`, `/moving/n${2999 - n}`];
        const value = String(Math.random());
        const steps = pair.map((path) => ({ op: 'setData', body: request.setData(path, Buffer.from(value)) }) as const);
        await other.call('multi', '', request.multi(steps));
        pairs += 1;
        first.resolve();
        await ctx.sleep(50); // what never pauses is of no moment
        if (n % 3 === 0) {
          await make(other, `/moving/new-${value}`);
          await remove(other, `/moving/new-${value}`);
        }
      }
    })();
    await Promise.race([first.promise, writer]);
    const { sink, source } = memoryParts();
    const before = pairs;
    const capture = await zookeeperDriver.open(settings).capture(ctx, sink);
    const meanwhile = pairs - before;
    writing = false;
    await writer;
    assert.deepEqual(capture.warnings, []);
    const tree = (await readAll(source.get(ctx, 'tree.ndjson'))).toString();
    const data = new Map(
      tree
        .trim()
        .split('\n')
        .map((line) => [JSON.parse(line).path, JSON.parse(line).data]),
    );
    assert.ok(meanwhile > 0, 'something was written while it was read');
    for (let n = 0; n < 1500; n++) assert.equal(data.get(`/n${n}`), data.get(`/n${2999 - n}`), `pair ${n}`);
    assert.deepEqual(
      [...data.keys()].filter((path) => path?.startsWith('/new-')),
      [],
    );
  });

  it('sees a right that is changed while it reads', async () => {
    const ctx = liveContext();
    const { hosts } = await server();
    const settings = { hosts, root: '/rights', ...user };
    await using client = await openClient(ctx, settings);
    await make(client, '/rights');
    await make(client, '/rights/a');
    await make(client, '/rights/z', { data: Buffer.alloc(20_000) });
    const { sink, source } = memoryParts();
    const changing: Sink = {
      ...sink,
      async put(c, name, body, meta) {
        // Read before /rights/z, whose data goes to the store at once.
        if (name.startsWith('data/')) {
          await client.call('setAcl', '', request.setAcl('/rights/a', [{ perms: 3, scheme: 'world', id: 'anyone' }]));
        }
        return await sink.put(c, name, body, meta);
      },
    };
    await zookeeperDriver.open(settings).capture(ctx, changing);
    const tree = (await readAll(source.get(ctx, 'tree.ndjson'))).toString();
    assert.match(tree, /"path":"\/a",.*"acl":\["world:anyone:rw"\]/);
  });

  it('fails as such when the server dies in the middle', async () => {
    const ctx = liveContext();
    await using dying = await startZookeeper();
    const settings = { hosts: dying.hosts, timeout: '5s' };
    const impatient = liveContext({ sleep: async () => {} });
    await using client = await openClient(ctx, settings);
    await make(client, '/z', { data: Buffer.alloc(20_000) });
    const killing: Sink = {
      ...memoryParts().sink,
      async put(...args) {
        await dying.kill();
        return await memoryParts().sink.put(...args);
      },
    };
    await assert.rejects(zookeeperDriver.open(settings).capture(impatient, killing), { code: 'unreachable' });
  });

  it('goes to the next host, and from one that says nothing', async () => {
    const ctx = liveContext();
    const { hosts } = await server();
    await using mute = createServer((socket) => socket.resume()).listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const { port } = mute.address() as { port: number };
    const settings = { hosts: `127.0.0.1:1,127.0.0.1:${port},${hosts}/chrooted`, timeout: '3s' };
    await using root = await openClient(ctx, { hosts });
    await make(root, '/chrooted');
    await make(root, '/chrooted/a', { data: 'x' });
    const { totals } = await zookeeperDriver.open(settings).capture(ctx, memoryParts().sink);
    assert.equal(totals.znodes, 2);
    const silent = zookeeperDriver.open({ ...settings, hosts: `127.0.0.1:${port}` });
    await assert.rejects(silent.probe(ctx), { code: 'timeout' });
    const absent = zookeeperDriver.open({ hosts, root: '/no/such' });
    await assert.rejects(absent.capture(ctx, memoryParts().sink), { code: 'missing' });
  });

  it('can be restored without Lifeboat, as its page says', { skip: withoutKazoo }, async () => {
    const ctx = liveContext();
    const { hosts } = await server();
    await using client = await openClient(ctx, { hosts, ...user });
    await fill(client, '/paged');
    const { sink, source } = memoryParts();
    await zookeeperDriver.open({ hosts, root: '/paged', ...user }).capture(ctx, sink);
    const dir = temporaryDir('paged');
    for await (const { name } of source.parts(ctx)) {
      mkdirSync(dirname(join(dir, name)), { recursive: true });
      writeFileSync(join(dir, name), await readAll(source.get(ctx, name)));
    }
    const page = readFileSync('docs/drivers/zookeeper.md', 'utf8');
    writeFileSync(join(dir, 'restore.py'), /```python\n(.*?)```/s.exec(page)?.[1] ?? '');
    const env = { ...process.env, PYTHONPATH: dirname(dirname(await installed('kazoo'))) };
    const args = [join(dir, 'restore.py'), dir, hosts, '/by-hand', 'super:secret'];
    await exec('python3', args, { env });
    removeDir(dir);
    const now = await zookeeperDriver.open({ hosts, root: '/by-hand', ...user }).inventory(ctx);
    const findings = await Array.fromAsync(zookeeperDriver.compare(ctx, inventoryOf(source), now));
    const unlike = findings.filter(({ verdict }) => verdict !== 'pass');
    assert.deepEqual(
      unlike.map(({ check, detail }) => `${check}: ${detail}`),
      ['/queue is the same: its sequence counter was 5 and is 2'],
    );
  });

  it('comes back in a sandbox, and zkCli sees what was there', async () => {
    const ctx = liveContext({ env: { ...process.env, ZOOKEEPER_HOME: (await server()).lib } });
    const { hosts } = await server();
    const settings = { hosts, root: '/foreign', ...user };
    await using client = await openClient(ctx, settings);
    await fill(client, '/foreign');
    const { sink, source } = memoryParts();
    const { serverVersion } = await zookeeperDriver.open(settings).capture(ctx, sink);
    const opened: unknown[] = [];
    const driver = {
      ...zookeeperDriver,
      open(given: unknown) {
        opened.push(given);
        return zookeeperDriver.open(given);
      },
    };
    await using sandbox = await processSandboxes().start(ctx, driver, serverVersion, settings);
    await sandbox.component.restore(ctx, { base: source });
    const findings = await Array.fromAsync(
      zookeeperDriver.compare(ctx, inventoryOf(source), await sandbox.component.inventory(ctx)),
    );
    assert.equal(worst(findings.map(({ verdict }) => verdict)), 'pass');
    const there = readSettings(opened.at(-1));
    const { host, port } = there.hosts[0] ?? { host: '', port: 0 };
    const script = `addauth digest super:PASSWORD\nget -s ROOT/a/x/y\ngetAcl ROOT/rights\nls -R ROOT\n`;
    const asked = async (where: string, root: string, password: string): Promise<string[]> => {
      const dir = temporaryDir('zkcli');
      const file = join(dir, 'script');
      const below = script.replaceAll('ROOT/', `${root}/`).replace('ls -R ROOT', `ls -R ${root || '/'}`);
      writeFileSync(file, below.replace('PASSWORD', password));
      const classPath = (await server()).classPath;
      const main = ['-cp', classPath, 'org.apache.zookeeper.ZooKeeperMain', '-server', where];
      const { stdout } = await exec('sh', ['-c', 'exec java "$@" < "$0"', file, ...main]);
      removeDir(dir);
      const told = stdout.split('\n').map((line) => line.replace(/^(\[zk.*?\] |)/, '').replaceAll(root, ''));
      return told.filter(
        (line) => /^\/|^'|^: |^a\/x\/y|dataLength|numChildren/.test(line) && !line.startsWith('/zookeeper'),
      );
    };
    const was = await asked(hosts, '/foreign', 'secret');
    const is = await asked(`${host}:${port}`, '', there.user?.password ?? '');
    assert.ok(was.length > 600, was.slice(0, 20).join('\n'));
    assert.deepEqual(
      is.filter((line) => line !== '/'),
      was.filter((line) => line !== '/' && line !== ''),
    );
  });
});
