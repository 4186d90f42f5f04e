// What is not read twice: objects that are as they were, and those that a restore has just written.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { startFaultProxy } from '../../buckets/s3/fault-proxy.ts';
import { bytesOf } from '../../core/bytes.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Capture, Finding, InventoryReader, Sink, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { s3Driver } from './driver.ts';
import { entryBatches } from './entries.ts';
import { makeBucket, PNG, put, settingsOf, sharedMinio, wipe } from './testing.ts';

const SETTLED_MS = 3500;

const skip = await missing('minio');
describe('s3, again', { skip }, async () => {
  if (skip !== false) return;
  const ctx = liveContext();
  const { server, client } = await sharedMinio(ctx);

  interface Again {
    readonly source: Source;
    readonly capture: Capture;
    readonly put: readonly string[];
    readonly kept: readonly string[];
  }
  async function captured(previous: Source | undefined, more: object = {}): Promise<Again> {
    const { sink, source } = memoryParts('it', previous ? '2026-01-02-000000' : '2026-01-01-000000');
    const [given, kept]: string[][] = [[], []];
    const noting: Sink = {
      ...sink,
      put: async (c, name, body, meta) => {
        if (name.startsWith('objects/')) given?.push(name);
        return await sink.put(c, name, body, meta);
      },
      keep: async (c, name, from, meta) => {
        kept?.push(name);
        return await sink.put(c, name, previous?.get(c, from.name) ?? bytesOf(''), meta);
      },
    };
    const component = s3Driver.open(settingsOf(server, { buckets: ['docs'], ...more }));
    return { capture: await component.capture(ctx, noting, previous), source, put: given ?? [], kept: kept ?? [] };
  }
  /** Objects that were written just now are read again: they may change once more without their time telling. */
  async function settled(): Promise<void> {
    const begun = performance.now();
    while (performance.now() - begun < SETTLED_MS) await ctx.sleep(50);
  }
  async function tag(key: string, value: string): Promise<void> {
    const body = `<Tagging><TagSet><Tag><Key>k</Key><Value>${value}</Value></Tag></TagSet></Tagging>`;
    const request = { method: 'PUT', bucket: 'docs', key, query: { tagging: '' }, body: Buffer.from(body) } as const;
    await client.send(ctx, 'tagging', request);
  }
  async function tagsOf(source: Source): Promise<unknown> {
    const entries = (await Array.fromAsync(entryBatches(ctx, source))).flat();
    return Object.fromEntries(entries.map(({ key, tags }) => [key, tags?.k]));
  }
  async function findings(source: Source, actual: InventoryReader): Promise<readonly Finding[]> {
    return await Array.fromAsync(s3Driver.compare(ctx, inventoryOf(source), actual));
  }

  it('tags that change by themselves are noticed as often as recheck says, and never called equal unasked', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'docs');
    await put(ctx, client, 'docs', [{ key: 'a', headers: { 'x-amz-tagging': 'k=old' } }, { key: 'b' }]);
    await settled();
    const first = await captured(undefined);
    for (const key of ['a', 'b']) await tag(key, 'new');
    const later = await captured(first.source, { recheck: '7d' });
    assert.deepEqual([later.put.length, later.kept.length], [0, 2]);
    assert.deepEqual(await tagsOf(later.source), { a: 'old', b: undefined });
    const always = await captured(later.source, { recheck: '0s' });
    assert.deepEqual([always.put.length, always.kept.length], [0, 2]);
    assert.deepEqual(await tagsOf(always.source), { a: 'new', b: 'new' });
    const never = await captured(always.source, { recheck: 'never' });
    const said = async ({ source }: Again): Promise<unknown> => {
      const target = settingsOf(server, { buckets: ['docs'] });
      const found = await findings(source, await s3Driver.open(target).inventory(ctx));
      return found.map(({ check, verdict }) => `${verdict}: ${check}`);
    };
    assert.deepEqual(await said(always), ['pass: objects are the same']);
    assert.deepEqual(await said(never), ['pass: objects are the same', 'unknown: tags and locks are the same']);
    assert.deepEqual(await said(later), ['fail: docs/a is the same', 'fail: docs/b is the same']);
    const week = await captured(always.source, { recheck: '7d' });
    assert.deepEqual(await said(week), ['pass: objects are the same', 'pass: tags and locks are the same']);
  });

  it('within a week each object is asked for its tags once, not all of them at once', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'docs');
    await put(
      ctx,
      client,
      'docs',
      Array.from({ length: 60 }, (_, n) => ({ key: `k${n}` })),
    );
    await settled();
    let point = (await captured(undefined)).source;
    await using proxy = await startFaultProxy(server.endpoint, () => undefined);
    const asked: number[] = [];
    for (let turn = 0; turn < 4; turn++) {
      const before = proxy.count(/\?tagging/);
      point = (await captured(point, { endpoint: proxy.endpoint, recheck: '10s' })).source;
      asked.push(proxy.count(/\/docs\/k\d+\?tagging/) - before);
      const begun = performance.now();
      while (performance.now() - begun < 500) await ctx.sleep(20);
    }
    assert.ok(
      asked.some((count) => count > 0 && count < 60),
      asked.join(),
    );
  });

  it('an object that was written just before the last point is read again', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'docs');
    await put(ctx, client, 'docs', [{ key: 'a' }]);
    const first = await captured(undefined);
    assert.deepEqual([(await captured(first.source)).put.length, (await captured(first.source)).kept.length], [1, 0]);
  });

  it('what a restore has written is not read again, unless somebody wrote it since or it is asked for', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'docs');
    await put(ctx, client, 'docs', [{ key: 'a' }, { key: 'b' }, { key: 'png', headers: PNG }]);
    const { source } = await captured(undefined);
    await using proxy = await startFaultProxy(server.endpoint, () => undefined);
    const settings = { ...settingsOf(server, { buckets: ['docs'] }), endpoint: proxy.endpoint };
    for (const reread of [false, true]) {
      const options = { rename: { docs: reread ? 'copy-2' : 'copy' }, reread };
      const done = await s3Driver.open(settings).restore(ctx, { base: source }, options);
      assert.ok(done.inventory);
      const before = proxy.count(/^GET \/copy(-2)?\/(a|b)/);
      const found = await findings(source, await done.inventory(ctx));
      assert.deepEqual([found.length, found[0]?.verdict, found[0]?.unread], [1, 'pass', reread ? undefined : true]);
      assert.equal(proxy.count(/^GET \/copy(-2)?\/(a|b)/) - before, reread ? 2 : 0);
      assert.ok(proxy.count(/^GET \/copy(-2)?\/png/) > 0, 'whether the server keeps metadata is looked at');
    }
    const done = await s3Driver.open(settings).restore(ctx, { base: source }, { rename: { docs: 'copy-3' } });
    await put(ctx, client, 'copy-3', [{ key: 'a', body: 'x' }]);
    const [found] = await findings(source, (await done.inventory?.(ctx)) ?? { lines: async function* () {} });
    assert.deepEqual([found?.check, found?.verdict], ['docs/a is the same', 'fail']);
  });

  it('a restore under another name, or of what differs, is compared with what it filled', async () => {
    await wipe(ctx, client);
    await makeBucket(ctx, client, 'docs');
    const policy = {
      Effect: 'Allow',
      Principal: '*',
      Action: ['s3:GetObject'],
      Resource: ['arn:aws:s3:::docs/open/*'],
    };
    const body = Buffer.from(JSON.stringify({ Version: '2012-10-17', Statement: [policy] }));
    await client.send(ctx, 'setting', { method: 'PUT', bucket: 'docs', query: { policy: '' }, body });
    await put(ctx, client, 'docs', [{ key: 'a' }, { key: 'b' }]);
    const { source } = await captured(undefined);
    const component = s3Driver.open(settingsOf(server, { buckets: ['docs'] }));
    const done = await component.restore(ctx, { base: source }, { rename: { docs: 'other' } });
    const verdicts = async (): Promise<unknown> => {
      const actual = await done.inventory?.(ctx);
      return (actual ? await findings(source, actual) : []).map(({ check, verdict }) => `${verdict}: ${check}`);
    };
    assert.deepEqual(await verdicts(), ['pass: the policy of bucket docs is the same', 'pass: objects are the same']);
    await client.send(ctx, 'deleting', { method: 'DELETE', bucket: 'other', key: 'a' });
    assert.ok(((await verdicts()) as string[]).includes('fail: docs/a is the same'));
    // What else is there is none of the point's.
    await put(ctx, client, 'docs', [{ key: 'more' }]);
    const delta = await component.restore(ctx, { base: source }, { delta: true });
    const found = await findings(source, (await delta.inventory?.(ctx)) ?? { lines: async function* () {} });
    assert.deepEqual(new Set(found.map(({ verdict }) => verdict)), new Set(['pass']));
  });
});
