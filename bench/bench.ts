// npm run bench: every comparison side by side, written to bench/README.md. With --quick small sizes and one round, to
// see that it works; such figures mean nothing and are only printed.

import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Figures } from './measure.ts';
import { compareWithPgDump } from './postgres.ts';
import { compareWithRedisCli } from './redis.ts';
import { compareWithRestic } from './restic-store.ts';

interface Row {
  readonly work: string;
  readonly peer: string;
  readonly wall: number;
  readonly cpu: number | null;
  readonly stored: number | null;
  readonly ours: Figures;
  readonly theirs: Figures;
}

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '3' },
    restic: { type: 'string', default: 'restic' },
    only: { type: 'string', default: 'restic,postgres,redis' },
  },
});
const rounds = values.quick ? 1 : Number(values.rounds);
const only = values.only.split(',');
const MIB = 2 ** 20;
const say = (line: string): void => void process.stderr.write(`${line}\n`);

const rows: Row[] = [];
if (only.includes('restic')) {
  const sizes = values.quick ? { bytes: 64 * MIB, files: 500 } : { bytes: 2048 * MIB, files: 20_000 };
  for (const each of await compareWithRestic({ ...sizes, rounds, restic: values.restic }, say)) {
    rows.push({ ...each, peer: 'restic', theirs: each.restic });
  }
}
if (only.includes('postgres')) {
  const bytes = (values.quick ? 32 : 1024) * MIB;
  for (const each of await compareWithPgDump({ bytes, rounds, major: 17, only: [] }, say)) {
    rows.push({ ...each, cpu: null, stored: null });
  }
}
if (only.includes('redis')) {
  const bytes = (values.quick ? 32 : 1024) * MIB;
  for (const each of await compareWithRedisCli(
    { bytes, rounds, server: 'redis-7', compress: true, redisCli: 'redis-cli' },
    say,
  )) {
    rows.push({ ...each, peer: 'redis-cli --rdb', cpu: null, stored: null, theirs: each.redisCli });
  }
}
const page = pageOf(rows);
if (!values.quick) writeFileSync(join(import.meta.dirname, 'README.md'), page);
process.stdout.write(page);

function pageOf(all: readonly Row[]): string {
  const ratio = (value: number | null): string => (value === null ? '' : value.toFixed(2));
  const table = all.map(({ work, peer, wall, cpu, stored, ours, theirs }) => {
    const figures = [
      ratio(wall),
      ratio(cpu),
      ratio(stored),
      `${ours.wallS.toFixed(1)} s`,
      `${theirs.wallS.toFixed(1)} s`,
    ];
    return `| ${work} | \`${peer.replaceAll('|', '\\|')}\` | ${figures.join(' | ')} | ${ours.peakMiB.toFixed(0)} MiB |`;
  });
  return `# Benchmarks

\`npm run bench\` measures Lifeboat beside what people would use instead: the same machine, data and disk, one after the
other in changing order, ${rounds === 1 ? 'once' : `the median of ${rounds} rounds`}. Ratios are ours by theirs, so less than 1 is faster or smaller; absolute times say
little on a shared machine. Peak memory is that of the Lifeboat process.

${machine()}

| work | peer | wall | CPU | stored | ours | theirs | our peak memory |
|---|---|---|---|---|---|---|---|
${table.join('\n')}
`;
}

function machine(): string {
  const versions = [
    ['restic', values.restic, 'version'],
    ['redis-cli', 'redis-cli', '--version'],
    ['gzip', 'gzip', '--version'],
  ].map(([name = '', program = '', word = '']) => `${name}: ${firstLine(program, word)}`);
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  const processor = `${availableParallelism()} × ${cpus()[0]?.model.trim() ?? 'unknown'}`;
  return `Machine: ${processor}, ${memory}, Node ${process.version}. ${versions.join('; ')}. PostgreSQL 17, Redis 7.`;
}

function firstLine(program: string, word: string): string {
  try {
    return execFileSync(program, [word], { encoding: 'utf8' }).split('\n')[0] ?? '';
  } catch {
    return 'not on this machine';
  }
}
