import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { installed } from '../../../test/servers/install.ts';
import { missing, missingTools, needServer } from '../../../test/servers/need.ts';
import { startS3 } from '../../../test/servers/s3.ts';
import { startFaultProxy } from '../../buckets/s3/fault-proxy.ts';
import { readAll } from '../../core/bytes.ts';
import { inventoryOf } from '../../core/inventory.ts';
import type { Finding, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { processSandboxes } from '../../sandboxes/process/runner.ts';
import { s3Driver } from './driver.ts';
import { entryBatches } from './entries.ts';
import { clientOf, fill, keysOf, makeBucket, PNG, put, read, settingsOf, wipe } from './testing.ts';

const exec = promisify(execFile);
const ctx = liveContext();
/** As long as a key may be, of names that a file system takes. */
const LONGEST = `${`${'k'.repeat(200)}/`.repeat(5)}${'l'.repeat(19)}`;
const ODD = [
  LONGEST,
  '..a',
  'a..',
  'é',
  'A',
  'a',
  'back\\slash',
  'tab\tand\nline',
  ' space ',
  '%2F',
  '+',
  '$',
  'x'.repeat(255),
];

async function captured(settings: unknown): Promise<{ source: Source; warnings: readonly string[] }> {
  const { sink, source } = memoryParts();
  const { warnings } = await s3Driver.open(settings).capture(ctx, sink);
  return { source, warnings };
}

async function differences(source: Source, settings: unknown): Promise<Finding[]> {
  const actual = await s3Driver.open(settings).inventory(ctx);
  const findings = await Array.fromAsync(s3Driver.compare(ctx, inventoryOf(source), actual));
  assert.notEqual(findings.length, 0);
  return findings.filter(({ verdict }) => verdict !== 'pass');
}

const skip = await missing('minio', 'versitygw');
describe('odd keys, other servers and no Lifeboat', { skip }, async () => {
  if (skip !== false) return;
  const [minio, versity] = await Promise.all([startS3('minio'), startS3('versitygw')]);
  const [there, here] = [clientOf(ctx, minio), clientOf(ctx, versity)];
  after(async () => {
    for (const each of [there, here, minio, versity]) await each[Symbol.asyncDispose]();
  });

  it('keys that another server refuses are named, and the others come back (fault 44)', async () => {
    for (const client of [there, here]) await wipe(ctx, client);
    await makeBucket(ctx, there, 'odd');
    // A folder that has bytes: a server on a file system can't have that.
    await put(
      ctx,
      there,
      'odd',
      [...ODD, 'folder/'].map((key) => ({ key })),
    );
    assert.equal(LONGEST.length, 1024);
    const { source, warnings } = await captured(settingsOf(minio, { buckets: ['odd'] }));
    assert.deepEqual(warnings, []);
    const target = settingsOf(versity, { buckets: ['odd'] });
    const { missing: lacking = [] } = await s3Driver.open(target).restore(ctx, { base: source });
    assert.equal(lacking.length, 1, lacking.join('\n'));
    assert.match(lacking.join(), /odd\/folder\//);
    const failed = (await differences(source, target)).filter(({ verdict }) => verdict === 'fail');
    assert.equal(failed.length, 1);
    await wipe(ctx, there);
    await s3Driver.open(settingsOf(minio)).restore(ctx, { base: source });
    assert.deepEqual(await differences(source, settingsOf(minio, { buckets: ['odd'] })), []);
  });

  it('keys that only AWS takes are asked for and written as they are, byte by byte (fault 44)', async () => {
    await wipe(ctx, there);
    await makeBucket(ctx, there, 'odd');
    const keys = ['a/../b', 'nul\0', 'x//y', `z${'k'.repeat(1023)}`];
    const contents = keys.map((key) => {
      const fields = `<LastModified>2026-01-01T00:00:00Z</LastModified><ETag>"e"</ETag><Size>4</Size>`;
      return `<Contents><Key>${encodeURIComponent(key)}</Key>${fields}</Contents>`;
    });
    const list = `<ListBucketResult><EncodingType>url</EncodingType>${contents.join('')}<IsTruncated>false</IsTruncated></ListBucketResult>`;
    const paths = ['a/../b', 'nul%00', 'x//y', `z${'k'.repeat(1023)}`];
    await using proxy = await startFaultProxy(minio.endpoint, ({ line }) => {
      if (/^GET \/odd\?.*list-type/.test(line)) return { answer: 200, body: list };
      if (line.endsWith('?tagging=')) return { answer: 200, body: '<Tagging></Tagging>' };
      if (paths.some((path) => line === `GET /odd/${path}`))
        return { answer: 200, body: 'body', headers: { etag: '"e"' } };
      return /^PUT \/copy\/./.test(line) ? { answer: 200, headers: { etag: '"e"' } } : undefined;
    });
    const settings = { ...settingsOf(minio, { buckets: ['odd'] }), endpoint: proxy.endpoint };
    const { source, warnings } = await captured(settings);
    assert.deepEqual(warnings, []);
    assert.deepEqual(
      (await Array.fromAsync(entryBatches(ctx, source))).flat().map(({ key }) => key),
      keys,
    );
    await s3Driver.open(settings).restore(ctx, { base: source }, { rename: { odd: 'copy' } });
    const written = proxy.exchanges.map(({ line }) => line).filter((line) => line.startsWith('PUT /copy/'));
    assert.deepEqual(
      written.sort(),
      paths.map((path) => `PUT /copy/${path}`),
    );
  });

  it('keys that no server here takes as they are come over nothing, and are named (fault 44)', async () => {
    await wipe(ctx, there);
    await makeBucket(ctx, there, 'odd');
    const plain = ['a/b', 'b', 'c'];
    await put(
      ctx,
      there,
      'odd',
      plain.map((key) => ({ key })),
    );
    const odd = ['a//b', 'a/../b', '/c', '..', 'x/../y'];
    const keys = [...odd, 'good'].sort();
    const about = '<LastModified>2026-01-01T00:00:00Z</LastModified><ETag>"e"</ETag><Size>3</Size>';
    const contents = keys.map((key) => `<Contents><Key>${encodeURIComponent(key)}</Key>${about}</Contents>`).join('');
    const list = `<ListBucketResult><EncodingType>url</EncodingType>${contents}<IsTruncated>false</IsTruncated></ListBucketResult>`;
    await using proxy = await startFaultProxy(minio.endpoint, ({ line }) => {
      if (/^GET \/odd\?.*list-type/.test(line)) return { answer: 200, body: list };
      const isOurs = keys.some((key) => line === `GET /odd/${key}`);
      return isOurs ? { answer: 200, body: 'odd', headers: { etag: '"e"' } } : undefined;
    });
    const settings = { ...settingsOf(minio, { buckets: ['odd'], tags: 'never' }), endpoint: proxy.endpoint };
    const { source } = await captured(settings);
    await using third = await startS3('seaweedfs');
    for (const server of [minio, versity, third]) {
      await using client = clientOf(ctx, server);
      await wipe(ctx, client);
      await makeBucket(ctx, client, 'odd');
      for (const key of plain) await put(ctx, client, 'odd', [{ key, body: `live ${key}` }]);
      const target = settingsOf(server, { buckets: ['odd'] });
      // What is busy for a key of this kind is so for ever.
      const quick = liveContext({ sleep: async () => undefined });
      const done = await s3Driver.open(target).restore(quick, { base: source }, { delta: true });
      for (const key of plain) assert.equal(await read(ctx, client, 'odd', key), `live ${key}`, key);
      assert.equal(await read(ctx, client, 'odd', 'good'), 'odd');
      const failed = (await differences(source, target)).filter(({ verdict }) => verdict === 'fail');
      const told = [...(done.missing ?? []), ...failed.map(({ check }) => check)].join('\n');
      for (const key of odd) assert.ok(told.includes(`odd/${key}`), `${client.server()} ${key}: ${told}`);
    }
  });

  it('what was restored is what rclone finds in the original', async (t) => {
    if (!(await needServer(t, 'rclone'))) return;
    await wipe(ctx, there);
    await fill(ctx, there, true);
    const settings = settingsOf(minio, { buckets: ['photos', 'photos-old'] });
    const { source } = await captured(settings);
    const rename = { photos: 'copy', 'photos-old': 'copy-old' };
    await s3Driver.open(settings).restore(ctx, { base: source }, { rename });
    const env = {
      ...process.env,
      AWS_CA_BUNDLE: undefined, // Debian's rclone stumbles over one
      RCLONE_CONFIG: '/dev/null',
      RCLONE_CONFIG_AT_TYPE: 's3',
      RCLONE_CONFIG_AT_PROVIDER: 'Minio',
      RCLONE_CONFIG_AT_ENDPOINT: minio.endpoint,
      RCLONE_CONFIG_AT_ACCESS_KEY_ID: minio.accessKey,
      RCLONE_CONFIG_AT_SECRET_ACCESS_KEY: minio.secretKey,
    };
    const rclone = await installed('rclone');
    const check = (from: string, to: string) =>
      exec(rclone, ['check', '--download', `at:${from}`, `at:${to}`], { env });
    for (const [from, to] of Object.entries(rename))
      assert.match((await check(from, to)).stderr, / 0 differences found/);
    await put(ctx, there, 'copy', [{ key: 'a/b.png', body: 'other' }]);
    await assert.rejects(check('photos', 'copy'), /1 differences found/);
  });

  it('a key that the server can not say is told, and not lost in silence (fault 44)', async () => {
    await wipe(ctx, here);
    await makeBucket(ctx, here, 'odd');
    await put(ctx, here, 'odd', [{ key: '\udcff\udc80bad' }, { key: 'good' }]);
    const { source, warnings } = await captured(settingsOf(versity, { buckets: ['odd'] }));
    assert.match(warnings.join(), /its key is no text/);
    assert.equal((await Array.fromAsync(source.parts(ctx, 'objects/'))).length, 1);
  });

  it('a point is restored into a sandbox of the server that it came from', async () => {
    await wipe(ctx, there);
    await fill(ctx, there, false);
    const settings = settingsOf(minio, { buckets: ['photos', 'photos-old'] });
    const component = s3Driver.open(settings);
    const { source } = await captured(settings);
    const { version } = await component.probe(ctx);
    const PATH = [dirname(await installed('minio')), process.env.PATH].join(':');
    const within = { ...ctx, env: { ...ctx.env, PATH } };
    await using sandbox = await processSandboxes().start(within, s3Driver, version, settings);
    await sandbox.component.restore(within, { base: source });
    const actual = await sandbox.component.inventory(within);
    const findings = await Array.fromAsync(s3Driver.compare(within, inventoryOf(source), actual));
    assert.deepEqual(new Set(findings.map(({ verdict }) => verdict)), new Set(['pass']));
  });

  it('doctor finds the right that is missing', async () => {
    await wipe(ctx, there);
    await makeBucket(ctx, there, 'docs');
    await put(ctx, there, 'docs', [{ key: 'a' }]);
    const all = await s3Driver.open(settingsOf(minio, { buckets: ['docs'] })).probe(ctx);
    assert.deepEqual(new Set(all.findings.map(({ verdict }) => verdict)), new Set(['pass']));
    const wrong = settingsOf(minio, { buckets: ['docs'], secret_key: 'another one' });
    const { findings } = await s3Driver.open(wrong).probe(ctx);
    assert.deepEqual(new Set(findings.map(({ verdict }) => verdict)), new Set(['fail']));
    assert.match(findings[0]?.detail ?? '', /SignatureDoesNotMatch/);
    const none = await s3Driver.open(settingsOf(minio, { buckets: ['nope'] })).probe(ctx);
    assert.match(none.findings[0]?.detail ?? '', /NoSuchBucket/);
  });

  it('tells which keys a bucket has', async () => {
    await wipe(ctx, there);
    await makeBucket(ctx, there, 'docs');
    await put(ctx, there, 'docs', [{ key: 'a' }, { key: 'ü/b' }]);
    const component = s3Driver.open(settingsOf(minio, { buckets: ['docs'] }));
    assert.ok(component.names && component.holds);
    assert.deepEqual((await Array.fromAsync(component.names(ctx, 'docs'))).sort(), ['a', 'ü/b']);
    assert.deepEqual(await component.holds(ctx, 'docs', ['nope', 'ü/b', 'a']), [false, true, true]);
    await assert.rejects(Array.fromAsync(component.names(ctx, 'nowhere')), { code: 'missing' });
    await assert.rejects(component.holds(ctx, 'nowhere', ['a']), { code: 'missing' });
  });

  it('the loop of the page brings objects back without Lifeboat', async (t) => {
    const lacking = missingTools('aws', 'python3');
    if (lacking !== false) return t.skip(lacking);
    await wipe(ctx, there);
    await makeBucket(ctx, there, 'docs');
    await put(ctx, there, 'docs', [{ key: 'ä/b c', headers: PNG }, { key: 'x' }]);
    const settings = settingsOf(minio, { buckets: ['docs'] });
    const { source } = await captured(settings);
    const dir = await mkdtemp(join(ctx.scratch, 's3-loop-'));
    for await (const { name } of source.parts(ctx)) {
      await mkdir(dirname(join(dir, name)), { recursive: true });
      await writeFile(join(dir, name), await readAll(source.get(ctx, name)));
    }
    const page = await readFile(join(import.meta.dirname, '../../../docs/drivers/s3.md'), 'utf8');
    const [, loop = ''] = /```python\n(.*?)```/s.exec(page) ?? [];
    await wipe(ctx, there);
    await makeBucket(ctx, there, 'docs');
    const env = {
      ...process.env,
      AWS_ENDPOINT_URL: minio.endpoint,
      AWS_ACCESS_KEY_ID: minio.accessKey,
      AWS_SECRET_ACCESS_KEY: minio.secretKey,
      AWS_DEFAULT_REGION: minio.region,
    };
    await exec('python3', ['-c', loop], { cwd: dir, env });
    await rm(dir, { recursive: true });
    assert.deepEqual(await keysOf(ctx, there, 'docs'), ['x', 'ä/b c']);
    const found = await differences(source, settings);
    assert.deepEqual(
      found.map(({ check }) => check),
      ['docs/ä/b c is the same'],
      'all but its cache-control',
    );
  });
});
