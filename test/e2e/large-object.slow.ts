// An object that is larger than S3 takes in one request goes to the store and comes back, in bounded memory.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createCipheriv, createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { DeleteObjectCommand, GetObjectCommand, HeadObjectCommand } from '@aws-sdk/client-s3';
import type { Bytes } from '../../src/core/model.ts';
import { liveContext } from '../../src/core/testing.ts';
import { clientOf } from '../../src/drivers/s3/testing.ts';
import { putParts } from '../../src/drivers/s3/writing.ts';
import { missing, missingTools } from '../servers/need.ts';
import { startS3 } from '../servers/s3.ts';
import { clientOf as sdkClientOf } from './compat-services.ts';
import { workspace } from './workspace.ts';

const BLOCK_BYTES = 16 * 2 ** 20;
/** A block more than the 5 GiB that one request may bring. */
const BLOCKS = 5 * 64 + 1;
const PEAK_MIB_MAX = 512;
const FREE_BYTES_MIN = 30e9;
const TIME = '/usr/bin/time';
const { dir, store, configure, run } = workspace('large-object');

const { bavail, bsize } = statfsSync(tmpdir());
const tooSmall = bavail * bsize < FREE_BYTES_MIN && `${tmpdir()} has not 30 GB free`;
/** It takes some minutes of all there is: for who has changed how large objects are read or written. */
const unasked = !process.env.LARGE_OBJECTS && 'set LARGE_OBJECTS=1 to run it: it takes minutes, and 30 GB of disk';
const skip = unasked || tooSmall || missingTools(TIME) || (await missing('minio'));

/** Noise that differs from block to block: a store finds most of it again, so that it stays small. */
async function* content(): Bytes {
  const noise = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16)).update(Buffer.alloc(BLOCK_BYTES));
  for (let block = 0; block < BLOCKS; block++) {
    noise.writeUInt32BE(block, 0);
    yield Buffer.from(noise);
  }
}

async function sha256Of(body: Bytes): Promise<string> {
  const sum = createHash('sha256');
  for await (const chunk of body) sum.update(chunk);
  return sum.digest('hex');
}

test(`an object over 5 GiB comes back, each way in less than ${PEAK_MIB_MAX} MiB (fault 44)`, { skip }, async (t) => {
  const ctx = liveContext();
  await using server = await startS3('minio', undefined, tmpdir());
  await using client = clientOf(ctx, server);
  const sdk = sdkClientOf(server);
  const object = { Bucket: server.bucket, Key: 'backups/large.bin' };
  const bytes = BLOCKS * BLOCK_BYTES;
  const sha256 = await sha256Of(content());
  const place = { bucket: object.Bucket, versioned: false, lockable: false };
  const about = { version: null, latest: true, modified: '2026-01-01T00:00:00Z', etag: '' };
  const entry = { bucket: object.Bucket, key: object.Key, bytes, sha256, ...about };
  await putParts(ctx, client, place, entry, content());
  configure(`stack: shop
stores: { main: ${store('main')} }
components:
  objects:
    kind: s3
    endpoint: ${server.endpoint}
    access_key: ${server.accessKey}
    secret_key: ${server.secretKey}
    buckets: [${server.bucket}]
`);
  await run(0, 'init');
  const measured = async (...args: readonly string[]): Promise<void> => {
    const counted = join(dir, 'counted');
    const options = ['--quiet', '--format', '%M', '--output', counted, 'bin/lifeboat'];
    const child = spawn(TIME, [...options, '--config', join(dir, 'lifeboat.yaml'), ...args], { stdio: 'ignore' });
    assert.deepEqual(await once(child, 'exit'), [0, null], args.join(' '));
    const peak = Number(readFileSync(counted, 'utf8')) / 1024;
    t.diagnostic(`${args[0]}: ${peak.toFixed(0)} MiB`);
    assert.ok(peak < PEAK_MIB_MAX, `${args[0]}: ${peak.toFixed(0)} MiB`);
  };
  await measured('backup');
  await sdk.send(new DeleteObjectCommand(object));
  await measured('restore', 'latest', '--yes');
  const { ContentLength, ETag = '' } = await sdk.send(new HeadObjectCommand(object));
  assert.equal(ContentLength, bytes);
  assert.match(ETag, /-\d+"$/, 'it came in parts');
  const { Body } = await sdk.send(new GetObjectCommand(object));
  assert.ok(Body && Symbol.asyncIterator in Body);
  assert.equal(await sha256Of(Body as Bytes), sha256);
  sdk.destroy();
});
