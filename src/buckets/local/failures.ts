import { type ErrorCode, Failure, isFailure, systemCode } from '../../core/errors.ts';

const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: 'no-space',
  EDQUOT: 'no-space',
  EACCES: 'denied',
  EPERM: 'denied',
  EROFS: 'denied',
  ELOOP: 'denied', // a link where a file should be
  ENAMETOOLONG: 'malformed',
};
const HINTS: Readonly<Record<string, string>> = {
  ENOSPC: 'free some space and run it again',
  EDQUOT: 'raise the quota, or free some space, and run it again',
  EACCES: 'see owner and mode of the directory and of those above it',
  EROFS: 'its disk is mounted read-only',
};

/** There is no such file, and no such folder on the way to it. */
export function isGone(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes(systemCode(error));
}

export function failureOf(error: unknown, what: string, url: string): Failure {
  if (isFailure(error)) return error;
  const system = systemCode(error);
  if (system === '') throw error; // not the system's doing: a bug
  return new Failure(CODES[system] ?? 'unreachable', `${what} in ${url}: ${system}`, {
    cause: error,
    hint: HINTS[system],
  });
}
