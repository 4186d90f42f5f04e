// SeaweedFS lists folder by folder. The whole suite on it is in seaweedfs.slow.ts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { startS3 } from '../../../test/servers/s3.ts';
import { inventoryOf } from '../../core/inventory.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { dropSetting, putSetting, settingOf } from './buckets.ts';
import { s3Driver } from './driver.ts';
import { clientOf, fill, makeBucket, put, settingsOf } from './testing.ts';

/** As it is filled. */
const TAGGED = { key: 'tagged', headers: { 'x-amz-tagging': 'project=blue%20sky&cost=1' } };
const CORS =
  '<CORSConfiguration><CORSRule><AllowedOrigin>https://shop.example</AllowedOrigin>' +
  '<AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>';
const ENCRYPTION =
  '<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>' +
  '</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>';
const GRANTEE = '<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type=';
const PUBLIC =
  '<AccessControlPolicy><Owner><ID>admin</ID></Owner><AccessControlList>' +
  `<Grant>${GRANTEE}"CanonicalUser"><ID>admin</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>` +
  `<Grant>${GRANTEE}"Group"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>` +
  '<Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>';

test('buckets of SeaweedFS come back as they were, with CORS, encryption and ACLs', {
  skip: await missing('seaweedfs'),
}, async () => {
  const ctx = liveContext();
  await using server = await startS3('seaweedfs');
  await using client = clientOf(ctx, server);
  await fill(ctx, client, false);
  await makeBucket(ctx, client, 'sealed');
  const acl = { bucket: 'photos', key: 'tagged', query: { acl: '' } } as const;
  const isPublic = async (): Promise<boolean> => {
    const { chunks } = await client.send(ctx, 'asking', { method: 'GET', ...acl });
    return Buffer.concat(chunks).includes('AllUsers');
  };
  await client.send(ctx, 'opening', { method: 'PUT', ...acl, body: Buffer.from(PUBLIC) });
  await putSetting(ctx, client, 'photos', 'cors', CORS);
  await putSetting(ctx, client, 'sealed', 'encryption', ENCRYPTION);
  const component = s3Driver.open(settingsOf(server, { buckets: ['photos', 'photos-old', 'sealed'], acl: true }));
  const { sink, source } = memoryParts();
  const { warnings, totals } = await component.capture(ctx, sink);
  assert.deepEqual([warnings, totals.objects], [[], 56]);
  await put(ctx, client, 'photos', [{ key: 'many/3/3', body: 'changed' }, { key: 'extra' }, TAGGED]);
  await dropSetting(ctx, client, 'photos', 'cors');
  await dropSetting(ctx, client, 'sealed', 'encryption');
  assert.equal(await isPublic(), false);
  const done = await component.restore(ctx, { base: source }, { replace: true, reread: true });
  assert.deepEqual(done.missing, []);
  assert.ok(done.inventory);
  const findings = await Array.fromAsync(s3Driver.compare(ctx, inventoryOf(source), await done.inventory(ctx)));
  assert.deepEqual(
    findings.filter(({ verdict }) => verdict !== 'pass'),
    [],
  );
  assert.match((await settingOf(ctx, client, 'photos', 'cors')) ?? '', /shop\.example/);
  assert.match((await settingOf(ctx, client, 'sealed', 'encryption')) ?? '', /AES256/);
  assert.equal(await isPublic(), true);
  // Only what differs: one object, in its ACL alone.
  await put(ctx, client, 'photos', [TAGGED]);
  assert.equal((await component.restore(ctx, { base: source }, { delta: true })).bytes, TAGGED.key.length);
  assert.equal(await isPublic(), true);
});
