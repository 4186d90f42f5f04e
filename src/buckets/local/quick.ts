// What the kernel has in memory of a small object is had within microseconds: less than it takes to ask a thread.

import { closeSync, fstatSync, lstatSync, openSync, readSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import type { Context } from '../../core/model.ts';
import { paceOf } from '../../core/pace.ts';
import type { ObjectInfo } from '../../core/storage.ts';
import { nameOf, READ_FLAGS, type Root } from './root.ts';

const BYTES_MAX = 64 * 1024;
const SLOW_MS = 1;

/**
 * Null when that is not for this way: the object is large, the disk is slow or none of this machine, or anything is
 * wrong.
 */
export interface QuickLook {
  /** A small object, whole. */
  read(ctx: Context, key: string): Buffer | null;
  /** Of an object in `folder`, which holds no link. */
  info(ctx: Context, folder: string, key: string): ObjectInfo | null;
}

export function quickLook(root: Root): QuickLook {
  const pace = paceOf(SLOW_MS);
  function now<T>(ctx: Context, look: () => T | null): T | null {
    if (!root.isLocal() || pace.isSlow()) return null;
    try {
      return pace.timed(ctx, look);
    } catch {
      return null; // the long way meets it again, and tells
    }
  }
  return {
    read: (ctx, key) => now(ctx, () => readNow(root, key)),
    info: (ctx, folder, key) => now(ctx, () => infoOf(key, lstatSync(join(folder, nameOf(key))))),
  };
}

/** Null when it is no object. */
export function infoOf(key: string, stats: Stats): ObjectInfo | null {
  return stats.isFile() ? { key, bytes: stats.size, modifiedAt: stats.mtime } : null;
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
