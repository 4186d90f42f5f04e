import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { TestContext } from 'node:test';
import { installed, isOptional, type ServerName } from './install.ts';

/**
 * For `{ skip: await missing('redis-8') }`: false when all of them can run here, else the reason. With
 * REQUIRE_SERVERS=all the test goes on and fails for want of its server, unless that one is optional.
 */
export async function missing(...names: ServerName[]): Promise<string | false> {
  for (const name of names) {
    if (process.env.REQUIRE_SERVERS === 'all' && !isOptional(name)) continue;
    try {
      await installed(name);
    } catch (error) {
      return `${name} can't be had: ${error instanceof Error ? error.message : error}`;
    }
  }
  return false;
}

/** The same inside of a test: false when it was skipped and must return. */
export async function needServer(t: TestContext, ...names: ServerName[]): Promise<boolean> {
  const reason = await missing(...names);
  if (reason !== false) t.skip(reason);
  return reason === false;
}

/** The same for programs that are no servers, by name or by path: false when all of them are here, else the reason. */
export function missingTools(...names: string[]): string | false {
  if (process.env.REQUIRE_SERVERS === 'all') return false;
  const dirs = (process.env.PATH ?? '').split(delimiter);
  const isHere = (name: string): boolean =>
    name.includes('/') ? existsSync(name) : dirs.some((dir) => existsSync(join(dir, name)));
  const absent = names.filter((name) => !isHere(name));
  return absent.length > 0 && `${absent.join(', ')}: not on this machine`;
}
