import assert from 'node:assert/strict';
import { test } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { startS3 } from '../../../test/servers/s3.ts';
import { startFaultProxy } from '../../buckets/s3/fault-proxy.ts';
import { liveContext } from '../../core/testing.ts';
import { openClient } from './client.ts';
import { listed } from './listing.ts';
import { readSettings } from './settings.ts';
import { openSorter } from './sorter.ts';
import { clientOf, makeBucket, put, settingsOf } from './testing.ts';
import { keyOrder } from './text.ts';

const ctx = liveContext();

test('a bucket with folders is listed in several places at a time, and every key comes once and in order', {
  skip: await missing('minio'),
}, async () => {
  await using server = await startS3('minio');
  await using client = clientOf(ctx, server);
  await makeBucket(ctx, client, 'many', { versions: true });
  const folders = Array.from({ length: 40 }, (_, n) => `top/d${String(n).padStart(2, '0')}`);
  const keys = folders.flatMap((folder) => [`${folder}-x`, `${folder}/a`, `${folder}/b/c`, `${folder}0`]);
  keys.push('top/😀/x', 'top/\uff01/x');
  await put(
    ctx,
    client,
    'many',
    keys.map((key) => ({ key })),
  );
  await put(
    ctx,
    client,
    'many',
    keys.filter((_, n) => n % 3 === 0).map((key) => ({ key, body: 'again' })),
  );
  await using proxy = await startFaultProxy(server.endpoint, () => undefined);
  const settings = readSettings({ ...settingsOf(server), endpoint: proxy.endpoint });
  await using through = openClient(ctx, settings);
  for (const versions of [false, true]) {
    const found: string[] = [];
    for await (const page of listed(ctx, through, { bucket: 'many', prefix: '', exclude: [], versions })) {
      found.push(...page.map(({ key }) => key));
    }
    assert.deepEqual([...new Set(found)], keys.toSorted(keyOrder));
    assert.equal(found.length, versions ? keys.length + Math.ceil(keys.length / 3) : keys.length);
  }
  assert.ok(proxy.count(/start-after=top/) > 5);
  assert.ok(proxy.count(/key-marker=top/) > 5);
});

test('more lines than are held come back in order, whatever the order that they came in', async () => {
  await using sorter = await openSorter<number>(ctx.scratch, {
    order: (a, b) => a - b,
    lineOf: String,
    itemOf: Number,
  });
  const count = 90_000;
  const pages = Array.from({ length: count / 1000 }, (_, page) => page * 1000);
  const add = (at: number) => sorter.add(Array.from({ length: 1000 }, (_, n) => ((at + n) * 7919) % count));
  await Promise.all(pages.map(add)); // pages are taken in at the same time
  const sorted = (await Array.fromAsync(sorter.sorted())).flat();
  assert.equal(sorted.length, count);
  assert.ok(sorted.every((each, n) => each === n));
});
