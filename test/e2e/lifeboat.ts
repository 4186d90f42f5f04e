// Runs the command line as a user does: its own process, its own directory, nothing of this process' state.

import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** As bin/lifeboat starts Node. */
const FLAGS = ['--disable-warning=ExperimentalWarning', '--min-semi-space-size=8', '--max-semi-space-size=8'];
const MALLOC = { MALLOC_MMAP_THRESHOLD_: '1048576' };

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Standard output parsed; throws when it is no JSON. */
  json(): unknown;
}
export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** What it reads, up to its end; `null` for `onStart` to write. Nothing when left out. */
  readonly input?: string | null;
  /** Called when the process is there, to watch or to end it. */
  readonly onStart?: (child: ChildProcess) => void;
}

export async function lifeboat(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  // With what bin/lifeboat keeps compiled; without it each run would compile the whole program anew.
  const { PATH = '', HOME = '', TMPDIR = '/tmp', NODE_COMPILE_CACHE = '' } = process.env;
  const child = spawn(process.execPath, [...FLAGS, main, ...args], {
    cwd: options.cwd,
    env: { PATH, HOME, TMPDIR, NODE_COMPILE_CACHE, ...MALLOC, ...options.env },
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  });
  child.stdin?.on('error', () => undefined); // it has read enough
  if (typeof options.input === 'string') child.stdin?.end(options.input);
  options.onStart?.(child);
  let [stdout, stderr] = ['', ''];
  child.stdout?.setEncoding('utf8').on('data', (text: string) => void (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => void (stderr += text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { code, stdout, stderr, json: () => JSON.parse(stdout) as unknown };
}

/** The same, and the test fails with everything that was said when the exit code is another one. */
export async function expectExit(expected: number, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const ran = await lifeboat(args, options);
  if (ran.code !== expected) {
    throw new Error(
      `lifeboat ${args.join(' ')} exited with ${ran.code}, not ${expected}\n${ran.stdout}\n${ran.stderr}`,
    );
  }
  return ran;
}
