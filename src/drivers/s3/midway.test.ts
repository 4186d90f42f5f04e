// Objects that change, servers that die and disks that fill in the middle of a capture or a restore.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { startS3 } from '../../../test/servers/s3.ts';
import { refusal } from '../../buckets/s3/fault-proxy.ts';
import type { Sink, Source } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { s3Driver } from './driver.ts';
import { LARGE_BYTES, stage } from './stage-testing.ts';
import { clientOf, keysOf, put, settingsOf } from './testing.ts';

const skip = await missing('minio', 'versitygw');
describe('s3 in the middle of it', { skip }, async () => {
  if (skip !== false) return;
  const ctx = liveContext();
  const { client, filled, through, capture, direct, equal } = await stage(ctx);

  it('an object that changes while it is read comes as it is then (fault 44)', async () => {
    await filled();
    await put(ctx, client, 'docs', [{ key: 'large', body: Buffer.alloc(LARGE_BYTES, 'large') }]);
    let changing: Promise<void> | undefined;
    let changed = false;
    // The server is asked for it only when it has another object already, and says so itself.
    await using proxy = await through(({ line }) => {
      if (line !== 'GET /docs/a' || changed) return undefined;
      changing ??= put(ctx, client, 'docs', [{ key: 'a', body: 'another' }]).then(() => void (changed = true));
      return refusal(503, 'SlowDown');
    });
    const gone = await through(({ line }) => (/GET \/docs\/c/.test(line) ? refusal(404, 'NoSuchKey') : undefined));
    const { source, capture: told } = await capture(proxy.settings);
    await changing;
    assert.match(told.warnings.join(), /docs\/a changed while it was read/);
    assert.deepEqual(await equal(source), []);
    const without = await capture(gone.settings);
    assert.match(without.capture.warnings.join(), /docs\/c was deleted while/);
    assert.equal(without.capture.totals.objects, 3);
    await gone[Symbol.asyncDispose]();
  });

  it('a large object that changes between its ranges is read again as it is then (fault 44)', async () => {
    await filled();
    await put(ctx, client, 'docs', [{ key: 'large', body: Buffer.alloc(LARGE_BYTES, 'large') }]);
    let changing: Promise<void> | undefined;
    let changed = false;
    const other = Buffer.alloc(LARGE_BYTES + 1, 'other');
    // The server is asked for the second range only when it has another object already.
    await using proxy = await through(({ line, headers }) => {
      if (!line.startsWith('GET /docs/large') || /bytes=0-/.test(headers.range ?? '') || changed) return undefined;
      changing ??= put(ctx, client, 'docs', [{ key: 'large', body: other }]).then(() => void (changed = true));
      return refusal(503, 'SlowDown');
    });
    const { source, capture: told } = await capture(proxy.settings);
    await changing;
    assert.match(told.warnings.join(), /docs\/large changed while it was read/);
    assert.deepEqual(await equal(source), []);
  });

  it('a large object that never stands still fails the capture, rather than to be two halves (fault 44)', async () => {
    await filled();
    await put(ctx, client, 'docs', [{ key: 'large', body: Buffer.alloc(LARGE_BYTES, 'large') }]);
    await using proxy = await through(({ line, headers }) =>
      /GET \/docs\/large/.test(line) && !/bytes=0-/.test(headers.range ?? '')
        ? refusal(412, 'PreconditionFailed')
        : undefined,
    );
    await assert.rejects(capture(proxy.settings), { code: 'different' });
  });

  it('a server that is killed in the middle and stays away is no success, for a capture or a restore', async () => {
    await filled();
    const { source } = await capture(direct);
    await using mortal = await startS3('versitygw');
    await using hand = clientOf(ctx, mortal);
    await put(ctx, hand, mortal.bucket, [{ key: 'a' }, { key: 'b' }]);
    let passedMs = 0;
    const patient = liveContext({
      monotonicMs: () => passedMs,
      async sleep(ms) {
        passedMs += ms;
      },
    });
    const killing = <A extends readonly unknown[], R>(then: (...args: A) => R) => {
      let killed: Promise<void> | undefined;
      return async (...args: A): Promise<R> => {
        await (killed ??= mortal.kill());
        return then(...args);
      };
    };
    const settings = settingsOf(mortal, { buckets: [mortal.bucket], connections: 1 });
    const { sink } = memoryParts();
    const die = killing(sink.put);
    const dying: Sink = { ...sink, put: async (...args) => await die(...args) };
    const large = Array.from({ length: 3 }, (_, n) => ({ key: `large-${n}`, body: Buffer.alloc(5_000_000, `${n}`) }));
    await put(ctx, hand, mortal.bucket, large);
    await assert.rejects(s3Driver.open(settings).capture(patient, dying), { code: 'unreachable' });
    await mortal.start();
    const dieAgain = killing((name: string) => source.get(patient, name));
    const restoring: Source = {
      ...source,
      async *get(context, name, range) {
        if (name.startsWith('objects/')) yield* await dieAgain(name);
        else yield* source.get(context, name, range);
      },
    };
    const restore = s3Driver.open(settings).restore(patient, { base: restoring }, { rename: { docs: 'copy' } });
    await assert.rejects(restore, { code: 'unreachable' });
  });

  it('a full disk ends a restore at once, and the next one with more space is whole (fault 16)', async (t) => {
    if (process.getuid?.() !== 0) return t.skip('only root can mount the small disk');
    await filled();
    const large = Array.from({ length: 4 }, (_, n) => ({ key: `large-${n}`, body: Buffer.alloc(12_000_000, `${n}`) }));
    await put(ctx, client, 'docs', large);
    const { source } = await capture(direct);
    const mount = (...args: string[]) => spawnSync('mount', ['-t', 'tmpfs', ...args], { encoding: 'utf8' });
    let disk = '';
    const small = await startS3('minio', (data) => {
      mkdirSync(data);
      const { status, stderr } = mount('-o', 'size=32m', 'none', data);
      if (status === 0) disk = data;
      else t.skip(`no small disk can be mounted: ${stderr}`);
    });
    try {
      if (disk === '') return;
      const component = s3Driver.open(settingsOf(small, { buckets: ['docs'] }));
      // Of writes at the same time that fill it MinIO calls some unwritable for now, until it has looked at the disk.
      let waits = 0;
      const hasty = liveContext({
        async sleep(ms) {
          assert.ok((waits += 1) <= 20, 'a full disk is not waited for');
          await ctx.sleep(Math.min(ms, 300));
        },
      });
      await assert.rejects(component.restore(hasty, { base: source }), { code: 'no-space' });
      assert.equal(mount('-o', 'remount,size=512m', 'none', disk).status, 0);
      await small.stop(); // MinIO remembers for a while how full a disk was
      await small.start();
      const done = await component.restore(ctx, { base: source }, { replace: true });
      assert.deepEqual(done.missing, []);
      assert.deepEqual(await equal(source, settingsOf(small, { buckets: ['docs'] })), []);
    } finally {
      await small.kill();
      if (disk !== '') spawnSync('umount', [disk]);
      await small[Symbol.asyncDispose]();
    }
  });

  it('a server that is killed in the middle and comes back is waited for', async () => {
    await using mortal = await startS3('versitygw');
    await using hand = clientOf(ctx, mortal);
    const many = Array.from({ length: 60 }, (_, n) => ({ key: `many/${n}` }));
    await put(ctx, hand, mortal.bucket, many);
    const settings = settingsOf(mortal, { buckets: [mortal.bucket], connections: 2 });
    const quick = liveContext({ sleep: (ms) => ctx.sleep(Math.min(ms, 200)) });
    const { sink, source } = memoryParts();
    let back: Promise<void> | undefined;
    const killing: Sink = {
      ...sink,
      async put(context, name, body, meta) {
        if (name.startsWith('objects/')) back ??= mortal.kill().then(() => mortal.start());
        return await sink.put(context, name, body, meta);
      },
    };
    await s3Driver.open(settings).capture(quick, killing);
    assert.ok(back);
    await back;
    assert.deepEqual(await equal(source, settings), []);
    let killed: Promise<void> | undefined;
    const restoring: Source = {
      ...source,
      async *get(context, name, range) {
        if (name.startsWith('objects/')) killed ??= mortal.kill().then(() => mortal.start());
        yield* source.get(context, name, range);
      },
    };
    const options = { rename: { [mortal.bucket]: 'copy' } };
    const done = await s3Driver.open(settings).restore(quick, { base: restoring }, options);
    assert.ok(killed);
    await killed;
    assert.deepEqual(done.missing, []);
    assert.equal((await keysOf(ctx, hand, 'copy')).length, 60);
  });
});
