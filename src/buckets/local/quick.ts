// Small objects that the kernel has in memory are read within microseconds: less than it takes to ask a thread.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { Context } from '../../core/model.ts';
import { paceOf } from '../../core/pace.ts';
import { nameOf, READ_FLAGS, type Root } from './root.ts';

const BYTES_MAX = 64 * 1024;
const SLOW_MS = 1;

/**
 * Reads a small object whole and at once. Null when that is not for this way: it is large, the disk is slow, or
 * anything is wrong, which the long way tells.
 */
export function quickReader(root: Root): (ctx: Context, key: string) => Buffer | null {
  const pace = paceOf(SLOW_MS);
  return (ctx, key) => {
    if (pace.isSlow()) return null;
    const begun = ctx.monotonicMs();
    try {
      return readNow(root, key);
    } catch {
      return null; // tried again the long way
    } finally {
      pace.took(ctx.monotonicMs() - begun);
    }
  };
}

function readNow(root: Root, key: string): Buffer | null {
  const folder = root.folderNow(key);
  if (folder === null) return null;
  const fd = openSync(join(folder, nameOf(key)), READ_FLAGS);
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile() || stats.size > BYTES_MAX) return null;
    const data = Buffer.allocUnsafe(stats.size);
    return readSync(fd, data, 0, data.length, 0) === data.length ? data : null;
  } finally {
    closeSync(fd);
  }
}
