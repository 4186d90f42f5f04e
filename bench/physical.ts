// Base backups of PostgreSQL: Lifeboat beside the server's own programs, on the same server and data.

import { chmodSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { query } from '../test/e2e/postgres.ts';
import { type Postgres, type PostgresMajor, startPostgres } from '../test/servers/postgres.ts';
import { bytesBelow, type Lifeboat, lifeboatWith, resticStore } from './lifeboat.ts';
import {
  type Candidate,
  compared,
  interleaved,
  type Limits,
  type Measured,
  measure,
  type Row,
  type Stage,
} from './measure.ts';
import { fill } from './postgres.ts';

export interface PhysicalSizes {
  /** Of the plain dump, about: files of a data directory have two thirds of it. */
  readonly bytes: number;
  readonly rounds: number;
  readonly major: PostgresMajor;
}

const OURS = {
  full: 'base backup, local restic store',
  again: 'again, 1 % of all rows updated all over the tables',
  grown: 'again, 1 % of rows added',
  restore: 'base backup restored, compared, pg_verifybackup',
} as const;
const THEIRS = {
  full: 'pg_basebackup -Ft --compress=client-zstd:3',
  again: 'pg_basebackup --incremental',
  grown: 'pg_basebackup --incremental, rows added',
  restore: 'zstd -d | tar x',
  verified: 'zstd -d | tar x, pg_verifybackup',
} as const;
const COMPARISONS: readonly { ours: string; theirs: string; limits: Limits }[] = [
  { ours: OURS.full, theirs: THEIRS.full, limits: { wall: 0.9 } },
  { ours: OURS.again, theirs: THEIRS.again, limits: { wall: 1 } },
  { ours: OURS.grown, theirs: THEIRS.grown, limits: { wall: 1 } },
  { ours: OURS.restore, theirs: THEIRS.restore, limits: {} },
  { ours: OURS.restore, theirs: THEIRS.verified, limits: { wall: 1 } },
];

export async function compareBaseBackups(
  dir: string,
  sizes: PhysicalSizes,
  say: (line: string) => void,
): Promise<readonly Row[]> {
  await using postgres = await startPostgres(sizes.major, {
    conf: { summarize_wal: 'on', autovacuum: 'off', shared_buffers: '512MB', max_wal_size: '4GB' },
  });
  say(`filling PostgreSQL ${sizes.major}`);
  await fill(postgres, sizes.bytes);
  const stagesOf = (round: number): readonly Stage[] => {
    rmSync(join(dir, `${round - 1}`), { recursive: true, force: true }); // one takes four times the data
    const place = join(dir, `${round}`);
    mkdirSync(place);
    return stagesIn(place, postgres, round);
  };
  const taken = await interleaved(sizes.rounds, stagesOf, say);
  return COMPARISONS.map(({ ours, ...than }) => compared(taken, ours, { ours, ...than }));
}

function stagesIn(place: string, postgres: Postgres, round: number): readonly Stage[] {
  const store = join(place, 'store');
  const env = {
    ...process.env,
    PATH: `${postgres.bin}:${process.env.PATH}`,
    PGHOST: postgres.host,
    PGPORT: String(postgres.port),
    PGUSER: postgres.user,
    PGPASSWORD: postgres.password,
  };
  let opened: Lifeboat | undefined;
  const lifeboat = async (): Promise<Lifeboat> => {
    const component = { kind: 'postgresql', url: postgres.url, capture: ['physical'], bin_dir: postgres.bin };
    opened ??= await lifeboatWith(join(place, 'lifeboat.yaml'), { store: resticStore(store), component, env });
    return opened;
  };
  const backup = (name: string): Candidate => ({
    name,
    run: async () => {
      const run = await lifeboat();
      return await growing(store, () => run(['backup']));
    },
  });
  const basebackup = (name: string, into: string, ...args: string[]): Candidate => ({
    name,
    run: () => {
      const at = join(place, into);
      return growing(at, () => measure('pg_basebackup', ['-D', at, '-c', 'fast', ...args], env));
    },
  });
  const shell = (name: string, script: string): Candidate => ({
    name,
    run: () => measure('bash', ['-euo', 'pipefail', '-c', script], env),
  });
  const unpacked = (to: string): string =>
    `mkdir -p '${to}/pg_wal'; zstd -qdc '${place}/full/base.tar.zst' | tar xf - -C '${to}'; ` +
    `tar xf '${place}/full/pg_wal.tar' -C '${to}/pg_wal'; sync '${to}'`;
  const since = (of: string): string[] => [`--incremental=${join(place, of, 'backup_manifest')}`];
  return [
    { candidates: [backup(OURS.full), basebackup(THEIRS.full, 'full', '-Ft', '--compress=client-zstd:3')] },
    {
      before: () => change(postgres, round),
      candidates: [backup(OURS.again), basebackup(THEIRS.again, 'again', ...since('full'))],
    },
    {
      before: () => grow(postgres),
      candidates: [backup(OURS.grown), basebackup(THEIRS.grown, 'grown', ...since('again'))],
    },
    {
      before: () => chmodSync(place, 0o711),
      candidates: [
        {
          name: OURS.restore,
          run: async () => {
            const run = await lifeboat();
            return await run(['restore', 'latest', '--yes', '--to', `data=${join(place, 'restored')}`]);
          },
        },
        shell(THEIRS.restore, unpacked(join(place, 'unpacked'))),
        shell(
          THEIRS.verified,
          `${unpacked(join(place, 'verified'))}; cp '${place}/full/backup_manifest' '${place}/verified'; ` +
            `pg_verifybackup -q '${place}/verified'`,
        ),
      ],
    },
  ];
}

/** With what the work has added to a folder. */
export async function growing(at: string, work: () => Promise<Measured>): Promise<Measured> {
  const before = existsSync(at) ? bytesBelow(at) : 0;
  const figures = await work();
  return { ...figures, storedBytes: bytesBelow(at) - before };
}

/** Pages of all tables and their indexes. */
export async function change(postgres: Postgres, round: number): Promise<void> {
  const url = postgres.url.replace(/postgres$/, 'bench');
  for (const table of ['customers', 'orders', 'texts']) {
    await query(url, `UPDATE ${table} SET id = id WHERE id % 100 = ${round}`);
  }
  await query(url, 'CHECKPOINT');
}

async function grow(postgres: Postgres): Promise<void> {
  const url = postgres.url.replace(/postgres$/, 'bench');
  await query(
    url,
    'INSERT INTO orders SELECT id + (SELECT max(id) FROM orders), customer, total, state, placed FROM orders WHERE id % 100 = 50',
  );
  await query(url, 'CHECKPOINT');
}
