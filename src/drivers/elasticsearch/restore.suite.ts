// What comes back, under which names, and what stands in its way.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { missing } from '../../../test/servers/need.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Finding, Restored, RestoreOptions, Sink, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { selectionFindings } from '../selection-testing.ts';
import { elasticsearchDriver } from './driver.ts';
import { assertSame, type Cluster, captured, differences, emptied, filled, sharedCluster } from './testing.ts';

const name = 'opensearch-2';
const skip = await missing(name);
const started = sharedCluster(name);
const { open, compare } = elasticsearchDriver;
const ctx = liveContext();
const exec = promisify(execFile);
const page = readFileSync('docs/drivers/elasticsearch.md', 'utf8');

async function count(cluster: Cluster, index: string): Promise<unknown> {
  return (await cluster.ask('GET', `/${index}/_count`)).count;
}

test('what collides is told before anything is touched: index, alias, data stream, template (fault 41)', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  const { source } = await captured(ctx, { url: cluster.url });
  const component = open({ url: cluster.url });
  const held = async (): Promise<unknown[]> => [
    await cluster.ask('GET', '/_cat/indices?format=json&h=index,uuid,docs.count&s=index&expand_wildcards=all'),
    await cluster.ask('GET', '/_cat/aliases?format=json&h=alias,index&s=alias,index&expand_wildcards=all'),
    await cluster.ask('GET', '/_template'),
  ];
  const before = await held();
  const refused = async (index: string, message: RegExp, rename = {}): Promise<void> => {
    const options = { select: { indices: [index] }, rename };
    await assert.rejects(component.restore(ctx, { base: source }, options), { code: 'target-not-empty', message });
  };
  await refused('products', /index products/);
  const foreseen = async (options: RestoreOptions): Promise<string> => {
    return ((await component.cautions?.(ctx, { base: source }, options)) ?? []).join('; ');
  };
  const swap = { select: { indices: ['products'] }, rename: { products: 'p-2', cheap: 'cheap' } };
  await assert.rejects(foreseen({}), { code: 'target-not-empty' });
  await assert.rejects(foreseen({ ...swap, rename: { products: 'empty' } }), { code: 'target-not-empty' });
  assert.match(await foreseen({ replace: true }), /products is there and is replaced/);
  assert.match(await foreseen(swap), /alias cheap moves away from products; alias catalogue stays at products/);
  await refused('logs-*', /index logs-shop/);
  await refused('products', /alias cheap/, { products: 'cheap' });
  await refused('products', /index empty/, { products: 'empty' });
  assert.deepEqual(await held(), before);
  await emptied(cluster);
  await cluster.ask('PUT', '/_template/old', { index_patterns: ['other-*'] });
  await assert.rejects(component.restore(ctx, { base: source }), { message: /another template old/ });
  await cluster.ask('PUT', '/cheap');
  const other = await held();
  await refused('products', /index cheap, which is an alias in the point/);
  await assert.rejects(component.restore(ctx, { base: source }), { code: 'target-not-empty' });
  assert.deepEqual(await held(), other);
});

test('an index comes back under another name, and its aliases move to it in one step when told to', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  const { source } = await captured(ctx, { url: cluster.url });
  const component = open({ url: cluster.url });
  const options = { select: { indices: ['products'] }, rename: { products: 'products-2' } };
  const beside = await component.restore(ctx, { base: source }, options);
  assert.deepEqual(await holders(cluster, 'catalogue'), ['products']);
  assert.match(beside.warnings.join(), /alias catalogue stays at products/);
  assert.equal(await count(cluster, 'products-2'), await count(cluster, 'products'));
  await cluster.ask('DELETE', '/products-2');
  await cluster.bulk('/products', [{ index: { _id: 'p1' } }, { name: 'spoilt' }]);
  const rename = { ...options.rename, catalogue: 'catalogue', cheap: 'cheaper' };
  await component.restore(ctx, { base: source }, { ...options, rename });
  assert.deepEqual(await holders(cluster, 'catalogue'), ['products-2']);
  assert.deepEqual(await holders(cluster, 'cheaper'), ['products-2']);
  assert.deepEqual(await holders(cluster, 'cheap'), ['products']);
  const { _source } = (await cluster.ask('GET', '/products/_doc/p1')) as { _source: { name: string } };
  assert.equal(_source.name, 'spoilt', 'the old index stays as it was');
});

test('what came back under other names, or beside other data, is compared alone', { skip }, async () => {
  const cluster = await filled(await started());
  const { source } = await captured(ctx, { url: cluster.url });
  await cluster.ask('PUT', '/another');
  const component = open({ url: cluster.url });
  const rename = { products: 'a', empty: 'b', 'logs-shop': 'logs-c', catalogue: 'catalogue', cheap: 'cheaper' };
  const verdicts = async (restored: Restored): Promise<Finding[]> => {
    assert.ok(restored.inventory);
    const all = await Array.fromAsync(compare(ctx, inventoryOf(source), await restored.inventory(ctx)));
    return all.filter(({ verdict }) => verdict !== 'pass');
  };
  assert.deepEqual(await verdicts(await component.restore(ctx, { base: source }, { rename })), []);
  assert.deepEqual(await verdicts(await component.restore(ctx, { base: source }, { replace: true })), []);
  const { catalogue: _, ...fewer } = { ...rename, products: 'd', empty: 'e', 'logs-shop': 'logs-f', cheap: 'cheapest' };
  const [left, ...more] = await verdicts(await component.restore(ctx, { base: source }, { rename: fewer }));
  assert.deepEqual([left?.check, left?.verdict, more], ['alias catalogue is the same', 'unknown', []]);
});

test('chosen indices are compared with that part of the point, with the aliases that are theirs alone', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  await cluster.ask('POST', '/_aliases', { actions: [{ add: { index: 'empty', alias: 'catalogue' } }] });
  const { source } = await captured(ctx, { url: cluster.url });
  // The template of the stream stays.
  for (const path of ['/_data_stream/logs-shop', '/products', '/empty']) await cluster.ask('DELETE', path);
  await cluster.ask('PUT', '/other');
  const component = open({ url: cluster.url });
  const told = async (restored: Restored): Promise<string[]> => {
    const findings = await selectionFindings(ctx, elasticsearchDriver, source, restored);
    return findings.map(({ verdict, check }) => `${verdict}: ${check.replace(' is the same', '')}`);
  };
  const stream = await component.restore(ctx, { base: source }, { select: { indices: ['logs-*'] } });
  assert.deepEqual([await told(stream), stream.selected?.uncompared], [['pass: data stream logs-shop'], null]);
  const one = await component.restore(ctx, { base: source }, { select: { indices: ['products'] } });
  const rest = ['pass: the mapping of products', 'pass: the settings of products'];
  assert.deepEqual(await told(one), ['pass: alias cheap', 'pass: index products', ...rest]);
  assert.match(one.selected?.uncompared ?? '', /stand for other indices, too: catalogue$/);
  await cluster.bulk('/products', [{ delete: { _id: 'p1' } }]);
  assert.deepEqual(await told(one), ['pass: alias cheap', 'fail: index products', ...rest]);
  await cluster.ask('DELETE', '/products');
  const both = await component.restore(ctx, { base: source }, { select: { indices: ['products', 'empty'] } });
  assert.equal(both.selected?.uncompared, null);
  assert.ok((await told(both)).includes('pass: alias catalogue'));
});

test('the ids of an index, an alias and a data stream are told, and which of some are there', { skip }, async () => {
  const cluster = await filled(await started());
  const { names, holds } = open({ url: cluster.url });
  assert.ok(names && holds);
  const products = await Array.fromAsync(names(ctx, 'products'));
  assert.equal(products.length, 307);
  assert.equal(new Set(products).size, 307);
  assert.ok(products.includes('quote"\\'));
  assert.deepEqual((await Array.fromAsync(names(ctx, 'catalogue'))).sort(), products.sort());
  assert.equal((await Array.fromAsync(names(ctx, 'logs-shop'))).length, 40);
  assert.deepEqual(await holds(ctx, 'products', ['p0', 'p5', 'no', 'p0']), [true, false, false, true]);
  assert.deepEqual(await holds(ctx, 'logs-shop', ['l0', 'l100', 'l50']), [true, true, false]);
  await assert.rejects(holds(ctx, 'nothing', ['p0']), { code: 'missing', message: /nothing/ });
  await assert.rejects(Array.fromAsync(names(ctx, 'nothing')), { code: 'missing' });
});

test('a closed, a red and a deleted index are named, in the capture, in the comparison and when it comes back', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  await cluster.bulk('/shut', [{ index: { _id: 'a' } }, { a: 1 }]);
  await cluster.ask('POST', '/shut/_close');
  await cluster.ask('PUT', '/lost?wait_for_active_shards=0', {
    settings: { 'index.routing.allocation.require.x': 'y' },
  });
  await cluster.ask('PUT', '/short-lived', { settings: { number_of_shards: 1 } });
  await cluster.bulk('/short-lived', [{ index: {} }, { a: 1 }]);
  const { sink, source } = memoryParts();
  const put: Sink['put'] = async (c, part, body, meta) => {
    const done = await sink.put(c, part, body, meta);
    if (part === 'indices/short-lived/index.json') await cluster.ask('DELETE', '/short-lived');
    return done;
  };
  const capture = await open({ url: cluster.url }).capture(ctx, { ...sink, put });
  const warned = capture.warnings.join('; ');
  assert.match(warned, /shut: closed/);
  assert.match(warned, /lost: red/);
  assert.match(warned, /short-lived: deleted while it was captured/);
  await emptied(cluster);
  const restored = await open({ url: cluster.url }).restore(ctx, { base: source });
  assert.match(restored.missing?.join('; ') ?? '', /index short-lived: it was deleted/);
  assert.match(restored.missing?.join('; ') ?? '', /documents of lost: .*red/);
  assert.match(restored.missing?.join('; ') ?? '', /documents of shut: .*closed/);
  const found = await differences(ctx, { url: cluster.url }, source);
  for (const index of ['shut', 'lost', 'short-lived']) {
    assert.equal(found.find(({ check }) => check.startsWith(`index ${index} `))?.verdict, 'unknown');
  }
});

test('an index or stream that the point lacks documents of stays as it is when others are replaced', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  const [backing = ''] = Object.keys(await cluster.ask('GET', '/logs-shop'));
  await cluster.bulk('/shut', [{ index: { _id: 'a' } }, { a: 1 }]);
  await cluster.ask('PUT', '/without', { mappings: { _source: { enabled: false } } });
  await cluster.bulk('/without', [{ index: { _id: 'a' } }, { a: 1 }]);
  for (const index of ['shut', backing]) await cluster.ask('POST', `/${index}/_close`);
  const { source } = await captured(ctx, { url: cluster.url });
  for (const index of ['shut', backing]) await cluster.ask('POST', `/${index}/_open`);
  const component = open({ url: cluster.url });
  const foreseen = (await component.cautions?.(ctx, { base: source }, { replace: true }))?.join('; ') ?? '';
  for (const options of [{ replace: true }, { delta: true }]) {
    await cluster.bulk('/products', [{ index: { _id: 'p1' } }, { name: 'spoilt' }]);
    const restored = await component.restore(ctx, { base: source }, options);
    for (const name of ['shut', 'without', 'logs-shop']) {
      const told = new RegExp(`${name}: what is there stays as it is`);
      assert.match(foreseen, told);
      assert.match(restored.missing?.join('; ') ?? '', told);
    }
    assert.deepEqual(
      [await count(cluster, 'shut'), await count(cluster, 'without'), await count(cluster, 'logs-shop')],
      [1, 1, 40],
    );
    const { _source } = (await cluster.ask('GET', '/products/_doc/p1')) as { _source: { name: string } };
    assert.match(_source.name, /^product 1 /);
  }
});

test('an index that has not changed is kept unread, and one that has is read', { skip }, async () => {
  const cluster = await filled(await started());
  const { source } = await captured(ctx, { url: cluster.url });
  const next = memoryParts('it', '2026-01-02-000000');
  const kept: string[] = [];
  const put: string[] = [];
  const sink: Sink = {
    ...next.sink,
    async keep(c, part, from, meta) {
      kept.push(part);
      return await next.sink.put(c, part, source.get(c, from.name), meta);
    },
    async put(c, part, body, meta) {
      put.push(part);
      return await next.sink.put(c, part, body, meta);
    },
  };
  await cluster.bulk('/products', [{ index: { _id: 'p9' } }, { name: 'changed' }]);
  await open({ url: cluster.url }).capture(ctx, sink, source);
  assert.ok(kept.some((part) => part.includes('.ds-logs-shop')));
  assert.ok(!kept.some((part) => part.startsWith('indices/products/')));
  assert.ok(put.some((part) => part.startsWith('indices/products/documents')));
  assert.deepEqual(await differences(ctx, { url: cluster.url }, next.source), []);
});

test('neither ingest pipelines nor write blocks hinder what comes back, and both are there again', {
  skip,
}, async (t) => {
  const cluster = await filled(await started());
  await cluster.ask('PUT', '/_ingest/pipeline/spoil', { processors: [{ set: { field: 'name', value: 'spoilt' } }] });
  await cluster.ask('PUT', '/empty/_settings', { 'index.final_pipeline': 'spoil', 'index.default_pipeline': 'spoil' });
  await cluster.bulk('/empty', [{ index: { _id: 'a' } }, { name: 'was spoilt' }]);
  await cluster.ask('PUT', '/empty/_alias/nothing');
  const readOnly = (value: boolean | null): Promise<unknown> =>
    cluster.ask('PUT', '/empty/_settings', { 'index.blocks.read_only': value });
  await readOnly(true);
  t.after(() => readOnly(null));
  const { source } = await captured(ctx, { url: cluster.url });
  await readOnly(null);
  await emptied(cluster);
  const restored = await open({ url: cluster.url }).restore(ctx, { base: source });
  assert.deepEqual(restored.missing, []);
  assert.deepEqual(await differences(ctx, { url: cluster.url }, source), []);
});

test('documents and settings that the target refuses are named, and the rest comes back', { skip }, async () => {
  const cluster = await filled(await started());
  const { source } = await captured(ctx, { url: cluster.url });
  await emptied(cluster);
  const other: Source = {
    ...source,
    async *get(c, part, range) {
      if (part !== 'indices/products/index.json') return yield* source.get(c, part, range);
      const text = Buffer.concat(await Array.fromAsync(source.get(c, part))).toString();
      const body = JSON.parse(text) as { settings: Record<string, unknown>; mappings: { properties: object } };
      Object.assign(body.settings, { 'index.no_such_plugin': '1' });
      Object.assign(body.mappings.properties, { name: { type: 'date' } });
      yield Buffer.from(JSON.stringify(body));
    },
  };
  const { missing: lacking = [] } = await open({ url: cluster.url }).restore(ctx, { base: other });
  assert.match(lacking.join('; '), /setting index.no_such_plugin of products/);
  assert.match(lacking.join('; '), /\d+ documents of products: .*failed to parse field \[name\]/);
  assert.equal(await count(cluster, 'logs-shop'), 40);
});

test('the commands of our page bring an index and a pipeline back with curl alone', {
  skip,
}, async (t) => {
  const cluster = await emptied(await started());
  await cluster.ask('PUT', '/orders', { settings: { number_of_shards: 2 }, aliases: { sales: {} } });
  const orders = Array.from({ length: 500 }, (_, n) => [
    { index: { _id: `o${n}`, routing: `r${n % 5}`, version: n + 3, version_type: 'external' } },
    { total: n, note: 'a "quoted"\nnote' },
  ]);
  await cluster.bulk('/orders', orders.flat());
  await cluster.ask('PUT', '/_ingest/pipeline/NAME', { processors: [] });
  const { sink, source } = memoryParts();
  await open({ url: cluster.url }).capture(ctx, sink);
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-without-'));
  t.after(() => rmSync(dir, { recursive: true }));
  for await (const part of source.parts(ctx)) {
    const path = join(dir, part.name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(
      path,
      Buffer.concat(await Array.fromAsync(source.get(ctx, part.name), (chunk) => Buffer.from(chunk))),
    );
  }
  await emptied(cluster);
  const [, script = ''] = /## Without Lifeboat[\s\S]*?```sh\n([\s\S]*?)```/.exec(page) ?? [];
  await exec('sh', ['-ec', script], { env: { ...process.env, DIR: dir, URL: cluster.url } });
  await cluster.ask('POST', '/orders/_refresh');
  await assertSame(ctx, cluster, source);
  const { _version: version } = await cluster.ask('GET', '/orders/_doc/o7?routing=r2');
  assert.equal(version, 10);
});

async function holders(cluster: Cluster, alias: string): Promise<string[]> {
  return Object.keys(await cluster.ask('GET', `/_alias/${alias}`));
}
