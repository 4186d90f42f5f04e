// Disks of their own, for tests of what happens when one is full, or loses its power.

import { spawnSync } from 'node:child_process';
import { rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { removeDir, temporaryDir } from './processes.ts';

export interface SmallDisk {
  readonly dir: string;
  /** Takes all but so many bytes, in a file of that name. */
  fill(leftBytes: number): void;
  /** Gives back what `fill` took. */
  free(): void;
}
export const FILLER = 'filler';

/** A file system of its own of so many bytes in memory, or null and a skipped test where none can be mounted. */
export function smallDisk(t: TestContext, bytes: number): SmallDisk | null {
  const dir = mounted(t, ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs']);
  if (dir === null) return null;
  return {
    dir,
    fill(leftBytes) {
      const { bavail, bsize } = statfsSync(dir);
      writeFileSync(join(dir, FILLER), Buffer.alloc(Math.max(0, bavail * bsize - leftBytes)));
    },
    free: () => rmSync(join(dir, FILLER)),
  };
}

/** Where the ext4 in a file is mounted; as above. A copy of that file is what a disk has that loses its power now. */
export function imageDisk(t: TestContext, image: string): string | null {
  return mounted(t, ['-t', 'ext4', '-o', 'loop', image]);
}

function mounted(t: TestContext, args: readonly string[]): string | null {
  const dir = temporaryDir('disk');
  const { status, stderr, error } = spawnSync('/bin/mount', [...args, dir]);
  if (status !== 0) {
    t.skip(`no file system can be mounted here: ${error ?? stderr}`);
    return null;
  }
  t.after(() => {
    spawnSync('/bin/umount', ['--lazy', dir]);
    removeDir(dir);
  });
  return dir;
}
