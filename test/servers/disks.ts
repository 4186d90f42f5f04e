// Small disks, for tests of what happens when one is full.

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
  const dir = temporaryDir('disk');
  const { status, stderr, error } = spawnSync('/bin/mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', dir]);
  if (status !== 0) {
    t.skip(`no file system can be mounted here: ${error ?? stderr}`);
    return null;
  }
  t.after(() => {
    spawnSync('/bin/umount', ['--lazy', dir]);
    removeDir(dir);
  });
  return {
    dir,
    fill(leftBytes) {
      const { bavail, bsize } = statfsSync(dir);
      writeFileSync(join(dir, FILLER), Buffer.alloc(Math.max(0, bavail * bsize - leftBytes)));
    },
    free: () => rmSync(join(dir, FILLER)),
  };
}
