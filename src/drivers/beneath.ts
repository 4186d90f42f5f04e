// Works beneath an opened directory and nowhere else: every step opens one segment relative to the directory before,
// and follows no link. What somebody puts in the way meanwhile is met, not followed.

import { closeSync, constants, existsSync, mkdirSync, openSync, readlinkSync } from 'node:fs';
import { Failure, systemCode } from '../core/errors.ts';
import { attempt, explained } from './failures.ts';

const FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const SELF = '/proc/self/fd';

/** An open directory. */
export interface Dir {
  readonly fd: number;
  /** By this the kernel finds what is in it. */
  readonly prefix: Buffer;
  /** For messages. */
  readonly label: string;
}

/** The root itself was named by the user: it may be reached through links, and is made when it is missing. */
export function openRoot(path: string): Dir {
  if (!existsSync(SELF)) {
    throw new Failure('program-missing', `nothing can be restored safely into a directory on a system without ${SELF}`);
  }
  return attempt(path, () => {
    mkdirSync(path, { recursive: true });
    return dirOf(openSync(path, constants.O_RDONLY | constants.O_DIRECTORY), path);
  });
}

/** Of a directory that is open. */
export function dirOf(fd: number, label: string): Dir {
  return { fd, prefix: Buffer.from(`${SELF}/${fd}/`), label };
}

/** A path by which the kernel finds `name` in that very directory. */
export function within(dir: Dir, name: Buffer): Buffer {
  return Buffer.concat([dir.prefix, name]);
}

/** Where that very directory or file lies by now, its bytes as characters. */
export function pathOf({ fd }: Pick<Dir, 'fd'>): string {
  return readlinkSync(`${SELF}/${fd}`, 'latin1');
}

/** Null when there is none. */
export function openDir(parent: Dir, name: Buffer): Dir | null {
  const label = labelOf(parent, name);
  try {
    return dirOf(openSync(within(parent, name), FLAGS), label);
  } catch (cause) {
    const code = systemCode(cause);
    if (code === 'ENOENT') return null;
    if (code === 'ELOOP' || code === 'ENOTDIR') {
      throw new Failure(
        'target-not-empty',
        `${label} is a link or a file where a directory must be; it is not followed`,
        {
          cause,
        },
      );
    }
    throw explained(label, cause);
  }
}

/** Makes it when there is none, closed to others until its own mode is set. */
export function makeDir(parent: Dir, name: Buffer, mode: number): Dir {
  const there = openDir(parent, name);
  if (there) return there;
  attempt(labelOf(parent, name), () => mkdirSync(within(parent, name), mode));
  const made = openDir(parent, name);
  if (!made) throw new Failure('different', `${labelOf(parent, name)} vanished while it was restored`);
  return made;
}

export function close(dir: Dir): void {
  closeSync(dir.fd);
}

export function labelOf(parent: Dir, name: Buffer): string {
  return `${parent.label === '/' ? '' : parent.label}/${name}`;
}
