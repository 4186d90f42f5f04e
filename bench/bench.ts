// npm run bench: what is measured is `bin/lifeboat`, beside what people would use instead. Each group of rows is
// written to bench/README.md as soon as it is there. With --quick small sizes and one round, to see that it works:
// such figures mean nothing and are only printed.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { installed } from '../test/servers/install.ts';
import { toolCommand } from '../test/servers/kafka.ts';
import { compareWithElasticdump, elasticdumpIn } from './elasticsearch.ts';
import { compareWithConsole } from './kafka.ts';
import { compareWithLogcli } from './loki.ts';
import type { Row } from './measure.ts';
import { measureMemory } from './memory.ts';
import { measureObjects } from './objects.ts';
import { machineText, placeOf, sectionText, withSection } from './page.ts';
import { needPeers, type Peer } from './peers.ts';
import { pgBackRestPeer } from './pgbackrest.ts';
import { compareBaseBackups } from './physical.ts';
import { compareWithPgBackRest } from './physical-pgbackrest.ts';
import { compareWithPgDump } from './postgres.ts';
import { compareWithRedisCli } from './redis.ts';
import { measureRedisJournal } from './redis-journal.ts';
import { measureReplay } from './replay.ts';
import { compareWithRestic } from './restic.ts';
import { compareWithRclone } from './s3.ts';
import { measureStart } from './start.ts';
import { measureWal } from './wal.ts';

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    // Even: each of two goes first as often as the other.
    rounds: { type: 'string', default: '4' },
    restic: { type: 'string', default: 'restic' },
    // The one with many files comes last: after their removal ext4 makes files ten times as slowly for minutes.
    only: {
      type: 'string',
      default:
        'start,memory,redis,redis-journal,postgres,wal,replay,physical,kafka,elasticsearch,loki,s3,objects,restic',
    },
  },
});
const MIB = 2 ** 20;
/** Of peers that npm has. */
const PEER_DIR = join(tmpdir(), 'lifeboat-bench-peers');
const PAGE = join(import.meta.dirname, 'README.md');
const { quick, restic } = values;
const rounds = quick ? 1 : Number(values.rounds);
const head = ['rev-parse', '--short', 'HEAD'];
const commit = `Lifeboat ${execFileSync('git', head, { cwd: import.meta.dirname, encoding: 'utf8' }).trim()}`;
const begun = performance.now();
const say = (line: string): void =>
  void process.stderr.write(`${((performance.now() - begun) / 1000).toFixed(0).padStart(5)} s  ${line}\n`);

interface Group {
  readonly peers: () => Promise<readonly Peer[]>;
  run(dir: string): Promise<readonly Row[]>;
}
const GROUPS: Readonly<Record<string, Group>> = {
  start: {
    peers: async () => [],
    run: (dir) => measureStart(dir, { points: quick ? 50 : 1000, rounds: quick ? 1 : 9 }, say),
  },
  restic: {
    peers: async () => [{ name: 'restic', program: restic, args: ['version'] }],
    run: (dir) =>
      compareWithRestic(dir, { bytes: (quick ? 64 : 2048) * MIB, files: quick ? 500 : 20_000, rounds, restic }, say),
  },
  redis: {
    peers: async () => [
      { name: 'Redis', program: await installed('redis-7'), args: ['--version'] },
      { name: 'redis-cli', program: 'redis-cli', args: ['--version'] },
    ],
    run: (dir) => compareWithRedisCli(dir, { bytes: (quick ? 32 : 1280) * MIB, rounds, server: 'redis-7' }, say),
  },
  'redis-journal': {
    peers: async () => [
      { name: 'Redis', program: await installed('redis-7'), args: ['--version'] },
      { name: 'redis-benchmark', program: 'redis-benchmark', args: ['--version'] },
    ],
    run: (dir) => {
      const sizes = quick ? { requests: 200_000, kills: 2, idleS: 10 } : { requests: 5_000_000, kills: 20, idleS: 60 };
      return measureRedisJournal(dir, { ...sizes, rounds, server: 'redis-7' }, say);
    },
  },
  loki: {
    peers: async () => [
      { name: 'Loki', program: await installed('loki-3'), args: ['--version'] },
      { name: 'logcli', program: await installed('logcli'), args: ['--version'] },
    ],
    run: (dir) => compareWithLogcli(dir, { lines: quick ? 50_000 : 1_000_000, rounds }, say),
  },
  kafka: {
    peers: async () => {
      const lib = await installed('kafka-4');
      const [program = '', ...args] = toolCommand(lib, 'consumer', ['--version']);
      return [{ name: 'Kafka', program, args }];
    },
    run: (dir) => compareWithConsole(dir, { records: quick ? 100_000 : 1_000_000, rounds, server: 'kafka-4' }, say),
  },
  elasticsearch: {
    peers: async () => {
      const java = join(dirname(await installed('opensearch-3')), '../java/bin/java');
      return [
        { name: 'Java', program: java, args: ['--version'] },
        { name: 'elasticdump', program: elasticdumpIn(PEER_DIR), args: ['--version'] },
      ];
    },
    run: (dir) =>
      compareWithElasticdump(
        dir,
        { documents: quick ? 5_000 : 200_000, rounds, server: 'opensearch-3', elasticdump: elasticdumpIn(PEER_DIR) },
        say,
      ),
  },
  memory: {
    peers: async () => [],
    run: (dir) => measureMemory(dir, quick ? [64 * MIB, 256 * MIB] : [1024 * MIB, 10 * 1024 * MIB], say),
  },
  s3: {
    peers: async () => [{ name: 'rclone', program: 'rclone', args: ['version'] }],
    run: (dir) =>
      compareWithRclone(dir, { objects: quick ? 500 : 20_000, largeBytes: (quick ? 32 : 1024) * MIB, rounds }, say),
  },
  objects: {
    peers: async () => [],
    run: (dir) => measureObjects(dir, quick ? 5000 : 1_000_000, say),
  },
  wal: {
    peers: async () => [
      { name: 'pg_receivewal', program: join(await installed('postgres-17'), 'pg_receivewal'), args: ['--version'] },
      { name: 'pgbench', program: join(await installed('postgres-17'), 'pgbench'), args: ['--version'] },
    ],
    run: (dir) => {
      const sizes = quick
        ? { transactions: 4000, kills: 2, idleS: 10 }
        : { transactions: 40_000, kills: 20, idleS: 60 };
      return measureWal(dir, { ...sizes, rounds, major: 17 }, say);
    },
  },
  replay: {
    peers: async () => [
      { name: 'PostgreSQL', program: join(await installed('postgres-15'), 'postgres'), args: ['--version'] },
      { name: 'pgbench', program: join(await installed('postgres-15'), 'pgbench'), args: ['--version'] },
      await pgBackRestPeer(),
    ],
    run: (dir) => {
      const sizes = quick ? { segments: 20, scale: 20 } : { segments: 200, scale: 50 };
      return measureReplay(dir, { ...sizes, rounds }, say);
    },
  },
  postgres: {
    peers: async () => [
      { name: 'pg_dump', program: join(await installed('postgres-17'), 'pg_dump'), args: ['--version'] },
      { name: 'psql', program: join(await installed('postgres-17'), 'psql'), args: ['--version'] },
      { name: 'aws', program: 'aws', args: ['--version'] },
      { name: 'gzip', program: 'gzip', args: ['--version'] },
    ],
    run: (dir) => compareWithPgDump(dir, { bytes: (quick ? 32 : 1024) * MIB, rounds, major: 17 }, say),
  },
  physical: {
    peers: async () => [
      { name: 'pg_basebackup', program: join(await installed('postgres-17'), 'pg_basebackup'), args: ['--version'] },
      { name: 'zstd', program: 'zstd', args: ['--version'] },
      { name: 'tar', program: 'tar', args: ['--version'] },
      await pgBackRestPeer(),
    ],
    run: async (dir) => {
      const sizes = { bytes: (quick ? 32 : 6336) * MIB, rounds };
      const rows = await compareBaseBackups(dir, { ...sizes, major: 17 }, say);
      return [...rows, ...(await compareWithPgBackRest(dir, sizes, say))];
    },
  },
};

const chosen = values.only.split(',').map((name) => {
  const group = Object.hasOwn(GROUPS, name) ? GROUPS[name] : undefined;
  if (!group) throw new Error(`--only ${name}: one of ${Object.keys(GROUPS).join(', ')} is meant`);
  return { name, group };
});
// Nobody wants to hear after half an hour that a program is missing, or a place for what was measured.
for (const { name } of chosen) placeOf(readFileSync(PAGE, 'utf8'), name);
const versions = new Map<string, readonly string[]>();
for (const { name, group } of chosen) versions.set(name, await needPeers(await group.peers()));

for (const { name, group } of chosen) {
  const dir = mkdtempSync(join(tmpdir(), `lifeboat-bench-${name}-`));
  try {
    const rows = await group.run(dir);
    const section = sectionText(rows, machineText(rounds, [commit, ...(versions.get(name) ?? [])]));
    if (!quick) writeFileSync(PAGE, withSection(readFileSync(PAGE, 'utf8'), name, section));
    process.stdout.write(`\n${section}\n`);
  } catch (error) {
    // The other groups are worth having all the same.
    say(`${name}: ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
