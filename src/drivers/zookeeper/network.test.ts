// What networks do to a session, and what answers in the place of a server.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { removeDir } from '../../../test/servers/processes.ts';
import { Failure } from '../../core/errors.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Sink, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { zookeeperDriver } from './driver.ts';
import { juteWriter } from './jute.ts';
import { request } from './protocol.ts';
import { captured, differences, server, several, user } from './stage-testing.ts';
import { make, openClient, proxyTo } from './testing.ts';

const skip = await missing('zookeeper-3.9');

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
