// Somebody whom a real server allows four things in its bucket, or what a policy says, and nothing else.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { PutBucketPolicyCommand, S3Client } from '@aws-sdk/client-s3';
import { fromTemporaryCredentials } from '@aws-sdk/credential-providers';
import { installed } from './install.ts';
import type { S3Server } from './s3.ts';

const exec = promisify(execFile);

/** As the settings of a bucket. */
interface Credentials {
  readonly access_key: string;
  readonly secret_key: string;
  readonly session_token?: string;
}

export const fourRights = {
  async versitygw(server: S3Server): Promise<Credentials> {
    const { endpoint, region, accessKey: accessKeyId, secretKey: secretAccessKey, bucket } = server;
    const user = { access_key: 'four-rights', secret_key: 'four-rights-secret' };
    const args = ['admin', '--access', accessKeyId, '--secret', secretAccessKey, '--endpoint-url', endpoint];
    args.push('create-user', '--access', user.access_key, '--secret', user.secret_key, '--role', 'user');
    await exec(await installed('versitygw'), args);
    const credentials = { accessKeyId, secretAccessKey };
    const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true });
    const Policy = policyOf(bucket, { Principal: { AWS: [user.access_key] } });
    await client.send(new PutBucketPolicyCommand({ Bucket: bucket, Policy }));
    client.destroy();
    return user;
  },
  minio: async (server: S3Server): Promise<Credentials> => await minioUser(server, policyOf(server.bucket, {})),
};

/** Somebody who may do what the policy says, on a MinIO. */
export async function minioUser(server: S3Server, Policy: string): Promise<Credentials> {
  const { endpoint, region, accessKey: accessKeyId, secretKey: secretAccessKey } = server;
  const assume = fromTemporaryCredentials({
    masterCredentials: { accessKeyId, secretAccessKey },
    params: { RoleArn: 'arn:aws:iam::123456789012:role/any', Policy },
    clientConfig: { endpoint, region },
  });
  const { accessKeyId: access_key, secretAccessKey: secret_key, sessionToken } = await assume();
  return { access_key, secret_key, ...(sessionToken === undefined ? {} : { session_token: sessionToken }) };
}

function policyOf(bucket: string, who: object): string {
  const arn = `arn:aws:s3:::${bucket}`;
  const Statement = [
    { Effect: 'Allow', ...who, Action: ['s3:ListBucket'], Resource: [arn] },
    {
      Effect: 'Allow',
      ...who,
      Action: ['s3:PutObject', 's3:GetObject', 's3:DeleteObject'],
      Resource: [`${arn}/*`],
    },
  ];
  return JSON.stringify({ Version: '2012-10-17', Statement });
}
