// What differs between Elasticsearch and OpenSearch, and what the OpenSearch of other tests has no plug-in for, seen by
// a server that only answers what it is told to.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { test } from 'node:test';
import { removeDir, temporaryDir } from '../../../test/servers/processes.ts';
import { certificateIn } from '../../../test/servers/tls.ts';
import type { Json, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { elasticsearchDriver } from './driver.ts';

const { open } = elasticsearchDriver;
const ctx = liveContext();

interface Stub extends AsyncDisposable {
  readonly url: string;
  /** 'GET /path' without its query, and the body. */
  readonly seen: { readonly request: string; readonly body: string }[];
}
/** Functions are called for theirs. */
type Answers = Readonly<Record<string, unknown>>;

async function stubOf(answers: Answers, certificate?: { cert: Buffer; key: Buffer }): Promise<Stub> {
  const seen: { request: string; body: string }[] = [];
  const handle: RequestListener = (from, to) => {
    let body = '';
    from.on('data', (chunk) => (body += chunk));
    from.on('end', () => {
      const request = `${from.method} ${(from.url ?? '').replace(/\?.*/, '')}`;
      seen.push({ request, body });
      const told = answers[request];
      const answer = typeof told === 'function' ? told() : told;
      to.writeHead(answer === undefined ? 404 : 200).end(JSON.stringify(answer ?? { error: 'no such thing' }));
    });
  };
  const server = certificate ? createSecureServer(certificate, handle) : createServer(handle);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(typeof address === 'object' && address);
  return {
    url: `${certificate ? 'https' : 'http'}://127.0.0.1:${address.port}`,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const hit = { _index: 'a', _id: '1', _version: 3, _source: { x: 1 }, sort: [4294967296] };
const shards = { total: 1, successful: 1, skipped: 0, failed: 0 };
const described = { settings: { 'index.number_of_shards': '2' }, mappings: {}, aliases: {} };

function answersOf(kind: 'elasticsearch' | 'opensearch', number: string): Answers {
  const version = kind === 'opensearch' ? { distribution: kind, number } : { number };
  const policy = { phases: { delete: { min_age: '30d', actions: { delete: {} } } } };
  const policies: Answers =
    kind === 'opensearch'
      ? {
          'GET /_plugins/_ism/policies': {
            policies: [{ _id: 'old', _seq_no: 1, policy: { policy_id: 'old', states: [] } }],
          },
        }
      : {
          'GET /_ilm/policy': {
            old: { version: 1, modified_date: 'x', policy },
            builtin: { policy: { ...policy, _meta: { managed: true } } },
          },
        };
  return {
    'GET /': { cluster_uuid: 'c', version },
    'GET /_cat/indices': [
      { index: 'a', uuid: 'u', status: 'open', health: 'green', pri: '2', 'pri.store.size': '100' },
    ],
    'GET /_cat/aliases': [],
    'GET /_data_stream/*': { data_streams: [] },
    'GET /a': { a: described },
    'GET /a/_stats/docs': {},
    'POST /a/_refresh': {},
    'POST /a/_pit': { id: 'held' },
    'POST /a/_search/point_in_time': { pit_id: 'held', creation_time: 1_700_000_000_000, _shards: shards },
    'POST /_search': { pit_id: 'held again', timed_out: false, _shards: shards, hits: { hits: [hit] } },
    ...policies,
  };
}

async function captured(url: string): Promise<Source> {
  const { sink, source } = memoryParts();
  const capture = await open({ url }).capture(ctx, sink);
  assert.equal(capture.totals.documents, 2); // the same one in both slices
  return source;
}

test('Elasticsearch is asked in its own words, OpenSearch in its', async () => {
  for (const [kind, held, order, policies] of [
    ['elasticsearch', '/a/_pit', '_shard_doc', '/_ilm/policy'],
    ['opensearch', '/a/_search/point_in_time', '_doc', '/_plugins/_ism/policies'],
  ] as const) {
    await using stub = await stubOf(answersOf(kind, kind === 'opensearch' ? '2.19.1' : '8.11.0'));
    const source = await captured(stub.url);
    const requests = stub.seen.map(({ request }) => request);
    assert.ok(requests.includes(`POST ${held}`));
    assert.ok(requests.includes(`GET ${policies}`));
    const [first] = stub.seen.filter(({ request }) => request === 'POST /_search');
    assert.deepEqual(JSON.parse(first?.body ?? '').sort, [order]);
    const given = stub.seen.findLast(({ request }) => request.startsWith('DELETE'));
    assert.ok(given?.body.includes('held again'), 'what was held is given back by its latest name');
    const names = (await Array.fromAsync(source.parts(ctx, 'definitions/'))).map(({ name }) => name);
    assert.deepEqual(names, ['definitions/policy/old.json'], 'what the server brought along is left out');
  }
});

test('a server without points in time is told by its version', async () => {
  for (const [kind, number] of [
    ['elasticsearch', '7.10.2'],
    ['opensearch', '2.3.0'],
  ] as const) {
    await using stub = await stubOf(answersOf(kind, number));
    const wanted = { code: 'version-mismatch', message: new RegExp(`${kind} ${number}`) };
    await assert.rejects(open({ url: stub.url }).probe(ctx), wanted);
  }
});

test('lifecycle management stands still while documents come back, and goes on as before when it is settled', async () => {
  for (const [kind, number, stop, start] of [
    ['elasticsearch', '8.11.0', 'POST /_ilm/stop', 'POST /_ilm/start'],
    ['opensearch', '2.19.1', 'PUT /_cluster/settings', 'PUT /_cluster/settings'],
  ] as const) {
    await using from = await stubOf(answersOf(kind, number));
    const source = await captured(from.url);
    await using to = await stubOf({
      ...answersOf(kind, number),
      'GET /_cat/indices': [],
      'GET /_ilm/policy': {},
      'GET /_plugins/_ism/policies': { policies: [] },
      'GET /_ilm/status': { operation_mode: 'RUNNING' },
      'GET /_cluster/settings': { persistent: {}, transient: {} },
      ...Object.fromEntries(WRITES.map((request) => [request, {}])),
      'POST /a/_bulk': { errors: false },
    });
    const component = open({ url: to.url });
    assert.ok(component.ageing);
    assert.deepEqual(await component.ageing(ctx, { base: source }), ['lifecycle policy old of the point']);
    const noted: { what: Json; after: number }[] = [];
    const suspending = async (what: Json): Promise<void> => void noted.push({ what, after: to.seen.length });
    const restored = await component.restore(ctx, { base: source }, { suspending });
    const order = to.seen.map(({ request }) => request);
    assert.deepEqual(noted, [{ what: { kind, persistent: null }, after: order.indexOf(stop) }], 'noted beforehand');
    assert.ok(order.indexOf(stop) >= 0 && order.indexOf(stop) < order.indexOf('PUT /a'), 'before anything is made');
    assert.deepEqual(restored.missing, []);
    const before = to.seen.length;
    assert.ok(restored.settle);
    await restored.settle(ctx);
    const settled = to.seen.slice(before);
    assert.ok(settled.some(({ request }) => request === start));
    if (kind === 'opensearch')
      assert.match(settled.at(-1)?.body ?? '', /"plugins.index_state_management.enabled":null/);
  }
});

test('lifecycle management goes on after a restore that was stopped while it was told to stand still', async () => {
  for (const [kind, number, stop, start] of [
    ['elasticsearch', '8.11.0', 'POST /_ilm/stop', 'POST /_ilm/start'],
    ['opensearch', '2.19.1', 'PUT /_cluster/settings', 'PUT /_cluster/settings'],
  ] as const) {
    await using from = await stubOf(answersOf(kind, number));
    const source = await captured(from.url);
    const stopped = new AbortController();
    await using to = await stubOf({
      ...answersOf(kind, number),
      'GET /_cat/indices': [],
      'GET /_ilm/status': { operation_mode: 'RUNNING' },
      'GET /_cluster/settings': { persistent: {}, transient: {} },
      'POST /_ilm/start': {},
      [stop]: () => {
        stopped.abort();
        return {};
      },
    });
    const restored = open({ url: to.url }).restore(liveContext({ signal: stopped.signal }), { base: source });
    await assert.rejects(restored, { code: 'interrupted' });
    const last = to.seen.at(-1);
    assert.equal(last?.request, start);
    if (kind === 'opensearch') assert.match(last?.body ?? '', /"plugins.index_state_management.enabled":null/);
  }
});

const ISM = 'plugins.index_state_management.enabled';
test('lifecycle management that a killed restore has stopped is set going again, once', async () => {
  for (const [kind, number, start, body] of [
    ['elasticsearch', '8.11.0', 'POST /_ilm/start', undefined],
    ['opensearch', '2.19.1', 'PUT /_cluster/settings', `{"persistent":{"${ISM}":null}}`],
  ] as const) {
    await using stub = await stubOf({
      ...answersOf(kind, number),
      'GET /_cluster/settings': { persistent: { [ISM]: 'false' }, transient: {} },
      ...Object.fromEntries(WRITES.map((request) => [request, {}])),
    });
    await open({ url: stub.url }).resume?.(ctx, { kind, persistent: null });
    const sent = stub.seen.filter(({ request }) => request === start);
    assert.equal(sent.length, 1);
    if (body !== undefined) assert.equal(sent[0]?.body, body);
  }
  await using going = await stubOf({
    ...answersOf('opensearch', '2.19.1'),
    'GET /_cluster/settings': { persistent: { [ISM]: 'true' }, transient: {} },
  });
  await open({ url: going.url }).resume?.(ctx, { kind: 'opensearch', persistent: null });
  assert.ok(!going.seen.some(({ request }) => request.startsWith('PUT')), 'what somebody has set since stays');
});
const WRITES = [
  'POST /_ilm/stop',
  'POST /_ilm/start',
  'PUT /_cluster/settings',
  'PUT /_ilm/policy/old',
  'PUT /_plugins/_ism/policies/old',
  'PUT /a',
  'PUT /a/_settings',
  'POST /a/_flush',
];

test('a certificate is believed only when its authority is named, and who we are is told to nobody else', async (t) => {
  const dir = temporaryDir('search-tls');
  t.after(() => removeDir(dir));
  const { certFile, keyFile, caFile } = await certificateIn(dir);
  const certificate = { cert: readFileSync(certFile), key: readFileSync(keyFile) };
  await using stub = await stubOf(answersOf('opensearch', '2.19.1'), certificate);
  const settings = { url: stub.url, username: 'u', password: 'canary' };
  await assert.rejects(open(settings).probe(ctx), { code: 'unreachable', message: /certificate/ });
  assert.deepEqual(stub.seen, []);
  const trusted = open({ ...settings, tls: { ca_file: caFile, server_name: 'localhost' } });
  assert.equal((await trusted.probe(ctx)).version, 'opensearch 2.19.1');
});
