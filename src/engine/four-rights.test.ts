// Everything that a store is used for, as somebody whom the server allows PutObject, GetObject, DeleteObject and
// ListBucket, and nothing else.

import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, test } from 'node:test';
import { GetBucketLocationCommand, S3Client } from '@aws-sdk/client-s3';
import { missing } from '../../test/servers/need.ts';
import { type S3Server, startS3 } from '../../test/servers/s3.ts';
import { fourRights } from '../../test/servers/s3-rights.ts';
import { s3Bucket } from '../buckets/s3/bucket.ts';
import { liveContext } from '../core/testing.ts';
import { backUp } from './backup.ts';
import { listPoints } from './points.ts';
import { prunePoints } from './prune.ts';
import { restorePoint } from './restore.ts';
import { DATED, made, opened, RESTIC, stack } from './stores.suite.ts';
import { verifyPoints } from './verify.ts';

/** Also when they are packed and unpacked again. */
const MORE_THAN_A_PART_BYTES = 24 * 1024 * 1024;
/** The two layouts ask the same of a bucket. */
const FORMATS = [DATED, RESTIC];

for (const name of ['versitygw', 'minio'] as const) {
  const skip = await missing(name);
  let started: Promise<{ server: S3Server; rights: Awaited<ReturnType<(typeof fourRights)['minio']>> }> | undefined;
  after(async () => await (await started)?.server[Symbol.asyncDispose]());
  const start = async () => {
    const server = await startS3(name);
    return { server, rights: await fourRights[name](server) };
  };

  test(`the four rights on ${name} are no more than four`, { skip }, async () => {
    const { server, rights } = await (started ??= start());
    const { endpoint, region, bucket } = server;
    const { access_key: accessKeyId, secret_key: secretAccessKey, session_token: token } = rights;
    const credentials = { accessKeyId, secretAccessKey, ...(token === undefined ? {} : { sessionToken: token }) };
    const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true });
    const asked = client.send(new GetBucketLocationCommand({ Bucket: bucket }));
    await assert.rejects(asked, { name: 'AccessDenied' });
    client.destroy();
  });

  for (const kind of FORMATS) {
    test(`a store that is ${kind.title} needs no more than four rights on ${name}`, { skip }, async () => {
      const { server, rights } = await (started ??= start());
      const { endpoint, region, bucket: bucketName } = server;
      const ctx = liveContext();
      const bucket = s3Bucket(`s3://${bucketName}/${randomUUID()}`, { endpoint, region, ...rights });
      const { components, servers } = stack();
      servers[0]?.data.set('large', randomBytes(MORE_THAN_A_PART_BYTES).toString('base64'));
      {
        await using store = await opened(ctx, kind, await made(ctx, kind, bucket));
        const request = { stack: 'shop', plan: 'nightly', components, stores: [store] };
        const first = await backUp(ctx, request);
        servers[0]?.data.set('b', '2');
        const { point } = await backUp(ctx, request);
        assert.ok(first.point && point);
        assert.deepEqual((await listPoints(ctx, store)).map(({ point: { id } }) => id).sort(), [
          first.point.id,
          point.id,
        ]);
        for (const each of servers) each.data.clear();
        assert.equal((await restorePoint(ctx, { from: store, point, components })).verdict, 'pass');
        assert.equal(servers[0]?.data.get('b'), '2');
        const rulesOf = () => ({ keep: { last: 1 }, timezone: 'UTC' });
        const pruned = await prunePoints(ctx, { in: store, stack: 'shop', rulesOf, apply: true });
        assert.deepEqual(pruned.removed, [first.point.id]);
        const { findings } = await verifyPoints(ctx, { in: store, readData: 1 });
        assert.equal(findings.verdict, 'pass', JSON.stringify(findings.kept));
      }
      await bucket.close();
      assert.deepEqual(
        ctx.logged.filter(({ level }) => level === 'warn' || level === 'error'),
        [],
      );
    });
  }
}
