// What networks, rights, names and kinds of znodes may be.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { removeDir } from '../../../test/servers/processes.ts';
import { startZookeeper, type Zookeeper } from '../../../test/servers/zookeeper.ts';
import { bytesOf, readAll } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Context, Finding, InventoryReader, Sink, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { type Client, connect } from './client.ts';
import { zookeeperDriver } from './driver.ts';
import { juteWriter } from './jute.ts';
import { type Acl, aclText, readAcl, request } from './protocol.ts';
import { readSettings } from './settings.ts';
import { make, openClient, proxyTo, set } from './testing.ts';

const skip = await missing('zookeeper-3.9');
let shared: Promise<Zookeeper> | undefined;
after(async () => await (await shared)?.[Symbol.asyncDispose]());
async function server(): Promise<Zookeeper> {
  shared ??= startZookeeper({ superPassword: 'secret', tls: true, conf: ['enforceQuota=true'] });
  return await shared;
}
const user = { username: 'super', password: 'secret' };

async function captured(ctx: Context, settings: object): Promise<{ source: Source; warnings: string; tree: string }> {
  const { sink, source } = memoryParts();
  const { warnings } = await zookeeperDriver.open(settings).capture(ctx, sink);
  return { source, warnings: warnings.join('\n'), tree: String(await readAll(source.get(ctx, 'tree.ndjson'))) };
}
async function differences(ctx: Context, expected: InventoryReader, settings: object): Promise<string[]> {
  const actual = await zookeeperDriver.open(settings).inventory(ctx);
  const findings = await Array.fromAsync(zookeeperDriver.compare(ctx, expected, actual));
  return findings.filter(({ verdict }) => verdict !== 'pass').map(({ check, detail }) => `${check}: ${detail}`);
}
async function several(client: Client, root: string, count: number): Promise<void> {
  await make(client, root);
  await Promise.all(Array.from({ length: count }, (_, n) => make(client, `${root}/n${n}`, { data: 'x'.repeat(500) })));
}
function digestAcl(name: string, password: string, perms: number): Acl {
  const hash = createHash('sha1').update(`${name}:${password}`).digest('base64');
  return { perms, scheme: 'digest', id: `${name}:${hash}` };
}

describe('ZooKeeper over networks as they are', { skip }, () => {
  it('is captured and restored over TLS, with certificates that are looked at', async () => {
    const ctx = liveContext();
    const { hosts, secureHosts, certificate } = await server();
    await using client = await openClient(ctx, { hosts, ...user });
    await several(client, '/tls', 20);
    const tls = { ca_file: certificate?.caFile, cert_file: certificate?.certFile, key_file: certificate?.keyFile };
    const settings = { hosts: secureHosts, tls, ...user };
    const { source } = await captured(ctx, { ...settings, root: '/tls' });
    await zookeeperDriver.open({ ...settings, root: '/tls-b' }).restore(ctx, { base: source });
    assert.deepEqual(await differences(ctx, inventoryOf(source), { hosts, root: '/tls-b', ...user }), []);
    for (const wrong of [true, { ca_file: tls.ca_file }, { ...tls, server_name: 'elsewhere.internal' }]) {
      const probing = zookeeperDriver.open({ ...settings, tls: wrong }).probe(ctx);
      await assert.rejects(probing, { code: 'unreachable', message: /the encrypted connection failed/, hint: /tls: / });
    }
    const clear = zookeeperDriver.open({ hosts: secureHosts, ...user }).probe(ctx);
    await assert.rejects(clear, { code: 'unreachable', hint: /and tls where/ });
    const absent = zookeeperDriver.open({ ...settings, tls: { ca_file: '/no/such.pem' } });
    await assert.rejects(absent.probe(ctx), { code: 'settings-invalid' });
  });

  it('is read from its beginning again when a connection breaks off, and comes in any pieces (fault 15)', async () => {
    const ctx = liveContext({ sleep: async () => {} });
    const { hosts, port } = await server();
    await using client = await openClient(ctx, { hosts, ...user });
    await several(client, '/cut', 400);
    await using proxy = await proxyTo(port);
    const settings = { hosts: proxy.hosts, root: '/cut', ...user };
    proxy.pieces(7);
    proxy.cutAfter(100_000);
    const { source, warnings } = await captured(ctx, settings);
    assert.ok(ctx.logged.some(({ message }) => message.includes('once more')));
    assert.equal(warnings, '');
    assert.deepEqual(await differences(ctx, inventoryOf(source), { hosts, root: '/cut', ...user }), []);
    proxy.cutAfter(5000);
    const target = { ...settings, root: '/cut-b' };
    await assert.rejects(zookeeperDriver.open(target).restore(ctx, { base: source }), { code: 'unreachable' });
    await zookeeperDriver.open(target).restore(ctx, { base: source }, { replace: true });
    assert.deepEqual(await differences(ctx, inventoryOf(source), target), []);
  });

  it('is read again in a new session when the old one has expired', async () => {
    const ctx = liveContext({ sleep: async () => {} });
    const { hosts, port } = await server();
    await using client = await openClient(ctx, { hosts, ...user });
    await make(client, '/expired');
    await make(client, '/expired/a', { data: Buffer.alloc(20_000) });
    await using proxy = await proxyTo(port);
    const { sink, source } = memoryParts();
    let puts = 0;
    const settings = { hosts: proxy.hosts, root: '/expired', timeout: '1s', ...user };
    await zookeeperDriver.open(settings).capture(ctx, {
      ...sink,
      async put(c, name, body, meta) {
        if (++puts === 1) proxy.swallow();
        return await sink.put(c, name, body, meta);
      },
    });
    assert.ok(proxy.connections() >= 3);
    const tried = ctx.logged.length;
    const refusal = new Failure('unreachable', 'the store is away');
    const refusing: Sink = { ...sink, put: () => Promise.reject(refusal) };
    const refused = zookeeperDriver.open({ ...settings, hosts }).capture(ctx, refusing);
    await assert.rejects(refused, (error) => error === refusal);
    assert.equal(ctx.logged.length, tried, 'a store that is away is no reason to read again');
    assert.deepEqual(await differences(ctx, inventoryOf(source), { hosts, root: '/expired', ...user }), []);
  });

  it('is not waited for without end when it hangs, also while it is sent pings', { timeout: 20_000 }, async () => {
    const { hosts, pid } = await server();
    const wake = (): boolean => process.kill(pid, 'SIGCONT');
    let attempts = 0;
    const sleep = async (): Promise<void> => void (++attempts && wake()); // between two attempts to connect
    const ctx = liveContext({ sleep });
    await using client = await openClient(ctx, { hosts, ...user });
    await make(client, '/hung');
    for (const name of ['a', 'b']) await make(client, `/hung/${name}`, { data: Buffer.alloc(20_000, name) });
    const settings = { hosts, root: '/hung', timeout: '1500ms', ...user };
    const { sink, source } = memoryParts();
    let puts = 0;
    const stopping: Sink = {
      ...sink,
      async put(c, name, body, meta) {
        if (++puts === 1) process.kill(pid, 'SIGSTOP');
        return await sink.put(c, name, body, meta);
      },
    };
    await zookeeperDriver.open(settings).capture(ctx, stopping).finally(wake);
    assert.ok(attempts > 0);
    assert.match(ctx.logged.map(({ fields }) => JSON.stringify(fields)).join(), /no answer in 1500 ms/);
    assert.deepEqual(await differences(ctx, inventoryOf(source), { hosts, root: '/hung', ...user }), []);
  });

  it('is asked anew when it takes a connection and forgets it, as one that is just starting does', async () => {
    const ctx = liveContext();
    const { port } = await server();
    await using proxy = await proxyTo(port);
    proxy.swallow(1);
    await zookeeperDriver.open({ hosts: proxy.hosts, timeout: '1m' }).probe(ctx);
    assert.ok(proxy.connections() > 1);
  });

  it('stops as soon as it is told to, and leaves nothing behind on this machine', async () => {
    const scratch = mkdtempSync(join(tmpdir(), 'lifeboat-zookeeper-'));
    const { hosts } = await server();
    await using client = await openClient(liveContext(), { hosts, ...user });
    await several(client, '/stopped', 50);
    await make(client, '/stopped/large', { data: Buffer.alloc(20_000) });
    const { source } = await captured(liveContext(), { hosts, root: '/stopped', ...user });
    const stop = new AbortController();
    const ctx = liveContext({ signal: stop.signal, scratch });
    const { sink } = memoryParts();
    const stopping: Sink = {
      ...sink,
      async put(c, name, body, meta) {
        stop.abort();
        return await sink.put(c, name, body, meta);
      },
    };
    const capturing = zookeeperDriver.open({ hosts, root: '/stopped', ...user }).capture(ctx, stopping);
    await assert.rejects(capturing, (error) => stop.signal.aborted && error instanceof Error);
    const again = new AbortController();
    let reads = 0;
    const restoring: Source = {
      ...source,
      async *get(c, name, range) {
        if (name.startsWith('data/') && ++reads === 2) again.abort(); // it is read once before anything is made
        yield* source.get(c, name, range);
      },
    };
    const target = zookeeperDriver.open({ hosts, root: '/stopped-b', ...user });
    const halted = target.restore(liveContext({ signal: again.signal, scratch }), { base: restoring });
    await assert.rejects(halted, (error) => again.signal.aborted && error instanceof Error);
    assert.deepEqual(readdirSync(scratch), []);
    removeDir(scratch);
  });

  it('is not read on while what was read is not taken away, and that is not taken for silence', async () => {
    const ctx = liveContext();
    const { hosts } = await server();
    await using client = await openClient(ctx, { hosts, timeout: '2s' });
    await using other = await openClient(ctx, { hosts });
    const release = client.hold(17 * 1024 * 1024);
    let answered = false;
    const asked = client.ask('exists', request.read('/')).then(() => (answered = true));
    const begun = performance.now();
    while (performance.now() - begun < 3000) await other.ask('exists', request.read('/')).then(() => ctx.sleep(20));
    assert.equal(answered, false);
    release();
    await asked;
  });

  it('that answers what nobody asked is left, and nobody waits for it', async () => {
    const ctx = liveContext();
    await using liar = createServer((socket) => {
      let frames = 0;
      socket.on('data', () => {
        const session = juteWriter().int(0).int(30_000).long(1n).bytes(Buffer.alloc(16)).done();
        const answer = ++frames === 1 ? session : juteWriter().int(77).long(1n).int(0).done();
        socket.write(juteWriter().bytes(answer).done());
      });
      socket.on('error', () => socket.destroy());
    }).listen(0, '127.0.0.1');
    await new Promise((done) => liar.once('listening', done));
    const { port } = liar.address() as { port: number };
    await using client = await openClient(ctx, { hosts: `127.0.0.1:${port}` });
    const asked = ['/a', '/b'].map((path) => client.ask('exists', request.read(path)));
    for (const each of await Promise.allSettled(asked)) {
      assert.match(each.status === 'rejected' ? String(each.reason) : '', /an answer came that nobody had asked for/);
    }
  });

  it('is told from a server that speaks otherwise', async () => {
    const ctx = liveContext();
    await using web = createServer((socket) => socket.resume().end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(
      0,
      '127.0.0.1',
    );
    await new Promise((done) => web.once('listening', done));
    const { port } = web.address() as { port: number };
    const probing = zookeeperDriver.open({ hosts: `127.0.0.1:${port}` }).probe(ctx);
    await assert.rejects(probing, { code: 'unreachable', message: /what answers there is no ZooKeeper/ });
  });
});

describe('rights in ZooKeeper', { skip }, () => {
  it('are enough for a capture when every znode may be read, and doctor names each that is missing', async () => {
    const ctx = liveContext();
    const { hosts } = await server();
    await using client = await openClient(ctx, { hosts, ...user });
    const all = digestAcl('app', 'app', 31);
    const [read, whole] = [1, 17].map((perms) => digestAcl('backup', 'of the backup', perms));
    assert.ok(read && whole);
    const paths = ['/least', '/least/a', '/least/a/b', '/least/c'];
    for (const path of paths) await make(client, path, { data: path, acl: [all, whole] });
    const settings = { hosts, root: '/least', username: 'backup', password: 'of the backup' };
    const component = zookeeperDriver.open(settings);
    const { source, warnings } = await captured(ctx, settings);
    assert.equal(warnings, '');
    assert.deepEqual(await differences(ctx, inventoryOf(source), { ...settings, ...user }), []);
    const told = async (about: string): Promise<Finding | undefined> =>
      (await component.probe(ctx)).findings.find(({ check }) => check.includes(about));
    for (const about of ['is there', 'may be read', 'read whole']) assert.equal((await told(about))?.verdict, 'pass');
    const writes = await told('a restore in place');
    assert.equal(writes?.verdict, 'unknown');
    assert.match(writes.detail, /of all 4, 4 do not .*\/least \(cdw\), \/least\/a \(cdw\)/);
    const beside = await zookeeperDriver.open({ ...settings, root: '/least/new' }).restore(ctx, { base: source });
    assert.match(beside.missing?.[0] ?? '', /^\/least\/new: not allowed/);
    assert.equal(beside.missing?.length, 4);
    await client.call('setAcl', '', request.setAcl('/least/c', [all, read]));
    const acls = await told('read whole');
    assert.equal(acls?.verdict, 'fail');
    assert.match(acls.detail, /1 hide the hashes of passwords, so .*: \/least\/c$/);
    await client.call('setAcl', '', request.setAcl('/least/a', [all]));
    const reads = await told('may be read');
    assert.equal(reads?.verdict, 'fail');
    assert.match(reads.detail, /1 may not, nor what is below them: \/least\/a$/);
    assert.match(reads.hint ?? '', /digest:backup/);
    const hidden = await captured(ctx, settings);
    assert.match(hidden.warnings, /1 znodes could not be read: neither they nor what is below them is in the point/);
    assert.match(hidden.warnings, /showed the ACLs of 1 znodes without/);
    assert.doesNotMatch(hidden.tree, /"\/a\/b"/);
    const back = { hosts, root: '/least-b', ...user };
    const restored = await zookeeperDriver.open(back).restore(ctx, { base: hidden.source });
    const left = ['/least-b/a: it could not be read', '/least-b/c: its ACL was captured without'];
    assert.deepEqual(
      left.map((text) => restored.missing?.some((each) => each.startsWith(text))),
      [true, true],
    );
    const unproved = await differences(ctx, inventoryOf(hidden.source), back);
    assert.match(unproved.join('\n'), /^\/c is the same: counted, not digested$/m);
    await client.call('delete', '', request.delete('/least-b/c'));
    const app = await zookeeperDriver.open({ ...settings, username: 'app', password: 'app' }).probe(ctx);
    assert.deepEqual(
      app.findings.filter(({ verdict }) => verdict !== 'pass'),
      [],
    );
    await client.call('setAcl', '', request.setAcl('/least', [all]));
    const rootless = await component.probe(ctx);
    assert.equal(rootless.findings[0]?.verdict, 'fail');
    assert.match(String(rootless.findings[0]?.detail), /not allowed/);
    await assert.rejects(captured(ctx, settings), { code: 'privileges' });
  });

  it('of schemes that are not ours come back as they were', async () => {
    const ctx = liveContext();
    const { hosts } = await server();
    await using client = await openClient(ctx, { hosts, ...user });
    const acl = [
      { perms: 5, scheme: 'ip', id: '10.0.0.0/8' },
      { perms: 0, scheme: 'world', id: 'anyone' },
    ];
    await make(client, '/schemes', { data: 'x', acl });
    const { source } = await captured(ctx, { hosts, root: '/schemes', ...user });
    await zookeeperDriver.open({ hosts, root: '/schemes-b', ...user }).restore(ctx, { base: source });
    const { body } = await client.call('getAcl', '', request.path('/schemes-b'));
    assert.deepEqual(readAcl(body).map(aclText), ['ip:10.0.0.0/8:cr', 'world:anyone:']);
  });
});

describe('znodes of every kind', { skip }, () => {
  it('come back as plain ones, but for ephemeral ones, whose parents stay', async () => {
    const ctx = liveContext();
    const { hosts } = await server();
    await using client = await openClient(ctx, { hosts, ...user });
    await make(client, '/kinds');
    const open = (path: string) =>
      juteWriter().text(path).bytes(Buffer.from('x')).int(1).int(31).text('world').text('anyone');
    await client.call('createContainer', '', open('/kinds/container').int(4).done());
    await make(client, '/kinds/container/leader');
    await client.call('createTtl', '', open('/kinds/timed').int(5).long(3_600_000n).done());
    await make(client, '/kinds/sessions');
    await make(client, '/kinds/sessions/alive', { kind: 'ephemeral' });
    const { source, tree } = await captured(ctx, { hosts, root: '/kinds', ...user });
    assert.match(tree, /"\/sessions\/alive","ephemeral":true/);
    const { warnings } = await zookeeperDriver
      .open({ hosts, root: '/kinds-b', ...user })
      .restore(ctx, { base: source });
    assert.match(warnings.join(), /1 ephemeral znodes are noted/);
    assert.deepEqual(await differences(ctx, inventoryOf(source), { hosts, root: '/kinds-b', ...user }), []);
  });

  it("leave ZooKeeper's own alone, and a quota that is exceeded is told", async () => {
    const ctx = liveContext();
    const { hosts } = await server();
    await using client = await openClient(ctx, { hosts, ...user });
    await several(client, '/own', 5);
    const { source } = await captured(ctx, { hosts, root: '/own', ...user });
    await make(client, '/zookeeper/quota/limited');
    const limits = 'count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=0';
    await make(client, '/zookeeper/quota/limited/zookeeper_limits', { data: limits });
    await make(client, '/zookeeper/quota/limited/zookeeper_stats', { data: 'count=0,bytes=0' });
    const limited = zookeeperDriver.open({ hosts, root: '/limited', ...user });
    const { missing: left = [] } = await limited.restore(ctx, { base: source });
    assert.equal(left.length, 6);
    assert.equal(left[0], '/limited: a quota is exceeded');
    const whole = await captured(ctx, { hosts, ...user });
    assert.doesNotMatch(whole.tree, /zookeeper_limits/);
    await make(client, '/extra');
    await zookeeperDriver.open({ hosts, ...user }).restore(ctx, { base: whole.source }, { replace: true });
    assert.equal((await client.ask('exists', request.read('/extra'))).error, -101);
    assert.equal((await client.ask('exists', request.read('/zookeeper/quota/limited/zookeeper_limits'))).error, 0);
    assert.deepEqual(await differences(ctx, inventoryOf(whole.source), { hosts, ...user }), []);
    for (const root of ['/zookeeper', '/zookeeper/quota']) {
      assert.throws(() => zookeeperDriver.open({ hosts, root }), { code: 'settings-invalid' });
    }
  });

  it('have names that servers take; a point with others is refused whole', async () => {
    const ctx = liveContext();
    const { hosts } = await server();
    await using client = await connect(ctx, readSettings({ hosts, ...user }));
    const names = [
      '日本語',
      'a b',
      '"quotes"',
      "it's",
      '\\',
      '%2F',
      'é',
      'e\u0301',
      '...',
      '~',
      '\ufeff',
      'Größe',
      '-',
      '&<>',
    ];
    await make(client, '/names');
    for (const name of names) await make(client, `/names/${name}`, { data: name });
    const deep = Array.from({ length: 120 }, (_, n) => `d${n}`);
    for (const [n] of deep.entries()) await make(client, `/names/${deep.slice(0, n + 1).join('/')}`);
    const { source, tree } = await captured(ctx, { hosts, root: '/names', ...user });
    await zookeeperDriver.open({ hosts, root: '/names-b', ...user }).restore(ctx, { base: source });
    assert.deepEqual(await differences(ctx, inventoryOf(source), { hosts, root: '/names-b', ...user }), []);
    const refused = [
      '/names/\u0000',
      '/names/\u0001',
      '/names/.',
      '/names/..',
      '/names//x',
      '/names/\u{1f600}',
      '/names/',
    ];
    for (const path of refused) {
      const { error } = await client.ask(
        'create',
        request.create(path, null, [{ perms: 31, scheme: 'world', id: 'anyone' }]),
      );
      assert.ok(error === -8 || error === -101, JSON.stringify(path));
      const root = path.replace(/\/$/, '/.');
      assert.throws(() => zookeeperDriver.open({ hosts, root }), { code: 'settings-invalid' });
      const edited = memoryParts();
      const name = JSON.stringify(root.slice('/names'.length));
      await edited.sink.put(ctx, 'tree.ndjson', bytesOf(tree.replace('"/a b"', () => name)));
      const restoring = zookeeperDriver
        .open({ hosts, root: '/names-c', ...user })
        .restore(ctx, { base: edited.source });
      await assert.rejects(restoring, { code: 'malformed' }, path);
    }
  });

  it('may be written while a point is taken of the other half of the tree', async () => {
    const ctx = liveContext();
    const { hosts } = await server();
    await using client = await openClient(ctx, { hosts, ...user });
    await several(client, '/halves', 30);
    await make(client, '/halves/z', { data: Buffer.alloc(20_000) });
    const { sink, source } = memoryParts();
    let puts = 0;
    await zookeeperDriver.open({ hosts, root: '/halves', ...user }).capture(ctx, {
      ...sink,
      async put(c, name, body, meta) {
        if (++puts === 1) {
          await set(client, '/halves/n1', 'after');
          await client.call('delete', '', request.delete('/halves/n2'));
          await make(client, '/halves/a-new');
          await make(client, '/halves/a-new/below', { data: Buffer.alloc(17_000, 'new') });
        }
        return await sink.put(c, name, body, meta);
      },
    });
    assert.deepEqual(await differences(ctx, inventoryOf(source), { hosts, root: '/halves', ...user }), []);
  });
});
