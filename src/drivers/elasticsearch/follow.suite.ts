// A server that is followed by points at an interval.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { liveContext } from '../../core/testing.ts';
import { recording } from '../feed-testing.ts';
import { elasticsearchDriver } from './driver.ts';
import { assertSame, emptied, sharedCluster } from './testing.ts';

const name = 'opensearch-2';
const skip = await missing(name);
const started = sharedCluster(name);

test('a point follows the other at an interval, and each has what was written before it', { skip }, async () => {
  const ctx = liveContext();
  const cluster = await emptied(await started());
  await cluster.bulk('/followed', [{ index: { _id: 'a' } }, { x: 1 }]);
  await using record = await recording(ctx);
  const component = elasticsearchDriver.open({ url: cluster.url, follow_every: '300ms' });
  const taken = async (count: number): Promise<void> => {
    while (record.taken.length < count) await ctx.sleep(50);
  };
  await record.follow(ctx, component, async () => {
    await taken(2);
    await cluster.bulk('/followed', [{ index: { _id: 'b' } }, { x: 2 }]);
    await taken(record.taken.length + 2); // the one that was being taken, and another
  });
  const killed = record.taken.length;
  await record.follow(ctx, component, () => taken(killed + 1));
  const newest = record.taken.at(-1) ?? assert.fail();
  await assertSame(ctx, cluster, await record.store.open(ctx, newest, 'it'));
  const oldest = record.taken[0] ?? assert.fail();
  await assert.rejects(assertSame(ctx, cluster, await record.store.open(ctx, oldest, 'it')));
});
