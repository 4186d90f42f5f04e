// `aws s3 ls` and `aws s3 sync` as the plans call them, for machines without the AWS command line.

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';

const client = new S3Client({
  endpoint: process.env.AWS_ENDPOINT_URL ?? '',
  region: 'us-east-1',
  forcePathStyle: true,
});
const [service, verb, ...words] = process.argv.slice(2);
const recursive = words.includes('--recursive');
const [from = '', to = ''] = words.filter((word) => !word.startsWith('--'));

if (service !== 's3') throw new Error(`aws ${service} is not played here`);
if (verb === 'ls') await list(from);
else if (verb === 'sync' && from.startsWith('s3://')) await download(from, to);
else if (verb === 'sync') await upload(from, to);
else throw new Error(`aws s3 ${verb} is not played here`);

async function list(url: string): Promise<void> {
  const { bucket, prefix } = placeOf(url);
  const input = { Bucket: bucket, Prefix: prefix, ...(recursive ? {} : { Delimiter: '/' }) };
  const { CommonPrefixes = [], Contents = [] } = await client.send(new ListObjectsV2Command(input));
  for (const { Prefix = '' } of CommonPrefixes) console.log(`${' '.repeat(27)}PRE ${Prefix.slice(prefix.length)}`);
  for (const { Key = '', Size = 0, LastModified = new Date() } of Contents) {
    const when = LastModified.toISOString().slice(0, 19).replace('T', ' ');
    console.log(`${when} ${String(Size).padStart(10)} ${recursive ? Key : Key.slice(prefix.length)}`);
  }
}

async function download(url: string, dir: string): Promise<void> {
  const { bucket, prefix } = placeOf(url);
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix }));
  for (const { Key = '' } of Contents) {
    const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key }));
    const file = join(dir, Key.slice(prefix.length));
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, (await Body?.transformToByteArray()) ?? '');
  }
}

async function upload(dir: string, url: string): Promise<void> {
  const { bucket, prefix } = placeOf(url);
  for (const entry of await readdir(dir, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    const Key = `${prefix}${relative(dir, file)}`;
    await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: await readFile(file) }));
  }
}

function placeOf(url: string): { bucket: string; prefix: string } {
  const [, bucket = '', prefix = ''] = /^s3:\/\/([^/]+)\/?(.*)$/.exec(url) ?? [];
  return { bucket, prefix };
}
