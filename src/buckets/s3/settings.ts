import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import { checkKey } from '../keys.ts';

const CONNECTIONS = 16;
const CONNECTIONS_MAX = 256;

/** Parsing what was parsed changes nothing. */
export const s3BucketSettings = z.strictObject({
  endpoint: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe("address of the S3 server, such as 'https://minio.internal:9000'; AWS itself when absent"),
  region: z.string().min(1).optional().describe('region of the bucket; AWS_REGION or us-east-1 when absent'),
  access_key: z.string().min(1).optional().describe("access key; when absent the AWS tools' own sources are asked"),
  secret_key: z.string().min(1).optional().describe('secret key that belongs to access_key'),
  session_token: z.string().min(1).optional().describe('session token of temporary credentials'),
  profile: z.string().min(1).optional().describe("profile of the AWS tools' files to take the credentials from"),
  path_style: z
    .boolean()
    .optional()
    .describe('the bucket is named in the path, not in the host name; true when absent and an endpoint is given'),
  storage_class: z
    .string()
    .regex(
      /^(?!GLACIER$|DEEP_ARCHIVE$)./,
      'one that can be read at once, such as GLACIER_IR: what is written is read again',
    )
    .optional()
    .describe("storage class of new objects, such as 'STANDARD_IA'"),
  encryption: z
    .enum(['AES256', 'aws:kms'])
    .optional()
    .describe("encryption by the server: 'AES256' with its own key, 'aws:kms' with kms_key"),
  kms_key: z.string().min(1).optional().describe('key for encryption aws:kms; the account default when absent'),
  checksums: z
    .boolean()
    .optional()
    .describe(
      'keep the SHA-256 of each object at the server; true but for servers that are known to refuse such headers',
    ),
  conditional_writes: z
    .boolean()
    .optional()
    .describe(
      'rely on If-None-Match; true but for servers that are known to lack it: two writers at once are then not told apart',
    ),
  connections: z.int().min(1).max(CONNECTIONS_MAX).default(CONNECTIONS).describe('requests at a time'),
});
export type S3Settings = z.output<typeof s3BucketSettings>;

/** 's3://BUCKET/PREFIX'; the prefix comes back as '' or with a '/' at its end. */
export function parseS3Url(url: string): { bucket: string; prefix: string } {
  const [, bucket, path = ''] = /^s3:\/\/([^/]+)(?:\/(.*))?$/.exec(url) ?? [];
  const folder = path.replace(/\/+$/, '');
  if (bucket === undefined) throw new Failure('settings-invalid', `${url} is not of the form s3://BUCKET/PREFIX`);
  if (folder === '') return { bucket, prefix: '' };
  try {
    checkKey(folder);
  } catch (cause) {
    throw new Failure('settings-invalid', `${url} has a prefix that can't be one`, { cause });
  }
  return { bucket, prefix: `${folder}/` };
}
