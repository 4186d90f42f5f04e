import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { startRedis } from '../../../test/servers/redis.ts';
import { liveContext } from '../../core/testing.ts';
import { redisDriver } from '../../drivers/redis/driver.ts';
import { zookeeperDriver } from '../../drivers/zookeeper/driver.ts';
import { followingFindings } from './following.ts';

const ctx = liveContext();

describe('what doctor says of markers', { skip: await missing('redis-8') }, () => {
  test('none, one, and one that is too old', async () => {
    await using server = await startRedis('redis-8');
    const component = redisDriver.open({ url: server.url });
    const told = async (markers?: number): Promise<string[]> => {
      const common = { kind: 'redis', follow: true, markers };
      const findings = await followingFindings(ctx, common, component, ['local']);
      return findings.map(({ verdict, check, detail }) => `${verdict}: ${check}: ${detail}`);
    };
    assert.deepEqual(await told(), [], 'it has none');
    assert.deepEqual(await told(30_000), ['fail: a marker is written each 30.0 s: there is none']);
    await component.mark?.(ctx, { number: 7, at: new Date().toISOString() });
    assert.match((await told(30_000)).join(), /^pass: .*: number 7, .* ago, key lifeboat:marker of db0$/);
    await component.mark?.(ctx, { number: 8, at: new Date(Date.now() - 600_000).toISOString() });
    assert.match((await told(30_000)).join(), /^fail: .*: number 8, 10 min \d s ago/);
    assert.match((await told(3_600_000)).join(), /^pass: /);
  });
});

test('doctor says of what can be neither followed nor marked that it is refused', async () => {
  const component = zookeeperDriver.open({ hosts: '127.0.0.1:1' });
  const common = { kind: 'zookeeper', follow: true, markers: 1000 };
  const findings = await followingFindings(ctx, common, component, ['local']);
  assert.deepEqual(
    findings.map(({ verdict, check }) => `${verdict}: ${check}`),
    ['fail: it can be followed', 'fail: a marker is written each 1.0 s'],
  );
});
