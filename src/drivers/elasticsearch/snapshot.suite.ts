// Snapshots that the cluster takes itself, in a directory.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { inventoryOf } from '../../core/inventory.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { worst } from '../../core/verdict.ts';
import { selectionFindings } from '../selection-testing.ts';
import { elasticsearchDriver } from './driver.ts';
import { proxyTo } from './proxy.ts';
import { type Cluster, captured, emptied, filled, sharedCluster } from './testing.ts';

const name = 'opensearch-2';
const skip = await missing(name);
const started = sharedCluster(name);
const { open, compare } = elasticsearchDriver;
const ctx = liveContext();

function settingsOf({ url, server }: Cluster, more: object = {}): object {
  const settings = { location: server.repositories, secret_key: 'canary-of-the-key' };
  return { url, method: 'snapshot', repository: { name: 'it', type: 'fs', settings }, ...more };
}

test('a snapshot of the cluster is named in the point, comes back whole, and is gone when it is released', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  const component = open(settingsOf(cluster));
  const { source, capture } = await captured(ctx, settingsOf(cluster));
  const { external = null } = capture;
  assert.ok(component.check && component.release);
  assert.ok(!JSON.stringify([capture, await Array.fromAsync(source.get(ctx, 'snapshot.json'))]).includes('canary'));
  assert.deepEqual(
    (await Array.fromAsync(component.check(ctx, external))).map(({ verdict }) => verdict),
    ['pass'],
  );
  const before = await cluster.ask('GET', '/products/_search?q=_id:versioned&version=true');
  await emptied(cluster);
  await component.restore(ctx, { base: source });
  const after = await cluster.ask('GET', '/products/_search?q=_id:versioned&version=true');
  assert.deepEqual(hits(after), hits(before));
  assert.deepEqual((await cluster.ask('GET', '/logs-shop/_count')).count, 40);
  const findings = await Array.fromAsync(
    compare(ctx, inventoryOf(source), await open({ ...settingsOf(cluster), inventory: 'counts' }).inventory(ctx)),
  );
  assert.equal(worst(findings.map(({ verdict }) => verdict)), 'unknown', JSON.stringify(findings));
  assert.match(findings.find(({ check }) => check.includes('index products'))?.detail ?? '', /counted/);
  await component.release(ctx, external);
  await component.release(ctx, external);
  const [gone] = await Array.fromAsync(component.check(ctx, external));
  assert.equal(gone?.verdict, 'fail');
  assert.match(gone?.detail ?? '', /is gone/);
});

test('a snapshot restores under another name beside the live index, and is refused over it', { skip }, async () => {
  const cluster = await filled(await started());
  const { source } = await captured(ctx, settingsOf(cluster));
  const component = open(settingsOf(cluster));
  await assert.rejects(component.restore(ctx, { base: source }), { code: 'target-not-empty', message: /products/ });
  await component.restore(
    ctx,
    { base: source },
    { select: { indices: ['products'] }, rename: { products: 'products-$1' } },
  );
  const counts = ['/products/_count', '/products-$1/_count'].map((path) => cluster.ask('GET', path));
  const [live, back] = await Promise.all(counts);
  assert.deepEqual(back?.count, live?.count);
  await component.restore(ctx, { base: source }, { replace: true });
  assert.deepEqual((await cluster.ask('GET', '/products/_count')).count, live?.count);
});

test('a snapshot that lacks a shard is no capture, and nothing of it stays (fault 40)', { skip }, async () => {
  const cluster = await filled(await started());
  const nowhere = { 'index.routing.allocation.require.box': 'none' };
  await cluster.ask('PUT', '/lost?wait_for_active_shards=0', { settings: nowhere });
  const { sink } = memoryParts();
  const wanted = { code: 'source-damaged', message: /lost/ };
  await assert.rejects(open(settingsOf(cluster)).capture(ctx, sink), wanted);
  const left = (await cluster.ask('GET', '/_snapshot/it/_all')) as { snapshots: { state: string }[] };
  assert.deepEqual(
    left.snapshots.filter(({ state }) => state !== 'SUCCESS'),
    [],
  );
});

test('a snapshot that is partial, or a success of which a shard failed, is no capture (fault 40)', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  await using proxy = await proxyTo(cluster);
  const [whole, half] = [
    { total: 2, failed: 0, successful: 2 },
    { total: 2, failed: 1, successful: 1 },
  ];
  for (const answer of [
    { state: 'PARTIAL', shards: half, failures: [{ index: 'empty', reason: 'the disk is broken' }] },
    { state: 'PARTIAL', shards: whole },
    { state: 'FAILED', shards: whole },
    { state: 'SUCCESS', shards: half },
    { state: 'SUCCESS', shards: { ...whole, successful: 1 } },
    { state: 'SUCCESS' },
  ]) {
    const told = { snapshot: 'it', uuid: 'u', indices: ['empty'], start_time: '2026-01-01T00:00:00Z', ...answer };
    proxy.seen.length = 0;
    proxy.fate = (path, _body, method) => {
      return method === 'GET' && /^\/_snapshot\/it\/lifeboat-[^?]*$/.test(path) ? { snapshots: [told] } : 'pass';
    };
    const settings = settingsOf({ ...cluster, url: proxy.url }, { indices: ['empty'] });
    await assert.rejects(open(settings).capture(ctx, memoryParts().sink), { code: 'source-damaged' });
    assert.ok(
      proxy.seen.some((request) => request.startsWith('DELETE /_snapshot/it/lifeboat-')),
      'it is removed',
    );
  }
});

test('a snapshot whose point can not be written is removed again, and a component without indices has none in it', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  const component = open(settingsOf(cluster));
  const snapshots = async (): Promise<number> => {
    const { snapshots: all } = (await cluster.ask('GET', '/_snapshot/it/_all')) as { snapshots: unknown[] };
    return all.length;
  };
  await captured(ctx, settingsOf(cluster));
  const before = await snapshots();
  const refusing = { ...memoryParts().sink, put: () => Promise.reject(new RangeError('the store is full')) };
  await assert.rejects(component.capture(ctx, refusing), RangeError);
  assert.equal(await snapshots(), before);
  const { capture } = await captured(ctx, settingsOf(cluster, { indices: ['nothing-*'] }));
  assert.equal(capture.totals.indices, 0);
});

test('an index of which a shard does not come back is removed and named, and the others are back (fault 40)', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  const { source } = await captured(ctx, settingsOf(cluster));
  const id = await folderOf(cluster, 'products');
  const files = readdirSync(id, { recursive: true, encoding: 'utf8' });
  for (const file of files.filter((each) => basename(each).startsWith('__'))) rmSync(join(id, file));
  await emptied(cluster);
  const { missing: told = [], inventory } = await open(settingsOf(cluster)).restore(ctx, { base: source });
  assert.match(told.join(), /^products: not all of its shards came back/);
  assert.equal((await cluster.ask('GET', '/logs-shop/_count')).count, 40);
  await assert.rejects(cluster.ask('GET', '/products'), /404/);
  assert.ok(inventory);
  const found = await Array.fromAsync(compare(ctx, inventoryOf(source), await inventory(ctx)));
  assert.equal(found.find(({ check }) => check.startsWith('index products'))?.verdict, 'fail');
});

test('a second snapshot writes what is new, and its release leaves the first one whole', { skip }, async () => {
  const cluster = await filled(await started());
  const component = open(settingsOf(cluster));
  const { capture: first } = await captured(ctx, settingsOf(cluster));
  await cluster.bulk('/empty', [{ index: { _id: 'a' } }, { n: 1 }]);
  const { capture: second } = await captured(ctx, settingsOf(cluster));
  const { snapshot } = second.external as { snapshot: string };
  const { snapshots } = (await cluster.ask('GET', `/_snapshot/it/${snapshot}/_status`)) as {
    snapshots: { stats: { incremental: { file_count: number }; total: { file_count: number } } }[];
  };
  const { incremental, total } = snapshots[0]?.stats ?? assert.fail();
  assert.ok(incremental.file_count < total.file_count / 2, JSON.stringify([incremental, total]));
  assert.ok(component.check && component.release);
  await component.release(ctx, second.external ?? null);
  const [kept] = await Array.fromAsync(component.check(ctx, first.external ?? null));
  assert.equal(kept?.verdict, 'pass');
});

test('a snapshot has an alias where the target has an index: told before anything is touched (fault 41)', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  const { source } = await captured(ctx, settingsOf(cluster));
  await emptied(cluster);
  await cluster.ask('PUT', '/cheap');
  const options = { select: { indices: ['products'] } };
  const wanted = { code: 'target-not-empty', message: /cheap/ };
  await assert.rejects(open(settingsOf(cluster)).restore(ctx, { base: source }, options), wanted);
  await assert.rejects(open(settingsOf(cluster)).restore(ctx, { base: source }), wanted);
  await assert.rejects(cluster.ask('GET', '/products'), /404/);
  // An index that nobody selected has that alias, so that it is in nobody's way.
  await cluster.bulk('/cheap', [{ index: {} }, { x: 1 }]);
  const chosen = { select: { indices: ['empty'] }, delta: true };
  const done = await open(settingsOf(cluster)).restore(ctx, { base: source }, chosen);
  const found = await selectionFindings(ctx, elasticsearchDriver, source, done);
  assert.deepEqual(
    found.map(({ check, detail }) => `${check}: ${detail}`),
    [
      'index empty is the same: counted, not digested',
      'the mapping of empty is the same: equal digest',
      'the settings of empty is the same: equal digest',
    ],
  );
  assert.equal((await cluster.ask('GET', '/empty/_count')).count, 0);
  assert.equal((await cluster.ask('GET', '/cheap/_count')).count, 1);
});

test('a snapshot restore that is refused, or whose answer is lost, removes what it made and nothing else (fault 13)', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  const { source } = await captured(ctx, settingsOf(cluster));
  await using proxy = await proxyTo(cluster);
  for (const [isMadeMeanwhile, fate, code] of [
    [true, 'pass', 'denied'],
    [true, 'lost', 'unreachable'],
    [false, 'answer lost', 'unreachable'],
  ] as const) {
    await emptied(cluster);
    proxy.fate = async (path) => {
      if (!path.includes('/_restore')) return 'pass';
      if (isMadeMeanwhile) await cluster.bulk('/products', [{ index: {} }, { x: 1 }]);
      return fate;
    };
    const refused = open(settingsOf({ ...cluster, url: proxy.url })).restore(ctx, { base: source });
    await assert.rejects(refused, { code });
    const { holdsData } = await open({ url: cluster.url }).probe(ctx);
    assert.equal(holdsData, isMadeMeanwhile ? 'index products' : null);
  }
});

test('documents are counted as the snapshot has them, or not at all, whatever is written meanwhile', {
  skip,
}, async () => {
  const cluster = await emptied(await started());
  await using proxy = await proxyTo(cluster);
  await cluster.ask('PUT', '/one', { settings: { number_of_shards: 1, refresh_interval: '-1' } });
  for (const at of ['/one/_stats/docs', '/one/_refresh', '/one/_count']) {
    await cluster.bulk('/one', [{ index: {} }, { x: 1 }]);
    const once = new Set([at]);
    proxy.fate = async (path) => {
      if (once.delete(path.replace(/\?.*/, ''))) await cluster.ask('POST', '/one/_doc', { written: 'meanwhile' });
      return 'pass';
    };
    const { source } = await captured(ctx, settingsOf({ ...cluster, url: proxy.url }));
    await cluster.ask('DELETE', '/one');
    await open(settingsOf(cluster)).restore(ctx, { base: source });
    const there = (await cluster.ask('GET', '/one/_count')).count;
    const lines = await Array.fromAsync(inventoryOf(source).lines(ctx));
    const told = lines.find(({ kind }) => kind === 'index')?.count;
    assert.ok(told === null || told === there, `${at}: ${told} are told, and ${there} came back`);
  }
});

test('an index that is deleted while a snapshot is taken is named, and the others are in it (fault 40)', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  await using proxy = await proxyTo(cluster);
  proxy.fate = async (path, _body, method) => {
    if (method === 'PUT' && path.startsWith('/_snapshot/it/lifeboat-')) await cluster.ask('DELETE', '/empty');
    return 'pass';
  };
  const { source, capture } = await captured(ctx, settingsOf({ ...cluster, url: proxy.url }));
  assert.match(capture.warnings.join(), /^empty: deleted while it was captured: not in the snapshot$/);
  await emptied(cluster);
  const { missing: lacking = [] } = await open(settingsOf(cluster)).restore(ctx, { base: source });
  assert.match(lacking.join(), /index empty: it was deleted when it was captured/);
  assert.equal((await cluster.ask('GET', '/products/_count')).count, 307);
});

test('another snapshot of the same name is not taken for ours, nor removed', { skip }, async () => {
  const cluster = await filled(await started());
  const { capture } = await captured(ctx, settingsOf(cluster));
  const component = open(settingsOf(cluster));
  assert.ok(component.check && component.release);
  const external = { ...(capture.external as object), uuid: 'another' };
  const [found] = await Array.fromAsync(component.check(ctx, external));
  assert.equal(found?.verdict, 'fail');
  await component.release(ctx, external);
  const [own] = await Array.fromAsync(component.check(ctx, capture.external ?? null));
  assert.equal(own?.verdict, 'pass');
});

/** Where the repository keeps an index. */
async function folderOf({ server }: Cluster, index: string): Promise<string> {
  const [list = ''] = readdirSync(server.repositories)
    .filter((name) => /^index-\d+$/.test(name))
    .sort(byNumber)
    .reverse();
  const { indices } = JSON.parse(readFileSync(join(server.repositories, list), 'utf8')) as {
    indices: Record<string, { id: string }>;
  };
  return join(server.repositories, 'indices', indices[index]?.id ?? '');
}

function byNumber(a: string, b: string): number {
  return Number(a.slice(6)) - Number(b.slice(6));
}

function hits(answer: Record<string, unknown>): unknown {
  const { hits: found } = answer as { hits: { hits: { _source: unknown; _version: unknown }[] } };
  return found.hits.map(({ _source, _version }) => [_source, _version]);
}
