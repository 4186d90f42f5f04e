// Servers that are busy, lose answers, refuse, are full or die, seen through a proxy.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import type { Sink } from '../../core/model.ts';
import { memoryParts } from '../../core/testing.ts';
import { elasticsearchDriver } from './driver.ts';
import { type Fate, type Meddler, proxyTo } from './proxy.ts';
import { assertSame, type Cluster, captured, emptied, filled, hastyContext, sharedCluster } from './testing.ts';

const name = 'opensearch-2';
const skip = await missing(name);
const started = sharedCluster(name);
const { open } = elasticsearchDriver;
const ctx = hastyContext();

/** Each request meets it so often before it passes. */
function first(times: number, fate: Fate, meant: (path: string) => boolean = () => true): Meddler['fate'] {
  const met = new Map<string, number>();
  return (path, body) => {
    const count = met.get(path + body) ?? 0;
    met.set(path + body, count + 1);
    return meant(path) && count < times ? fate : 'pass';
  };
}

test('a busy server, lost connections and cut answers are asked again, and nothing is missing (fault 15)', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  await using proxy = await proxyTo(cluster);
  for (const fate of [503, 429, 'cut', 'answer lost'] as const) {
    proxy.fate = first(2, fate, (path) => path !== '/');
    await assertSame(ctx, cluster, (await captured(ctx, { url: proxy.url })).source);
  }
});

test('what is written while an index is looked at is in that point, or in the next one', { skip }, async () => {
  const cluster = await emptied(await started());
  await using proxy = await proxyTo(cluster);
  const write = (): Promise<unknown> => cluster.ask('POST', '/one/_doc', { written: 'meanwhile' });
  const settings = { number_of_shards: 1, refresh_interval: '-1' };
  for (const [at, refresh] of [
    ['/one/_refresh', 'pass'],
    ['/one/_stats/docs', 'pass'],
    ['/one/_search/point_in_time', 'pass'],
    ['/one/_stats/docs', 403],
  ] as const) {
    await emptied(cluster);
    await cluster.ask('PUT', '/one', { settings });
    await cluster.bulk('/one', [{ index: { _id: 'a' } }, { x: 1 }]);
    const once = new Set([at as string]);
    proxy.fate = async (path) => {
      const asked = path.replace(/\?.*/, '');
      if (once.delete(asked)) await write();
      return asked === '/one/_refresh' ? refresh : 'pass';
    };
    const first = memoryParts();
    const { warnings } = await open({ url: proxy.url }).capture(ctx, first.sink);
    assert.equal(once.size, 0);
    assert.equal(/one: could not be refreshed/.test(warnings.join()), refresh === 403);
    const next = memoryParts('it', '2026-01-02-000000');
    const keep: Sink['keep'] = (c, part, from, meta) => {
      return next.sink.put(c, part, first.source.get(c, from.name), meta);
    };
    await open({ url: cluster.url }).capture(ctx, { ...next.sink, keep }, first.source);
    await assertSame(ctx, cluster, next.source);
  }
});

test('a server that stays busy is given up after a bounded time, and one that refuses is asked once (fault 15)', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  await using proxy = await proxyTo(cluster);
  proxy.fate = () => 503;
  await assert.rejects(captured(ctx, { url: proxy.url }), { code: 'unreachable' });
  assert.ok(proxy.seen.length > 5 && proxy.seen.length < 200, `${proxy.seen.length} requests`);
  for (const [status, code] of [
    [401, 'wrong-password'],
    [403, 'privileges'],
  ] as const) {
    proxy.seen.length = 0;
    proxy.fate = () => status;
    const refused = captured(ctx, { url: proxy.url, username: 'u', password: 'canary-password' });
    await assert.rejects(refused, (error: Error & { code: string }) => {
      return error.code === code && !error.message.includes('canary');
    });
    assert.equal(proxy.seen.length, 1);
  }
});

test('a server that says nothing is left after the time that the settings name', { skip }, async () => {
  const cluster = await filled(await started());
  await using proxy = await proxyTo(cluster);
  proxy.fate = (path) => (path.startsWith('/_search?') ? 'stuck' : 'pass');
  await assert.rejects(captured(ctx, { url: proxy.url, timeout: '1500ms' }), { code: 'timeout', message: /1500 ms/ });
});

test('what the target takes later, or took before its answer was lost, is there once (fault 13)', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  const { source } = await captured(ctx, { url: cluster.url });
  await using proxy = await proxyTo(cluster);
  const isBulk = (path: string): boolean => path.includes('/_bulk');
  const isMaking = (path: string): boolean => /^\/(_data_stream\/)?[^_/][^/?]*$/.test(path);
  const refused = (body: string): object => {
    const documents = (body.split('\n').length - 1) / 2;
    return { errors: true, items: Array.from({ length: documents }, () => ({ index: { status: 429 } })) };
  };
  const once = new Set<string>();
  const fates: Meddler['fate'][] = [
    first(2, 'answer lost', isBulk),
    first(1, 'answer lost', isMaking),
    first(2, 503, isBulk),
    (path, body) => {
      if (!isBulk(path) || once.has(body)) return 'pass';
      once.add(body);
      return refused(body);
    },
  ];
  for (const fate of fates) {
    await emptied(cluster);
    proxy.fate = fate;
    const restored = await open({ url: proxy.url }).restore(ctx, { base: source });
    assert.deepEqual(restored.missing, []);
    await assertSame(ctx, cluster, source);
  }
});

test('a target whose disk is nearly full is no space, at once (fault 16)', { skip }, async () => {
  const cluster = await filled(await started());
  const { source } = await captured(ctx, { url: cluster.url });
  await emptied(cluster);
  await using proxy = await proxyTo(cluster);
  const reason = 'disk usage exceeded flood-stage watermark, index has read-only-allow-delete block';
  proxy.fate = (path, body) => {
    if (!path.includes('/_bulk')) return 'pass';
    const documents = (body.split('\n').length - 1) / 2;
    return {
      errors: true,
      items: Array.from({ length: documents }, () => ({ index: { status: 429, error: { reason } } })),
    };
  };
  await assert.rejects(open({ url: proxy.url }).restore(ctx, { base: source }), { code: 'no-space' });
  assert.ok(proxy.seen.filter((each) => each.includes('/_bulk')).length <= 8);
});

test('a restore that breaks off leaves nothing behind, and can be repeated', { skip }, async () => {
  const cluster = await filled(await started());
  const { source } = await captured(ctx, { url: cluster.url });
  await emptied(cluster);
  await using proxy = await proxyTo(cluster);
  let documents = 0;
  proxy.fate = (path) => (path.includes('/_bulk') && (documents += 1) > 1 ? 401 : 'pass');
  await assert.rejects(open({ url: proxy.url }).restore(ctx, { base: source }), { code: 'wrong-password' });
  assert.equal((await open({ url: cluster.url }).probe(ctx)).holdsData, null);
  await open({ url: cluster.url }).restore(ctx, { base: source });
  await assertSame(ctx, cluster, source);
});

test('a restore of what differs leaves alone what is the same', { skip }, async () => {
  const cluster = await filled(await started());
  const actions = ['products', 'empty'].map((index) => ({ add: { index, alias: 'both' } }));
  await cluster.ask('POST', '/_aliases', { actions });
  const { source } = await captured(ctx, { url: cluster.url });
  await cluster.bulk('/products', [{ delete: { _id: 'p1' } }]);
  await cluster.ask('PUT', '/another', { aliases: { catalogue: {} } });
  const before = await uuids(cluster);
  await open({ url: cluster.url }).restore(ctx, { base: source }, { delta: true });
  const after = await uuids(cluster);
  const same = Object.keys(before).filter((index) => before[index] === after[index]);
  assert.deepEqual(
    same.filter((index) => !index.startsWith('.ds')),
    ['another', 'empty'],
  );
  assert.ok(same.some((index) => index.startsWith('.ds-logs-shop')));
  assert.deepEqual(Object.keys(await cluster.ask('GET', '/_alias/both')).sort(), ['empty', 'products']);
  await cluster.ask('DELETE', '/another');
  await assertSame(ctx, cluster, source);
});

async function uuids(cluster: Cluster): Promise<Record<string, string>> {
  const path = '/_cat/indices?format=json&h=index,uuid&expand_wildcards=all&s=index';
  const rows: unknown = await cluster.ask('GET', path);
  return Object.fromEntries((rows as { index: string; uuid: string }[]).map(({ index, uuid }) => [index, uuid]));
}
