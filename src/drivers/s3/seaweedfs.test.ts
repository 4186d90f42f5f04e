// SeaweedFS lists folder by folder. The whole suite on it is in seaweedfs.slow.ts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { startS3 } from '../../../test/servers/s3.ts';
import { inventoryOf } from '../../core/inventory.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { s3Driver } from './driver.ts';
import { clientOf, fill, put, settingsOf } from './testing.ts';

test('buckets of SeaweedFS come back as they were', { skip: await missing('seaweedfs') }, async () => {
  const ctx = liveContext();
  await using server = await startS3('seaweedfs');
  await using client = clientOf(ctx, server);
  await fill(ctx, client, false);
  const component = s3Driver.open(settingsOf(server, { buckets: ['photos', 'photos-old'] }));
  const { sink, source } = memoryParts();
  const { warnings, totals } = await component.capture(ctx, sink);
  assert.deepEqual([warnings, totals.objects], [[], 56]);
  await put(ctx, client, 'photos', [{ key: 'many/3/3', body: 'changed' }, { key: 'extra' }]);
  const done = await component.restore(ctx, { base: source }, { replace: true, reread: true });
  assert.deepEqual(done.missing, []);
  assert.ok(done.inventory);
  const findings = await Array.fromAsync(s3Driver.compare(ctx, inventoryOf(source), await done.inventory(ctx)));
  assert.deepEqual(
    findings.filter(({ verdict }) => verdict !== 'pass'),
    [],
  );
});
