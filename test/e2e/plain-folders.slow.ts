// Folders of a plain store: without Lifeboat, and filled from another store.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { DeleteObjectsCommand, GetObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { missing, missingTools } from '../servers/need.ts';
import { type S3Server, startS3 } from '../servers/s3.ts';
import { clientOf, fillObjects, objectsAt } from './compat-services.ts';
import { workspace } from './workspace.ts';

const exec = promisify(execFile);
const skip = await missing('minio');
const space = workspace('plain-folders');
const servers = new AsyncDisposableStack();
after(() => servers.disposeAsync());
let minio: S3Server;

before(async () => {
  if (skip) return;
  minio = servers.use(await startS3('minio'));
  await fillObjects(minio);
  const keys = `access_key: ${minio.accessKey}, secret_key: ${minio.secretKey}`;
  space.configure(`stack: docs
stores:
  sealed: ${space.store('sealed')}
  files: { format: plain, layout: dated, bucket: ${join(space.dir, 'files')} }
components:
  objects: { kind: s3, endpoint: "${minio.endpoint}", ${keys}, buckets: [documents, { name: archive, versions: true }] }
plans:
  nightly: { to: [sealed] }
`);
  await space.run(0, 'init');
  await space.run(0, 'backup', '--plan', 'nightly');
});

test('what is copied from a restic store lies under its names in a plain one, and is whole', { skip }, async () => {
  await space.run(0, 'copy', '--from', 'sealed', '--to', 'files');
  await space.run(0, 'verify', '--all', '--read-data');
  assert.equal(readFileSync(join(folder(), 'documents/2026/policy%201.txt'), 'utf8'), 'the first policy');
  assert.equal(readFileSync(join(folder(), 'archive/minutes.txt'), 'utf8'), 'as of today');
});

test('the loop of the page brings objects back from a folder, whatever they are called', { skip }, async (t) => {
  const lacking = missingTools('aws');
  if (lacking !== false) return t.skip(lacking);
  const page = readFileSync(new URL('../../docs/format-plain.md', import.meta.url), 'utf8');
  const [, loop = ''] = /```python\n(.*?)```/s.exec(page) ?? [];
  const before = current(await objectsAt(minio));
  await empty('documents');
  const env = {
    ...process.env,
    AWS_ACCESS_KEY_ID: minio.accessKey,
    AWS_SECRET_ACCESS_KEY: minio.secretKey,
    AWS_DEFAULT_REGION: minio.region,
    AWS_ENDPOINT_URL: minio.endpoint,
  };
  await exec('python3', ['-c', loop, folder()], { env });
  assert.deepEqual(current(await objectsAt(minio)), before);
});

test('a mirror that older scripts have made is imported and restored, and nobody says that it is whole', {
  skip,
}, async () => {
  const mirror = 'mirrors/minio/minio_20260128_030000';
  space.write(`${mirror}/old-documents/2025/policy 0.txt`, 'the policy before the first');
  space.write(`${mirror}/old-documents/ü`, '');
  const keys = `access_key: ${minio.accessKey}, secret_key: ${minio.secretKey}`;
  space.configure(`stack: docs
stores: { files: { format: plain, layout: by-component, bucket: ${join(space.dir, 'mirrors')} } }
components: { objects: { kind: s3, endpoint: "${minio.endpoint}", ${keys}, buckets: [old-documents] } }
`);
  await space.run(0, 'init');
  const { stdout } = await space.run(3, 'import');
  assert.match(stdout, /another program has made it/);
  await space.run(3, 'restore', 'latest', '--yes');
  const client = clientOf(minio);
  const { Body } = await client.send(new GetObjectCommand({ Bucket: 'old-documents', Key: '2025/policy 0.txt' }));
  assert.equal(await Body?.transformToString(), 'the policy before the first');
  const { KeyCount } = await client.send(new ListObjectsV2Command({ Bucket: 'old-documents' }));
  assert.equal(KeyCount, 2);
  client.destroy();
});

function folder(): string {
  const [id = ''] = readdirSync(join(space.dir, 'files')).filter((name) => name !== '0-lifeboat');
  return join(space.dir, 'files', id, `minio-${id}`);
}

/** Without tags, which the loop leaves out. */
function current(objects: readonly unknown[]): unknown[] {
  return objects.flatMap((each) => {
    const { TagSet: _, ...object } = each as { Bucket: string; IsLatest: boolean; TagSet: unknown };
    return object.Bucket === 'documents' ? [object] : [];
  });
}

async function empty(Bucket: string): Promise<void> {
  const client = clientOf(minio);
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket }));
  await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: Contents.map(({ Key }) => ({ Key })) } }));
  client.destroy();
}
