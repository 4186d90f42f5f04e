// Data that few expect, and answers that are none.

import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { until } from '../../../test/servers/processes.ts';
import { isFailure } from '../../core/errors.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { elasticsearchDriver } from './driver.ts';
import { proxyTo } from './proxy.ts';
import { type Cluster, captured, differences, emptied, filled, hastyContext, sharedCluster } from './testing.ts';

const name = 'opensearch-2';
const skip = await missing(name);
const started = sharedCluster(name);
const { open } = elasticsearchDriver;
const ctx = hastyContext();

/** Captured, lost, brought back: what is then not the same, and what is told to be missing. */
async function thereAndBack(cluster: Cluster): Promise<{ other: string[]; told: string; warned: string }> {
  const { source, capture } = await captured(ctx, { url: cluster.url });
  await emptied(cluster);
  const { missing: told = [] } = await open({ url: cluster.url }).restore(ctx, { base: source });
  const other = (await differences(ctx, { url: cluster.url }, source)).map(({ check }) => check);
  return { other, told: told.join('; '), warned: capture.warnings.join('; ') };
}

test('children, required routings, hidden indices, write indices and strict mappings come back as they were', {
  skip,
}, async () => {
  const cluster = await emptied(await started());
  await cluster.ask('PUT', '/family', {
    settings: { number_of_shards: 3, 'index.hidden': true },
    mappings: {
      dynamic: 'strict',
      _routing: { required: true },
      properties: {
        kin: { type: 'join', relations: { parent: 'child' } },
        toys: { type: 'nested', properties: { name: { type: 'keyword' } } },
      },
    },
    aliases: { kin: { is_write_index: true, is_hidden: true, filter: { match_all: {} }, index_routing: '1' } },
  });
  await cluster.bulk('/family', [
    { index: { _id: 'p/ä/😀', routing: 'r/1' } },
    { kin: 'parent', toys: [{ name: 'a' }, { name: 'b' }] },
    { index: { _id: 'c', routing: 'r/1' } },
    { kin: { name: 'child', parent: 'p/ä/😀' } },
    { index: { _id: 'c', routing: 'another' } },
    { kin: { name: 'child', parent: 'nobody' } },
  ]);
  await cluster.ask('PUT', '/unmapped', { mappings: { dynamic: false } });
  await cluster.bulk('/unmapped', [{ index: { _id: 'a' } }, { 'x.y': 1, x: { z: [[], {}] }, nothing: { a: null } }]);
  assert.deepEqual(await thereAndBack(cluster), { other: [], told: '', warned: '' });
  const query = { query: { has_child: { type: 'child', query: { match_all: {} } } } };
  const found = (await cluster.ask('POST', '/family/_search', query)) as { hits: { hits: { _id: string }[] } };
  assert.deepEqual(
    found.hits.hits.map(({ _id }) => _id),
    ['p/ä/😀'],
  );
  const { aliases } = (await cluster.ask('GET', '/family')).family as { aliases: object };
  assert.deepEqual(aliases, {
    kin: { is_write_index: true, is_hidden: true, filter: { match_all: {} }, index_routing: '1' },
  });
});

test('what a mapping keeps out of _source is named by the capture, and as missing when it comes back', {
  skip,
}, async () => {
  const cluster = await emptied(await started());
  await cluster.ask('PUT', '/without', { mappings: { _source: { enabled: false } } });
  await cluster.bulk('/without', [{ index: { _id: 'a' } }, { x: 1 }]);
  await cluster.ask('PUT', '/partly', { mappings: { _source: { excludes: ['secret*'] } } });
  await cluster.bulk('/partly', [{ index: { _id: 'a' } }, { x: 1, secret: 2 }]);
  const { other, told, warned } = await thereAndBack(cluster);
  assert.match(warned, /without: has documents without _source/);
  assert.match(warned, /partly: its mapping keeps fields out of _source/);
  assert.match(told, /1 documents of without: the server had no _source/);
  assert.match(told, /fields of partly: its mapping keeps them out of _source/);
  assert.ok(other.some((check) => check.startsWith('index without')));
});

test('an index that is closed, made red or deleted while it is captured is named, and the others are captured', {
  skip,
}, async () => {
  const cluster = await emptied(await started());
  const { nodes } = await cluster.ask('GET', '/_nodes/_local?filter_path=nodes.*.name');
  const [node] = Object.keys(nodes as object);
  const damages = {
    closed: () => cluster.ask('POST', '/one/_close'),
    async red() {
      const { one } = await cluster.ask('GET', '/one/_settings');
      const { uuid } = (one as { settings: { index: { uuid: string } } }).settings.index;
      const indices = join(dirname(cluster.server.repositories), 'data', 'nodes', '0', 'indices');
      rmSync(join(indices, uuid, '0'), { recursive: true });
      const cancel = { index: 'one', shard: 0, node, allow_primary: true };
      await cluster.ask('POST', '/_cluster/reroute', { commands: [{ cancel }] });
    },
    deleted: () => cluster.ask('DELETE', '/one'),
  };
  await using proxy = await proxyTo(cluster);
  const held = '/one/_search/point_in_time';
  for (const [state, at] of [
    ['closed', '/one'],
    ['closed', held],
    ['closed', '/_search'],
    ['red', held],
    ['deleted', '/_search'],
  ] as const) {
    await emptied(cluster);
    for (const index of ['one', 'two']) {
      await cluster.ask('PUT', `/${index}`, { settings: { number_of_shards: 1, number_of_replicas: 0 } });
      await cluster.bulk(`/${index}`, [{ index: { _id: 'a' } }, { x: 1 }]);
    }
    let damaged: Promise<unknown> | null = null;
    proxy.fate = async (path) => {
      if (path.replace(/\?.*/, '') === at) await (damaged ??= damages[state]());
      return 'pass';
    };
    const { source, capture } = await captured(ctx, { url: proxy.url });
    assert.match(capture.warnings.join('; '), new RegExp(`one: ${state}`), at);
    await emptied(cluster);
    const { missing: lacking = [] } = await open({ url: cluster.url }).restore(ctx, { base: source });
    assert.match(lacking.join(), /one: it was/);
    assert.equal((await cluster.ask('GET', '/two/_count')).count, 1);
  }
});

test('a page of a proxy instead of an answer is a failure, whichever answer it is', { skip }, async () => {
  const cluster = await emptied(await started());
  await cluster.ask('PUT', '/one', { settings: { number_of_shards: 1 } });
  await cluster.bulk('/one', [{ index: { _id: 'a' } }, { x: 1 }]);
  await using proxy = await proxyTo(cluster);
  await captured(ctx, { url: proxy.url });
  const asked = new Set(proxy.seen.map((request) => request.replace(/\?.*/, '').replace(/\.ds-[^/]*/, '.ds')));
  assert.ok(asked.size > 12);
  for (const request of asked) {
    if (request.startsWith('DELETE')) continue; // what is held would stay held
    // Nothing but the answers of the server itself are read: those of orders that were done may say what they like.
    const meant = request.slice(request.indexOf(' ') + 1);
    proxy.fate = (path) =>
      path.replace(/\?.*/, '').replace(/\.ds-[^/]*/, '.ds') === meant ? '<html>ok</html>' : 'pass';
    const failed = await captured(ctx, { url: proxy.url }).then(
      () => null,
      (error: unknown) => error,
    );
    assert.ok(failed === null || isFailure(failed, 'malformed'), `${request}: ${failed}`);
    if (!/_stats|_refresh|DELETE|_nodes/.test(request)) assert.ok(failed, request);
  }
});

test('each right that a capture needs and has not is a finding of its own, and asking leaves nothing behind', {
  skip,
}, async () => {
  const cluster = await emptied(await started());
  await cluster.ask('PUT', '/one', { settings: { number_of_shards: 1 } });
  await using proxy = await proxyTo(cluster);
  const probed = async (): Promise<string[]> => {
    const { findings } = await open({ url: proxy.url }).probe(ctx);
    return findings.filter(({ verdict }) => verdict !== 'pass').map(({ check, verdict }) => `${verdict}: ${check}`);
  };
  assert.deepEqual(await probed(), []);
  await nothingHeld(cluster);
  for (const [denied, told] of [
    ['/_ingest/pipeline', 'fail: the user may read each pipeline'],
    ['/_plugins/_ism/policies', 'fail: the user may read each policy'],
    ['/_component_template', 'fail: the user may read each component-template'],
    ['/_index_template', 'fail: the user may read each index-template'],
    ['/_template', 'fail: the user may read each template'],
    ['/one', 'fail: the user may read the definition of one'],
    ['/one/_stats/docs', 'unknown: the user may read the statistics of one'],
    ['/one/_refresh', 'unknown: the user may refresh one'],
    ['/one/_search', 'fail: the user may read documents of one'],
    ['/one/_search/point_in_time', 'fail: the user may hold one'],
  ] as const) {
    proxy.fate = (path) => (path.replace(/\?.*/, '') === denied ? 403 : 'pass');
    assert.deepEqual(await probed(), [told]);
  }
  for (const denied of ['/_cat/indices', '/_data_stream/*']) {
    proxy.fate = (path) => (path.replace(/\?.*/, '') === denied ? 403 : 'pass');
    await assert.rejects(probed(), { code: 'privileges' });
  }
});

test('a capture that is stopped holds no index any more, and a restore that is stopped leaves nothing behind', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  const [stopped, stoppedToo] = [new AbortController(), new AbortController()];
  const { sink } = memoryParts();
  const stopping = {
    ...sink,
    async put(...[c, part, body, meta]: Parameters<typeof sink.put>) {
      if (part.endsWith('.bulk')) stopped.abort();
      return await sink.put(c, part, body, meta);
    },
  };
  await assert.rejects(open({ url: cluster.url }).capture(liveContext({ signal: stopped.signal }), stopping), {
    code: 'interrupted',
  });
  await nothingHeld(cluster);
  const whole = memoryParts();
  await open({ url: cluster.url }).capture(ctx, whole.sink);
  await nothingHeld(cluster);
  await emptied(cluster);
  await cluster.ask('PUT', '/another', { settings: { refresh_interval: '9s' } });
  await using proxy = await proxyTo(cluster);
  proxy.fate = (path) => {
    if (path.includes('/_bulk')) stoppedToo.abort();
    return 'pass';
  };
  const select = { indices: ['products', 'logs-*'] };
  await assert.rejects(
    open({ url: proxy.url }).restore(liveContext({ signal: stoppedToo.signal }), { base: whole.source }, { select }),
    {
      code: 'interrupted',
    },
  );
  const left = await open({ url: cluster.url, indices: ['*', '.*'] }).probe(ctx);
  assert.equal(left.holdsData, 'index another');
});

/**
 * Searches that still run when it is told to forget a moment hold it until they end. The list is asked, since the
 * counter of OpenSearch never forgets moments whose index was deleted.
 */
async function nothingHeld(cluster: Cluster): Promise<void> {
  await until('no moment is held', 10_000, async () => {
    const { pits } = (await cluster.ask('GET', '/_search/point_in_time/_all')) as { pits: unknown[] };
    return pits.length === 0;
  });
}
