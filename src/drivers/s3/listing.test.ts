import assert from 'node:assert/strict';
import { test } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { startS3 } from '../../../test/servers/s3.ts';
import { startFaultProxy } from '../../buckets/s3/fault-proxy.ts';
import { liveContext } from '../../core/testing.ts';
import { openClient } from './client.ts';
import { listed } from './listing.ts';
import { readSettings } from './settings.ts';
import { clientOf, makeBucket, put, settingsOf } from './testing.ts';
import { keyOrder } from './text.ts';

const ctx = liveContext();

test('the rest of a large bucket is listed in several places at a time, and every key comes once and in order', {
  skip: await missing('minio'),
}, async () => {
  await using server = await startS3('minio');
  await using client = clientOf(ctx, server);
  await makeBucket(ctx, client, 'many', { versions: true });
  const folders = Array.from({ length: 40 }, (_, n) => `top/d${String(n).padStart(2, '0')}`);
  const keys = folders.flatMap((folder) => [`${folder}-x`, `${folder}/a`, `${folder}/b/c`, `${folder}0`]);
  keys.push(...Array.from({ length: 1200 }, (_, n) => `top/d05/many/${n}`));
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
    const scope = { bucket: 'many', prefix: '', exclude: [], versions };
    for await (const page of listed(ctx, through, scope, 1)) {
      found.push(...page.map(({ key }) => key));
    }
    assert.deepEqual([...new Set(found)], keys.toSorted(keyOrder));
    assert.equal(found.length, versions ? keys.length + Math.ceil(keys.length / 3) : keys.length);
  }
  assert.ok(proxy.count(/start-after=top/) > 3);
  assert.ok(proxy.count(/key-marker=top/) > 3);
});
