// The command as users run it, with a configuration of its own.

import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Figures, measure } from './measure.ts';

export const LIFEBOAT = fileURLToPath(new URL('../bin/lifeboat', import.meta.url));

export type Env = Readonly<Record<string, string | undefined>>;
/** Runs one command to its end, which must be a success, or one of `codes`. */
export type Lifeboat = (args: readonly string[], codes?: readonly number[]) => Promise<Figures>;

/** A stack with one store `main` and one component `data`; the store is created. */
export async function lifeboatWith(
  file: string,
  { store, component, env = process.env }: { store: object; component: object; env?: Env },
): Promise<Lifeboat> {
  // JSON is YAML too.
  writeFileSync(file, JSON.stringify({ stack: 'bench', stores: { main: store }, components: { data: component } }));
  const run: Lifeboat = (args, codes) => measure(LIFEBOAT, ['--config', file, ...args], env, codes);
  await run(['init']);
  return run;
}

export function resticStore(dir: string): object {
  return { format: 'restic', bucket: dir, password: 'bench' };
}

export function bytesBelow(dir: string): number {
  const names = readdirSync(dir, { recursive: true, encoding: 'utf8' });
  return names.reduce((sum, name) => {
    const stat = statSync(join(dir, name));
    return sum + (stat.isFile() ? stat.size : 0);
  }, 0);
}
