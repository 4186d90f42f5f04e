import assert from 'node:assert/strict';
import { test } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { startZookeeper } from '../../../test/servers/zookeeper.ts';
import { inventoryOf } from '../../core/inventory.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { zookeeperDriver } from './driver.ts';
import { fill, make, openClient } from './testing.ts';

test('a staging service is emptied of what a drill has brought, and takes the next one', {
  skip: await missing('zookeeper-3.9'),
}, async () => {
  const ctx = liveContext();
  await using server = await startZookeeper({ superPassword: 'sesame' });
  const login = { hosts: server.hosts, username: 'super', password: 'sesame' };
  {
    await using client = await openClient(ctx, login);
    await fill(client, '/shop');
    await make(client, '/beside', { data: 'of somebody else' });
  }
  const component = zookeeperDriver.open({ ...login, root: '/shop' });
  const { sink, source } = memoryParts();
  await component.capture(ctx, sink);
  await sink.receipt(ctx);
  assert.ok(component.clear);
  for (let round = 0; round < 2; round++) {
    assert.deepEqual(await component.clear(ctx, { base: source }), []);
    assert.equal((await component.probe(ctx)).holdsData, null);
    await component.restore(ctx, { base: source });
    const found = await Array.fromAsync(
      zookeeperDriver.compare(ctx, inventoryOf(source), await component.inventory(ctx)),
    );
    assert.deepEqual(
      found.filter(({ verdict }) => verdict === 'fail'),
      [],
    );
  }
  assert.match((await zookeeperDriver.open(login).probe(ctx)).holdsData ?? '', /2 znodes/);
});
