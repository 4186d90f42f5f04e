// A directory of its own for a test file, with a configuration and a password, and the command run in it.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { expectExit, type Ran, type RunOptions } from './lifeboat.ts';

export interface Workspace {
  readonly dir: string;
  /** Of a restic store in it, as the configuration says it. */
  store(name: string): string;
  configure(yaml: string): void;
  /** A file below the directory. */
  write(path: string, text: string): void;
  /** Runs the command, which must end with this exit code. */
  run(expected: number, ...args: string[]): Promise<Ran>;
  runWith(options: RunOptions, expected: number, ...args: string[]): Promise<Ran>;
}

/** Removed when the tests of the file are through. */
export function workspace(name: string): Workspace {
  const dir = mkdtempSync(join(tmpdir(), `lifeboat-${name}-`));
  after(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, 'password'), 'sesame');
  return {
    dir,
    store: (each) => `{ format: restic, bucket: ${join(dir, each)}, password: "\${file:${join(dir, 'password')}}" }`,
    configure: (yaml) => writeFileSync(join(dir, 'lifeboat.yaml'), yaml),
    write(path, text) {
      mkdirSync(join(dir, path, '..'), { recursive: true });
      writeFileSync(join(dir, path), text);
    },
    run: (expected, ...args) => expectExit(expected, args, { cwd: dir }),
    runWith: (options, expected, ...args) => expectExit(expected, args, { cwd: dir, ...options }),
  };
}
