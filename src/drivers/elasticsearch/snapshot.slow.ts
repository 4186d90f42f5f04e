// A repository in a bucket, with OpenSearch 3, whose plug-in for it is a library like the rest.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { startOpenSearch } from '../../../test/servers/opensearch.ts';
import { startS3 } from '../../../test/servers/s3.ts';
import { inventoryOf } from '../../core/inventory.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { elasticsearchDriver } from './driver.ts';
import { clusterOf, emptied, fill } from './testing.ts';

const { open, compare } = elasticsearchDriver;

test('a snapshot in a bucket comes back, and its keys are told nowhere', {
  skip: await missing('opensearch-3', 'seaweedfs'),
}, async () => {
  const ctx = liveContext();
  await using s3 = await startS3('seaweedfs');
  await using server = await startOpenSearch('opensearch-3', {
    settings: {
      's3.client.default.endpoint': s3.endpoint,
      's3.client.default.region': s3.region,
      's3.client.default.path_style_access': 'true',
      's3.client.default.protocol': 'http',
    },
  });
  const cluster = clusterOf(server);
  await fill(cluster);
  const keys = { access_key: s3.accessKey, secret_key: s3.secretKey };
  // This server keeps no keys of its own to encrypt with, which OpenSearch 3 asks for by default.
  const place = { base_path: 'search', server_side_encryption_type: 'bucket_default' };
  const repository = { type: 's3', settings: { ...keys, bucket: s3.bucket, ...place } };
  const component = open({ url: cluster.url, method: 'snapshot', repository, inventory: 'counts' });
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
  const found = await Array.fromAsync(compare(ctx, inventoryOf(source), await component.inventory(ctx)));
  assert.deepEqual(
    found.filter(({ verdict }) => verdict === 'fail'),
    [],
  );
  const [whole] = await Array.fromAsync(component.check(ctx, capture.external ?? null));
  assert.equal(whole?.verdict, 'pass');
  await component.release(ctx, capture.external ?? null);
});
