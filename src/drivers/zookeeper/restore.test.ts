import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, describe, it, type TestContext } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { startZookeeper, type Zookeeper } from '../../../test/servers/zookeeper.ts';
import { readAll } from '../../core/bytes.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Context, Restored, RestoreOptions, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { worst } from '../../core/verdict.ts';
import { selectionFindings } from '../selection-testing.ts';
import type { Client } from './client.ts';
import { zookeeperDriver } from './driver.ts';
import { aclText, counterOf, OPEN_ACL, readAcl, readStat, request } from './protocol.ts';
import { make, openClient, remove, set } from './testing.ts';

const skip = await missing('zookeeper-3.9');
let shared: Promise<Zookeeper> | undefined;
after(async () => await (await shared)?.[Symbol.asyncDispose]());
let roots = 0;

interface Place {
  readonly ctx: Context;
  readonly root: string;
  readonly client: Client;
  readonly settings: object;
  readonly captured: () => Promise<Source>;
  readonly restored: (root: string, source: Source, options?: RestoreOptions) => Promise<Restored>;
}

/** A root of its own in the server of this file. */
async function place(t: Pick<TestContext, 'after'>): Promise<Place> {
  shared ??= startZookeeper({ superPassword: 'secret', java: ['-Djute.maxbuffer=2097152'] });
  const { hosts } = await shared;
  const ctx = liveContext();
  const root = `/r${++roots}`;
  const user = { hosts, username: 'super', password: 'secret' };
  const settings = { ...user, root };
  const client = await openClient(ctx, settings);
  t.after(async () => await client[Symbol.asyncDispose]());
  await make(client, root);
  return {
    ctx,
    root,
    client,
    settings,
    async captured() {
      const { sink, source } = memoryParts();
      await zookeeperDriver.open(settings).capture(ctx, sink);
      return source;
    },
    restored: (to, source, options) =>
      zookeeperDriver.open({ ...user, root: to }).restore(ctx, { base: source }, options),
  };
}

async function counter(client: Client, path: string): Promise<number> {
  return counterOf(readStat((await client.call('exists', path, request.read(path))).body));
}
async function dataOf(client: Client, path: string): Promise<string | null> {
  const reply = await client.ask('getData', request.read(path));
  return reply.error === 0 ? String(reply.body.bytes()) : null;
}
async function aclOf(client: Client, path: string): Promise<string[]> {
  return readAcl((await client.call('getAcl', path, request.path(path))).body).map(aclText);
}
async function childrenOf(client: Client, path: string): Promise<string[]> {
  const { body } = await client.call('getChildren2', path, request.read(path));
  return body.list(() => body.text()).sort();
}

describe('a restore of ZooKeeper', { skip }, () => {
  it('goes on counting where the sequence had come to', async (t) => {
    const { ctx, root, client, captured, restored, settings } = await place(t);
    await make(client, `${root}/queue`);
    for (let n = 0; n < 700; n++) await make(client, `${root}/queue/n${n}`);
    for (let n = 0; n < 690; n++) await remove(client, `${root}/queue/n${n}`);
    const result = await restored(`${root}-b`, await captured());
    assert.deepEqual(result.missing, []);
    assert.equal(await counter(client, `${root}-b/queue`), 700);
    assert.equal((await childrenOf(client, `${root}-b/queue`)).length, 10);
    const { measure } = zookeeperDriver.open({ ...settings, root: `${root}-b` });
    assert.equal(await measure?.(ctx, 'children /queue'), 10);
    await assert.rejects(async () => await measure?.(ctx, 'data /queue'), { code: 'denied' });
    await assert.rejects(async () => await measure?.(ctx, 'delete /queue'), { code: 'usage' });
    const there = zookeeperDriver.open({ ...settings, root: `${root}-b` });
    assert.equal((await Array.fromAsync(there.names?.(ctx, '/queue') ?? [])).length, 10);
    const held = await there.holds?.(ctx, '/queue', ['n695', 'n1', '', '..', 'n699/', 'n699']);
    assert.deepEqual(held, [true, false, false, false, false, true]);
    await assert.rejects(async () => await there.holds?.(ctx, '/no', []), { code: 'missing' });
    await assert.rejects(async () => await there.holds?.(ctx, 'queue', []), { code: 'usage' });
    const body = request.create(`${root}-b/queue/n-`, null, OPEN_ACL, 'sequential');
    const made = await client.call('create', '', body);
    assert.equal(made.body.text(), `${root}-b/queue/n-0000000700`);
  });

  it('sets rights last, and lets nobody see before what they must not', async (t) => {
    const { ctx, root, client, captured, restored, settings } = await place(t);
    const acl = [{ perms: 1, scheme: 'digest', id: 'app:0wSLPjiKTiPcmD6O0cxzEFRgEqg=' }];
    await make(client, `${root}/shut`, { data: 'secret', acl });
    await make(client, `${root}/parent`, { data: 'p' });
    await make(client, `${root}/parent/child`, { data: 'c' });
    await client.call('setAcl', '', request.setAcl(`${root}/parent`, acl));
    await restored(`${root}-b`, await captured());
    for (const name of ['shut', 'parent']) {
      assert.deepEqual(await aclOf(client, `${root}-b/${name}`), ['digest:app:0wSLPjiKTiPcmD6O0cxzEFRgEqg=:r']);
    }
    await using stranger = await openClient(ctx, { ...settings, username: 'somebody', password: 'else' });
    assert.equal((await stranger.ask('getData', request.read(`${root}-b/shut`))).error, -102);
    assert.equal(await dataOf(client, `${root}-b/parent/child`), 'c');
  });

  it('names what could not be read when it was captured', async (t) => {
    const { ctx, root, client, settings, restored } = await place(t);
    const acl = [{ perms: 31, scheme: 'digest', id: 'app:0wSLPjiKTiPcmD6O0cxzEFRgEqg=' }];
    await make(client, `${root}/shut`, { data: 'secret', acl });
    await make(client, `${root}/open`, { data: 'open' });
    const weak = zookeeperDriver.open({ ...settings, username: 'somebody', password: 'else' });
    const { sink, source } = memoryParts();
    const capture = await weak.capture(ctx, sink);
    assert.match(capture.warnings.join(), /1 znodes could not be read/);
    const { missing: left = [] } = await restored(`${root}-b`, source);
    assert.match(left.join(), /-b\/shut: it could not be read when it was captured/);
    assert.equal(await dataOf(client, `${root}-b/open`), 'open');
    const findings = await Array.fromAsync(
      zookeeperDriver.compare(ctx, await weak.inventory(ctx), await weak.inventory(ctx)),
    );
    assert.equal(worst(findings.map(({ verdict }) => verdict)), 'unknown');
    const denied = (await weak.probe(ctx)).findings.find(({ check }) => check === 'every znode may be read');
    assert.equal(denied?.verdict, 'fail');
  });

  it('brings back a znode of nearly 1 MiB, and names one that the target does not take', async (t) => {
    const { ctx, root, client, captured, settings } = await place(t);
    const large = Buffer.alloc(1024 * 1024 - 200, 'large');
    await make(client, `${root}/large`, { data: large });
    await make(client, `${root}/larger`, { data: Buffer.alloc(1_500_000, 'larger') });
    await make(client, `${root}/small`, { data: 'small' });
    await make(client, `${root}/zz`, { data: 'after it' });
    const source = await captured();
    await using target = await startZookeeper({ superPassword: 'secret' });
    const there = { ...settings, hosts: target.hosts, root: '/' };
    const result = await zookeeperDriver.open(there).restore(ctx, { base: source });
    assert.deepEqual(result.missing, ['/larger: 1500000 bytes are more than the server takes (jute.maxbuffer)']);
    await using reader = await openClient(ctx, there);
    assert.ok((await reader.call('getData', '', request.read('/large'))).body.bytes()?.equals(large));
    assert.equal(await dataOf(reader, '/small'), 'small');
    assert.equal(await dataOf(reader, '/zz'), 'after it');
    assert.deepEqual(await childrenOf(reader, '/'), ['large', 'small', 'zookeeper', 'zz']);
  });

  it('takes a subtree, also under another root, and refuses one that is there', async (t) => {
    const { ctx, root, client, captured, restored } = await place(t);
    for (const path of ['a', 'a/b', 'a/b/c', 'ab', 'z']) await make(client, `${root}/${path}`, { data: path });
    const source = await captured();
    const part = await restored(`${root}-b`, source, { select: { paths: [`${root}/a/b`] } });
    const ofPart = async (): Promise<string[]> => {
      const findings = await selectionFindings(ctx, zookeeperDriver, source, part);
      return findings.map(({ verdict, detail }) => `${verdict}: ${detail}`);
    };
    assert.deepEqual(await ofPart(), ['pass: 2 znodes, equal digests']);
    assert.deepEqual(await childrenOf(client, `${root}-b`), ['a']);
    assert.deepEqual(await childrenOf(client, `${root}-b/a`), ['b']);
    assert.equal(await dataOf(client, `${root}-b/a/b/c`), 'a/b/c');
    await make(client, `${root}-b/beside`);
    assert.deepEqual(await ofPart(), ['pass: 2 znodes, equal digests']);
    await set(client, `${root}-b/a/b/c`, 'other');
    assert.match((await ofPart()).join(), /^fail: .*pass: 1 znodes/);
    const renamed = await restored(root, source, { rename: { [`${root}/a`]: `${root}-c/again` } });
    assert.deepEqual(await childrenOf(client, `${root}-c`), ['again']);
    const verdicts = async (result: Restored): Promise<string[]> => {
      const actual = await result.inventory?.(ctx);
      assert.ok(actual);
      const findings = await Array.fromAsync(zookeeperDriver.compare(ctx, inventoryOf(source), actual));
      return findings.map(({ verdict, detail }) => `${verdict}: ${detail}`);
    };
    const left = 'unknown: 3 znodes of the point were not restored, as was asked for';
    assert.deepEqual(await verdicts(renamed), ['pass: 3 znodes, equal digests', left]);
    const elsewhere = await restored(root, source, { rename: { [root]: `${root}-d` } });
    assert.deepEqual(await verdicts(elsewhere), ['pass: 6 znodes, equal digests']);
    await set(client, `${root}-d/a/b`, 'other');
    await remove(client, `${root}-d/z`);
    assert.match((await verdicts(elsewhere)).join(), /fail: the digests differ|fail: 3 at the cut, 5 now/);
    assert.match((await verdicts(elsewhere)).join(), /fail: it was there at the cut and is missing now/);
    assert.equal(await dataOf(client, `${root}-c/again/b/c`), 'a/b/c');
    const again = restored(root, source, { rename: { [`${root}/a`]: `${root}-c/again` } });
    await assert.rejects(again, { code: 'target-not-empty' });
    await assert.rejects(restored(root, source, { select: { paths: ['/elsewhere'] } }), { code: 'usage' });
    await assert.rejects(restored(root, source, { select: { tables: ['x'] } }), { code: 'usage' });
  });

  it('is not called done when the server dies in the middle', async (t) => {
    const { ctx, root, client, captured, settings } = await place(t);
    for (let n = 0; n < 30; n++) await make(client, `${root}/n${n}`, { data: Buffer.alloc(20_000, String(n)) });
    const source = await captured();
    await using dying = await startZookeeper({ superPassword: 'secret' });
    let reads = 0;
    const killing: Source = {
      ...source,
      async *get(c, name, range) {
        if (name.startsWith('data/') && ++reads === 45) await dying.kill(); // each is read once before anything is made
        yield* source.get(c, name, range);
      },
    };
    const target = zookeeperDriver.open({ ...settings, hosts: dying.hosts, root: '/back', timeout: '5s' });
    await assert.rejects(target.restore(ctx, { base: killing }), { code: 'unreachable' });
  });

  it('of a damaged point changes nothing, whichever of its parts is damaged', async (t) => {
    const { root, client, captured, restored } = await place(t);
    await make(client, `${root}/a`, { data: 'a' });
    for (const name of ['x', 'y', 'z']) await make(client, `${root}/${name}`, { data: Buffer.alloc(20_000, name) });
    const source = await captured();
    await set(client, `${root}/a`, 'changed');
    await make(client, `${root}/since`);
    const damaged = createHash('sha256').update(Buffer.alloc(20_000, 'z')).digest('hex');
    const flipped: Source = {
      ...source,
      async *get(c, name, range) {
        const body = Buffer.from(await readAll(source.get(c, name, range)));
        if (name === `data/${damaged}`) body[0] = (body[0] ?? 0) ^ 1;
        yield body;
      },
    };
    await assert.rejects(restored(root, flipped, { replace: true }), { code: 'checksum' });
    assert.equal(await dataOf(client, `${root}/a`), 'changed');
    assert.deepEqual(await childrenOf(client, root), ['a', 'since', 'x', 'y', 'z']);
    await restored(root, flipped, { replace: true, select: { paths: [`${root}/x`] } });
    assert.equal(await dataOf(client, `${root}/a`), 'changed', 'what was not asked for is not read');
    await restored(root, source, { replace: true });
    assert.deepEqual(await childrenOf(client, root), ['a', 'x', 'y', 'z']);
  });

  it('in place removes what came since, leaves living sessions and what is the same alone', async (t) => {
    const { ctx, root, client, captured, restored, settings } = await place(t);
    for (const path of ['a', 'a/b', 'b', 'b/c', 'locks']) await make(client, `${root}/${path}`, { data: path });
    await make(client, `${root}/locks/mine`, { kind: 'ephemeral' });
    const source = await captured();
    await set(client, `${root}/a`, 'changed');
    await remove(client, `${root}/b/c`);
    await make(client, `${root}/since`);
    await make(client, `${root}/since/below`);
    const version = async (path: string) =>
      readStat((await client.call('exists', '', request.read(path))).body).version;
    const { warnings, missing: left } = await restored(root, source, { replace: true });
    assert.match(warnings.join(), /1 ephemeral znodes are noted/);
    assert.deepEqual(left, []);
    assert.deepEqual(await childrenOf(client, root), ['a', 'b', 'locks']);
    assert.deepEqual(await childrenOf(client, `${root}/locks`), ['mine']);
    assert.equal(await dataOf(client, `${root}/a`), 'a');
    assert.equal(await version(`${root}/a/b`), 0);
    const now = await zookeeperDriver.open(settings).inventory(ctx);
    const findings = await Array.fromAsync(zookeeperDriver.compare(ctx, inventoryOf(source), now));
    assert.equal(worst(findings.map(({ verdict }) => verdict)), 'pass');
  });
});
