// Redis: Lifeboat beside redis-cli --rdb, which writes the same bytes to a file and looks at none of them.

import { mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { liveContext } from '../src/core/testing.ts';
import type { Argument } from '../src/drivers/redis/resp.ts';
import { open, pipeline } from '../src/drivers/redis/testing.ts';
import { type RedisName, startRedis } from '../test/servers/redis.ts';
import { prose, randomNumbers, sentence } from './data.ts';
import { lifeboatWith, resticStore } from './lifeboat.ts';
import { type Candidate, compared, interleaved, measure, type Row } from './measure.ts';

export interface RedisSizes {
  /** Of the values, about; their mean is 1 KiB. */
  readonly bytes: number;
  readonly rounds: number;
  readonly server: RedisName;
}

const VALUE_BYTES = 1024;
const PEER = 'redis-cli --rdb';
/** How much is looked at, and how much longer that may take. */
const LEVELS = [
  { inventory: 'full', wall: 1.5 },
  { inventory: 'counts', wall: 1.2 },
] as const;
const STORES = ['plain', 'restic'] as const;

export async function compareWithRedisCli(
  dir: string,
  { bytes, rounds, server: name }: RedisSizes,
  say: (line: string) => void,
): Promise<readonly Row[]> {
  await using server = await startRedis(name);
  say(`filling ${name}`);
  await fill(server.url, bytes);
  const rdb = join(dir, 'theirs.rdb');
  const works = STORES.flatMap((store) =>
    LEVELS.map(({ inventory, wall }) => ({
      name: `Redis, ${store} store, inventory ${inventory}`,
      store,
      inventory,
      wall,
    })),
  );
  const ours = works.map(
    ({ name, store, inventory }): Candidate => ({
      name,
      async run() {
        const place = join(dir, 'ours');
        mkdirSync(place);
        const lifeboat = await lifeboatWith(join(place, 'lifeboat.yaml'), {
          store:
            store === 'plain'
              ? { format: 'plain', layout: 'dated', bucket: join(place, 'store') }
              : resticStore(join(place, 'store')),
          component: { kind: 'redis', url: server.url, inventory },
        });
        const figures = await lifeboat(['backup']);
        rmSync(place, { recursive: true });
        return figures;
      },
    }),
  );
  const theirs: Candidate = {
    name: PEER,
    run() {
      rmSync(rdb, { force: true }); // to truncate the file of the round before would be part of its time
      return measure('redis-cli', ['-p', `${server.port}`, '--rdb', rdb], process.env);
    },
  };
  const taken = await interleaved(rounds, () => [{ candidates: [theirs, ...ours] }], say);
  const size = `RDB of ${Math.round(statSync(rdb).size / 1e6)} MB`;
  return works.map(({ name, wall }) =>
    compared(taken, `${name}, ${size}`, { ours: name, theirs: PEER, limits: { wall } }),
  );
}

/** Half of the keys are strings, the others hashes, lists, sets, sorted sets and streams; a third of all expires. */
async function fill(url: string, bytes: number): Promise<void> {
  const ctx = liveContext();
  await using connection = await open(ctx, { url });
  const random = randomNumbers('bench');
  const lines = Array.from({ length: 2000 }, () => sentence(9, random));
  const text = (length: number): string => prose(length, lines, random);
  function* commands(): Iterable<readonly Argument[]> {
    const keys = Math.ceil(bytes / VALUE_BYTES);
    for (let n = 0; n < keys; n++) {
      const key = `key:${n}`;
      yield commandFor(n, key, text);
      if (n % 3 === 0) yield ['PEXPIREAT', key, 4_070_908_800_000 + n * 1000];
    }
  }
  await pipeline(connection, commands());
}

function commandFor(n: number, key: string, text: (length: number) => string): readonly Argument[] {
  const many = <T>(count: number, each: (i: number) => T[]): T[] =>
    Array.from({ length: count }, (_, i) => each(i)).flat();
  switch (n % 10) {
    case 0:
      return ['HSET', key, ...many(16, (i) => [`field ${i}`, text(56)])];
    case 1:
      return ['RPUSH', key, ...many(16, () => [text(64)])];
    case 2:
      return ['SADD', key, ...many(30, (i) => [`${i} ${text(30)}`])];
    case 3:
      return ['ZADD', key, ...many(30, (i) => [`${(i * n) % 977}.5`, `${i} ${text(26)}`])];
    case 4:
      return ['XADD', key, '*', 'subject', text(200), 'body', text(800)];
    default:
      return ['SET', key, text(VALUE_BYTES)];
  }
}
