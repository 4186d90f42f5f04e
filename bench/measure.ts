// What a program costs, as Linux counts it.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { systemCode } from '../src/core/errors.ts';

export interface Figures {
  readonly wallS: number;
  readonly cpuS: number;
  readonly peakMiB: number;
}

/** What bin/lifeboat gives to Node. */
export const NODE_FLAGS = ['--max-semi-space-size=8'] as const;

const POLL_MS = 20;
const TICKS_PER_SECOND = 100;

/** Runs it to its end, which must be a success. Children of its own are not counted. */
export async function measure(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<Figures> {
  const begun = performance.now();
  const child = spawn(program, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  const tail: Buffer[] = [];
  child.stderr.on('data', (data: Buffer) => void tail.push(data));
  let seen = { cpuS: 0, peakMiB: 0 };
  const poll = setInterval(() => {
    seen = figuresOf(child.pid ?? 0) ?? seen;
  }, POLL_MS);
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  clearInterval(poll);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: exit ${code}\n${Buffer.concat(tail)}`);
  return { wallS: (performance.now() - begun) / 1000, ...seen };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle)] ?? Number.NaN)) / 2;
}

/** Null when the process is gone. */
function figuresOf(pid: number): { cpuS: number; peakMiB: number } | null {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
    const peak = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'));
    if (!peak) return null; // it has ended, and only waits to be asked how
    const ticks = Number(fields[11]) + Number(fields[12]);
    return { cpuS: ticks / TICKS_PER_SECOND, peakMiB: Number(peak[1]) / 1024 };
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes(systemCode(error))) return null;
    throw error;
  }
}
