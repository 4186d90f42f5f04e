// PostgreSQL: Lifeboat beside what people do by hand, on the same server and data.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { query } from '../test/e2e/postgres.ts';
import { type Postgres, type PostgresMajor, startPostgres } from '../test/servers/postgres.ts';
import { type S3Server, startS3 } from '../test/servers/s3.ts';
import { type Lifeboat, lifeboatWith, resticStore } from './lifeboat.ts';
import {
  type Candidate,
  compared,
  type Figures,
  interleaved,
  type Limits,
  measure,
  type Row,
  type Stage,
} from './measure.ts';

export interface PostgresSizes {
  /** Of the plain dump, about. */
  readonly bytes: number;
  readonly rounds: number;
  readonly major: PostgresMajor;
}

/** Bytes of one row of each table in a dump, measured. */
const BYTES_PER_STEP = 1_640;
const THEIRS = {
  upload: 'pg_dump | gzip | aws s3 cp',
  custom: 'pg_dump -Fc',
  floor: 'pg_dump -Fc -Z0 > /dev/null',
  gzip: 'pg_dump | gzip',
  zstd: 'pg_dump -Fc -Z zstd',
  psql: 'gunzip | psql',
  jobs: 'pg_restore -j 2',
} as const;
const COMPARISONS: readonly { ours: string; theirs: string; limits: Limits }[] = [
  { ours: 'PostgreSQL to S3, inventory counts', theirs: THEIRS.upload, limits: { wall: 0.35 } },
  { ours: 'PostgreSQL to S3, inventory full', theirs: THEIRS.upload, limits: { wall: 0.55 } },
  { ours: 'PostgreSQL, local, inventory full', theirs: THEIRS.custom, limits: { wall: 0.6 } },
  { ours: 'PostgreSQL, local, inventory counts', theirs: THEIRS.custom, limits: { wall: 0.4 } },
  { ours: 'PostgreSQL, local, inventory counts', theirs: THEIRS.floor, limits: { wall: 1.5 } },
  // What nobody's plan does, but who knows PostgreSQL 16 and later could.
  { ours: 'PostgreSQL, local, inventory counts', theirs: THEIRS.zstd, limits: {} },
  { ours: 'PostgreSQL restore, with indexes, rows counted', theirs: THEIRS.psql, limits: { wall: 0.75 } },
  { ours: 'PostgreSQL restore, with indexes, rows counted', theirs: THEIRS.jobs, limits: {} },
  { ours: 'PostgreSQL restore, with indexes, rows digested', theirs: THEIRS.psql, limits: { wall: 0.75 } },
  { ours: 'PostgreSQL, plain layout, inventory counts', theirs: THEIRS.gzip, limits: { wall: 0.65 } },
];

export async function compareWithPgDump(
  dir: string,
  sizes: PostgresSizes,
  say: (line: string) => void,
): Promise<readonly Row[]> {
  await using postgres = await startPostgres(sizes.major, {
    conf: { shared_buffers: '512MB', maintenance_work_mem: '256MB' },
  });
  await using s3 = await startS3('versitygw');
  say(`filling PostgreSQL ${sizes.major}`);
  await fill(postgres, sizes.bytes);
  const stagesOf = (round: number): readonly Stage[] => {
    const place = join(dir, `${round}`);
    mkdirSync(place);
    return stagesIn(place, postgres, s3);
  };
  const taken = await interleaved(sizes.rounds, stagesOf, say);
  return COMPARISONS.map(({ ours, ...than }) => compared(taken, ours, { ours, ...than }));
}

/** Customers with JSON, orders with two indexes, texts: about what a shop has. */
export async function fill(postgres: Postgres, bytes: number): Promise<void> {
  const steps = Math.round(bytes / BYTES_PER_STEP);
  await query(postgres.url, 'CREATE DATABASE bench');
  const url = databaseUrl(postgres, 'bench');
  const third = Math.round(steps / 3);
  await query(
    url,
    `CREATE TABLE customers AS SELECT i::bigint AS id, 'customer' || i || '@example.com' AS email,
       jsonb_build_object('name', md5(i::text), 'city', (ARRAY['Lyon', 'Oslo', 'Porto'])[1 + i % 3], 'visits', i % 700,
         'tags', jsonb_build_array(md5((i % 1000)::text), 'newsletter')) AS profile,
       timestamptz '2024-01-01' + i * interval '1 minute' AS since
     FROM generate_series(1, ${steps}) AS i;
     CREATE TABLE orders AS SELECT i::bigint AS id, 1 + (i::bigint * 7919) % ${steps} AS customer, (i % 100000) / 100.0 AS total,
       (ARRAY['new', 'paid', 'sent'])[1 + i % 3] AS state, timestamptz '2025-01-01' + i * interval '7 seconds' AS placed
     FROM generate_series(1, ${steps * 4}) AS i;
     CREATE TABLE texts AS SELECT i AS id, (SELECT string_agg(md5((i * 50 + j % 17)::text) || ' the quick brown fox ', '')
       FROM generate_series(1, 60) AS j) AS body FROM generate_series(1, ${third}) AS i;
     ALTER TABLE customers ADD PRIMARY KEY (id);
     ALTER TABLE orders ADD PRIMARY KEY (id);
     CREATE INDEX ON orders (customer);
     CREATE INDEX ON orders (placed);
     ALTER TABLE texts ADD PRIMARY KEY (id);
     ANALYZE`,
  );
}

/** The backups, and then the restores of two of them. */
function stagesIn(place: string, postgres: Postgres, s3: S3Server): readonly Stage[] {
  const env = envFor(postgres, s3);
  const shell = (script: string): Promise<Figures> => measure('bash', ['-euo', 'pipefail', '-c', script], env);
  const theirs = (name: string, script: string): Candidate => ({ name, run: () => shell(script) });
  const opened = new Map<string, Lifeboat>();
  const ours = (kind: string, inventory: string, store: object): Candidate => ({
    name: `PostgreSQL${kind}, inventory ${inventory}`,
    async run() {
      const file = join(place, `${kind}-${inventory}.yaml`.replaceAll(' ', ''));
      const url = databaseUrl(postgres, 'bench');
      const component = { kind: 'postgresql', url, databases: ['bench'], inventory };
      const lifeboat = await lifeboatWith(file, { store, component, env });
      opened.set(`${kind}-${inventory}`, lifeboat);
      return await lifeboat(['backup']);
    },
  });
  const bucket = `s3://${s3.bucket}${place}`;
  const onS3 = (level: string): object => ({ ...resticStore(`${bucket}/${level}`), endpoint: s3.endpoint });
  return [
    {
      candidates: [
        ours(' to S3', 'counts', onS3('counts')),
        ours(' to S3', 'full', onS3('full')),
        theirs(THEIRS.upload, `pg_dump bench | gzip | aws s3 cp - '${bucket}/bench.sql.gz'`),
        ours(', local', 'full', resticStore(join(place, 'full'))),
        ours(', local', 'counts', resticStore(join(place, 'counts'))),
        theirs(THEIRS.custom, `pg_dump -Fc -f '${place}/bench.dump' bench`),
        theirs(THEIRS.zstd, `pg_dump -Fc -Z zstd -f '${place}/zstd.dump' bench`),
        theirs(THEIRS.floor, 'pg_dump -Fc -Z0 bench > /dev/null'),
        ours(', plain layout', 'counts', { format: 'plain', layout: 'dated', bucket: join(place, 'plain') }),
        theirs(THEIRS.gzip, `pg_dump bench | gzip > '${place}/bench.sql.gz'`),
      ],
    },
    { candidates: restoresIn(place, postgres, { shell, opened }) },
  ];
}

interface BackedUp {
  readonly shell: (script: string) => Promise<Figures>;
  readonly opened: ReadonlyMap<string, Lifeboat>;
}

/** Of what the backups in the same place have left. */
function restoresIn(place: string, postgres: Postgres, { shell, opened }: BackedUp): readonly Candidate[] {
  const back = databaseUrl(postgres, 'bench_back');
  const restored = (how: string, from: string, codes: readonly number[]): Candidate => ({
    name: `PostgreSQL restore, with indexes, ${how}`,
    async run() {
      await query(postgres.url, 'DROP DATABASE IF EXISTS bench_back');
      const lifeboat = opened.get(from);
      if (!lifeboat) throw new Error('there is no backup to restore');
      return await lifeboat(['restore', 'latest', '--yes', '--to', `data=${back}`], codes);
    },
  });
  const intoEmpty = (name: string, script: string): Candidate => ({
    name,
    async run() {
      await query(postgres.url, 'DROP DATABASE IF EXISTS bench_back');
      await query(postgres.url, 'CREATE DATABASE bench_back');
      return await shell(script);
    },
  });
  return [
    restored('rows counted', ', local-counts', [3]), // what was not digested is unknown, and never a success
    restored('rows digested', ', local-full', [0]),
    intoEmpty(THEIRS.psql, `gunzip -c '${place}/bench.sql.gz' | psql -q -X -v ON_ERROR_STOP=1 bench_back > /dev/null`),
    intoEmpty(THEIRS.jobs, `pg_restore -j 2 --exit-on-error -d bench_back '${place}/bench.dump'`),
  ];
}

function envFor(postgres: Postgres, s3: S3Server): NodeJS.ProcessEnv {
  return {
    ...process.env,
    PATH: `${postgres.bin}:${process.env.PATH}`,
    PGHOST: postgres.host,
    PGPORT: String(postgres.port),
    PGUSER: postgres.user,
    PGPASSWORD: postgres.password,
    AWS_ACCESS_KEY_ID: s3.accessKey,
    AWS_SECRET_ACCESS_KEY: s3.secretKey,
    AWS_REGION: s3.region,
    AWS_ENDPOINT_URL: s3.endpoint,
  };
}

function databaseUrl(postgres: Postgres, database: string): string {
  return postgres.url.replace(/postgres$/, database);
}
