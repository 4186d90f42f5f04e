// Settings of a component of kind s3: buckets of MinIO, SeaweedFS, versitygw, AWS and others that speak their language.

import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { InventoryLevel } from '../../core/model.ts';
import { duration, parseSettings } from '../../core/settings.ts';

const CONNECTIONS = 16;
const CONNECTIONS_MAX = 256;
const BUCKET = /^[a-zA-Z0-9][a-zA-Z0-9._-]{1,62}$/;

const bucketName = z.string().regex(BUCKET, 'a name of a bucket');
const bucketSettings = z.strictObject({
  name: bucketName.describe('the bucket'),
  prefix: z.string().default('').describe('only keys that begin so'),
  exclude: z.array(z.string().min(1)).default([]).describe('no keys that begin with one of these'),
  versions: z.boolean().optional().describe('every version and delete marker, not only the current objects'),
});

export const s3Settings = z.strictObject({
  endpoint: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe("address of the S3 server, such as 'https://minio.internal:9000'; AWS itself when absent"),
  region: z.string().min(1).optional().describe('region of the buckets; AWS_REGION or us-east-1 when absent'),
  access_key: z.string().min(1).optional().describe('access key; looked for where AWS tools do when absent'),
  secret_key: z.string().min(1).optional().describe('secret key that belongs to access_key'),
  session_token: z.string().min(1).optional().describe('session token of temporary credentials'),
  profile: z.string().min(1).optional().describe('profile of the AWS files that the keys are taken from'),
  path_style: z
    .boolean()
    .optional()
    .describe('the bucket is named in the path, not in the host name; true when absent and an endpoint is given'),
  ca_file: z.string().min(1).optional().describe('certificates to trust besides the system’s, a PEM file'),
  buckets: z
    .union([z.literal('all'), z.array(z.union([bucketName, bucketSettings])).min(1)])
    .describe("names of buckets, or { name, prefix, exclude, versions }; 'all': every bucket that the key may see"),
  versions: z.boolean().default(false).describe('every version and delete marker, in buckets that do not say'),
  tags: z
    .enum(['auto', 'always', 'never'])
    .default('auto')
    .describe('auto: of objects that are read and say that they have some; always: asked for each, one request more'),
  recheck: z
    .union([z.literal('never'), duration])
    .prefault('7d')
    .describe('tags, ACLs and locks of unchanged objects are asked for again when this long ago; 0s: by each capture'),
  acl: z.boolean().default(false).describe('access control lists of objects, one request more for each'),
  inventory: z
    .enum(['full', 'counts'])
    .default('full')
    .describe('full: a comparison reads every object; counts: it looks at keys and sizes, and equality is unknown'),
  connections: z.number().int().min(1).max(CONNECTIONS_MAX).default(CONNECTIONS).describe('requests at a time'),
  timeout: duration.prefault('2m').describe('how long a request may stand still'),
  follow_every: duration
    .prefault('10s')
    .describe('how often everything is listed while the buckets are followed; less often where that takes long'),
});

/** A bucket, or what begins with a prefix in it. */
export interface Scope {
  readonly bucket: string;
  readonly prefix: string;
  readonly versions: boolean;
  /** Keys that begin with one of these are none of ours. */
  readonly exclude: readonly string[];
  /** Of the other keys these alone. */
  readonly only?: (key: string) => boolean;
  /** What the bucket is called in inventories, where a restore gave it another name. */
  readonly calledAs?: string;
}
export interface Settings {
  /** Null: AWS itself. */
  readonly endpoint: string | null;
  readonly region: string | null;
  readonly identity: Identity | null;
  readonly profile: string | null;
  readonly pathStyle: boolean;
  readonly caFile: string | null;
  /** Null: every bucket there is. */
  readonly scopes: readonly Scope[] | null;
  readonly versions: boolean;
  readonly tags: 'auto' | 'always' | 'never';
  /** Null: never. */
  readonly recheckMs: number | null;
  readonly acl: boolean;
  readonly inventory: InventoryLevel;
  readonly connections: number;
  readonly timeoutMs: number;
  readonly followEveryMs: number;
}
export interface Identity {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly sessionToken?: string;
}

export function readSettings(input: unknown): Settings {
  const parsed = parseSettings(s3Settings, input, 's3');
  const { endpoint, region, access_key, secret_key, session_token, path_style, ca_file, buckets, versions } = parsed;
  if ((access_key === undefined) !== (secret_key === undefined)) {
    throw new Failure('settings-invalid', 's3: access_key and secret_key belong together, and one of them is missing');
  }
  const scopes = buckets === 'all' ? null : buckets.map((each) => scopeOf(each, versions));
  const twice = scopes?.find(({ bucket }, i) => scopes.findIndex((other) => other.bucket === bucket) !== i);
  if (twice) throw new Failure('settings-invalid', `s3: buckets: ${twice.bucket} is named twice`);
  return {
    endpoint: endpoint?.replace(/\/+$/, '') ?? null,
    region: region ?? null,
    identity:
      access_key !== undefined && secret_key !== undefined
        ? { accessKey: access_key, secretKey: secret_key, ...(session_token ? { sessionToken: session_token } : {}) }
        : null,
    profile: parsed.profile ?? null,
    pathStyle: path_style ?? endpoint !== undefined,
    caFile: ca_file ?? null,
    scopes,
    versions,
    tags: parsed.tags,
    recheckMs: parsed.recheck === 'never' ? null : parsed.recheck,
    acl: parsed.acl,
    inventory: parsed.inventory,
    connections: parsed.connections,
    timeoutMs: parsed.timeout,
    followEveryMs: parsed.follow_every,
  };
}

/** The same component at another place: 'http://key:secret@host:9000'. Who we are is kept unless the place says it. */
export function retarget(settings: unknown, target: string): unknown {
  const url = URL.parse(target);
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.pathname.replace(/\/+$/, '') !== '') {
    throw new Failure('settings-invalid', 's3 is restored to http://[KEY:SECRET@]HOST[:PORT], or https://…');
  }
  const { session_token, ...rest } = z.looseObject({}).parse(settings);
  const keys =
    url.username === ''
      ? { ...(session_token === undefined ? {} : { session_token }) }
      : { access_key: decodeURIComponent(url.username), secret_key: decodeURIComponent(url.password) };
  return { ...rest, endpoint: url.origin, ...keys };
}

function scopeOf(each: string | z.output<typeof bucketSettings>, versions: boolean): Scope {
  if (typeof each === 'string') return { bucket: each, prefix: '', versions, exclude: [] };
  const { name, prefix, exclude } = each;
  return { bucket: name, prefix, versions: each.versions ?? versions, exclude };
}
