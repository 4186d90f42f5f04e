// What the demonstrations share: commands run as a user would, what they say shown, and how long each took.

import { execFile, spawn } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
export const lifeboat = join(root, 'bin/lifeboat');

export interface Stage {
  /** Where commands are run, and what stays of the demonstration. */
  readonly out: string;
  /** Of the commands, besides our own environment. */
  env: Readonly<Record<string, string>>;
  /** Also one that ends with findings (exit code 3) where that is expected. */
  run(args: readonly string[], what: string, expected?: 0 | 3): Promise<Ran>;
  /** What a command says as JSON, without showing it; {} as long as it has none. */
  asked(args: readonly string[]): Promise<object>;
  timed<T>(what: string, work: () => Promise<T>): Promise<T>;
  note(what: string, took: string): void;
  sum(): void;
}
export interface Ran {
  /** '12.3 MiB'; empty when the command says nothing of it. */
  readonly stored: string;
}

export function stageIn(name: string): Stage {
  const out = join(root, name);
  const rows: [string, string][] = [];
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const stage: Stage = {
    out,
    env: {},
    async run(args, what, expected = 0) {
      process.stdout.write(`\n$ lifeboat ${args.map((word) => (/[ *]/.test(word) ? `'${word}'` : word)).join(' ')}\n`);
      const text = await stage.timed(what, () => shown(args, out, stage.env, expected));
      return { stored: /([\d.]+ \w+) stored/.exec(text)?.[1] ?? '' };
    },
    async asked(args) {
      const env = { ...process.env, ...stage.env };
      const { stdout } = await promisify(execFile)(lifeboat, args, { cwd: out, env }).catch((error: Said) => error);
      return JSON.parse(stdout || '{}') as object;
    },
    async timed(what, work) {
      const started = performance.now();
      const result = await work();
      rows.push([what, seconds(performance.now() - started)]);
      return result;
    },
    note: (what, took) => void rows.push([what, took]),
    sum() {
      const width = Math.max(...rows.map(([what]) => what.length));
      say(rows.map(([what, took]) => `${what.padEnd(width)}  ${took.padStart(10)}`).join('\n'));
    },
  };
  return stage;
}

interface Said {
  readonly stdout: string;
}

async function shown(
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>>,
  expected: number,
): Promise<string> {
  let text = '';
  const child = spawn(lifeboat, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const chunk of child.stdout) {
    text += String(chunk);
    process.stdout.write(chunk);
  }
  const code = child.exitCode ?? (await new Promise<number | null>((resolve) => child.once('exit', resolve)));
  if (code !== expected) throw new Error(`lifeboat ${args[0]} exited with ${code}`);
  return text;
}

export function title(text: string): void {
  process.stdout.write(`\n\u001b[1m${text}\u001b[0m\n`);
}

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function figures(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, value]) => `${value} ${name.replaceAll('_', ' ')}`)
    .join(', ');
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
