// A bucket whose objects go by age, and a restore to which something happens as soon as that is suspended.

import type { ChildProcess } from 'node:child_process';
import {
  CreateBucketCommand,
  GetBucketLifecycleConfigurationCommand,
  PutBucketLifecycleConfigurationCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { until } from '../servers/processes.ts';
import type { S3Server } from '../servers/s3.ts';
import { lifeboat, type Ran } from './lifeboat.ts';

export function clientOf({ endpoint, region, accessKey, secretKey }: S3Server): S3Client {
  const credentials = { accessKeyId: accessKey, secretAccessKey: secretKey };
  return new S3Client({ endpoint, region, credentials, forcePathStyle: true });
}

/** Makes it, if it is not there, with one rule: 'old'. */
export async function makeAgeing(s3: S3Client, Bucket: string): Promise<void> {
  await s3.send(new CreateBucketCommand({ Bucket })).catch((error: Error) => {
    if (error.name !== 'BucketAlreadyOwnedByYou') throw error;
  });
  const rule = { ID: 'old', Status: 'Enabled' as const, Filter: { Prefix: '' }, Expiration: { Days: 3650 } };
  const LifecycleConfiguration = { Rules: [rule] };
  await s3.send(new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration }));
}

export async function rulesOf(s3: S3Client, Bucket: string): Promise<readonly unknown[]> {
  try {
    const { Rules = [] } = await s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket }));
    return Rules.map(({ ID }) => ID);
  } catch (error) {
    if (error instanceof Error && error.name === 'NoSuchLifecycleConfiguration') return [];
    throw error;
  }
}

/** Restores component `objects` over what is there, and does `strike` as soon as the bucket has no rule. */
export async function restoreStruck(
  cwd: string,
  s3: S3Client,
  bucket: string,
  strike: (restore: ChildProcess) => void | Promise<void>,
): Promise<Ran> {
  let struck: Promise<void> | undefined;
  const ran = await lifeboat(['restore', 'latest', '--only', 'objects', '--in-place', '--yes', '--jobs', '1'], {
    cwd,
    onStart(restore) {
      const suspended = async (): Promise<boolean> =>
        restore.exitCode !== null || (await rulesOf(s3, bucket)).length === 0;
      struck = until('the lifecycle is suspended', 60_000, suspended).then(() => strike(restore));
    },
  });
  await struck;
  return ran;
}
