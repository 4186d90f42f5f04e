// A hundred thousand creations and deletions.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needServer } from '../../../test/servers/need.ts';
import { startZookeeper } from '../../../test/servers/zookeeper.ts';
import { bytesOf, readAll } from '../../core/bytes.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { zookeeperDriver } from './driver.ts';
import { counterOf, readStat, request } from './protocol.ts';
import { make, openClient } from './testing.ts';

test('a sequence counter that is too far ahead is advanced as far as promised, and the rest is named', async (t) => {
  if (!(await needServer(t, 'zookeeper-3.9'))) return;
  const ctx = liveContext();
  await using server = await startZookeeper();
  const { hosts } = server;
  await using client = await openClient(ctx, { hosts });
  await make(client, '/a');
  const { sink, source } = memoryParts();
  await zookeeperDriver.open({ hosts, root: '/a' }).capture(ctx, sink);
  const edited = memoryParts();
  for await (const { name } of source.parts(ctx)) {
    const text = (await readAll(source.get(ctx, name))).toString();
    await edited.sink.put(ctx, name, bytesOf(text.replaceAll('"counter":0', '"counter":100600')));
  }
  const { missing = [] } = await zookeeperDriver.open({ hosts, root: '/b' }).restore(ctx, { base: edited.source });
  assert.match(missing.join(), /counter is 600 behind 100600/);
  const stat = readStat((await client.call('exists', '/b', request.read('/b'))).body);
  assert.equal(counterOf(stat), 100_000);
});
