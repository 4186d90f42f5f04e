// Data for tests: objects with everything that can belong to them, and buckets that are emptied between tests.

import { after } from 'node:test';
import { type S3Server, startS3 } from '../../../test/servers/s3.ts';
import type { Context } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { bucketNames, putSetting } from './buckets.ts';
import { type Client, openClient } from './client.ts';
import { isUnknownToServer } from './failures.ts';
import { listed } from './listing.ts';
import { readSettings } from './settings.ts';
import { deleteAll } from './target.ts';

const VERSIONED =
  '<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>';

/** Drops what is old below tmp/. */
export const LIFECYCLE =
  '<LifecycleConfiguration><Rule><ID>old ones</ID><Status>Enabled</Status><Filter><Prefix>tmp/</Prefix></Filter>' +
  '<Expiration><Days>3</Days></Expiration></Rule></LifecycleConfiguration>';
export const TAGGING = '<Tagging><TagSet><Tag><Key>team</Key><Value>blue</Value></Tag></TagSet></Tagging>';

export interface Written {
  readonly key: string;
  readonly body?: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

export function settingsOf(server: S3Server, more: object = {}): object {
  const { endpoint, region, accessKey: access_key, secretKey: secret_key } = server;
  return { endpoint, region, access_key, secret_key, buckets: 'all', ...more };
}

export function clientOf(ctx: Context, server: S3Server): Client {
  return openClient(ctx, readSettings(settingsOf(server)));
}

/** For all tests of a suite: it ends with them. */
export async function sharedMinio(ctx: Context): Promise<{ readonly server: S3Server; readonly client: Client }> {
  const server = await startS3('minio');
  const client = clientOf(ctx, server);
  after(async () => {
    await client[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });
  return { server, client };
}

export async function makeBucket(
  ctx: Context,
  client: Client,
  bucket: string,
  options: { readonly versions?: boolean; readonly lock?: boolean } = {},
): Promise<void> {
  const lock = options.lock ? { 'x-amz-bucket-object-lock-enabled': 'true' } : {};
  await client.send(ctx, `making ${bucket}`, { method: 'PUT', bucket, headers: lock });
  if (options.versions) await putSetting(ctx, client, bucket, 'versioning', VERSIONED);
}

export async function put(ctx: Context, client: Client, bucket: string, objects: readonly Written[]): Promise<void> {
  await mapBounded(objects, 8, ({ key, body = key, headers = {} }) =>
    client.send(ctx, `putting ${key}`, { method: 'PUT', bucket, key, headers, body: Buffer.from(body) }),
  );
}

export async function drop(ctx: Context, client: Client, bucket: string, key: string): Promise<void> {
  await client.send(ctx, `deleting ${key}`, { method: 'DELETE', bucket, key });
}

export async function read(ctx: Context, client: Client, bucket: string, key: string): Promise<string> {
  const { chunks } = await client.send(ctx, `reading ${key}`, { method: 'GET', bucket, key, bytesMax: 2 ** 26 });
  return Buffer.concat(chunks).toString();
}

/** Keys of what is there now, in order. */
export async function keysOf(ctx: Context, client: Client, bucket: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of listed(ctx, client, { bucket, prefix: '', exclude: [], versions: false })) {
    keys.push(...page.map(({ key }) => key));
  }
  return keys;
}

/** No bucket is left, or none of these. */
export async function wipe(ctx: Context, client: Client, buckets?: readonly string[]): Promise<void> {
  for (const bucket of buckets ?? (await bucketNames(ctx, client))) {
    for (const versions of [true, false]) {
      try {
        for await (const page of listed(ctx, client, { bucket, prefix: '', exclude: [], versions })) {
          await deleteAll(ctx, client, bucket, page);
        }
      } catch (error) {
        if (!isUnknownToServer(error)) throw error;
      }
    }
    await client.send(ctx, `removing ${bucket}`, { method: 'DELETE', bucket });
  }
}

export const PNG = { 'content-type': 'image/png', 'cache-control': 'max-age=60', 'x-amz-meta-owner': 'ann' };

/** Of two buckets: photos with folders, sizes and metadata; docs with odd keys. */
export async function fill(ctx: Context, client: Client, large: boolean): Promise<void> {
  await makeBucket(ctx, client, 'photos');
  await makeBucket(ctx, client, 'photos-old');
  const many = Array.from({ length: 40 }, (_, n) => ({ key: `many/${n % 7}/${n}`, body: `content of ${n}` }));
  await put(ctx, client, 'photos', [
    ...many,
    { key: 'empty', body: '' },
    { key: 'a/b.png', headers: PNG },
    { key: 'a-b.png', headers: { ...PNG, 'content-disposition': 'attachment; filename="b.png"' } },
    { key: 'tagged', headers: { 'x-amz-tagging': 'project=blue%20sky&cost=1' } },
    { key: 'largest', body: Buffer.alloc(300_000, 'medium') },
    ...(large ? [{ key: 'large', body: Buffer.alloc(17 * 1024 * 1024 + 5, 'large object '), headers: PNG }] : []),
  ]);
  const odd = [
    'x y+z%',
    'ü/ñ',
    '日本',
    '😀',
    '\uff01',
    '&<>"',
    ' sp ',
    'new\nline',
    '*?[]',
    'A/B',
    `${'k'.repeat(200)}/${'l'.repeat(200)}`,
  ];
  await put(
    ctx,
    client,
    'photos-old',
    odd.map((key) => ({ key })),
  );
}
