import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { type Exchange, errorBody, type HttpFault, refusal, startFaultProxy } from '../../buckets/s3/fault-proxy.ts';
import { inventoryOf } from '../../core/inventory.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { putSetting, settingOf } from './buckets.ts';
import { openClient } from './client.ts';
import { s3Driver } from './driver.ts';
import { listed } from './listing.ts';
import { readSettings } from './settings.ts';
import { LARGE_BYTES, stage } from './stage-testing.ts';
import { deleteAll } from './target.ts';
import { drop, keysOf, LIFECYCLE, makeBucket, put, read, settingsOf, TAGGING } from './testing.ts';

const DOCS = { bucket: 'docs', prefix: '', exclude: [] };

const skip = await missing('minio', 'versitygw');
describe('s3 and what goes wrong', { skip }, async () => {
  if (skip !== false) return;
  const ctx = liveContext();
  const { server, client, filled, through, capture, direct, equal } = await stage(ctx);

  it('a 200 that says error is one, and is tried again (fault 12)', async () => {
    await filled();
    let [listings, finishes] = [0, 0];
    await using proxy = await through(({ line }) => {
      if (/GET \/docs\?.*list-type/.test(line) && listings++ === 0) {
        return { answer: 200, body: errorBody('InternalError') };
      }
      if (/^POST .*uploadId/.test(line) && finishes++ === 0) return { answer: 200, body: errorBody('InternalError') };
      return undefined;
    });
    await put(ctx, client, 'docs', [{ key: 'large', body: Buffer.alloc(LARGE_BYTES, 'large') }]);
    const { source } = await capture(proxy.settings);
    assert.ok(listings > 1);
    const done = await s3Driver.open(proxy.settings).restore(ctx, { base: source }, { rename: { docs: 'copy' } });
    assert.deepEqual([done.missing, finishes], [[], 2]);
    assert.equal((await read(ctx, client, 'copy', 'large')).length, LARGE_BYTES);
  });

  it('what a batch of deletions leaves is tried by itself (fault 12)', async () => {
    await filled();
    const { source } = await capture(direct);
    await put(ctx, client, 'docs', [{ key: 'extra' }, { key: 'more' }]);
    const says = '<DeleteResult><Error><Key>extra</Key><Code>InternalError</Code></Error></DeleteResult>';
    await using proxy = await through(({ line }) =>
      /^POST \/docs\?delete/.test(line) ? { answer: 200, body: says } : undefined,
    );
    await s3Driver.open(proxy.settings).restore(ctx, { base: source }, { replace: true });
    assert.equal(proxy.count(/^DELETE \/docs\/extra/), 1);
    assert.deepEqual(await keysOf(ctx, client, 'docs'), ['a', 'b', 'c', 'more']);
    // S3 takes a thousand keys and no more, which MinIO does not mind.
    const one = (await Array.fromAsync(listed(ctx, client, { ...DOCS, versions: false }))).flat()[0];
    assert.ok(one);
    const many = Array.from({ length: 2001 }, (_, n) => ({ ...one, key: n === 2000 ? 'more' : `none/${n}` }));
    await using counting = await through(() => undefined);
    await using counted = openClient(ctx, readSettings(counting.settings));
    assert.deepEqual(await deleteAll(ctx, counted, 'docs', many), []);
    assert.equal(counting.count(/^POST \/docs\?delete/), 3);
    assert.deepEqual(await keysOf(ctx, client, 'docs'), ['a', 'b', 'c']);
  });

  it('an upload that somebody dropped is no object that was written, though an old one is there (fault 13)', async () => {
    await filled();
    await put(ctx, client, 'docs', [{ key: 'large', body: Buffer.alloc(LARGE_BYTES, 'large') }]);
    const { source } = await capture(direct);
    await put(ctx, client, 'docs', [{ key: 'large', body: Buffer.alloc(LARGE_BYTES, 'older') }]);
    let dropped: Promise<unknown> | undefined;
    let [gone, busy] = [false, true];
    await using proxy = await through(({ line }) => {
      const [, uploadId = ''] = /^POST \/docs\/large\?uploadId=([^&]*)/.exec(line) ?? [];
      if (uploadId === '' || gone) return undefined;
      const request = { method: 'DELETE', bucket: 'docs', key: 'large', query: { uploadId } } as const;
      dropped ??= client.send(ctx, 'dropping', request).then(() => void (gone = true));
      return busy ? refusal(503, 'SlowDown') : refusal(404, 'NoSuchUpload');
    });
    const component = s3Driver.open(proxy.settings);
    const done = await component.restore(ctx, { base: source }, { replace: true });
    assert.ok(dropped);
    await dropped;
    const actual = (await done.inventory?.(ctx)) ?? assert.fail();
    const findings = await Array.fromAsync(s3Driver.compare(ctx, inventoryOf(source), actual));
    assert.deepEqual(
      findings.filter(({ verdict }) => verdict === 'fail').map(({ check }) => check),
      ['docs/large is the same'],
    );
    [gone, busy, dropped] = [false, false, undefined];
    await assert.rejects(component.restore(ctx, { base: source }, { replace: true }), {
      code: 'missing',
      message: /NoSuchUpload/,
    });
  });

  it('a write whose answer was lost is not made twice where it would make a version (fault 13)', async () => {
    await filled(true);
    await put(ctx, client, 'docs', [{ key: 'a', body: 'second' }]);
    await drop(ctx, client, 'docs', 'b');
    await put(ctx, client, 'docs', [{ key: 'large', body: Buffer.alloc(LARGE_BYTES, 'large') }]);
    const { source } = await capture(settingsOf(server, { buckets: ['docs'], versions: true }));
    const lost = new Set<string>();
    await using proxy = await through(({ line }) => {
      const [path = ''] = line.replace(/partNumber=\d+|X-Amz.*/, '').split('?');
      if (!/^(PUT|DELETE) \/copy\/(a|b)|^POST \/copy\/large\?uploadId/.test(line)) return undefined;
      if (lost.has(path)) return undefined;
      lost.add(path);
      return { replyBytes: 0 };
    });
    const done = await s3Driver.open(proxy.settings).restore(ctx, { base: source }, { rename: { docs: 'copy' } });
    assert.deepEqual(done.missing, []);
    assert.deepEqual([...lost].sort(), ['DELETE /copy/b', 'POST /copy/large', 'PUT /copy/a', 'PUT /copy/b']);
    const histories = await Promise.all(['docs', 'copy'].map((bucket) => historyOf(bucket)));
    assert.deepEqual(histories[1], histories[0]);
  });
  async function historyOf(bucket: string): Promise<unknown[]> {
    const history: unknown[] = [];
    for await (const page of listed(ctx, client, { bucket, prefix: '', exclude: [], versions: true })) {
      history.push(...page.map(({ key, marker, bytes }) => [key, marker, bytes]));
    }
    return history;
  }

  it('what the server lacks is told, and nothing else is lost by it (fault 14)', async () => {
    await filled(true);
    const { source } = await capture(settingsOf(server, { buckets: ['docs'], versions: true }));
    await using proxy = await through(({ line }) =>
      /\?(versioning|object-lock|lifecycle|encryption)/.test(line) ? refusal(501, 'NotImplemented') : undefined,
    );
    const done = await s3Driver.open(proxy.settings).restore(ctx, { base: source }, { rename: { docs: 'copy' } });
    assert.match(done.missing?.join('\n') ?? '', /^older versions of objects of bucket copy: .*NotImplemented/);
    assert.deepEqual(await keysOf(ctx, client, 'copy'), ['a', 'b', 'c']);
  });

  it('a lifecycle that is refused keeps no other bucket from its own (fault 14)', async () => {
    await filled();
    await makeBucket(ctx, client, 'more');
    for (const bucket of ['docs', 'more']) await putSetting(ctx, client, bucket, 'lifecycle', LIFECYCLE);
    const { source } = await capture(settingsOf(server, { buckets: ['docs', 'more'] }));
    await using proxy = await through(({ line }) =>
      /^PUT \/copy\?lifecycle/.test(line) ? refusal(400, 'InvalidArgument') : undefined,
    );
    const component = s3Driver.open(proxy.settings);
    const done = await component.restore(ctx, { base: source }, { rename: { docs: 'copy', more: 'other' } });
    await assert.rejects(async () => await done.settle?.(ctx), { message: /the lifecycle of bucket copy: .*Invalid/ });
    const lifecycleOf = (bucket: string) => settingOf(ctx, client, bucket, 'lifecycle');
    assert.match((await lifecycleOf('other')) ?? '', /old ones/);
    // What is noted of it can be set back any number of times, and never over what others have set since.
    const noted = { bucket: 'copy', lifecycle: LIFECYCLE };
    const direct = s3Driver.open(settingsOf(server, { buckets: ['docs'] }));
    for (let time = 0; time < 2; time++) await direct.resume?.(ctx, noted);
    assert.match((await lifecycleOf('copy')) ?? '', /old ones/);
    await putSetting(ctx, client, 'copy', 'lifecycle', LIFECYCLE.replace('old ones', 'theirs'));
    await direct.resume?.(ctx, noted);
    assert.match((await lifecycleOf('copy')) ?? '', /theirs/);
    await direct.resume?.(ctx, { ...noted, bucket: 'nowhere' });
  });

  it('busy, slow and skewed answers are tried again, refusals are not (fault 15)', async () => {
    await filled();
    const busy = [refusal(503, 'SlowDown'), refusal(429, 'TooManyRequests'), refusal(408, 'RequestTimeout')];
    busy.push(refusal(403, 'RequestTimeTooSkewed'), { replyBytes: 0 });
    const cut: HttpFault[] = [{ replyBytes: 1 }, { replyBytes: 2 }];
    await using proxy = await through(({ line }) => {
      if (line === 'GET /docs/c') return cut.pop();
      return line === 'GET /docs/a' ? busy.pop() : undefined;
    });
    const quick = liveContext({ sleep: async () => undefined });
    const { source } = await capture(proxy.settings, quick);
    assert.deepEqual([proxy.count(/GET \/docs\/a$/), proxy.count(/GET \/docs\/c$/)], [6, 3]);
    assert.deepEqual(await equal(source), []);
    await using denying = await through(({ line }) =>
      /GET \/docs\/b/.test(line) ? refusal(403, 'AccessDenied') : undefined,
    );
    await assert.rejects(capture(denying.settings), { code: 'denied', message: /reading docs\/b/ });
    assert.equal(denying.count(/GET \/docs\/b/), 1);
  });

  it('a proxy that says 404 makes nothing missing; a bucket that goes fails the capture (fault 15)', async () => {
    await filled();
    await makeBucket(ctx, client, 'vault', { lock: true });
    await put(ctx, client, 'vault', [{ key: 'locked' }]);
    await putSetting(ctx, client, 'docs', 'tagging', TAGGING);
    const page: HttpFault = { answer: 404, body: '404 page not found\n' };
    const lost = (times: number, lines: readonly RegExp[]) => {
      const left = lines.map((line) => ({ line, times }));
      return ({ line }: Exchange): HttpFault | undefined => {
        const hit = left.find((each) => each.times > 0 && each.line.test(line));
        if (hit) hit.times -= 1;
        return hit && (line.startsWith('HEAD') ? { answer: 404 } : page);
      };
    };
    const quick = liveContext({ sleep: async () => undefined });
    await using proxy = await through(lost(2, [/GET \/docs\/c/, /GET \/docs\?tagging/]));
    const { source, capture: told } = await capture(proxy.settings, quick);
    assert.deepEqual([told.warnings, told.totals.objects], [[], 3]);
    assert.deepEqual(await equal(source), []);
    const both = { buckets: ['vault'], recheck: '0s' };
    const first = memoryParts();
    await s3Driver.open(settingsOf(server, both)).capture(ctx, first.sink);
    await using blind = await through(lost(1, [/HEAD \/vault\/locked/, /GET \/vault\/locked/, /HEAD \/docs$/]), both);
    const again = memoryParts('it', '2026-01-02-000000');
    const component = s3Driver.open(blind.settings);
    assert.deepEqual((await component.capture(quick, again.sink, first.source)).totals.objects, 1);
    const over = component.restore(quick, { base: source });
    await assert.rejects(over, { code: 'target-not-empty' }, 'also when the first look at the bucket says 404');
    await using gone = await through(({ line }) =>
      /GET \/docs\/c/.test(line) ? refusal(404, 'NoSuchBucket') : undefined,
    );
    await assert.rejects(capture(gone.settings), { code: 'missing', message: /docs\/c.*NoSuchBucket/ });
    await using wrong = await startFaultProxy(server.endpoint, () => page);
    const elsewhere = { ...settingsOf(server, { buckets: ['docs'] }), endpoint: wrong.endpoint };
    await assert.rejects(capture(elsewhere), { code: 'unreachable', message: /none of S3/ });
    assert.equal(wrong.exchanges.length, 1, 'what never spoke as S3 does is not waited for');
  });

  it('a request that stands still is made again (fault 15)', async () => {
    await filled();
    let hung = 0;
    await using proxy = await through(
      ({ line }) => (line === 'GET /docs/a' && hung++ === 0 ? { hang: true } : undefined),
      {
        timeout: '1s',
      },
    );
    assert.deepEqual(await equal((await capture(proxy.settings)).source), []);
    assert.ok(hung >= 2);
  });

  it('many connections hold no more of small objects in memory than few do (fault 15)', async () => {
    await filled();
    const fields = `<LastModified>2026-01-01T00:00:00Z</LastModified><ETag>"e"</ETag><Size>${4 * 2 ** 20}</Size>`;
    const keys = Array.from({ length: 40 }, (_, n) => `<Contents><Key>k${n + 10}</Key>${fields}</Contents>`);
    const body = `<ListBucketResult>${keys.join('')}<IsTruncated>false</IsTruncated></ListBucketResult>`;
    const stop = new AbortController();
    const asked: string[] = [];
    await using proxy = await through(
      ({ line }) => {
        if (line.includes('list-type')) return { answer: 200, body };
        if (!line.startsWith('GET /docs/k')) return undefined;
        if (asked.push(line) === 34) stop.abort();
        return { hang: true };
      },
      { connections: 256, timeout: '1s', tags: 'never' },
    );
    const quick = liveContext({ sleep: async () => undefined });
    await assert.rejects(capture(proxy.settings, { ...quick, signal: stop.signal }), { code: 'interrupted' });
    assert.equal(new Set(asked).size, 16, '64 MiB of them');
  });
});
