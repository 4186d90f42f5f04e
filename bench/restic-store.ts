// Our restic store beside stock restic: the same data, the same disk, one after the other in changing order.
// node bench/restic-store.ts [--bytes 2147483648] [--files 20000] [--rounds 3] [--restic restic]

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { writeChanged, writeSmallFiles, writeSqlText } from './data.ts';
import { type Figures, measure, median, NODE_FLAGS } from './measure.ts';

export interface Sizes {
  readonly bytes: number;
  readonly files: number;
  readonly rounds: number;
  /** The program to compare with. */
  readonly restic: string;
}
/** Ours by restic's: the median over the rounds of each figure. */
export interface Comparison {
  readonly work: string;
  readonly ours: Figures;
  readonly restic: Figures;
  readonly wall: number;
  readonly cpu: number;
  /** Bytes in both repositories after it. */
  readonly stored: number;
}

type Peer = 'ours' | 'restic';
interface Work {
  readonly name: string;
  /** Which repository it works on. */
  readonly on: 'stream' | 'files';
  readonly ours: readonly string[];
  readonly restic: readonly string[];
}
interface Measured {
  readonly figures: Readonly<Record<Peer, Figures>>;
  readonly stored: Readonly<Record<Peer, number>>;
}

const WORK = join(import.meta.dirname, 'restic-store-work.ts');
const ENV = { ...process.env, RESTIC_PASSWORD: 'bench', RESTIC_PROGRESS_FPS: '0.1' };
const [FIRST, SECOND, THIRD] = ['2026-11-21-000001', '2026-11-21-000002', '2026-11-21-000003'];

export async function compareWithRestic(sizes: Sizes, say: (line: string) => void): Promise<readonly Comparison[]> {
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-bench-'));
  try {
    const data = { first: join(dir, 'first.sql'), second: join(dir, 'second.sql'), files: join(dir, 'files') };
    writeSqlText(data.first, sizes.bytes, 'bench');
    writeChanged(data.first, data.second, sizes.bytes, { share: 0.01, regions: 50 });
    writeSmallFiles(data.files, sizes.files, 'bench');
    const works = worksOn(data, dir);
    const rounds: Measured[][] = [];
    for (let round = 1; round <= sizes.rounds; round++) {
      say(`round ${round} of ${sizes.rounds}`);
      rounds.push(await runRound(works, sizes.restic, dir, round));
    }
    return works.map((work, i) =>
      comparisonOf(
        work,
        rounds.map((round) => round[i]).filter((each) => !!each),
      ),
    );
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** `out` in an argument stands for a place that is empty before each. */
function worksOn(data: { first: string; second: string; files: string }, dir: string): readonly Work[] {
  const out = join(dir, 'out');
  const on = 'stream';
  const small = 'files';
  const restore = ['restore', 'latest', '--target', out];
  return [
    { name: 'first backup, one stream', on, ours: ['stream', FIRST, data.first], restic: ['backup', data.first] },
    { name: 'again, 1 % changed', on, ours: ['stream', SECOND, data.second], restic: ['backup', data.second] },
    { name: 'again, unchanged', on, ours: ['keep', THIRD, SECOND], restic: ['backup', data.second] },
    { name: 'restore', on, ours: ['read', THIRD, join(out, 'dump.sql')], restic: restore },
    { name: 'verify, all data read', on, ours: ['check'], restic: ['check', '--read-data'] },
    {
      name: 'first backup, small files',
      on: small,
      ours: ['files', FIRST, data.files],
      restic: ['backup', data.files],
    },
    {
      name: 'small files unchanged',
      on: small,
      ours: ['files', SECOND, data.files, FIRST],
      restic: ['backup', data.files],
    },
    { name: 'restore small files', on: small, ours: ['unpack', SECOND, out], restic: restore },
  ];
}

async function runRound(works: readonly Work[], restic: string, dir: string, round: number): Promise<Measured[]> {
  const peers: readonly Peer[] = round % 2 === 1 ? ['ours', 'restic'] : ['restic', 'ours'];
  const repo = (peer: Peer, on: string): string => join(dir, `${peer}-${on}`);
  for (const on of ['stream', 'files']) {
    for (const peer of peers) rmSync(repo(peer, on), { recursive: true, force: true });
    execFileSync(process.execPath, [WORK, 'create', repo('ours', on)], { env: ENV });
    execFileSync(restic, ['init', '-q', '-r', repo('restic', on)], { env: ENV });
  }
  const measured: Measured[] = [];
  for (const { on, ...work } of works) {
    const figures: Partial<Record<Peer, Figures>> = {};
    for (const peer of peers) {
      rmSync(join(dir, 'out'), { recursive: true, force: true });
      mkdirSync(join(dir, 'out'));
      const [verb = '', ...args] = work[peer];
      figures[peer] = await (peer === 'ours'
        ? measure(process.execPath, [...NODE_FLAGS, WORK, verb, repo(peer, on), ...args], ENV)
        : measure(restic, ['-q', '-r', repo(peer, on), verb, ...args], ENV));
    }
    const stored = { ours: bytesBelow(repo('ours', on)), restic: bytesBelow(repo('restic', on)) };
    measured.push({ figures: figures as Record<Peer, Figures>, stored });
  }
  return measured;
}

function comparisonOf({ name }: Work, rounds: readonly Measured[]): Comparison {
  const middle = (peer: Peer): Figures => ({
    wallS: median(rounds.map(({ figures }) => figures[peer].wallS)),
    cpuS: median(rounds.map(({ figures }) => figures[peer].cpuS)),
    peakMiB: median(rounds.map(({ figures }) => figures[peer].peakMiB)),
  });
  const ratio = (of: (each: Measured, peer: Peer) => number): number =>
    median(rounds.map((each) => of(each, 'ours') / of(each, 'restic')));
  return {
    work: name,
    ours: middle('ours'),
    restic: middle('restic'),
    wall: ratio(({ figures }, peer) => figures[peer].wallS),
    cpu: ratio(({ figures }, peer) => figures[peer].cpuS),
    stored: ratio(({ stored }, peer) => stored[peer]),
  };
}

function bytesBelow(dir: string): number {
  const names = readdirSync(dir, { recursive: true, encoding: 'utf8' });
  return names.reduce((sum, name) => {
    const stat = statSync(join(dir, name));
    return sum + (stat.isFile() ? stat.size : 0);
  }, 0);
}

function tableOf(comparisons: readonly Comparison[]): string {
  const lines = comparisons.map(({ work, ours, restic, ...by }) => {
    const seconds = ({ wallS, cpuS, peakMiB }: Figures): string =>
      `${wallS.toFixed(1)} s, ${cpuS.toFixed(1)} s, ${peakMiB.toFixed(0)} MiB`;
    const ratios = [by.wall, by.cpu, by.stored].map((ratio) => ratio.toFixed(2)).join(' | ');
    return `| ${work} | ${ratios} | ${seconds(ours)} | ${seconds(restic)} |`;
  });
  const head = '| work | wall | CPU | stored | ours: wall, CPU, peak | restic |';
  return [head, '| --- | --- | --- | --- | --- | --- |', ...lines].join('\n');
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      bytes: { type: 'string', default: '2147483648' },
      files: { type: 'string', default: '20000' },
      rounds: { type: 'string', default: '3' },
      restic: { type: 'string', default: 'restic' },
    },
  });
  const { restic } = values;
  const sizes = { restic, bytes: Number(values.bytes), files: Number(values.files), rounds: Number(values.rounds) };
  console.error(execFileSync(restic, ['version'], { encoding: 'utf8' }).trim());
  console.log(tableOf(await compareWithRestic(sizes, console.error)));
}
