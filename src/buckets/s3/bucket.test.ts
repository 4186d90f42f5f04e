import { randomUUID } from 'node:crypto';
import { after } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { type S3Server, startS3 } from '../../../test/servers/s3.ts';
import { liveContext } from '../../core/testing.ts';
import { bucketSuite } from '../bucket.suite.ts';
import { s3Bucket } from './bucket.ts';

const EXCEPT: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  seaweedfs: { 'a folder is gone with its last key': 'SeaweedFS clears empty folders away some time later' },
};

for (const name of ['seaweedfs', 'versitygw', 'minio'] as const) {
  let server: Promise<S3Server> | undefined;
  after(async () => await (await server)?.[Symbol.asyncDispose]());
  const make = async () => {
    const { endpoint, region, accessKey, secretKey, bucket } = await (server ??= startS3(name));
    const settings = { endpoint, region, access_key: accessKey, secret_key: secretKey };
    return s3Bucket(`s3://${bucket}/a folder/${randomUUID()}`, settings);
  };
  const except = EXCEPT[name] ?? {};
  bucketSuite(`s3 on ${name}`, make, { ctx: liveContext, skip: await missing(name), except });
}
