// Base backups of PostgreSQL: Lifeboat beside pgBackRest, on the same server and data.

import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { startPostgres } from '../test/servers/postgres.ts';
import { type Lifeboat, lifeboatWith, resticStore } from './lifeboat.ts';
import { type Candidate, compared, type Figures, interleaved, type Limits, type Row, type Stage } from './measure.ts';
import {
  archived,
  archivingConf,
  ownDirectory,
  PGBACKREST_MAJOR,
  type PgBackRest,
  pgBackRestFor,
  pgBackRestProgram,
} from './pgbackrest.ts';
import { change, growing, type PhysicalSizes } from './physical.ts';
import { fill } from './postgres.ts';

const OURS = {
  full: `PostgreSQL ${PGBACKREST_MAJOR}: base backup, local restic store`,
  again: `PostgreSQL ${PGBACKREST_MAJOR}: again, 1 % of all rows updated all over the tables`,
  restore: `PostgreSQL ${PGBACKREST_MAJOR}: base backup restored, compared, pg_verifybackup`,
} as const;
const THEIRS = {
  full: 'pgbackrest backup --type=full',
  again: 'pgbackrest backup --type=incr',
  restore: 'pgbackrest restore',
} as const;
const COMPARISONS: readonly { ours: string; theirs: string; limits: Limits }[] = [
  { ours: OURS.full, theirs: THEIRS.full, limits: { wall: 0.9 } },
  { ours: OURS.again, theirs: THEIRS.again, limits: { wall: 1 } },
  { ours: OURS.restore, theirs: THEIRS.restore, limits: { wall: 1 } },
];

/** No rows where it can't be had. */
export async function compareWithPgBackRest(
  dir: string,
  { bytes, rounds }: Omit<PhysicalSizes, 'major'>,
  say: (line: string) => void,
): Promise<readonly Row[]> {
  const program = await pgBackRestProgram();
  if (program === null) return [];
  await using postgres = await startPostgres(PGBACKREST_MAJOR, {
    conf: { autovacuum: 'off', shared_buffers: '512MB', max_wal_size: '4GB', ...archivingConf(dir) },
  });
  say(`filling PostgreSQL ${PGBACKREST_MAJOR}`);
  await fill(postgres, bytes);
  const peer = pgBackRestFor(postgres, dir, program);
  const stagesOf = async (round: number): Promise<readonly Stage[]> => {
    rmSync(join(dir, `pgbackrest-${round - 1}`), { recursive: true, force: true });
    const place = join(dir, `pgbackrest-${round}`);
    mkdirSync(place);
    chmodSync(place, 0o711);
    const repository = join(place, 'repository');
    await peer.begin(repository);
    const env = { ...process.env, PATH: `${postgres.bin}:${process.env.PATH}` };
    const component = { kind: 'postgresql', url: postgres.url, capture: ['physical'], bin_dir: postgres.bin };
    const store = join(place, 'store');
    const run = await lifeboatWith(join(place, 'lifeboat.yaml'), { store: resticStore(store), component, env });
    return stagesIn({ place, repository, store, run, peer }, async (isChanged) => {
      if (isChanged) await change(postgres, round);
      await archived(postgres);
    });
  };
  const taken = await interleaved(rounds, stagesOf, say);
  return COMPARISONS.map(({ ours, ...than }) => compared(taken, ours, { ours, ...than }));
}

interface Place {
  readonly place: string;
  readonly repository: string;
  readonly store: string;
  readonly run: Lifeboat;
  readonly peer: PgBackRest;
}

function stagesIn(
  { place, repository, store, run, peer }: Place,
  settled: (isChanged: boolean) => Promise<void>,
): readonly Stage[] {
  const into = (name: string, at: string, work: () => Promise<Figures>): Candidate => ({
    name,
    run: () => growing(at, work),
  });
  const ours = (name: string): Candidate => into(name, store, () => run(['backup']));
  const theirs = (name: string, type: string): Candidate =>
    into(name, repository, () => peer.run('backup', `--type=${type}`));
  return [
    { before: () => settled(false), candidates: [ours(OURS.full), theirs(THEIRS.full, 'full')] },
    { before: () => settled(true), candidates: [ours(OURS.again), theirs(THEIRS.again, 'incr')] },
    {
      candidates: [
        {
          name: OURS.restore,
          run: () => run(['restore', 'latest', '--yes', '--to', `data=${join(place, 'restored')}`]),
        },
        {
          name: THEIRS.restore,
          run: () => peer.run('restore', `--pg1-path=${ownDirectory(join(place, 'theirs'))}`),
        },
      ],
    },
  ];
}
