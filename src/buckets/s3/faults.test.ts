import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { after, test } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { type S3Server, startS3 } from '../../../test/servers/s3.ts';
import { readAll } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { Bucket, Bytes } from '../../core/model.ts';
import { type TestContext, testContext } from '../../core/testing.ts';
import { s3Bucket } from './bucket.ts';
import { type Exchange, errorBody, type FaultProxy, type HttpFault, refusal, startFaultProxy } from './fault-proxy.ts';

const skip = await missing('versitygw');
let server: Promise<S3Server> | undefined;
after(async () => await (await server)?.[Symbol.asyncDispose]());

interface Rig extends AsyncDisposable {
  readonly bucket: Bucket;
  readonly proxy: FaultProxy;
  /** The same bucket without the proxy. */
  readonly truth: Bucket;
  readonly ctx: TestContext;
}

/** A real S3 behind a proxy that does as `choose` says. */
async function rig(
  choose: (exchange: Exchange) => HttpFault | undefined,
  settings: Record<string, unknown> = {},
  limits: { stuckMs?: number } = {},
): Promise<Rig> {
  const { endpoint, region, accessKey, secretKey, bucket: name } = await (server ??= startS3('versitygw'));
  const proxy = await startFaultProxy(endpoint, choose);
  const url = `s3://${name}/${randomUUID()}`;
  const common = { region, access_key: accessKey, secret_key: secretKey };
  const bucket = s3Bucket(url, { ...common, endpoint: proxy.endpoint, ...settings }, limits);
  const truth = s3Bucket(url, { ...common, endpoint });
  return {
    ...{ bucket, proxy, truth, ctx: testContext() },
    async [Symbol.asyncDispose]() {
      await Promise.all([bucket.close(), truth.close()]);
      await proxy[Symbol.asyncDispose]();
    },
  };
}

/** The fault for the first so many requests whose line matches. */
function first(times: number, line: RegExp, fault: HttpFault): (exchange: Exchange) => HttpFault | undefined {
  let left = times;
  return (exchange) => (line.test(exchange.line) && left-- > 0 ? fault : undefined);
}
const keysOf = async ({ ctx, truth }: Rig): Promise<string[]> =>
  await Array.fromAsync(truth.list(ctx, ''), ({ key }) => key);
const text = async ({ ctx }: Rig, bucket: Bucket, key: string): Promise<string> =>
  (await readAll(bucket.get(ctx, key))).toString();

const PART_BYTES = 16 * 1024 * 1024;
async function* large(bytes = PART_BYTES + 5): Bytes {
  for (let left = bytes; left > 0; left -= 1024 * 1024) yield Buffer.alloc(Math.min(left, 1024 * 1024), 'x');
}

test('fault 12: S3 answers 200 with an error in the body of a finished upload, and it is finished again', {
  skip,
}, async () => {
  const busy = { answer: 200, body: errorBody('InternalError') };
  await using it = await rig(first(2, /^POST .*uploadId=/, busy));
  assert.equal((await it.bucket.put(it.ctx, 'a', large())).bytes, PART_BYTES + 5);
  assert.equal(it.proxy.count(/^POST .*uploadId=/), 3);
  assert.equal((await it.truth.head(it.ctx, 'a')).bytes, PART_BYTES + 5);
});

test('fault 12: 200 with an error, or with a page of a proxy, is no empty listing', { skip }, async () => {
  for (const body of [errorBody('InternalError'), '<html><body>Welcome</body></html>', '']) {
    await using it = await rig(first(2, /^GET .*list-type=2/, { answer: 200, body }));
    await it.truth.put(it.ctx, 'a', Buffer.from('x'));
    const keys = await Array.fromAsync(it.bucket.list(it.ctx, ''), ({ key }) => key);
    assert.deepEqual([keys, it.proxy.count(/list-type/)], [['a'], 3]);
  }
});

test('fault 12: a put is only believed when the answer has what S3 answers', { skip }, async () => {
  await using it = await rig(first(1, /^PUT /, { answer: 200, body: '<html/>' }));
  await it.bucket.put(it.ctx, 'a', Buffer.from('x'));
  assert.equal(it.proxy.count(/^PUT /), 2);
  assert.equal(await text(it, it.truth, 'a'), 'x');
});

test('fault 12: DeleteObjects answers 200 with errors for some keys, which are tried again one by one', {
  skip,
}, async () => {
  const failing = (code: string): HttpFault => ({
    rewrite: (body) =>
      body
        .replace(/<Deleted><Key>([^<]*\/b)<\/Key>.*?<\/Deleted>/, `<Error><Key>$1</Key><Code>${code}</Code></Error>`)
        .replace(/<Deleted><Key>[^<]*\/c<\/Key>.*?<\/Deleted>/, ''),
  });
  await using it = await rig(first(1, /^POST .*\?delete/, failing('InternalError')));
  for (const key of ['a', 'b', 'c']) await it.truth.put(it.ctx, key, Buffer.from('x'));
  assert.deepEqual(await it.bucket.deleteAll(it.ctx, ['a', 'b', 'c']), []);
  assert.deepEqual(
    it.proxy.exchanges
      .map(({ line }) => line.replace(/.*\/|\?x-id.*/g, ''))
      .slice(1)
      .sort(),
    ['b', 'c'],
  );

  const refuse = first(9, /^DELETE .*\/b/, refusal(403, 'AccessDenied'));
  const batch = first(1, /^POST .*\?delete/, failing('AccessDenied'));
  await using other = await rig((exchange) => batch(exchange) ?? refuse(exchange));
  for (const key of ['a', 'b']) await other.truth.put(other.ctx, key, Buffer.from('x'));
  const [failed, ...more] = await other.bucket.deleteAll(other.ctx, ['a', 'b']);
  assert.deepEqual([failed?.key, more], ['b', []]);
  assert.match(failed?.reason ?? '', /AccessDenied/);
});

test('fault 13: the reply to a put is lost, and the object is there once and whole', { skip }, async () => {
  await using it = await rig(first(1, /^PUT /, { replyBytes: 0 }));
  await it.bucket.put(it.ctx, 'a', Buffer.from('x'), { ifAbsent: true });
  assert.equal(await text(it, it.truth, 'a'), 'x');
  await assert.rejects(it.bucket.put(it.ctx, 'a', Buffer.from('y'), { ifAbsent: true }), { code: 'exists' });
});

test('fault 13: the reply to the end of an upload is lost: success only if the object is ours', { skip }, async () => {
  for (const again of [refusal(404, 'NoSuchUpload'), refusal(412, 'PreconditionFailed'), undefined]) {
    const lost = first(1, /^POST .*uploadId=/, { replyBytes: 0 });
    await using it = await rig(
      (exchange) => lost(exchange) ?? (/^POST .*uploadId=/.test(exchange.line) ? again : undefined),
    );
    assert.equal((await it.bucket.put(it.ctx, 'a', large())).bytes, PART_BYTES + 5);
    assert.equal((await it.truth.head(it.ctx, 'a')).bytes, PART_BYTES + 5);
  }

  await using other = await rig(first(1, /^POST .*uploadId=/, refusal(404, 'NoSuchUpload')));
  await other.truth.put(other.ctx, 'a', Buffer.alloc(PART_BYTES + 5, 'of another'));
  await assert.rejects(other.bucket.put(other.ctx, 'a', large()), { code: 'different' });
  assert.match(await text(other, other.truth, 'a'), /^of another/);
});

test('fault 13: the reply to a part is lost, and the part is sent again', { skip }, async () => {
  await using it = await rig(first(2, /^PUT .*partNumber=/, { replyBytes: 0 }));
  assert.equal((await it.bucket.put(it.ctx, 'a', large())).bytes, PART_BYTES + 5);
});

test('fault 14: a server without checksum headers gets none and still verifies the body', { skip }, async () => {
  const strict = ({ headers }: Exchange): HttpFault | undefined =>
    Object.keys(headers).some((name) => /checksum|x-amz-trailer/.test(name))
      ? refusal(501, 'NotImplemented')
      : undefined;
  await using it = await rig(strict);
  await assert.rejects(it.bucket.put(it.ctx, 'a', Buffer.from('x')), (error) => {
    assert.ok(error instanceof Failure && error.code === 'settings-invalid');
    assert.match(error.hint ?? '', /checksums: false/);
    return true;
  });
  await using plain = await rig(strict, { checksums: false });
  await plain.bucket.put(plain.ctx, 'a', Buffer.from('x'));
  await plain.bucket.put(plain.ctx, 'large', large());
  assert.deepEqual(await keysOf(plain), ['a', 'large']);
  assert.deepEqual(await plain.bucket.deleteAll(plain.ctx, ['a', 'large']), []);
  assert.deepEqual(await keysOf(plain), []);
  const hashed = plain.proxy.exchanges.filter(({ line }) => line.startsWith('PUT '));
  assert.ok(hashed.every(({ headers }) => /^[0-9a-f]{64}$/.test(String(headers['x-amz-content-sha256']))));
});

test('fault 14: a server without conditional writes is asked first', { skip }, async () => {
  const strict = ({ headers }: Exchange): HttpFault | undefined =>
    'if-none-match' in headers ? refusal(501, 'NotImplemented') : undefined;
  await using it = await rig(strict, { conditional_writes: false });
  for (const body of [() => Buffer.from('x'), () => large()]) {
    const key = randomUUID();
    await it.bucket.put(it.ctx, key, body(), { ifAbsent: true });
    await assert.rejects(it.bucket.put(it.ctx, key, body(), { ifAbsent: true }), { code: 'exists' });
  }
});

test('fault 15: what S3 says when it is busy, and broken connections, are tried again', { skip }, async () => {
  const faults: HttpFault[] = [
    refusal(503, 'SlowDown'),
    refusal(503, 'ServiceUnavailable'),
    refusal(500, 'InternalError'),
    refusal(429, 'TooManyRequests'),
    refusal(400, 'RequestTimeout'),
    { answer: 408 },
    { answer: 502, body: '<html>Bad gateway</html>' },
    refusal(403, 'RequestTimeTooSkewed'),
    refusal(400, 'XAmzContentSHA256Mismatch'),
    refusal(409, 'OperationAborted'),
    { replyBytes: 0 },
  ];
  for (const fault of faults) {
    const asked = new Map<string, number>();
    let met = 0;
    await using it = await rig(({ line }) => {
      // The answer to a HEAD has no body that could tell these from refusals.
      if (line.startsWith('HEAD') && 'answer' in fault && [400, 403].includes(fault.answer)) return undefined;
      asked.set(line, (asked.get(line) ?? 0) + 1);
      if ((asked.get(line) ?? 0) > 2) return undefined;
      met += 1;
      return fault;
    });
    await it.bucket.put(it.ctx, 'a', Buffer.from('x'));
    assert.equal(await text(it, it.bucket, 'a'), 'x');
    assert.equal((await it.bucket.head(it.ctx, 'a')).bytes, 1);
    assert.deepEqual(await Array.fromAsync(it.bucket.list(it.ctx, ''), ({ key }) => key), ['a']);
    assert.deepEqual(await it.bucket.deleteAll(it.ctx, ['a']), []);
    assert.deepEqual(await keysOf(it), []);
    assert.equal(met, asked.size * 2, JSON.stringify(fault));
  }
});

test('fault 15: a stuck request is cut off and tried again, before and within an answer', { skip }, async () => {
  const data = Buffer.alloc(200_000, 'x');
  const silent = first(1, /^GET /, { hang: true });
  const stalled = first(1, /^GET /, { replyBytes: 100_000, thenHang: true });
  await using it = await rig((exchange) => silent(exchange) ?? stalled(exchange), {}, { stuckMs: 200 });
  await it.truth.put(it.ctx, 'a', data);
  assert.ok((await readAll(it.bucket.get(it.ctx, 'a'))).equals(data));
  assert.equal(it.proxy.count(/^GET /), 3);
});

test('a server that never answered is given up after a minute', async () => {
  const slept: number[] = [];
  const ctx = testContext({ sleep: async (ms) => void slept.push(ms) });
  const settings = { endpoint: 'http://127.0.0.1:1', access_key: 'key', secret_key: 'secret' };
  const bucket = s3Bucket('s3://bucket', settings);
  await assert.rejects(bucket.head(ctx, 'a'), { code: 'unreachable' });
  assert.equal(Math.round(slept.reduce((sum, ms) => sum + ms, 0) / 10_000), 6);
  await bucket.close();
});

test('fault 15: missing, denied and full are never asked for twice', { skip }, async () => {
  const answers = [
    { fault: refusal(404, 'NoSuchKey'), code: 'missing' },
    { fault: refusal(403, 'AccessDenied'), code: 'denied' },
    { fault: refusal(403, 'InvalidAccessKeyId'), code: 'denied' },
    { fault: refusal(403, 'SignatureDoesNotMatch'), code: 'denied' },
    { fault: refusal(507, 'XMinioStorageFull'), code: 'no-space' },
    { fault: refusal(403, 'QuotaExceeded'), code: 'no-space' },
    { fault: refusal(404, 'NoSuchBucket'), code: 'settings-invalid' },
    { fault: refusal(301, 'PermanentRedirect'), code: 'settings-invalid' },
    { fault: refusal(400, 'InvalidStorageClass'), code: 'settings-invalid' },
  ];
  for (const { fault, code } of answers) {
    await using it = await rig(() => fault);
    await assert.rejects(it.bucket.put(it.ctx, 'a', Buffer.from('x')), { code });
    await assert.rejects(text(it, it.bucket, 'a'), { code });
    assert.equal(it.proxy.exchanges.length, 2, code);
  }
});

test('fault 16: a store that fills up in the middle of an upload stops at once and keeps nothing', {
  skip,
}, async () => {
  await using it = await rig(first(99, /^PUT .*partNumber=2/, refusal(507, 'XMinioStorageFull')));
  await assert.rejects(it.bucket.put(it.ctx, 'a', large()), { code: 'no-space' });
  assert.equal(it.proxy.count(/partNumber=2/), 1);
  assert.equal(it.proxy.count(/^DELETE .*uploadId=/), 1);
  assert.deepEqual(await keysOf(it), []);
});

test('an answer that breaks off is read on from there, and never taken for the whole', { skip }, async () => {
  const data = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 251));
  await using it = await rig(first(3, /^GET .*\/a\?/, { replyBytes: 70_000 }));
  await it.truth.put(it.ctx, 'a', data);
  assert.ok((await readAll(it.bucket.get(it.ctx, 'a'))).equals(data));
  assert.equal(it.proxy.count(/^GET .*\/a\?/), 4);
});

test('a server that ignores ranges is not believed', { skip }, async () => {
  const whole = { answer: 200, body: '0123456789', headers: { 'content-length': '10' } };
  await using it = await rig(first(9, /^GET .*\/a\?/, whole));
  await assert.rejects(readAll(it.bucket.get(it.ctx, 'a', { offset: 2, length: 3 })), { code: 'settings-invalid' });
});

test('a hash that the caller knows is sent as it is, and the server holds the body against it', { skip }, async () => {
  await using it = await rig(() => undefined);
  const body = Buffer.from('x');
  const sha256 = createHash('sha256').update(body).digest('hex');
  await it.bucket.put(it.ctx, 'a', body, { sha256 });
  assert.equal(it.proxy.exchanges[0]?.headers['x-amz-content-sha256'], sha256);
  await using plain = await rig(() => undefined, { checksums: false });
  for (const each of [it, plain]) {
    await assert.rejects(each.bucket.put(each.ctx, 'b', body, { sha256: '0'.repeat(64) }));
    await assert.rejects(each.truth.head(each.ctx, 'b'), { code: 'missing' });
  }
});

test('a long listing in an order of its own is refused: what relies on the order would miss keys', {
  skip,
}, async () => {
  const entry = (key: string): string =>
    `<Contents><Key>${key}</Key><Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>`;
  const page = (...keys: string[]): HttpFault => ({
    answer: 200,
    body: `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>${keys
      .map(entry)
      .join('')}</ListBucketResult>`,
  });
  await using it = await rig(({ line }) => {
    const prefix = decodeURIComponent(/prefix=([^&]*)/.exec(line)?.[1] ?? '');
    return page(`${prefix}a/b`, `${prefix}a-b`);
  });
  await assert.rejects(Array.fromAsync(it.bucket.list(it.ctx, '')), { code: 'malformed' });
});

test('the four rights PutObject, GetObject, DeleteObject and ListBucket are enough', { skip }, async () => {
  const others = /^(GET .*[?&](uploads|location|acl|versioning)|DELETE .*uploadId=|HEAD \/[^/]*$|HEAD \/[^/]*\?)/;
  await using it = await rig(({ line }) => (others.test(line) ? refusal(403, 'AccessDenied') : undefined));
  await it.bucket.put(it.ctx, 'a', Buffer.from('x'));
  await it.bucket.put(it.ctx, 'b', large());
  assert.deepEqual(await keysOf(it), ['a', 'b']);
  async function* broken(): Bytes {
    yield* large(2 * PART_BYTES);
    throw new Failure('program-failed', 'the source broke off');
  }
  await assert.rejects(it.bucket.put(it.ctx, 'c', broken()), { code: 'program-failed' });
  const left = it.ctx.logged.filter(({ level }) => level === 'warn');
  assert.deepEqual(
    left.map(({ message }) => message),
    ['unfinished upload left in the bucket'],
  );
  assert.deepEqual(await it.bucket.deleteAll(it.ctx, ['a', 'b']), []);
});

test('a forbidden head says that the key may just not be there', { skip }, async () => {
  await using it = await rig(() => ({ answer: 403 }));
  await assert.rejects(it.bucket.head(it.ctx, 'a'), (error) => {
    assert.ok(error instanceof Failure && error.code === 'denied');
    assert.match(error.hint ?? '', /s3:ListBucket/);
    return true;
  });
});

test('an archived object is recognised, and thawed', { skip }, async () => {
  const restore: Exchange[] = [];
  await using it = await rig((exchange) => {
    if (/\?restore/.test(exchange.line)) {
      restore.push(exchange);
      return restore.length === 1 ? { answer: 202 } : refusal(409, 'RestoreAlreadyInProgress');
    }
    const headers = { 'content-length': '5', 'last-modified': new Date(0).toUTCString() };
    if (/^HEAD .*\/cold/.test(exchange.line)) {
      return { answer: 200, headers: { ...headers, 'x-amz-storage-class': 'DEEP_ARCHIVE' } };
    }
    if (/^HEAD .*\/thawed/.test(exchange.line)) {
      const thawed = 'ongoing-request="false", expiry-date="Fri, 21 Dec 2040 00:00:00 GMT"';
      return { answer: 200, headers: { ...headers, 'x-amz-storage-class': 'GLACIER', 'x-amz-restore': thawed } };
    }
    if (/list-type=2/.test(exchange.line)) {
      return { rewrite: (body) => body.replace(/<StorageClass>STANDARD</g, '<StorageClass>GLACIER<') };
    }
    return /^GET/.test(exchange.line) ? refusal(403, 'InvalidObjectState') : undefined;
  });
  await it.bucket.put(it.ctx, 'cold', Buffer.from('x'));
  await assert.rejects(text(it, it.bucket, 'cold'), { code: 'archived' });
  assert.equal((await it.bucket.head(it.ctx, 'cold')).archived, true);
  assert.equal((await it.bucket.head(it.ctx, 'thawed')).archived, undefined);
  assert.deepEqual(await Array.fromAsync(it.bucket.list(it.ctx, ''), ({ archived }) => archived), [true]);
  for (const _ of [1, 2]) await it.bucket.thaw?.(it.ctx, 'cold', { days: 3, tier: 'Bulk' });
  assert.equal(restore.length, 2);
});

test('storage class and server-side encryption go with every object', { skip }, async () => {
  const settings = { storage_class: 'STANDARD_IA', encryption: 'aws:kms', kms_key: 'key-1' };
  const seen: Exchange['headers'][] = [];
  await using it = await rig(({ line, headers }) => {
    if (!/^PUT .*x-id=PutObject|^POST .*\?uploads/.test(line)) return undefined;
    seen.push(headers);
    return refusal(403, 'AccessDenied');
  }, settings);
  await assert.rejects(it.bucket.put(it.ctx, 'a', Buffer.from('x')), { code: 'denied' });
  await assert.rejects(it.bucket.put(it.ctx, 'b', large()), { code: 'denied' });
  assert.equal(seen.length, 2);
  for (const headers of seen) {
    assert.equal(headers['x-amz-storage-class'], 'STANDARD_IA');
    assert.equal(headers['x-amz-server-side-encryption'], 'aws:kms');
    assert.equal(headers['x-amz-server-side-encryption-aws-kms-key-id'], 'key-1');
  }
});

test('uploads that were left behind a week ago are dropped, younger ones stay', { skip }, async () => {
  let initiated = '';
  const dropped: string[] = [];
  await using it = await rig(({ line }) => {
    if (/^GET .*\?.*uploads/.test(line)) {
      const one = `<Upload><Key>left</Key><UploadId>old</UploadId><Initiated>${initiated}</Initiated></Upload>`;
      return { answer: 200, body: `<ListMultipartUploadsResult>${one}</ListMultipartUploadsResult>` };
    }
    if (/^DELETE .*\/left\?/.test(line)) {
      dropped.push(line);
      return { answer: 204 };
    }
    return undefined;
  });
  for (const ageDays of [6, 8]) {
    initiated = new Date(Date.now() - ageDays * 24 * 3600 * 1000).toISOString();
    const again = s3Bucket(it.bucket.url, await settingsOf(it));
    await again.put(it.ctx, 'a', large());
    await again.close();
    assert.equal(dropped.length, ageDays > 7 ? 1 : 0);
  }
});

async function settingsOf({ proxy }: Rig): Promise<Record<string, unknown>> {
  const { region, accessKey, secretKey } = await (server ??= startS3('versitygw'));
  return { endpoint: proxy.endpoint, region, access_key: accessKey, secret_key: secretKey };
}
