// Our capture of a Redis beside redis-cli --rdb: the same server and data, the same disk, in changing order.
// node bench/redis.ts [--bytes 1073741824] [--rounds 3] [--server redis-7] [--compress yes]

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { liveContext } from '../src/core/testing.ts';
import type { Argument } from '../src/drivers/redis/resp.ts';
import { open, pipeline } from '../src/drivers/redis/testing.ts';
import { type RedisName, redisNames, startRedis } from '../test/servers/redis.ts';
import { prose, randomNumbers, sentence } from './data.ts';
import { type Figures, measure, median, NODE_FLAGS } from './measure.ts';

export interface RedisSizes {
  /** Of the values, about; their mean is 1 KiB. */
  readonly bytes: number;
  readonly rounds: number;
  readonly server: RedisName;
  /** The program to compare with. */
  readonly redisCli: string;
  /** Whether the server compresses its RDB, which is its default and costs it most of the time. */
  readonly compress: boolean;
}
/** Ours by redis-cli's: the median over the rounds. */
export interface RedisComparison {
  readonly work: string;
  readonly ours: Figures;
  readonly redisCli: Figures;
  readonly wall: number;
  readonly rdbBytes: number;
}

const WORK = join(import.meta.dirname, 'redis-work.ts');
const VALUE_BYTES = 1024;
const LEVELS = ['full', 'counts'] as const;

export async function compareWithRedisCli(
  { bytes, rounds, server: name, compress, redisCli: program }: RedisSizes,
  say: (line: string) => void,
): Promise<readonly RedisComparison[]> {
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-bench-'));
  try {
    await using server = await startRedis(name, { args: ['--rdbcompression', compress ? 'yes' : 'no'] });
    await fill(server.url, bytes);
    const [file, theirs] = [join(dir, 'ours.rdb'), join(dir, 'theirs.rdb')];
    const taken: Record<(typeof LEVELS)[number], { ours: Figures; redisCli: Figures }[]> = { full: [], counts: [] };
    for (let round = 1; round <= rounds; round++) {
      for (const level of LEVELS) {
        say(`round ${round} of ${rounds}, inventory ${level}`);
        const cli = () => measure(program, ['-p', `${server.port}`, '--rdb', theirs], process.env);
        const us = () => measure(process.execPath, [...NODE_FLAGS, WORK, server.url, level, file], process.env);
        const first = round % 2 === 1 ? await us() : undefined;
        const redisCli = await cli();
        taken[level].push({ ours: first ?? (await us()), redisCli });
      }
    }
    const rdbBytes = statSync(theirs).size;
    return LEVELS.map((level) => comparisonOf(`capture, inventory ${level}`, taken[level], rdbBytes));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
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

function comparisonOf(
  work: string,
  rounds: readonly { ours: Figures; redisCli: Figures }[],
  rdbBytes: number,
): RedisComparison {
  const middle = (peer: 'ours' | 'redisCli'): Figures => ({
    wallS: median(rounds.map((each) => each[peer].wallS)),
    cpuS: median(rounds.map((each) => each[peer].cpuS)),
    peakMiB: median(rounds.map((each) => each[peer].peakMiB)),
  });
  const wall = median(rounds.map(({ ours, redisCli }) => ours.wallS / redisCli.wallS));
  return { work, ours: middle('ours'), redisCli: middle('redisCli'), wall, rdbBytes };
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      bytes: { type: 'string', default: '1073741824' },
      rounds: { type: 'string', default: '3' },
      server: { type: 'string', default: 'redis-7' },
      'redis-cli': { type: 'string', default: 'redis-cli' },
      compress: { type: 'string', default: 'yes' },
    },
  });
  const server = redisNames.find((name) => name === values.server);
  if (!server) throw new Error(`--server: one of ${redisNames.join(', ')}`);
  const compress = values.compress === 'yes';
  const redisCli = values['redis-cli'];
  console.error(execFileSync(redisCli, ['--version'], { encoding: 'utf8' }).trim());
  const sizes = { bytes: Number(values.bytes), rounds: Number(values.rounds), server, compress, redisCli };
  console.log('| work | wall | ours: wall, CPU, peak | redis-cli --rdb | RDB |');
  console.log('| --- | --- | --- | --- | --- |');
  for (const { work, wall, ours, redisCli, rdbBytes } of await compareWithRedisCli(sizes, console.error)) {
    const [us, them] = [ours, redisCli].map(({ wallS, cpuS, peakMiB }) => {
      return `${wallS.toFixed(1)} s, ${cpuS.toFixed(1)} s, ${peakMiB.toFixed(0)} MiB`;
    });
    console.log(`| ${work} | ${wall.toFixed(2)} | ${us} | ${them} | ${Math.round(rdbBytes / 1e6)} MB |`);
  }
}
