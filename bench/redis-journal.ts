// The log of a Redis under load: what following it costs beside an ordinary replica, and what a killed server loses.

import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { liveContext } from '../src/core/testing.ts';
import { readInfo } from '../src/drivers/redis/connection.ts';
import { open } from '../src/drivers/redis/testing.ts';
import { until } from '../test/servers/processes.ts';
import { type Redis, type RedisName, startRedis } from '../test/servers/redis.ts';
import { DEADLINE_MS, following, idleText, idling, lossByKilling, rssOf, started } from './follower.ts';
import { lifeboatWith, resticStore } from './lifeboat.ts';
import { alone, type Candidate, compared, interleaved, type Measured, measure, type Row } from './measure.ts';

export interface RedisJournalSizes {
  /** Of each run of redis-benchmark. */
  readonly requests: number;
  readonly kills: number;
  readonly idleS: number;
  readonly rounds: number;
  readonly server: RedisName;
}

const OURS = 'redis-benchmark while its server is followed';
const PEER = 'an ordinary replica';
/** As a server has it that is followed: a few seconds at full speed. */
const ARGS = ['--repl-backlog-size', '256mb'];

export async function measureRedisJournal(
  dir: string,
  sizes: RedisJournalSizes,
  say: (line: string) => void,
): Promise<readonly Row[]> {
  await using server = await startRedis(sizes.server, { args: ARGS });
  const file = join(dir, 'lifeboat.yaml');
  await lifeboatWith(file, { store: resticStore(join(dir, 'store')), component: { kind: 'redis', url: server.url } });
  const taken = new Map(await beside(dir, server, file, sizes, say));
  const idle = await idled(dir, file, sizes.idleS, say);
  const lost: Measured[] = [];
  for (let kill = 1; kill <= sizes.kills; kill++) {
    lost.push(await lossOf(dir, server, file));
    say(`kill ${kill} of ${sizes.kills}: ${lost.at(-1)?.wallS.toFixed(2)} s lost`);
  }
  const worst = lost.toSorted((one, other) => one.wallS - other.wallS).slice(-1);
  taken.set('idle', [idle]).set('lost', lost).set('worst', worst);
  return [
    compared(taken, OURS, { ours: OURS, theirs: PEER, peer: `the same beside ${PEER}`, limits: { wall: 1.05 } }),
    alone(taken, idleText(idle), 'idle', {}),
    alone(taken, `log lost by kill -9 of the server under load, median of ${sizes.kills}`, 'lost', {}),
    alone(taken, `the same, most of ${sizes.kills}`, 'worst', { wallS: 2 }),
  ];
}

function loadOf({ port }: Redis, requests: number): string[] {
  return ['-p', `${port}`, '-t', 'set', '-n', `${requests}`, '-r', '100000', '-d', '100', '-c', '50', '-P', '16', '-q'];
}

/** The same requests, while one and while the other takes the log. */
async function beside(
  dir: string,
  server: Redis,
  file: string,
  { requests, rounds, server: name }: RedisJournalSizes,
  say: (line: string) => void,
): Promise<ReadonlyMap<string, readonly Measured[]>> {
  const run = (): Promise<Measured> => measure('redis-benchmark', loadOf(server, requests), process.env);
  const ours: Candidate = {
    name: OURS,
    async run() {
      await using _ = await following(dir, file);
      return await run();
    },
  };
  const theirs: Candidate = {
    name: PEER,
    async run() {
      await using replica = await startRedis(name, { args: ['--replicaof', `${server.host} ${server.port}`] });
      await using connection = await open(liveContext(), { url: replica.url });
      const isUp = async (): Promise<boolean> => (await readInfo(connection)).get('master_link_status') === 'up';
      await until('a replica', DEADLINE_MS, isUp);
      return await run();
    },
  };
  return await interleaved(rounds, () => [{ candidates: [theirs, ours] }], say);
}

async function idled(dir: string, file: string, idleS: number, say: (line: string) => void): Promise<Measured> {
  await using follower = await following(dir, file);
  return await idling(follower, idleS, say);
}

/** Kills it under load, and starts it again, empty. How long before that what is stored ends, by its own clock. */
async function lossOf(dir: string, server: Redis, file: string): Promise<Measured> {
  await using follower = await following(dir, file);
  await using load = started('redis-benchmark', loadOf(server, 1_000_000_000));
  await delay(3000 + 3000 * Math.random());
  const wallS = await lossByKilling(dir, server);
  const peakMiB = rssOf(follower.process.pid ?? 0);
  await load[Symbol.asyncDispose]();
  await server.start();
  return { wallS, cpuS: 0, othersCpuS: 0, peakMiB };
}
