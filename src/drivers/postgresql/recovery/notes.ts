// What is told in the spool, as small files: each whole as soon as it is there.

import {
  closeSync,
  constants,
  fchownSync,
  fstatSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { type Dir, within } from '../../beneath.ts';
import { attempt } from '../../failures.ts';
import type { Owner } from '../physical/target.ts';

/** Segments that wait for the server. */
export const FILES_MAX = 16;
export const BEAT_MS = 500;
const MODE = 0o600;

/** What somebody has put in its way is not followed. */
export function put(dir: Dir, name: string, text: string, owner: Owner | null): void {
  const fresh = within(dir, Buffer.from(`${name}.new`));
  attempt(`${dir.label}/${name}`, () => {
    rmSync(fresh, { force: true });
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    const fd = openSync(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, MODE);
    try {
      writeSync(fd, text);
      if (owner) fchownSync(fd, owner.uid, owner.gid);
    } finally {
      closeSync(fd);
    }
    renameSync(fresh, within(dir, Buffer.from(name)));
  });
}

export function namesIn(dir: Dir): string[] {
  return readdirSync(within(dir, Buffer.from('.')), 'utf8');
}

export function isSegmentName(name: string): boolean {
  return /^[0-9A-F]{24}$/.test(name);
}

export function isRemoved({ fd }: Dir): boolean {
  return fstatSync(fd).nlink === 0;
}
