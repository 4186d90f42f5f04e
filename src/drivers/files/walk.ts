// Walks the paths of a component in the order of their names, with memory for one directory's names per level.

import { type BigIntStats, lstatSync, readdirSync, realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { unlessGone } from '../failures.ts';
import { excluder } from './glob.ts';
import { decode, encode, isDirectoryName } from './names.ts';
import type { FilesSettings } from './settings.ts';

/** A look at the disk's catalogue takes microseconds when it is cached: several of them are worth one turn. */
const LOOKS_PER_TURN = 64;
/** As many as are worth their parallel reading, and few enough to be read soon after they were looked at. */
const BATCH = 64;
/** Ours, beside the user's data: no part of it. */
export const INCOMPLETE_NAME = '.lifeboat-incomplete';
export const REPLACED_PREFIX = '.lifeboat-replaced-';

export interface Found {
  readonly name: string;
  /** Where it lies. */
  readonly path: Buffer;
  readonly stat: BigIntStats;
}

/** Some at a time. Calls `vanished` for what was gone before it could be looked at. */
export async function* walk(
  ctx: Context,
  settings: FilesSettings,
  vanished: (name: string) => void,
): AsyncIterable<readonly Found[]> {
  const excluded = excluder(settings.exclude);
  // Names that are still to come, the next one last: one list per level, each in descending order.
  const levels: string[][] = [startsOf(settings).toReversed()];
  let found: Found[] = [];
  for (let looks = 1; levels.length > 0; looks++) {
    if (looks % LOOKS_PER_TURN === 0) {
      await setImmediate();
      ctx.signal.throwIfAborted();
    }
    if (found.length === BATCH) {
      yield found;
      found = [];
    }
    const name = levels.at(-1)?.pop();
    if (name === undefined) {
      levels.pop();
      continue;
    }
    if (excluded(name)) continue;
    const path = locate(settings, name);
    const seen = unlessGone(path, () => ({
      stat: lstatSync(itself(path, name), { bigint: true }),
      names: isDirectoryName(name) ? namesIn(path, name) : [],
    }));
    if (!seen || seen.stat.isDirectory() !== isDirectoryName(name)) {
      vanished(name);
      continue;
    }
    found.push({ name, path, stat: seen.stat });
    levels.push(seen.names);
  }
  yield found;
}

/** With a '/' at its end, a link would be followed. The root was named by the user, and may be reached through one. */
function itself(path: Buffer, name: string): Buffer {
  return isDirectoryName(name) && name !== '/' ? path.subarray(0, -1) : path;
}

export function locate({ root }: FilesSettings, name: string): Buffer {
  const above = root === '/' ? '' : root;
  return name.includes('%') ? Buffer.concat([Buffer.from(above), decode(name)]) : Buffer.from(above + name);
}

/** The configured paths in order, none within another. */
export function startsOf(settings: FilesSettings): string[] {
  const names = [...new Set(settings.paths.map((path) => startOf(settings, encode(Buffer.from(path)))))];
  return names.filter((name) => !names.some((above) => isWithin(name, above))).sort();
}

function isWithin(name: string, above: string): boolean {
  return name !== above && isDirectoryName(above) && name.startsWith(above);
}

function startOf(settings: FilesSettings, name: string): string {
  const path = locate(settings, name);
  const stat = unlessGone(path, () => lstatSync(path));
  if (!stat) throw new Failure('missing', `${path} can't be captured: there is no such file or directory`);
  const real = realpathSync(path);
  if (real !== resolve(locate({ ...settings, root: realpathSync(settings.root) }, name).toString())) {
    throw new Failure('settings-invalid', `${path} is reached through a symbolic link, and links are not followed`, {
      hint: `name ${real} instead`,
    });
  }
  return stat.isDirectory() && name !== '/' ? `${name}/` : name;
}

/** Its entries' names in descending order. */
function namesIn(path: Buffer, name: string): string[] {
  const names: string[] = [];
  for (const entry of readdirSync(path, { withFileTypes: true, encoding: 'buffer' })) {
    const segment = encode(entry.name);
    if (segment === INCOMPLETE_NAME) {
      throw new Failure('blocked', `${name} holds what an unfinished restore left`, {
        hint: `repeat the restore, or remove ${name}${INCOMPLETE_NAME} if the data is whole`,
      });
    }
    if (segment.startsWith(REPLACED_PREFIX)) continue;
    names.push(`${name}${segment}${entry.isDirectory() ? '/' : ''}`);
  }
  return names.sort().reverse();
}
