// Backups and restores of a PostgreSQL beside what people do by hand: the same server and data, in changing order.
// node bench/postgres.ts [--bytes 1073741824] [--rounds 3] [--major 17] [--only local,plain,restore,s3]

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { query } from '../test/e2e/postgres.ts';
import { type Postgres, type PostgresMajor, postgresMajors, startPostgres } from '../test/servers/postgres.ts';
import { type S3Server, startS3 } from '../test/servers/s3.ts';
import { type Figures, measure, median, NODE_FLAGS } from './measure.ts';

export interface PostgresSizes {
  /** Of the plain dump, about. */
  readonly bytes: number;
  readonly rounds: number;
  readonly major: PostgresMajor;
  readonly only: readonly string[];
}
export interface PostgresComparison {
  readonly work: string;
  readonly peer: string;
  readonly ours: Figures;
  readonly theirs: Figures;
  readonly wall: number;
}

/** Runs once, with an empty place to write to; what it takes to prepare is not measured. */
interface Work {
  readonly group: string;
  readonly name: string;
  readonly peer: string;
  ours(place: string): Promise<Figures>;
  theirs(place: string): Promise<Figures>;
}

const MAIN = join(import.meta.dirname, '../src/cli/main.ts');
/** Bytes of one row of each table in a dump, measured. */
const BYTES_PER_STEP = 1_640;

export async function compareWithPgDump(
  sizes: PostgresSizes,
  say: (line: string) => void,
): Promise<readonly PostgresComparison[]> {
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-bench-'));
  try {
    await using postgres = await startPostgres(sizes.major, {
      conf: { shared_buffers: '512MB', maintenance_work_mem: '256MB' },
    });
    await using s3 = await startS3('versitygw');
    say(`filling PostgreSQL ${sizes.major}`);
    await fill(postgres, Math.round(sizes.bytes / BYTES_PER_STEP));
    const works = worksOn(postgres, s3).filter(({ group }) => sizes.only.length === 0 || sizes.only.includes(group));
    const results: PostgresComparison[] = [];
    for (const work of works) {
      const taken: { ours: Figures; theirs: Figures }[] = [];
      for (let round = 1; round <= sizes.rounds; round++) {
        say(`${work.name}, round ${round} of ${sizes.rounds}`);
        const place = join(dir, `${results.length}-${round}`);
        const first = round % 2 === 1 ? await work.ours(`${place}-ours`) : undefined;
        const theirs = await work.theirs(`${place}-theirs`);
        taken.push({ ours: first ?? (await work.ours(`${place}-ours`)), theirs });
        rmSync(`${place}-ours`, { recursive: true, force: true });
        rmSync(`${place}-theirs`, { recursive: true, force: true });
      }
      results.push(comparisonOf(work, taken));
    }
    return results;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Customers with JSON, orders with two indexes, texts: about what a shop has. */
async function fill(postgres: Postgres, steps: number): Promise<void> {
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

function worksOn(postgres: Postgres, s3: S3Server): readonly Work[] {
  const env = {
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
  const shell = (script: string): Promise<Figures> => measure('bash', ['-euo', 'pipefail', '-c', script], env);
  const backup = async (place: string, inventory: string, store: string): Promise<Figures> => {
    const config = configOf(place, postgres, inventory, store);
    await measure(process.execPath, [...NODE_FLAGS, MAIN, '--config', config, 'init'], env);
    return await measure(process.execPath, [...NODE_FLAGS, MAIN, '--config', config, 'backup'], env);
  };
  const restic = (place: string): string => `format: restic, bucket: ${place}-store, password: bench`;
  const onS3 = (place: string): string =>
    `format: restic, bucket: s3://${s3.bucket}${place}, endpoint: "${s3.endpoint}", password: bench`;
  const plain = (place: string): string => `format: plain, layout: dated, bucket: ${place}-store`;
  const cleared = async (place: string, work: Promise<Figures>): Promise<Figures> => {
    const figures = await work;
    rmSync(`${place}-store`, { recursive: true, force: true });
    rmSync(`${place}.yaml`, { force: true });
    return figures;
  };
  const levels = ['full', 'counts'] as const;
  const upload = 'pg_dump bench | gzip | aws s3 cp - s3://';
  return [
    ...levels.map((level) => ({
      group: 'local',
      name: `local, inventory ${level}`,
      peer: 'pg_dump -Fc',
      ours: (place: string) => cleared(place, backup(place, level, restic(place))),
      theirs: (place: string) => shell(`pg_dump -Fc -f '${place}' bench`),
    })),
    {
      group: 'local',
      name: 'local, inventory counts',
      peer: 'pg_dump -Fc -Z0 to nowhere',
      ours: (place) => cleared(place, backup(place, 'counts', restic(place))),
      theirs: () => shell('pg_dump -Fc -Z0 bench > /dev/null'),
    },
    {
      group: 'plain',
      name: 'plain layout, inventory counts',
      peer: 'pg_dump | gzip',
      ours: (place) => cleared(place, backup(place, 'counts', plain(place))),
      theirs: (place) => shell(`pg_dump bench | gzip > '${place}'`),
    },
    {
      group: 'restore',
      name: 'restore, with indexes, compared',
      peer: 'gunzip | psql',
      ours: (place) => cleared(place, restoreOurs(place, postgres, env, restic(place))),
      theirs: (place) => restoreTheirs(place, postgres, shell),
    },
    ...levels.map((level) => ({
      group: 's3',
      name: `to S3, inventory ${level}`,
      peer: 'pg_dump | gzip | aws s3 cp',
      ours: (place: string) => backup(place, level, onS3(place)),
      theirs: (place: string) => shell(`${upload}${s3.bucket}${place}.sql.gz`),
    })),
  ];
}

async function restoreOurs(place: string, postgres: Postgres, env: NodeJS.ProcessEnv, store: string): Promise<Figures> {
  const config = configOf(place, postgres, 'full', store);
  for (const word of ['init', 'backup'])
    await measure(process.execPath, [...NODE_FLAGS, MAIN, '--config', config, word], env);
  const to = `main-db=${databaseUrl(postgres, 'bench_back')}`;
  await query(postgres.url, 'DROP DATABASE IF EXISTS bench_back');
  return await measure(
    process.execPath,
    [...NODE_FLAGS, MAIN, '--config', config, 'restore', 'latest', '--yes', '--to', to],
    env,
  );
}

async function restoreTheirs(
  place: string,
  postgres: Postgres,
  shell: (script: string) => Promise<Figures>,
): Promise<Figures> {
  await shell(`pg_dump bench | gzip > '${place}'`);
  await query(postgres.url, 'DROP DATABASE IF EXISTS bench_back');
  await query(postgres.url, 'CREATE DATABASE bench_back');
  return await shell(`gunzip -c '${place}' | psql -q -X -v ON_ERROR_STOP=1 bench_back > /dev/null`);
}

function configOf(place: string, postgres: Postgres, inventory: string, store: string): string {
  const file = `${place}.yaml`;
  const component = `kind: postgresql, url: "${databaseUrl(postgres, 'bench')}", databases: [bench], inventory: ${inventory}`;
  writeFileSync(file, `stack: bench\nstores: { main: { ${store} } }\ncomponents: { main-db: { ${component} } }\n`);
  return file;
}

function databaseUrl(postgres: Postgres, database: string): string {
  return postgres.url.replace(/postgres$/, database);
}

function comparisonOf({ name, peer }: Work, taken: readonly { ours: Figures; theirs: Figures }[]): PostgresComparison {
  const middle = (of: 'ours' | 'theirs'): Figures => ({
    wallS: median(taken.map((each) => each[of].wallS)),
    cpuS: median(taken.map((each) => each[of].cpuS)),
    peakMiB: median(taken.map((each) => each[of].peakMiB)),
  });
  const wall = median(taken.map(({ ours, theirs }) => ours.wallS / theirs.wallS));
  return { work: name, peer, ours: middle('ours'), theirs: middle('theirs'), wall };
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      bytes: { type: 'string', default: '1073741824' },
      rounds: { type: 'string', default: '3' },
      major: { type: 'string', default: '17' },
      only: { type: 'string', default: '' },
    },
  });
  const major = postgresMajors.find((each) => String(each) === values.major);
  if (!major) throw new Error(`--major: one of ${postgresMajors.join(', ')}`);
  const only = values.only.split(',').filter((each) => each !== '');
  const sizes = { bytes: Number(values.bytes), rounds: Number(values.rounds), major, only };
  console.log('| work | peer | wall | ours: wall, peak | theirs: wall |');
  console.log('| --- | --- | --- | --- | --- |');
  for (const { work, peer, wall, ours, theirs } of await compareWithPgDump(sizes, console.error)) {
    const us = `${ours.wallS.toFixed(1)} s, ${ours.peakMiB.toFixed(0)} MiB`;
    console.log(`| ${work} | ${peer} | ${wall.toFixed(2)} | ${us} | ${theirs.wallS.toFixed(1)} s |`);
  }
}
