// PostgreSQL's log, replayed by a server that was restored: fetched by wal-fetch, by cp and by pgBackRest, from the
// same base to the same record.

import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { query } from '../test/e2e/postgres.ts';
import { unprivilegedUser } from '../test/servers/install.ts';
import { type Postgres, startPostgres, startPostgresOn } from '../test/servers/postgres.ts';
import { DEADLINE_MS, following } from './follower.ts';
import { type Lifeboat, lifeboatWith, resticStore } from './lifeboat.ts';
import { busyS, type Candidate, compared, interleaved, type Measured, type Row } from './measure.ts';
import {
  archiveBy,
  archived,
  archivingConf,
  ownDirectory,
  PGBACKREST_MAJOR,
  pgBackRestFor,
  pgBackRestProgram,
} from './pgbackrest.ts';

export interface ReplaySizes {
  readonly segments: number;
  /** Of pgbench: 15 MB each. */
  readonly scale: number;
  readonly rounds: number;
}

const SEGMENT_BYTES = 16 * 1024 * 1024;
const MAJOR = PGBACKREST_MAJOR;
const CLIENTS = 4;
/** Of one run of pgbench, after which it is looked how much log there is. */
const TRANSACTIONS = 20_000;
const LOOK_MS = 50;
const REPLAY_MS_MAX = 1_800_000;
const SETTINGS = 'postgresql.auto.conf';
const THEIRS = { cp: 'cp', pgbackrest: 'pgbackrest archive-get, async' } as const;

export async function measureReplay(
  dir: string,
  sizes: ReplaySizes,
  say: (line: string) => void,
): Promise<readonly Row[]> {
  const ours = `replay of ${sizes.segments} segments, restic store`;
  const program = await pgBackRestProgram();
  const stored = await storedLog(dir, sizes, program, say);
  const theirs = program === null ? [THEIRS.cp] : [THEIRS.cp, THEIRS.pgbackrest];
  const limits = { [THEIRS.cp]: { wall: 1.2 }, [THEIRS.pgbackrest]: { wall: 1 } };
  const candidates = [ours, ...theirs].map((name) => candidate(dir, name, stored));
  const taken = await interleaved(sizes.rounds, () => [{ candidates }], say);
  return theirs.map((name) => compared(taken, ours, { ours, theirs: name, limits: limits[name] }));
}

interface Stored {
  readonly run: Lifeboat;
  /** What is there last: where all of them stop. */
  readonly target: string;
  /** What fetches the log, for a server on that directory. */
  readonly commands: ReadonlyMap<string, (data: string) => string>;
}

/** A base, and the log behind it: in our store, in a folder, and in pgBackRest's repository. */
async function storedLog(
  dir: string,
  { segments, scale }: ReplaySizes,
  program: string | null,
  say: (line: string) => void,
): Promise<Stored> {
  const conf = { max_wal_size: '1GB', shared_buffers: '256MB', full_page_writes: 'on', ...archivingConf(dir) };
  await using server = await startPostgres(MAJOR, { conf });
  const env = { ...process.env, PGPASSWORD: server.password };
  const where = ['-h', server.host, '-p', String(server.port), '-U', server.user, 'postgres'];
  const pgbench = (...args: string[]): void =>
    void execFileSync(join(server.bin, 'pgbench'), [...args, ...where], { env, stdio: 'ignore' });
  pgbench('-i', '-q', '-s', String(scale));
  const archive = ownDirectory(join(dir, 'archive'));
  const copy = `cp %p ${archive}/%f.part && mv ${archive}/%f.part ${archive}/%f`;
  const peer = program === null ? null : pgBackRestFor(server, dir, program, copy);
  if (peer) await peer.begin(join(dir, 'repository'));
  else await archiveBy(server, copy);
  const file = join(dir, 'lifeboat.yaml');
  const component = { kind: 'postgresql', url: server.url, capture: ['physical'], bin_dir: server.bin };
  const run = await lifeboatWith(file, { store: resticStore(join(dir, 'store')), component });
  {
    await using _ = await following(dir, file);
    say(`writing ${segments} segments`);
    const enough = (await endOf(server)) + segments * SEGMENT_BYTES;
    while ((await endOf(server)) < enough) {
      pgbench('-n', '-c', String(CLIENTS), '-t', String(Math.round(TRANSACTIONS / CLIENTS)));
    }
    await archived(server);
    await shipped(server);
  }
  const owner = unprivilegedUser(); // who recovers reads the store
  if (owner) execFileSync('chown', ['-R', `${owner.uid}:${owner.gid}`, join(dir, 'store'), file]);
  const commands = new Map<string, (data: string) => string>([[THEIRS.cp, () => `cp ${archive}/%f %p`]]);
  if (peer) commands.set(THEIRS.pgbackrest, peer.fetchCommand);
  const tried = join(ownDirectory(join(dir, 'data')), 'tried');
  await run(['restore', 'latest', '--until', 'latest', '--yes', '--to', `data=${tried}`]);
  const [, target = ''] = /^recovery_target_lsn = '(.+)'$/m.exec(readFileSync(join(tried, SETTINGS), 'utf8')) ?? [];
  rmSync(tried, { recursive: true });
  return { run, target, commands };
}

async function endOf(server: Postgres): Promise<number> {
  const [row] = await query(server.url, "SELECT (pg_current_wal_lsn() - '0/0')::float8 AS at");
  return Number(row?.at);
}

/** All that was written is in our store. */
async function shipped(server: Postgres): Promise<void> {
  const behind = 'SELECT bool_and(flush_lsn >= pg_current_wal_flush_lsn()) AS is FROM pg_stat_replication';
  for (const at = Date.now(); ; await delay(200)) {
    const [row] = await query(server.url, behind);
    if (row?.is === true) return;
    if (Date.now() - at > DEADLINE_MS) throw new Error('the log is not stored');
  }
}

/** A server is made anew from the base by Lifeboat each time, and set up for its own or another program. */
function candidate(dir: string, name: string, { run, target, commands }: Stored): Candidate {
  return {
    name,
    async run() {
      const data = join(dir, 'data', 'restored');
      const command = commands.get(name)?.(data);
      const until = command === undefined ? ['--until', 'latest'] : [];
      await run(['restore', 'latest', ...until, '--yes', '--to', `data=${data}`]);
      appendFileSync(join(data, SETTINGS), 'archive_mode = off\nfsync = on\n');
      if (command !== undefined) {
        const lines = { restore_command: command, recovery_target_lsn: target, recovery_target_action: 'promote' };
        const text = Object.entries(lines).map(([key, value]) => `${key} = '${value}'\n`);
        appendFileSync(join(data, SETTINGS), text.join(''));
        writeFileSync(join(data, 'recovery.signal'), '');
      }
      try {
        return await replayed(data);
      } finally {
        for (const each of [data, `${data}.spool`]) rmSync(each, { recursive: true, force: true });
      }
    },
  };
}

/** From the start of the server until it takes writes. CPU is that of the whole machine meanwhile. */
async function replayed(data: string): Promise<Measured> {
  execFileSync('sync');
  const [busy, begun] = [busyS(), performance.now()];
  await using server = await startPostgresOn(MAJOR, data);
  let peakMiB = 0;
  while (!server.output().includes('ready to accept connections')) {
    const isLate = performance.now() - begun > REPLAY_MS_MAX;
    if (isLate || !existsSync(`/proc/${server.pid}`)) throw new Error(`it has not recovered: ${server.output()}`);
    peakMiB = Math.max(peakMiB, peakOfFetching());
    await delay(LOOK_MS);
  }
  return { wallS: (performance.now() - begun) / 1000, cpuS: busyS() - busy, othersCpuS: 0, peakMiB };
}

/** The most memory that any of those had which fetch the log and are there now. */
function peakOfFetching(): number {
  const peaks = readdirSync('/proc').map((pid) => {
    try {
      if (!/wal-fetch|pgbackrest/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))) return 0;
      const [, kib = '0'] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
      return Number(kib) / 1024;
    } catch {
      return 0; // it is no process, or gone
    }
  });
  return Math.max(0, ...peaks);
}
