// The journals of a store in buckets with a clock and faults of their own.

import { randomUUID } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { type S3Server, startS3 } from '../../../test/servers/s3.ts';
import { localBucket } from '../../buckets/local/bucket.ts';
import { s3Bucket } from '../../buckets/s3/bucket.ts';
import { testContext } from '../../core/testing.ts';
import { keepsJournals } from './journal.suite.ts';
import type { StoreRig } from './rig.suite.ts';

const SERVER = 'versitygw';

export async function journalsInRealBuckets(rig: StoreRig): Promise<void> {
  const { scratch } = testContext();
  describe(`journals of a ${rig.name} store in a directory`, () => {
    keepsJournals({ ...rig, bucket: async () => localBucket(mkdtempSync(join(scratch, 'journals-'))) });
  });

  let server: Promise<S3Server> | undefined;
  after(async () => await (await server)?.[Symbol.asyncDispose]());
  const bucket = async () => {
    const { endpoint, region, accessKey, secretKey, bucket: name } = await (server ??= startS3(SERVER));
    const settings = { endpoint, region, access_key: accessKey, secret_key: secretKey };
    const made = s3Bucket(`s3://${name}/${randomUUID()}`, settings);
    after(() => made.close());
    return made;
  };
  describe(`journals of a ${rig.name} store in S3`, { skip: await missing(SERVER) }, () => {
    keepsJournals({ ...rig, bucket });
  });
}
