import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { readAll } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { testContext } from '../../core/testing.ts';
import { bucketChecks } from '../checks.ts';
import { memoryBucket } from '../memory/bucket.ts';
import { dialectOf } from './dialects.ts';
import { type Exchange, errorBody, type HttpFault, refusal } from './fault-proxy.ts';
import { s3BucketSettings } from './settings.ts';
import { first, keysOf, large, PART_BYTES, rig, text } from './testing.ts';

const skip = await missing('versitygw');

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
  assert.ok(hashed.length >= 2);
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

test('fault 14: what the S3 of a provider lacks is known by its address, and settings come first', () => {
  const dialect = (endpoint: string | undefined, settings: object = {}, env: Context['env'] = {}): unknown =>
    dialectOf(testContext({ env }), s3BucketSettings.parse({ ...(endpoint ? { endpoint } : {}), ...settings }));
  const all = { checksums: true, conditionalWrites: true };
  const none = { checksums: false, conditionalWrites: false };
  for (const endpoint of [undefined, 'http://127.0.0.1:9000', 'https://id.r2.cloudflarestorage.com']) {
    assert.deepEqual(dialect(endpoint), all);
  }
  for (const endpoint of ['https://s3.us-west-004.backblazeb2.com', 'https://storage.googleapis.com']) {
    assert.deepEqual(dialect(endpoint), none);
    assert.deepEqual(dialect(undefined, {}, { AWS_ENDPOINT_URL: endpoint }), none);
    assert.deepEqual(dialect(endpoint, { checksums: true, conditional_writes: true }), all);
  }
  assert.deepEqual(dialect('https://notbackblazeb2.com.evil'), all);
});

test('fault 14: a deep check that fails names the setting to change', async () => {
  const checkOf = (title: RegExp) => bucketChecks.find((each) => title.test(each.title));
  const memory = memoryBucket();
  const ignoring: Bucket = { ...memory, put: (ctx, key, body) => memory.put(ctx, key, body) };
  const refusing: Bucket = {
    ...memory,
    async put(ctx, key, body, options) {
      if (options?.ifAbsent) throw new Failure('settings-invalid', 'not implemented');
      return await memory.put(ctx, key, body);
    },
  };
  for (const bucket of [ignoring, refusing]) {
    await assert.rejects(
      async () => await checkOf(/^if-absent/)?.run(testContext(), bucket),
      (error) => error instanceof Failure && /conditional_writes: false/.test(error.hint ?? ''),
    );
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
