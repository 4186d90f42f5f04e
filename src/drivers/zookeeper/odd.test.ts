// What rights, names and kinds of znodes may be.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { bytesOf } from '../../core/bytes.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Finding } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { connect } from './client.ts';
import { zookeeperDriver } from './driver.ts';
import { juteWriter } from './jute.ts';
import { type Acl, aclText, readAcl, request } from './protocol.ts';
import { readSettings } from './settings.ts';
import { captured, differences, server, several, user } from './stage-testing.ts';
import { make, openClient, set } from './testing.ts';

const skip = await missing('zookeeper-3.9');

function digestAcl(name: string, password: string, perms: number): Acl {
  const hash = createHash('sha1').update(`${name}:${password}`).digest('base64');
  return { perms, scheme: 'digest', id: `${name}:${hash}` };
}

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
