// What a program costs with all the programs that it starts, and how two of them compare.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Figures {
  readonly wallS: number;
  /** Its own and that of the programs it waited for; servers are not among them. */
  readonly cpuS: number;
  /** Of the largest of those processes. */
  readonly peakMiB: number;
  /** CPU that all others had meanwhile: servers, whatever else ran, and the neighbours of a virtual machine. */
  readonly othersCpuS: number;
}

/** GNU time, which tells what the kernel counted until the very end. */
export const TIME = '/usr/bin/time';
/** In which the kernel tells times, on any Linux. */
const TICKS_PER_S = 100;
/** To fork, the kernel copies the page tables of who starts the program: gigabytes take half a second. */
const OWN_BYTES_MAX = 512 * 1024 * 1024;

/** Runs it to its end, which must be one of `codes`. */
export async function measure(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  codes: readonly number[] = [0],
): Promise<Figures> {
  assert(process.memoryUsage.rss() < OWN_BYTES_MAX, 'a large process starts programs late');
  const dir = mkdtempSync(join(tmpdir(), 'lifeboat-measure-'));
  try {
    execFileSync('sync'); // what the one before has left to write is not ours to wait for
    const counted = join(dir, 'counted');
    const options = ['--quiet', '--format', '%U %S %M', '--output', counted];
    const busyBefore = busyS();
    const begun = performance.now();
    const child = spawn(TIME, [...options, program, ...args], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    const said: Buffer[] = [];
    child.stderr.on('data', (data: Buffer) => void said.push(data));
    const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
    const wallS = (performance.now() - begun) / 1000;
    const busy = busyS() - busyBefore;
    if (code === null || !codes.includes(code))
      throw new Error(`${program} ${args.join(' ')}: exit ${code}\n${Buffer.concat(said)}`);
    const [user = 0, system = 0, peakKiB = 0] = readFileSync(counted, 'utf8').trim().split(' ').map(Number);
    const cpuS = user + system;
    return { wallS, cpuS, peakMiB: peakKiB / 1024, othersCpuS: Math.max(0, busy - cpuS) };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** What all processors did since the start of the machine, in seconds. */
export function busyS(): number {
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n');
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line.split(/ +/).slice(1).map(Number);
  return (user + nice + system + irq + softirq + steal) / TICKS_PER_S;
}

export interface Measured extends Figures {
  /** Bytes that the work has left where it stores. */
  readonly storedBytes?: number;
}
export interface Candidate {
  readonly name: string;
  run(): Promise<Measured>;
}
/** Candidates that do the same in turn: forwards in odd rounds, backwards in even ones. */
export interface Stage {
  /** Makes ready for all of them; not measured. */
  readonly before?: () => void | Promise<void>;
  readonly candidates: readonly Candidate[];
}
/** What each candidate cost, round by round. */
export type Taken = ReadonlyMap<string, readonly Measured[]>;

export async function interleaved(
  rounds: number,
  stagesOf: (round: number) => readonly Stage[] | Promise<readonly Stage[]>,
  say: (line: string) => void,
): Promise<Taken> {
  const taken = new Map<string, Measured[]>();
  for (let round = 1; round <= rounds; round++) {
    for (const { before, candidates } of await stagesOf(round)) {
      await before?.();
      for (const { name, run } of round % 2 === 1 ? candidates : candidates.toReversed()) {
        const measured = await run();
        taken.set(name, [...(taken.get(name) ?? []), measured]);
        const { wallS, cpuS, othersCpuS, peakMiB } = measured;
        const figures = `${wallS.toFixed(2)} s, CPU ${cpuS.toFixed(2)} s and of others ${othersCpuS.toFixed(2)} s`;
        say(`round ${round} of ${rounds}: ${name}: ${figures}, ${peakMiB.toFixed(0)} MiB`);
      }
    }
  }
  return taken;
}

/** What must be reached: the most that each figure may be. Ratios are ours by theirs. */
export interface Limits {
  readonly wall?: number;
  readonly cpu?: number;
  readonly stored?: number;
  readonly wallS?: number;
}
export interface Row {
  readonly work: string;
  readonly peer: string | null;
  readonly ours: Figures;
  readonly theirs: Figures | null;
  readonly ratios: { readonly wall?: number; readonly cpu?: number; readonly stored?: number | undefined };
  readonly limits: Limits;
}

/** The row of two candidates. Ratios are those within a round, of which the median is taken. */
export function compared(
  taken: Taken,
  work: string,
  { ours, theirs, peer = theirs, limits }: { ours: string; theirs: string; peer?: string; limits: Limits },
): Row {
  const [us, them] = [roundsOf(taken, ours), roundsOf(taken, theirs)];
  const ratio = (of: (each: Measured) => number | undefined): number =>
    median(us.map((each, round) => (of(each) ?? Number.NaN) / (of(them[round] ?? each) ?? Number.NaN)));
  const stored = us[0]?.storedBytes === undefined ? undefined : ratio(({ storedBytes }) => storedBytes);
  const ratios = { wall: ratio(({ wallS }) => wallS), cpu: ratio(({ cpuS }) => cpuS), stored };
  return { work, peer, ours: middle(us), theirs: middle(them), ratios, limits };
}

/** The row of something that is measured against a fixed figure. */
export function alone(taken: Taken, work: string, name: string, limits: Limits): Row {
  return { work, peer: null, ours: middle(roundsOf(taken, name)), theirs: null, ratios: {}, limits };
}

function roundsOf(taken: Taken, name: string): readonly Measured[] {
  const rounds = taken.get(name);
  if (!rounds) throw new Error(`${name} was never measured`);
  return rounds;
}

/** The median of each, and of the memory the most that was ever seen. */
function middle(rounds: readonly Figures[]): Figures {
  return {
    wallS: median(rounds.map(({ wallS }) => wallS)),
    cpuS: median(rounds.map(({ cpuS }) => cpuS)),
    othersCpuS: median(rounds.map(({ othersCpuS }) => othersCpuS)),
    peakMiB: Math.max(...rounds.map(({ peakMiB }) => peakMiB)),
  };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(half)] ?? Number.NaN) + (sorted[Math.ceil(half)] ?? Number.NaN)) / 2;
}
