// Runs the plans' scripts and command lines as their readers do: in bash, with exported variables.

import { spawn } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Set, the scripts call the `aws` of this machine, which needs a second to start each time. */
export const REAL_AWS = 'LIFEBOAT_TESTS_REAL_AWS';

export interface Shell {
  /** Where the scripts of the plan lie, and commands run. */
  readonly dir: string;
  /** Runs a line; the test fails with everything that was said when it exits with another code. */
  run(line: string, variables?: Readonly<Record<string, string>>, expected?: number): Promise<string>;
}

/** A copy of the scripts of a plan, with `lifeboat`, `aws` and the given programs in the PATH. */
export function shellFor(scripts: string, dir: string, env: Readonly<Record<string, string>>, programs: string): Shell {
  const bin = join(dir, 'bin');
  mkdirSync(bin, { recursive: true });
  cpSync(join(root, 'compat', scripts), dir, { recursive: true });
  program(join(bin, 'lifeboat'), join(root, 'src/cli/main.ts'));
  if (!process.env[REAL_AWS]) program(join(bin, 'aws'), join(root, 'test/e2e/aws.ts'));
  const PATH = [bin, programs, process.env.PATH].join(delimiter);
  return {
    dir,
    async run(line, variables = {}, expected = 0) {
      const options = { cwd: dir, env: { PATH, HOME: dir, ...env, ...variables } };
      const child = spawn('bash', ['-c', line], { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
      let [stdout, said] = ['', ''];
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        stdout += text;
        said += text;
      });
      child.stderr.setEncoding('utf8').on('data', (text: string) => void (said += text));
      const code = await new Promise<number | null>((resolve, reject) => {
        child.once('error', reject);
        child.once('close', resolve);
      });
      if (code === expected) return expected === 0 ? stdout : said;
      throw new Error(`${line} exited with ${code}, not ${expected}\n${said}`);
    },
  };
}

function program(file: string, script: string): void {
  const { NODE_COMPILE_CACHE = '' } = process.env;
  const lines = [
    '#!/bin/sh',
    `export NODE_COMPILE_CACHE="${NODE_COMPILE_CACHE}"`,
    `exec "${process.execPath}" --disable-warning=ExperimentalWarning "${script}" "$@"`,
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  chmodSync(file, 0o755);
}

/** The first column of the first row. */
export async function query(url: string, sql: string): Promise<unknown> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined); // the statement that is running, or the end, is told
  await client.connect();
  try {
    const { rows } = await client.query<unknown[]>({ text: sql, rowMode: 'array' });
    return rows[0]?.[0];
  } finally {
    await client.end();
  }
}
