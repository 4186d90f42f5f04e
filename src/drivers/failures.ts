// What the system refuses, in our words.

import { Failure, messageOf, systemCode } from '../core/errors.ts';

/** What the system says when a file is no more where it was. */
export const GONE = ['ENOENT', 'ENOTDIR'];

/** Runs system calls; a failure names what they were about, not our detour to it. */
export function attempt<T>(label: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    throw explained(label, cause);
  }
}

/** As `attempt`; null where the system says one of `codes`. */
export function unlessGone<T>(path: Buffer, call: () => T, codes: readonly string[] = GONE): T | null {
  try {
    return call();
  } catch (cause) {
    if (codes.includes(systemCode(cause))) return null;
    throw explained(path.toString(), cause);
  }
}

/** A refusal of the system as a failure; anything else as it is. */
export function explained(label: string, cause: unknown): unknown {
  if (cause instanceof Failure) return cause;
  const code = systemCode(cause);
  if (code === 'EEXIST') {
    const hint = 'names that differ in case only need a file system that tells them apart';
    return new Failure('target-not-empty', `${label} is there already, perhaps in other spelling`, { cause, hint });
  }
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new Failure('no-space', `${label} does not fit into its file system`, { cause });
  }
  if (code === 'EBUSY')
    return new Failure('blocked', `${label} is in use by the system, as a mount perhaps`, { cause });
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    const way = 'let this user in; a capture of files can leave it out by exclude';
    const hint = code === 'EROFS' ? 'its disk is mounted read-only' : way;
    return new Failure('denied', `${label}: the system refuses access (${code})`, { cause, hint });
  }
  if (code === 'EIO') return diskFailure(`${label} can't be read or written`, cause);
  return cause;
}

/** Whatever the system says why: of what the disk has not taken nobody knows what it holds. */
export function notOnDisk(label: string, cause: unknown): unknown {
  const told = explained(label, cause);
  return told instanceof Failure ? told : diskFailure(`${label} is not on the disk`, cause);
}

function diskFailure(what: string, cause: unknown): Failure {
  const hint = 'look at the log of the kernel and at the disk, then use another one';
  return new Failure('disk-failed', `${what}: ${messageOf(cause)}`, { cause, hint });
}
