import { dirname } from 'node:path';
import { installed } from '../../../test/servers/install.ts';
import { missing } from '../../../test/servers/need.ts';
import { type Redis, type RedisName, redisNames, startRedis } from '../../../test/servers/redis.ts';
import { liveContext } from '../../core/testing.ts';
import { driverSuite, type FilledService } from '../driver.suite.ts';
import { redisDriver } from './driver.ts';
import { fill, open } from './testing.ts';

const PASSWORD = 'canary-of-the-password';

for (const name of redisNames) {
  const skip = await missing(name);
  // Sandboxes run what is found in PATH.
  if (skip === false) process.env.PATH = `${process.env.PATH}:${dirname(await installed(name))}`;
  driverSuite({
    driver: redisDriver,
    name: `redis on ${name}`,
    skip,
    filled: () => filled(name),
    empty: () => start(name),
    nowhere: { host: '127.0.0.1', port: 1 },
    secret: PASSWORD,
    except: {
      'restores beside the live data, which stays until it is published': 'a Redis has no place beside its data',
    },
  });
}

async function start(name: RedisName): Promise<{ settings: { url: string; password: string } } & Redis> {
  const server = await startRedis(name, { args: ['--requirepass', PASSWORD] });
  return { ...server, settings: { url: server.url, password: PASSWORD } };
}

async function filled(name: RedisName): Promise<FilledService> {
  const server = await start(name);
  const { settings } = server;
  const ctx = liveContext();
  await fill(ctx, settings, true);
  return {
    settings,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    async change() {
      await using connection = await open(ctx, settings);
      await connection.call('HSET', 'hash', 'word 3', 'changed');
    },
    extract: {
      selection: { database: '0', keys: ['many:1?', 'hash', 'stream'] },
      keys: ['many:10', 'many:11', 'many:12', 'many:13', 'many:14', ...rest, 'hash', 'stream'],
      async damage() {
        await using connection = await open(ctx, settings);
        await connection.call('DEL', 'stream');
        await connection.call('PERSIST', 'hash');
      },
    },
  };
}
const rest = ['many:15', 'many:16', 'many:17', 'many:18', 'many:19'];
