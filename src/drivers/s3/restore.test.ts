import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { startFaultProxy } from '../../buckets/s3/fault-proxy.ts';
import { Failure } from '../../core/errors.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Finding, InventoryReader, Restored, RestoreOptions, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { selectionFindings } from '../selection-testing.ts';
import { bucketNames, putSetting, settingOf } from './buckets.ts';
import type { Client } from './client.ts';
import { s3Driver } from './driver.ts';
import { listed } from './listing.ts';
import { describeObject } from './objects.ts';
import {
  drop,
  keysOf,
  LIFECYCLE,
  makeBucket,
  PNG,
  put,
  read,
  settingsOf,
  sharedMinio,
  TAGGING,
  wipe,
} from './testing.ts';

const ctx = liveContext();
const skip = await missing('minio');
describe('restoring s3', { skip }, async () => {
  if (skip !== false) return;
  const { server, client } = await sharedMinio(ctx);
  const component = (buckets: unknown, more: object = {}) => s3Driver.open(settingsOf(server, { buckets, ...more }));

  async function captured(buckets: unknown, more: object = {}): Promise<Source> {
    const { sink, source } = memoryParts();
    await component(buckets, more).capture(ctx, sink);
    return source;
  }
  async function restored(source: Source, options: RestoreOptions): Promise<Restored> {
    const done = await component('all').restore(ctx, { base: source }, options);
    await done.settle?.(ctx);
    return done;
  }

  it('versions and delete markers come back in their order', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'docs', { versions: true });
    await put(ctx, client, 'docs', [{ key: 'a', body: 'one', headers: PNG }]);
    await put(ctx, client, 'docs', [{ key: 'a', body: 'two' }]);
    await drop(ctx, client, 'docs', 'a');
    await put(ctx, client, 'docs', [{ key: 'a', body: 'three' }, { key: 'kept' }]);
    await put(ctx, client, 'docs', [{ key: 'gone' }]);
    await drop(ctx, client, 'docs', 'gone');
    const source = await captured(['docs'], { versions: true });
    const done = await restored(source, { rename: { docs: 'copy' } });
    assert.deepEqual(done.missing, []);
    assert.match(done.warnings.join(), /new ids/);
    assert.deepEqual(await historyOf(client, 'copy'), await historyOf(client, 'docs'));
    assert.equal(await read(ctx, client, 'copy', 'a'), 'three');
    const actual = await component(['copy'], { versions: true }).inventory(ctx);
    assert.deepEqual(failing(await compared(renamed(inventoryOf(source), 'docs', 'copy'), actual)), []);
    // Once more, only what differs: nothing does.
    const again = await restored(source, { rename: { docs: 'copy' }, delta: true });
    assert.deepEqual([again.bytes, again.missing], [0, []]);
    await drop(ctx, client, 'copy', 'kept');
    const other = await restored(source, { rename: { docs: 'copy' }, delta: true });
    assert.match(other.missing?.join() ?? '', /copy\/kept: it has other versions/);
    await restored(source, { rename: { docs: 'copy' }, replace: true });
    assert.deepEqual(await historyOf(client, 'copy'), await historyOf(client, 'docs'));
  });

  it('a bucket comes back as it was at a time', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'docs', { versions: true });
    await put(ctx, client, 'docs', [{ key: 'a', body: 'old' }, { key: 'gone later' }]);
    const time = await timeAfter(client, 'docs');
    await put(ctx, client, 'docs', [{ key: 'a', body: 'new' }, { key: 'came later' }]);
    await drop(ctx, client, 'docs', 'gone later');
    const source = await captured(['docs'], { versions: true });
    const then = await restored(source, { rename: { docs: 'then' }, select: { asOf: time } });
    assert.match(then.selected?.uncompared ?? '', /as they were at a time/);
    assert.deepEqual(failing(await selectionFindings(ctx, s3Driver, source, then)), []);
    assert.deepEqual(await keysOf(ctx, client, 'then'), ['a', 'gone later']);
    assert.equal(await read(ctx, client, 'then', 'a'), 'old');
    const flat = await captured(['docs']);
    const asked = restored(flat, { rename: { docs: 'else' }, select: { asOf: time } });
    await assert.rejects(asked, { code: 'usage', message: /does not hold the versions/ });
  });

  it('chosen keys come back beside what is there, and never over it', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'docs');
    await put(ctx, client, 'docs', [{ key: 'in/a' }, { key: 'in/b', headers: PNG }, { key: 'out/c' }, { key: 'd' }]);
    const source = await captured(['docs']);
    await drop(ctx, client, 'docs', 'in/a');
    await drop(ctx, client, 'docs', 'in/b');
    await put(ctx, client, 'docs', [{ key: 'd', body: 'mine' }]);
    const select = { buckets: ['docs'], keys: ['in/*'] };
    await restored(source, { select });
    assert.deepEqual(await keysOf(ctx, client, 'docs'), ['d', 'in/a', 'in/b', 'out/c']);
    assert.equal(await read(ctx, client, 'docs', 'd'), 'mine');
    await assert.rejects(restored(source, { select }), { code: 'target-not-empty', message: /in\/a/ });
    await assert.rejects(restored(source, { select: { buckets: ['nope'] } }), { code: 'missing' });
    await assert.rejects(restored(source, { rename: { nope: 'x' } }), { code: 'usage' });
    await assert.rejects(restored(source, { select: { tables: ['x'] } }), { code: 'usage' });
    const one = await restored(source, { select: { keys: ['out/'] }, rename: { docs: 'other' } });
    assert.deepEqual([await keysOf(ctx, client, 'other'), one.bytes], [['out/c'], 5]);
  });

  it('a selection is compared with that part of the point, and nothing else is read', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'docs', { versions: true });
    await makeBucket(ctx, client, 'more');
    await putSetting(ctx, client, 'more', 'tagging', TAGGING);
    await put(ctx, client, 'docs', [{ key: 'in/a', body: 'old' }, { key: 'in/b' }, { key: 'out' }]);
    await put(ctx, client, 'docs', [{ key: 'in/a', body: 'new' }]);
    await put(ctx, client, 'more', [{ key: 'm' }]);
    const source = await captured(['docs', 'more'], { versions: true });
    const told = async (done: Restored): Promise<string[]> => {
      assert.equal(done.selected?.uncompared, null);
      const findings = await selectionFindings(ctx, s3Driver, source, done);
      return findings.map(({ verdict, check, detail }) => `${verdict}: ${check}: ${detail}`);
    };
    const rename = { docs: 'copy' };
    const keys = await restored(source, {
      rename,
      select: { buckets: ['docs'], keys: ['in/?', 'no/*'] },
      reread: true,
    });
    const ofKeys = 'pass: objects are the same: 3 objects and versions, 10 bytes, equal digests';
    assert.deepEqual(await told(keys), [ofKeys]);
    await put(ctx, client, 'copy', [{ key: 'other' }]);
    await using proxy = await startFaultProxy(server.endpoint, () => undefined);
    const settings = { ...settingsOf(server, { buckets: 'all' }), endpoint: proxy.endpoint };
    const more = { select: { buckets: ['docs'], keys: ['out', 'no/*'] }, rename, reread: true };
    const done = await s3Driver.open(settings).restore(ctx, { base: source }, more);
    assert.match((await told(done)).join(), /^pass: objects are the same: 1 objects and versions, 3 bytes/);
    assert.equal(proxy.count(/(GET|HEAD) \/copy\/(in|other)/), 0);
    await put(ctx, client, 'copy', [{ key: 'in/b', body: 'spoilt' }]);
    assert.match((await told(keys)).join(), /fail: version 2 of docs\/in\/b is the same: it is there now/);
    const whole = await restored(source, { rename: { more: 'again' }, select: { buckets: ['more'] } });
    assert.match(
      (await told(whole)).join(),
      /pass: the tagging of bucket more is the same.*pass: objects are the same/,
    );
    await drop(ctx, client, 'again', 'm');
    assert.match(
      (await told(whole)).join(),
      /fail: version 1 of more\/m is the same: it was there at the cut and is missing now/,
    );
  });

  it('only what differs is written, with what belongs to it', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'docs');
    const tags = { 'x-amz-tagging': 'k=v' };
    await put(ctx, client, 'docs', [
      { key: 'same' },
      { key: 'body' },
      { key: 'meta', headers: PNG },
      { key: 'tag', headers: tags },
      { key: 'class', headers: { 'x-amz-storage-class': 'REDUCED_REDUNDANCY' } },
    ]);
    const source = await captured(['docs']);
    await put(ctx, client, 'docs', [{ key: 'body', body: 'else' }, { key: 'meta' }, { key: 'tag' }, { key: 'extra' }]);
    await put(ctx, client, 'docs', [{ key: 'class' }]);
    const done = await restored(source, { delta: true });
    assert.equal(done.bytes, 'body'.length + 'meta'.length + 'tag'.length + 'class'.length);
    assert.deepEqual(await keysOf(ctx, client, 'docs'), ['body', 'class', 'extra', 'meta', 'same', 'tag']);
    const { headers } = await client.send(ctx, 'looking', { method: 'HEAD', bucket: 'docs', key: 'class' });
    assert.equal(headers['x-amz-storage-class'], 'REDUCED_REDUNDANCY');
    assert.deepEqual(await describedAs(client, 'docs', 'meta'), { ...PNG_ENTRY });
    await restored(source, { delta: true, replace: true });
    assert.deepEqual(failing(await compared(inventoryOf(source), await component(['docs']).inventory(ctx))), []);
  });

  it('settings of a bucket come back, and its lifecycle last', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'docs', { versions: true });
    const policy = JSON.stringify({
      Version: '2012-10-17',
      Statement: [
        { Effect: 'Allow', Principal: '*', Action: ['s3:GetObject'], Resource: ['arn:aws:s3:::docs/open/*'] },
      ],
    });
    await putSetting(ctx, client, 'docs', 'tagging', TAGGING);
    await putSetting(ctx, client, 'docs', 'policy', policy);
    await putSetting(ctx, client, 'docs', 'lifecycle', LIFECYCLE);
    await put(ctx, client, 'docs', [{ key: 'a' }]);
    const source = await captured(['docs']);
    const options = { rename: { docs: 'copy' } };
    const rules = await component('all').ageing?.(ctx, { base: source }, options);
    assert.deepEqual(rules, ['the lifecycle rule old ones of bucket copy']);
    const done = await component('all').restore(ctx, { base: source }, options);
    assert.deepEqual(done.missing, []);
    assert.equal(await settingOf(ctx, client, 'copy', 'lifecycle'), null, 'nothing goes before it was compared');
    await done.settle?.(ctx);
    assert.match((await settingOf(ctx, client, 'copy', 'lifecycle')) ?? '', /old ones/);
    assert.match((await settingOf(ctx, client, 'copy', 'tagging')) ?? '', /blue/);
    assert.match((await settingOf(ctx, client, 'copy', 'versioning')) ?? '', /Enabled/);
    assert.match((await settingOf(ctx, client, 'copy', 'policy')) ?? '', /s3:::copy\/open/);
  });

  it('a restore that fails gives a bucket its own lifecycle back', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'docs');
    await put(ctx, client, 'docs', [{ key: 'a' }]);
    const source = await captured(['docs']);
    await putSetting(ctx, client, 'docs', 'lifecycle', LIFECYCLE);
    const broken: Source = {
      ...source,
      get(context, name, range) {
        if (name.startsWith('objects/')) throw new Failure('checksum', 'as arranged');
        return source.get(context, name, range);
      },
    };
    await assert.rejects(restored(broken, { replace: true }), { code: 'checksum' });
    assert.match((await settingOf(ctx, client, 'docs', 'lifecycle')) ?? '', /old ones/);
  });

  it('of a bucket that others use, too, only what was captured is touched', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'shared');
    await put(ctx, client, 'shared', [{ key: 'mine/a' }, { key: 'theirs/b' }]);
    const source = await captured([{ name: 'shared', prefix: 'mine/' }]);
    await putSetting(ctx, client, 'shared', 'tagging', TAGGING);
    await put(ctx, client, 'shared', [{ key: 'mine/extra' }, { key: 'theirs/c' }]);
    await assert.rejects(restored(source, {}), { code: 'target-not-empty' });
    await restored(source, { replace: true });
    assert.deepEqual(await keysOf(ctx, client, 'shared'), ['mine/a', 'theirs/b', 'theirs/c']);
    assert.match((await settingOf(ctx, client, 'shared', 'tagging')) ?? '', /blue/);
  });

  it('in place, no bucket is replaced that the settings do not name: nobody has looked into it', async () => {
    await wipe(ctx, client);
    for (const bucket of ['documents', 'uploads']) {
      await makeBucket(ctx, client, bucket);
      await put(ctx, client, bucket, [{ key: 'a' }, { key: 'keep/b' }]);
    }
    const source = await captured(['documents', 'uploads']);
    for (const bucket of ['documents', 'uploads'])
      await put(ctx, client, bucket, [{ key: 'a', body: 'new' }, { key: 'x' }]);
    const narrow = component(['uploads']);
    const chain = { base: source };
    const left = ['bucket documents is left as it is: the settings do not name all that the point has of it'];
    assert.deepEqual(await narrow.cautions?.(ctx, chain, { replace: true }), left);
    const done = await narrow.restore(ctx, chain, { replace: true });
    assert.deepEqual([done.warnings, done.missing], [left, []]);
    assert.deepEqual(await keysOf(ctx, client, 'uploads'), ['a', 'keep/b']);
    assert.deepEqual(await keysOf(ctx, client, 'documents'), ['a', 'keep/b', 'x']);
    assert.equal(await read(ctx, client, 'documents', 'a'), 'new');
    const found = await compared(inventoryOf(source), (await done.inventory?.(ctx)) ?? NOTHING);
    const told = found.map(({ check, verdict }) => `${verdict}: ${check}`);
    assert.deepEqual(told, ['unknown: bucket documents is the same', 'pass: objects are the same']);
    const less = component([{ name: 'uploads', exclude: ['keep/'] }]);
    await assert.rejects(less.restore(ctx, chain, { replace: true }), { code: 'usage' });
    await restored(source, { rename: { documents: 'other', uploads: 'more' } });
    // What is cleared after a drill is what was seen to be empty before it, or can be seen by a probe.
    assert.match((await narrow.clear?.(ctx, chain))?.join() ?? '', /^bucket documents stays/);
    assert.deepEqual((await bucketNames(ctx, client)).sort(), ['documents', 'more', 'other']);
    await wipe(ctx, client);
    await narrow.restore(ctx, chain);
    assert.deepEqual([await narrow.clear?.(ctx, chain), await bucketNames(ctx, client)], [[], []]);
  });

  it('objects are locked again for as long as they were to be, also when nothing else differs', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'vault', { lock: true });
    const until = new Date(Date.now() + 3_600_000).toISOString();
    const retention = { 'x-amz-object-lock-mode': 'GOVERNANCE', 'x-amz-object-lock-retain-until-date': until };
    const hold = { 'x-amz-object-lock-legal-hold': 'ON' };
    const lockedIn = async (bucket: string, key: string, headers: object): Promise<void> => {
      const body = Buffer.from(key);
      const all = { ...headers, 'content-md5': md5(body) };
      await client.send(ctx, 'putting', { method: 'PUT', bucket, key, headers: all, body });
    };
    for (const [key, headers] of Object.entries({ a: retention, held: hold, plain: {} })) {
      await lockedIn('vault', key, headers);
    }
    const source = await captured(['vault']);
    const rename = { vault: 'safe' };
    const done = await restored(source, { rename });
    assert.deepEqual(done.missing, []);
    const looked = async (key: string, header: string): Promise<string | undefined> => {
      const { headers } = await client.send(ctx, 'looking', { method: 'HEAD', bucket: 'safe', key });
      return headers[`x-amz-object-lock-${header}`];
    };
    assert.equal(await looked('a', 'mode'), 'GOVERNANCE');
    assert.equal(await looked('held', 'legal-hold'), 'ON');
    assert.equal((await restored(source, { rename, delta: true })).bytes, 0);
    for (const key of ['a', 'held', 'plain']) await lockedIn('safe', key, {});
    assert.equal((await restored(source, { rename, delta: true })).bytes, 'a'.length + 'held'.length);
    assert.deepEqual([await looked('a', 'mode'), await looked('held', 'legal-hold')], ['GOVERNANCE', 'ON']);
    await makeBucket(ctx, client, 'open');
    const open = await restored(source, { rename: { vault: 'open' } });
    assert.match(open.missing?.join() ?? '', /the lock of open\/a/);
    for (const bucket of ['vault', 'safe']) await unlock(client, bucket);
  });
});

const NOTHING: InventoryReader = { lines: async function* () {} };

const PNG_ENTRY = {
  headers: { 'content-type': 'image/png', 'cache-control': 'max-age=60' },
  metadata: { owner: 'ann' },
};

function md5(body: Buffer): string {
  return hash('md5', body, 'base64');
}

async function unlock(client: Client, bucket: string): Promise<void> {
  for await (const page of listed(ctx, client, { bucket, prefix: '', exclude: [], versions: true })) {
    for (const { key, version } of page) {
      const query = { versionId: version ?? '' };
      const off = Buffer.from('<LegalHold><Status>OFF</Status></LegalHold>');
      const held = { ...query, 'legal-hold': '' };
      await client.send(ctx, 'letting go', {
        method: 'PUT',
        bucket,
        key,
        query: held,
        headers: { 'content-md5': md5(off) },
        body: off,
      });
      const headers = { 'x-amz-bypass-governance-retention': 'true' };
      await client.send(ctx, 'unlocking', { method: 'DELETE', bucket, key, query, headers });
    }
  }
}

/** What the versions are, without what nobody can choose. */
async function historyOf(client: Client, bucket: string): Promise<unknown[]> {
  const history: unknown[] = [];
  for await (const page of listed(ctx, client, { bucket, prefix: '', exclude: [], versions: true })) {
    history.push(...page.map(({ key, marker, etag, latest }) => [key, marker, etag, latest]));
  }
  return history;
}

/** A moment after the newest object and before the next one. */
async function timeAfter(client: Client, bucket: string): Promise<string> {
  let newest = 0;
  for await (const page of listed(ctx, client, { bucket, prefix: '', exclude: [], versions: true })) {
    newest = Math.max(newest, ...page.map(({ modified }) => Date.parse(modified)));
  }
  const time = newest + 20;
  while (Date.now() <= time + 20) await ctx.sleep(5);
  return new Date(time).toISOString();
}

async function describedAs(client: Client, bucket: string, key: string): Promise<unknown> {
  const at = {
    key,
    version: null,
    latest: true,
    marker: false,
    etag: '',
    bytes: 0,
    modified: '',
    storageClass: 'STANDARD',
  };
  const entry = await describeObject(ctx, client, { bucket, listed: at });
  return entry && { headers: entry.headers, metadata: entry.metadata };
}

function renamed(inventory: InventoryReader, from: string, to: string): InventoryReader {
  return {
    async *lines(context) {
      for await (const line of inventory.lines(context)) {
        yield line.name.startsWith(`${from}/`) ? { ...line, name: to + line.name.slice(from.length) } : line;
      }
    },
  };
}

async function compared(expected: InventoryReader, actual: InventoryReader): Promise<Finding[]> {
  return await Array.fromAsync(s3Driver.compare(ctx, expected, actual));
}

function failing(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ verdict }) => verdict !== 'pass');
}
