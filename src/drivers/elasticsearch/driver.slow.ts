// The other version of the server, with a repository in a bucket; documents of 20 MB; servers that are killed.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { type S3Server, startS3 } from '../../../test/servers/s3.ts';
import type { Source } from '../../core/model.ts';
import { memoryParts } from '../../core/testing.ts';
import { suiteOn } from './driver.suite.ts';
import { elasticsearchDriver } from './driver.ts';
import { proxyTo } from './proxy.ts';
import { assertSame, captured, differences, emptied, filled, hastyContext, sharedCluster } from './testing.ts';

const name = 'opensearch-3';
const skip = await missing(name, 'minio');
const { open } = elasticsearchDriver;
const ctx = hastyContext();
const s3: S3Server | null = skip === false ? await startS3('minio') : null;
after(async () => {
  await s3?.[Symbol.asyncDispose]();
});
const options = s3 ? { settings: s3Client(s3) } : {};
const started = sharedCluster(name, 'source', options);

test('documents of 20 MB come back, among small ones', { skip }, async () => {
  const cluster = await emptied(await started());
  await cluster.ask('PUT', '/large', { mappings: { properties: { text: { type: 'binary' } } } });
  const text = Buffer.alloc(15 * 2 ** 20, 7).toString('base64');
  for (const n of [0]) {
    const small = Array.from({ length: 600 }, (_, i) => [{ index: { _id: `s${n}-${i}` } }, { n: i }]);
    await cluster.bulk('/large', [{ index: { _id: `l${n}` } }, { text, n }, ...small.flat()]);
  }
  const { source } = await captured(ctx, { url: cluster.url });
  await emptied(cluster);
  await open({ url: cluster.url }).restore(ctx, { base: source });
  await assertSame(ctx, cluster, source);
  assert.equal((await cluster.ask('GET', '/large/_count')).count, 601);
});

test('a server that is killed while it is captured is a failure, and after its return all is captured', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  const { sink } = memoryParts();
  const killing = {
    ...sink,
    async put(...args: Parameters<typeof sink.put>) {
      if (args[1].endsWith('.bulk')) await cluster.server.kill();
      return await sink.put(...args);
    },
  };
  await assert.rejects(open({ url: cluster.url }).capture(ctx, killing), (error: Error & { code: string }) => {
    return ['unreachable', 'missing', 'source-damaged'].includes(error.code);
  });
  await cluster.server.start();
  await cluster.ask('GET', '/_cluster/health?wait_for_status=yellow&timeout=60s');
  await assertSame(ctx, cluster, (await captured(ctx, { url: cluster.url })).source);
});

test('a server that is killed while it takes a point back is a failure, and the next restore brings all', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  const { source } = await captured(ctx, { url: cluster.url });
  await emptied(cluster);
  const killing: Source = {
    ...source,
    async *get(c, part, range) {
      if (part.endsWith('.bulk')) await cluster.server.kill();
      yield* source.get(c, part, range);
    },
  };
  await assert.rejects(open({ url: cluster.url }).restore(ctx, { base: killing }), { code: 'unreachable' });
  await cluster.server.start();
  await cluster.ask('GET', '/_cluster/health?wait_for_status=yellow&timeout=60s');
  // It could not be told to remove what was half there: that is in the way until it is named to be replaced.
  await assert.rejects(open({ url: cluster.url }).restore(ctx, { base: source }), { code: 'target-not-empty' });
  await open({ url: cluster.url }).restore(ctx, { base: source }, { replace: true });
  await assertSame(ctx, cluster, source);
});

test('a server that is killed while it takes a snapshot, or takes one back, is a failure, and what follows is whole', {
  skip,
}, async () => {
  const cluster = await filled(await started());
  const slowly = { max_snapshot_bytes_per_sec: '10kb', max_restore_bytes_per_sec: '10kb' };
  const repository = { name: 'it', type: 'fs', settings: { location: cluster.server.repositories, ...slowly } };
  const settings = { method: 'snapshot', repository, inventory: 'counts' };
  const component = open({ ...settings, url: cluster.url });
  await using proxy = await proxyTo(cluster);
  /** At the first question how far it is. */
  const killedAt = async (asked: RegExp, work: (killed: typeof component) => Promise<unknown>): Promise<void> => {
    let killed: Promise<void> | null = null;
    proxy.fate = async (path, _body, method) => {
      if (method === 'GET' && asked.test(path)) await (killed ??= cluster.server.kill());
      return 'pass';
    };
    await assert.rejects(work(open({ ...settings, url: proxy.url })), { code: 'unreachable' });
    await cluster.server.start();
  };
  await killedAt(/^\/_snapshot\/it\/lifeboat-[^/]*$/, (killed) => killed.capture(ctx, memoryParts().sink));
  await cluster.ask('GET', '/_cluster/health?wait_for_status=yellow&timeout=60s');
  const { sink, source } = memoryParts();
  await component.capture(ctx, sink);
  await emptied(cluster);
  await killedAt(/^\/_cluster\/state\/customs/, (killed) => killed.restore(ctx, { base: source }));
  // It could not be told to remove what was half there: that is in the way until it is named to be replaced.
  await assert.rejects(component.restore(ctx, { base: source }), { code: 'target-not-empty' });
  await component.restore(ctx, { base: source }, { replace: true });
  const found = await differences(ctx, { ...settings, url: cluster.url }, source);
  assert.ok(found.every(({ verdict }) => verdict === 'unknown'));
  assert.equal((await cluster.ask('GET', '/products/_count')).count, 307);
});

test('a snapshot in a bucket comes back, and its keys are told nowhere', { skip }, async () => {
  assert.ok(s3);
  const cluster = await filled(await started());
  const keys = { access_key: s3.accessKey, secret_key: s3.secretKey };
  // A server without keys of its own can't encrypt with them, which OpenSearch 3 asks for by default.
  const place = { base_path: 'search', server_side_encryption_type: 'bucket_default' };
  const repository = { type: 's3', settings: { ...keys, bucket: s3.bucket, ...place } };
  const settings = { url: cluster.url, method: 'snapshot', repository, inventory: 'counts' };
  const component = open(settings);
  const { sink, source } = memoryParts();
  const capture = await component.capture(ctx, sink);
  assert.ok(component.check && component.release);
  const told = JSON.stringify([
    capture,
    ctx.logged,
    Buffer.concat(await Array.fromAsync(source.get(ctx, 'snapshot.json'))),
  ]);
  assert.ok(!told.includes(s3.secretKey));
  await emptied(cluster);
  await component.restore(ctx, { base: source });
  const found = await differences(ctx, settings, source);
  assert.ok(found.every(({ verdict }) => verdict === 'unknown'));
  const [whole] = await Array.fromAsync(component.check(ctx, capture.external ?? null));
  assert.equal(whole?.verdict, 'pass');
  await component.release(ctx, capture.external ?? null);
});

await suiteOn(name, skip, options);

function s3Client({ endpoint, region }: S3Server): Readonly<Record<string, string>> {
  return {
    's3.client.default.endpoint': endpoint,
    's3.client.default.region': region,
    's3.client.default.path_style_access': 'true',
    's3.client.default.protocol': 'http',
  };
}
