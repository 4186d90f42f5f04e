// PostgreSQL's log under load: what following it costs the server beside pg_receivewal, and what a killed server loses.

import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Postgres, type PostgresMajor, startPostgres } from '../test/servers/postgres.ts';
import { DEADLINE_MS, following, idleText, idling, lossByKilling, rssOf, started, storedUpTo } from './follower.ts';
import { lifeboatWith, resticStore } from './lifeboat.ts';
import { alone, type Candidate, compared, interleaved, type Measured, measure, type Row } from './measure.ts';

export interface WalSizes {
  /** Of each run of pgbench. */
  readonly transactions: number;
  readonly kills: number;
  readonly idleS: number;
  readonly rounds: number;
  readonly major: PostgresMajor;
}

const OURS = 'pgbench while its log is followed';
const PEER = 'pg_receivewal';
const CLIENTS = 4;

export async function measureWal(dir: string, sizes: WalSizes, say: (line: string) => void): Promise<readonly Row[]> {
  // As it is run: what is committed is on the disk.
  const conf = {
    fsync: 'on',
    full_page_writes: 'on',
    shared_buffers: '256MB',
    max_wal_size: '2GB',
    wal_keep_size: '1GB',
  };
  await using server = await startPostgres(sizes.major, { conf });
  execFileSync(join(server.bin, 'pgbench'), ['-i', '-q', '-s', '10', 'postgres'], {
    env: envOf(server),
    stdio: 'ignore',
  });
  const file = join(dir, 'lifeboat.yaml');
  const component = { kind: 'postgresql', url: server.url, capture: ['physical'] };
  await lifeboatWith(file, { store: resticStore(join(dir, 'store')), component });
  const taken = new Map(await beside(dir, server, file, sizes, say));
  await using follower = await following(dir, file);
  const idle = await idling(follower, sizes.idleS, say);
  const lost: Measured[] = [];
  for (let kill = 1; kill <= sizes.kills; kill++) {
    const lossS = await lossOf(dir, server);
    lost.push({ wallS: lossS, cpuS: 0, othersCpuS: 0, peakMiB: rssOf(follower.process.pid ?? 0) });
    say(`kill ${kill} of ${sizes.kills}: ${lossS.toFixed(2)} s lost`);
  }
  const sorted = lost.toSorted((one, other) => one.wallS - other.wallS);
  taken.set('idle', [idle]).set('lost', sorted).set('worst', sorted.slice(-1));
  return [
    compared(taken, OURS, { ours: OURS, theirs: PEER, peer: `pgbench beside ${PEER}`, limits: { wall: 1.03 } }),
    alone(taken, idleText(idle), 'idle', {}),
    alone(taken, `log lost by kill -9 of the server under pgbench, median of ${sizes.kills}`, 'lost', { wallS: 3 }),
    alone(taken, `the same, most of ${sizes.kills}`, 'worst', { wallS: 8 }),
  ];
}

/** The same transactions, while one and while the other takes the log. */
async function beside(dir: string, server: Postgres, file: string, sizes: WalSizes, say: (line: string) => void) {
  const run = async (): Promise<Measured> =>
    await measure(
      join(server.bin, 'pgbench'),
      ['-n', '-c', String(CLIENTS), '-t', String(Math.round(sizes.transactions / CLIENTS)), 'postgres'],
      envOf(server),
    );
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
      const place = join(dir, 'theirs');
      mkdirSync(place, { recursive: true });
      const [program, env] = [join(server.bin, PEER), envOf(server)];
      execFileSync(program, ['--slot=theirs', '--create-slot', '--if-not-exists'], { env, stdio: 'ignore' });
      await using _ = started(program, ['-D', place, '--slot=theirs'], envOf(server));
      await delay(2000);
      return await run();
    },
  };
  // The first base is taken before anything is measured: after its checkpoint whole pages are logged, for one of them.
  await ours.run();
  return await interleaved(sizes.rounds, () => [{ candidates: [theirs, ours] }], say);
}

/** Kills it under load, and starts it again. How long before that what is stored ends, by its own clock. */
async function lossOf(dir: string, server: Postgres): Promise<number> {
  await using load = started(
    join(server.bin, 'pgbench'),
    ['-n', '-c', String(CLIENTS), '-T', '600', 'postgres'],
    envOf(server),
  );
  const from = Date.parse(await storedUpTo(dir));
  for (const at = Date.now(); Date.parse(await storedUpTo(dir)) < from + 2000; await delay(200)) {
    if (Date.now() - at > DEADLINE_MS) throw new Error('nothing was stored');
  }
  await delay(3000 * Math.random());
  const lossS = await lossByKilling(dir, server);
  await load[Symbol.asyncDispose]();
  await server.start();
  return lossS;
}

function envOf({ host, port, user, password }: Postgres): NodeJS.ProcessEnv {
  return { ...process.env, PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password };
}
