import { constants, realpathSync } from 'node:fs';
import { access, mkdir, open, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Failure, systemCode } from '../../core/errors.ts';
import { isLocalDisk } from '../../core/local-disk.ts';
import { taken } from '../keys.ts';
import { failureOf, isGone } from './failures.ts';

/** The directory that holds a bucket. No link below it is followed. */
export interface Root {
  readonly url: string;
  /** Its real path, once it has been seen. */
  path(): string;
  /** It was not there before. */
  isMade(): boolean;
  /** It has been seen, on a disk of this machine. */
  isLocal(): boolean;
  /** The folder of a key or a prefix. ENOENT when it is not there. */
  folderOf(key: string): Promise<string>;
  /** The same at once; null when a link stands there, or the directory has not been seen yet. */
  folderNow(key: string): string | null;
  /** The same, made when it is not there; durable. */
  makeFolder(key: string): Promise<string>;
  /** Something was not found: throws 'unreachable' when that is because the directory itself went away. */
  mustBeThere(): Promise<void>;
}

/** Of an object: no link is followed, and a pipe that somebody laid there does not block. */
export const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

const FOLDER_MODE = 0o700;
const MAKE_ATTEMPTS = 16;

export function openRoot(dir: string): Root {
  const url = resolve(dir);
  let seen: { path: string; dev: number; ino: number; local: boolean } | undefined;
  let made = false;

  async function look(): Promise<string> {
    if (!seen) {
      const path = await realpath(url);
      const { dev, ino } = await stat(path);
      seen = { path, dev, ino, local: await isLocalDisk(path) };
    }
    return seen.path;
  }
  async function mustBeThere(): Promise<void> {
    if (!seen) return;
    const now = await stat(seen.path).catch(() => null);
    if (now?.dev === seen.dev && now.ino === seen.ino) return;
    throw new Failure('unreachable', `${url} is not the directory any more that it was`, {
      hint: 'is its disk still mounted?',
    });
  }
  async function folderOf(key: string): Promise<string> {
    const folder = folderIn(await look(), key);
    if ((await realpath(folder)) === folder) return folder;
    throw new Failure('denied', `a link in ${url} stands where the folder of ${key} should be`);
  }
  function folderNow(key: string): string | null {
    if (!seen) return null;
    const folder = folderIn(seen.path, key);
    return realpathSync.native(folder) === folder ? folder : null;
  }
  /** Level by level, so that no link is followed on the way. */
  async function makeFolder(key: string): Promise<string> {
    const folder = key.slice(0, key.lastIndexOf('/') + 1);
    for (let attempt = 1; ; attempt++) {
      try {
        return await folderOf(folder);
      } catch (error) {
        if (!isGone(error) || attempt === MAKE_ATTEMPTS) throw failureOf(error, `opening the folder of ${key}`, url);
      }
      // Never the directory itself once it was seen: without its disk the mount point would be filled instead.
      await mustBeThere();
      try {
        if (folder === '') made = (await makeRoot(url)) || made;
        else await makeIn(await makeFolder(folder.slice(0, -1)), basename(folder));
      } catch (error) {
        if (systemCode(error) === 'ENOTDIR') throw taken(url, folder.slice(0, -1), error);
        throw failureOf(error, `making the folder of ${key}`, url);
      }
    }
  }
  return {
    url,
    path: () => seen?.path ?? url,
    isMade: () => made,
    isLocal: () => seen?.local ?? false,
    folderOf,
    folderNow,
    mustBeThere,
    makeFolder,
  };
}

function folderIn(root: string, key: string): string {
  const path = join(root, key.slice(0, key.lastIndexOf('/') + 1));
  return path.endsWith('/') ? path.slice(0, -1) : path;
}

/** The last part of a key. */
export function nameOf(key: string): string {
  return key.slice(key.lastIndexOf('/') + 1);
}

/** False when it was there already. */
async function makeRoot(dir: string): Promise<boolean> {
  const first = await mkdir(dir, { recursive: true, mode: FOLDER_MODE }).catch(async (error: unknown) => {
    await mustBeWritable(dir); // of a disk that is read-only Node says ENOENT
    throw error;
  });
  if (first === undefined) return false;
  for (let made = dir; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made));
  return true;
}

/** Throws why nothing can be made in the directory, or in the nearest one above it that is there. */
async function mustBeWritable(dir: string): Promise<void> {
  try {
    await access(dir, constants.W_OK);
  } catch (error) {
    if (!isGone(error) || dirname(dir) === dir) throw error;
    await mustBeWritable(dirname(dir));
  }
}

async function makeIn(parent: string, name: string): Promise<void> {
  try {
    await mkdir(join(parent, name), FOLDER_MODE);
    await syncFolder(parent);
  } catch (error) {
    // Another put was faster, or a deletion took the parent, which it left empty: looked at again.
    if (!['EEXIST', 'ENOENT'].includes(systemCode(error))) throw error;
  }
}

/** What was named in it, or deleted from it, stays so through a loss of power. */
export async function syncFolder(folder: string): Promise<void> {
  try {
    await using handle = await open(folder, 'r');
    await handle.sync();
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error; // gone with all that was in it
  }
}
