// Whether a server runs on a data directory: by its own note of its process, and by who works in there. The note of a
// container's server has a number that means nothing here, and a note may lie there after a crash.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Failure, systemCode } from '../../../core/errors.ts';
import { explained } from '../../failures.ts';
import { shellWord } from '../recovery/scripts.ts';

const NOTE = 'postmaster.pid';
/** Of the system's own names of programs. */
const SERVER = /^(postgres|postmaster)/;

/** The number of its process, as this system has it; null where none is seen. */
export function serverIn(path: string): number | null {
  const noted = notedIn(path);
  if (noted !== null && isServer(noted)) return noted;
  const here = identityOf(path);
  if (here === null || !existsSync('/proc')) return null;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || !SERVER.test(nameOf(name) ?? '')) continue;
    if (identityOf(`/proc/${name}/cwd`) === here) return Number(name);
  }
  return null;
}

/** 'blocked' where one runs, such as that of an exploration that was killed. */
export function refuseServed(path: string): void {
  const pid = serverIn(path);
  if (pid === null) return;
  throw new Failure('blocked', `${path} is not restored: a server runs on it (process ${pid})`, {
    hint: `its owner stops it: pg_ctl -D ${shellWord(path)} stop; or name another directory`,
  });
}

function notedIn(path: string): number | null {
  try {
    const [first = ''] = readFileSync(join(path, NOTE), 'utf8').split('\n');
    return Math.abs(Number.parseInt(first, 10)) || null; // of a single session it is negative
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return null;
    throw explained(join(path, NOTE), cause);
  }
}

/** A number is used again after a boot: whose name tells that it is something else is no server. */
function isServer(pid: number): boolean {
  const name = nameOf(String(pid));
  return name === null ? isAlive(pid) : SERVER.test(name);
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return systemCode(error) === 'EPERM'; // somebody else's
  }
}

function nameOf(pid: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8');
  } catch {
    return null; // it has ended, or is not shown
  }
}

/** Null where it is not there, or not shown. */
function identityOf(path: string): string | null {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return `${dev} ${ino}`;
  } catch {
    return null;
  }
}
