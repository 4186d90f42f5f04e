import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Failure } from '../../core/errors.ts';
import { testContext } from '../../core/testing.ts';
import { s3Bucket } from './bucket.ts';
import { credentialsOf } from './credentials.ts';
import { parseS3Url, s3BucketSettings } from './settings.ts';

/** A home directory with two profiles. */
function home(): Record<string, string> {
  const dir = mkdtempSync(join(testContext().scratch, 'home-'));
  const profile = (name: string): string =>
    `[${name}]\naws_access_key_id = ${name}-key\naws_secret_access_key = ${name}-secret\n`;
  writeFileSync(join(dir, 'credentials'), profile('default') + profile('backup'));
  writeFileSync(join(dir, 'config'), '');
  return { AWS_SHARED_CREDENTIALS_FILE: join(dir, 'credentials'), AWS_CONFIG_FILE: join(dir, 'config') };
}
async function keyFrom(env: Record<string, string>, settings: Record<string, unknown> = {}): Promise<string> {
  const found = await credentialsOf(testContext({ env }), s3BucketSettings.parse(settings));
  return (typeof found === 'function' ? await found() : found).accessKeyId;
}
const inEnv = { AWS_ACCESS_KEY_ID: 'env-key', AWS_SECRET_ACCESS_KEY: 'env-secret' };

test('credentials come from the settings, the environment and the files of the AWS tools, in this order', async () => {
  const inSettings = { access_key: 'set-key', secret_key: 'set-secret' };
  assert.equal(await keyFrom({ ...inEnv, ...home() }, inSettings), 'set-key');
  assert.equal(await keyFrom({ ...inEnv, ...home() }), 'env-key');
  assert.equal(await keyFrom(home()), 'default-key');
  assert.equal(await keyFrom({ ...home(), AWS_PROFILE: 'backup' }), 'backup-key');
  assert.equal(await keyFrom({ ...inEnv, ...home() }, { profile: 'backup' }), 'backup-key');
});

test('half a pair of keys is refused', async () => {
  await assert.rejects(keyFrom(inEnv, { access_key: 'set-key' }), { code: 'settings-invalid' });
});

test('a bucket without any credentials is denied, with the ways to give them', async () => {
  const dir = mkdtempSync(join(testContext().scratch, 'home-'));
  const ctx = testContext({ env: { HOME: dir, AWS_EC2_METADATA_DISABLED: 'true' } });
  const bucket = s3Bucket('s3://bucket/prefix', { endpoint: 'http://127.0.0.1:9' });
  await assert.rejects(bucket.head(ctx, 'a'), (error) => {
    assert.ok(error instanceof Failure && error.code === 'denied', String(error));
    assert.match(error.hint ?? '', /access_key/);
    return true;
  });
  await bucket.close();
});

test('a URL names the bucket and the folder in it', () => {
  assert.deepEqual(parseS3Url('s3://a-bucket'), { bucket: 'a-bucket', prefix: '' });
  assert.deepEqual(parseS3Url('s3://a-bucket/'), { bucket: 'a-bucket', prefix: '' });
  assert.deepEqual(parseS3Url('s3://a-bucket/some/prefix//'), { bucket: 'a-bucket', prefix: 'some/prefix/' });
  for (const url of ['s3://', 's3:///a', 'https://a', 's3://a/../b', 's3://a//b']) {
    assert.throws(() => parseS3Url(url), { code: 'settings-invalid' }, url);
  }
});

test('settings that were parsed once may be parsed again', () => {
  const once = s3BucketSettings.parse({ region: 'eu-west-1', storage_class: 'STANDARD_IA' });
  assert.deepEqual(s3BucketSettings.parse(once), once);
});
