// MinIO and a search server as AIT-CORE has them: filled, and looked at by clients that are not ours.

import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import type { S3Server } from '../servers/s3.ts';

export async function fillObjects(server: S3Server): Promise<void> {
  const client = clientOf(server);
  for (const Bucket of ['documents', 'archive']) await client.send(new CreateBucketCommand({ Bucket }));
  const VersioningConfiguration = { Status: 'Enabled' } as const;
  await client.send(new PutBucketVersioningCommand({ Bucket: 'archive', VersioningConfiguration }));
  const put = (Bucket: string, Key: string, Body: string | Buffer, more: object = {}): Promise<unknown> =>
    client.send(new PutObjectCommand({ Bucket, Key, Body: Buffer.from(Body), ...more }));
  const about = { ContentType: 'text/plain', Metadata: { author: 'soriano' }, Tagging: 'state=signed' };
  await put('documents', '2026/policy 1.txt', 'the first policy', about);
  await put('documents', '2026/ü&+=?#.pdf', 'odd', { ContentType: 'application/pdf' });
  await put('documents', 'empty', '');
  await put('documents', 'photos/', '');
  await put('documents', 'large.bin', Buffer.alloc(9 * 1024 * 1024, 'x'));
  for (const text of ['as of yesterday', 'as of today']) await put('archive', 'minutes.txt', text);
  await put('archive', 'gone.txt', 'not any more');
  await client.send(new DeleteObjectCommand({ Bucket: 'archive', Key: 'gone.txt' }));
  client.destroy();
}

/** Versions from the oldest on, with what belongs to them. */
export async function objectsAt(server: S3Server): Promise<readonly unknown[]> {
  const client = clientOf(server);
  const found: unknown[] = [];
  for (const Bucket of ['documents', 'archive']) {
    const { Versions = [], DeleteMarkers = [] } = await client.send(new ListObjectVersionsCommand({ Bucket }));
    for (const { Key, VersionId, IsLatest } of Versions.reverse()) {
      const { Body, ContentType, Metadata } = await client.send(new GetObjectCommand({ Bucket, Key, VersionId }));
      const { TagSet } = await client.send(new GetObjectTaggingCommand({ Bucket, Key, VersionId }));
      const text = (await Body?.transformToString()) ?? '';
      found.push({
        Bucket,
        Key,
        IsLatest,
        text: text.slice(0, 100),
        length: text.length,
        ContentType,
        Metadata,
        TagSet,
      });
    }
    for (const { Key, IsLatest } of DeleteMarkers) found.push({ Bucket, Key, IsLatest });
  }
  client.destroy();
  return found;
}

export async function fillSearch(url: string): Promise<void> {
  const json = { 'content-type': 'application/json' };
  const mappings = { properties: { holder: { type: 'keyword' }, premium: { type: 'double' } } };
  const index = { settings: { number_of_replicas: 0 }, mappings, aliases: { contracts: {} } };
  await sent(`${url}/policies`, { method: 'PUT', headers: json, body: JSON.stringify(index) });
  const lines = Array.from({ length: 200 }, (_, i) => [
    JSON.stringify({ index: { _id: `p${i}` } }),
    JSON.stringify({ holder: `holder ${i}`, premium: i / 4 }),
  ]);
  const headers = { 'content-type': 'application/x-ndjson' };
  const body = `${lines.flat().join('\n')}\n`;
  await sent(`${url}/policies/_bulk?refresh=true`, { method: 'POST', headers, body });
  const pipeline = { processors: [{ set: { field: 'seen', value: true } }] };
  await sent(`${url}/_ingest/pipeline/mark`, { method: 'PUT', headers: json, body: JSON.stringify(pipeline) });
}

/** Documents, mapping, aliases, pipelines. */
export async function searchAt(url: string): Promise<unknown> {
  await sent(`${url}/policies/_refresh`, { method: 'POST' });
  const { hits } = (await sent(`${url}/policies/_search?size=1000&sort=holder`)) as {
    hits: { hits: { _id: string; _source: unknown }[] };
  };
  const documents = hits.hits.map(({ _id, _source }) => ({ _id, _source }));
  const [mapping, aliases, pipelines] = await Promise.all(
    ['policies/_mapping', 'policies/_alias', '_ingest/pipeline'].map((path) => sent(`${url}/${path}`)),
  );
  return { documents, mapping, aliases, pipelines };
}

async function sent(url: string, init: RequestInit = {}): Promise<unknown> {
  const response = await fetch(url, init);
  const text = await response.text();
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${text}`);
  return JSON.parse(text);
}

export function clientOf({ endpoint, region, accessKey, secretKey }: S3Server): S3Client {
  const credentials = { accessKeyId: accessKey, secretAccessKey: secretKey };
  return new S3Client({ endpoint, region, credentials, forcePathStyle: true });
}
