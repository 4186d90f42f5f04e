// Data and servers for the tests of this driver. A server costs more than all that a test does with it, so that two of
// them serve all tests of a process: one is captured, the other restored into, and each is emptied before it is used.

import assert from 'node:assert/strict';
import { after } from 'node:test';
import {
  type OpenSearch,
  type OpenSearchName,
  type OpenSearchOptions,
  startOpenSearch,
} from '../../../test/servers/opensearch.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Capture, Context, Finding, Source } from '../../core/model.ts';
import { liveContext, memoryParts, type TestContext } from '../../core/testing.ts';
import { elasticsearchDriver } from './driver.ts';

export interface Cluster {
  readonly url: string;
  readonly server: OpenSearch;
  /** JSON of an answer; throws what a refusal says. */
  ask(method: string, path: string, body?: unknown): Promise<Record<string, unknown>>;
  bulk(path: string, lines: readonly unknown[]): Promise<void>;
}

const clusters = new Map<string, Promise<Cluster>>();

/** Started when it is first asked for, stopped after the tests; the same one for all who ask for this name and role. */
export function sharedCluster(
  name: OpenSearchName,
  role: 'source' | 'target' = 'source',
  options?: OpenSearchOptions,
): () => Promise<Cluster> {
  const key = `${name} ${role}`;
  after(async () => {
    const starting = clusters.get(key);
    clusters.delete(key);
    await (await starting?.catch(() => undefined))?.server[Symbol.asyncDispose]();
  });
  return async () => {
    const known = clusters.get(key);
    if (known) return await known;
    const starting = startOpenSearch(name, options).then(clusterOf);
    clusters.set(key, starting);
    return await starting;
  };
}

function clusterOf(server: OpenSearch): Cluster {
  async function send(method: string, path: string, body: string | undefined, type: string): Promise<unknown> {
    const init = { method, ...(body !== undefined && { body, headers: { 'content-type': type } }) };
    const reply = await fetch(server.url + path, init);
    const text = await reply.text();
    if (!reply.ok) throw new Error(`${method} ${path}: ${reply.status} ${text}`);
    return JSON.parse(text);
  }
  return {
    url: server.url,
    server,
    async ask(method, path, body) {
      const text = body === undefined ? undefined : JSON.stringify(body);
      return (await send(method, path, text, 'application/json')) as Record<string, unknown>;
    },
    async bulk(path, lines) {
      const text = lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join('');
      const reply = (await send('POST', `${path}/_bulk?refresh=true`, text, 'application/x-ndjson')) as {
        errors: boolean;
      };
      if (reply.errors) throw new Error(String(/"error":.{0,300}/.exec(JSON.stringify(reply))));
    },
  };
}

/** With the data of `fill` alone. */
export async function filled(cluster: Cluster): Promise<Cluster> {
  await emptied(cluster);
  await fill(cluster);
  return cluster;
}

/** As a component of these settings captures it. */
export async function captured(ctx: Context, settings: object): Promise<{ source: Source; capture: Capture }> {
  const { sink, source } = memoryParts();
  return { capture: await elasticsearchDriver.open(settings).capture(ctx, sink), source };
}

export async function assertSame(ctx: Context, { url }: Cluster, source: Source): Promise<void> {
  assert.deepEqual(await differences(ctx, { url }, source), []);
}

/** Between the point and what a component of these settings finds now. */
export async function differences(ctx: Context, settings: object, source: Source): Promise<Finding[]> {
  const now = await elasticsearchDriver.open(settings).inventory(ctx);
  const found = await Array.fromAsync(elasticsearchDriver.compare(ctx, inventoryOf(source), now));
  return found.filter(({ verdict }) => verdict !== 'pass');
}

/** Waits take no time, and are counted all the same. */
export function hastyContext(): TestContext {
  return liveContext({ sleep: () => new Promise((resolve) => setImmediate(resolve)) });
}

/** Leaves nothing of what tests put there. */
export async function emptied(cluster: Cluster): Promise<Cluster> {
  await cluster.ask('DELETE', '/_data_stream/*');
  await cluster.ask('DELETE', '/*,-.ds*?expand_wildcards=all&ignore_unavailable=true').catch(async () => {
    await cluster.ask('DELETE', '/*');
  });
  await cluster.ask('DELETE', '/_index_template/*').catch(() => {});
  await cluster.ask('DELETE', '/_component_template/*').catch(() => {});
  await cluster.ask('DELETE', '/_template/*').catch(() => {});
  await cluster.ask('DELETE', '/_ingest/pipeline/*').catch(() => {});
  return cluster;
}

const ODD_IDS: readonly string[] = ['quote"\\', 'schlüssel 日本', '\u0001\t', '😀', '/../x', 'r}]{[', ' '];

/** Two shards with routing and versions, nested and odd documents, aliases, templates, a pipeline, a data stream. */
export async function fill(cluster: Cluster): Promise<void> {
  await cluster.ask('PUT', '/products', {
    settings: {
      number_of_shards: 2,
      number_of_replicas: 1,
      refresh_interval: '5s',
      analysis: { analyzer: { short: { type: 'custom', tokenizer: 'standard', filter: ['lowercase'] } } },
    },
    mappings: {
      properties: {
        name: { type: 'text', analyzer: 'short' },
        price: { type: 'double' },
        at: { type: 'date' },
        big: { type: 'double' },
      },
    },
    aliases: { catalogue: {}, cheap: { filter: { range: { price: { lt: 10 } } }, routing: 'a' } },
  });
  const products = Array.from({ length: 300 }, (_, n) => [
    { index: { _id: `p${n}`, ...(n % 3 === 0 && { routing: `r${n % 7}` }) } },
    {
      name: `product ${n} ${'x'.repeat(n % 50)}`,
      price: n + 0.5,
      at: '2026-01-01T00:00:00Z',
      tags: [{ b: [n, null] }],
    },
  ]);
  await cluster.bulk('/products', products.flat());
  await cluster.bulk('/products', [
    ...ODD_IDS.flatMap((_id) => [{ index: { _id } }, { name: `id ${_id}` }]),
    { index: { _id: 'versioned', version: 4711, version_type: 'external' } },
    '{ "name" : "a \\u00e9\\n\\"{[" ,\t"price": 1.0 , "big":12345678901234567890, "empty": { } }',
    { delete: { _id: 'p5' } },
  ]);
  await cluster.ask('PUT', '/empty', { settings: { number_of_shards: 1 } });
  await cluster.ask('PUT', '/_ingest/pipeline/stamp', { processors: [], description: 'nothing yet' });
  await cluster.ask('PUT', '/_component_template/base', {
    template: { mappings: { properties: { host: { type: 'keyword' } } } },
  });
  await cluster.ask('PUT', '/_index_template/logs', {
    index_patterns: ['logs-*'],
    data_stream: {},
    composed_of: ['base'],
    priority: 200,
    template: { settings: { number_of_shards: 1 }, mappings: { properties: { '@timestamp': { type: 'date' } } } },
  });
  await cluster.ask('PUT', '/_template/old', { index_patterns: ['old-*'], settings: { number_of_shards: 1 } });
  await cluster.ask('PUT', '/_data_stream/logs-shop');
  const logs = (from: number): unknown[] =>
    Array.from({ length: 20 }, (_, n) => [
      { create: { _id: `l${from + n}` } },
      { '@timestamp': '2026-01-01T00:00:00Z', host: `h${n}`, line: from + n },
    ]).flat();
  await cluster.bulk('/logs-shop', logs(0));
  await cluster.ask('POST', '/logs-shop/_rollover');
  await cluster.bulk('/logs-shop', logs(100));
}
