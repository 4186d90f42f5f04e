import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { startRedis } from '../../../test/servers/redis.ts';
import { liveContext } from '../../core/testing.ts';
import { marked, markerComesBack, markersComeAndGo, numbered, othersAreLeftAlone } from '../marker-testing.ts';
import { redisDriver } from './driver.ts';
import { open } from './testing.ts';

describe('markers in redis', { skip: await missing('redis-8') }, () => {
  const ctx = liveContext();
  const opened = (settings: object) => marked(redisDriver.open(settings));

  it('a key is written again and again, and removed', async () => {
    await using server = await startRedis('redis-8');
    const { url } = server;
    await markersComeAndGo(ctx, opened({ url }), {
      where: 'key lifeboat:marker of db0',
      removed: ['key lifeboat:marker of db0'],
    });
    await markersComeAndGo(ctx, opened({ url, databases: [3, 4] }), {
      where: 'key lifeboat:marker of db3',
      removed: ['key lifeboat:marker of db3'],
    });
    await using connection = await open(ctx, { url });
    assert.equal(await connection.call('DBSIZE'), 0);
  });

  it('the newest is found in whatever database it came back, and comes back with a restore', async () => {
    await using server = await startRedis('redis-8');
    await using target = await startRedis('redis-8');
    const { url } = server;
    await opened({ url }).mark(ctx, numbered(5));
    await opened({ url: `${url}/2` }).mark(ctx, numbered(6));
    assert.equal((await opened({ url }).marker(ctx))?.where, 'key lifeboat:marker of db2');
    await markerComesBack(ctx, opened({ url: `${url}/2` }), opened({ url: target.url }));
    assert.equal((await opened({ url }).unmark(ctx)).length, 2);
  });

  it('what is none of ours is neither read as a marker, nor written over, nor removed', async () => {
    await using server = await startRedis('redis-8');
    const component = opened({ url: server.url });
    await using connection = await open(ctx, { url: server.url });
    for (const command of [
      ['SET', 'lifeboat:marker', 'of the owner'],
      ['SADD', 'lifeboat:marker', 'of the owner'],
    ]) {
      await connection.call('DEL', 'lifeboat:marker');
      await connection.call(...command);
      await othersAreLeftAlone(ctx, component, /key lifeboat:marker of db0 is there and is no marker/);
      assert.equal(await connection.call('EXISTS', 'lifeboat:marker'), 1);
    }
  });

  it('a replica is left alone, also one that takes writes', async () => {
    await using master = await startRedis('redis-8');
    await using replica = await startRedis('redis-8', { args: ['--replica-read-only', 'no'] });
    await using connection = await open(ctx, { url: replica.url });
    await connection.call('REPLICAOF', '127.0.0.1', String(master.port));
    await assert.rejects(opened({ url: replica.url }).mark(ctx, numbered(1)), {
      code: 'blocked',
      message: /is a standby/,
    });
    assert.equal(await connection.call('EXISTS', 'lifeboat:marker'), 0);
  });

  it('who may not write is told the rights, and they suffice', async () => {
    await using server = await startRedis('redis-8');
    await using connection = await open(ctx, { url: server.url });
    await connection.call('ACL', 'SETUSER', 'backup', 'on', '>secret', '+info');
    const component = opened({ url: server.url, username: 'backup', password: 'secret' });
    let hint = '';
    await assert.rejects(component.mark(ctx, numbered(1)), (error: { code: string; hint: string }) => {
      hint = error.hint;
      return error.code === 'privileges';
    });
    const [, rights = ''] = /: ACL SETUSER backup (.*)$/.exec(hint) ?? [];
    await connection.call('ACL', 'SETUSER', 'backup', ...rights.split(' '));
    await markersComeAndGo(ctx, component, {
      where: 'key lifeboat:marker of db0',
      removed: ['key lifeboat:marker of db0'],
    });
  });
});
