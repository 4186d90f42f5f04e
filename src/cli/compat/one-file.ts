// A single backup, wherever it lies, as the only content of a store that is gone with the process: a file, or a folder
// with all that is in it.

import { stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { localBucket } from '../../buckets/local/bucket.ts';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { Failure, messageOf, systemCode } from '../../core/errors.ts';
import type { Bucket } from '../../core/storage.ts';

/** The backup is `file/<its name>`, what is put goes to memory, and the backup is only read. */
const FOLDER = 'file/';

export function oneFileBucket(file: string): Bucket {
  const shown = `${FOLDER}${basename(file)}`;
  const disk = localBucket(dirname(file));
  const memory = memoryBucket();
  const isShown = (key: string): boolean => key === shown || key.startsWith(`${shown}/`);
  /** Above what is shown, or within. */
  const leadsThere = (prefix: string): boolean => shown.startsWith(prefix) || isShown(prefix);
  const onDisk = (key: string): string => key.slice(FOLDER.length);

  return {
    ...memory,
    url: file,
    get: (ctx, key, range) => (isShown(key) ? disk.get(ctx, onDisk(key), range) : memory.get(ctx, key, range)),
    head: async (ctx, key) => (isShown(key) ? { ...(await disk.head(ctx, onDisk(key))), key } : memory.head(ctx, key)),
    async *list(ctx, prefix) {
      yield* memory.list(ctx, prefix); // its keys come before 'file/'
      if (!leadsThere(prefix)) return;
      for await (const info of disk.list(ctx, onDisk(isShown(prefix) ? prefix : shown))) {
        const key = FOLDER + info.key;
        if (isShown(key)) yield { ...info, key };
      }
    },
    async *files(ctx, prefix) {
      yield* memory.files(ctx, prefix);
      if (!prefix.startsWith(FOLDER)) return;
      for await (const info of disk.files(ctx, onDisk(prefix))) {
        const key = FOLDER + info.key;
        if (isShown(key)) yield { ...info, key };
      }
    },
    async *folders(ctx, prefix) {
      yield* memory.folders(ctx, prefix);
      if (prefix === '') yield FOLDER;
      if (!prefix.startsWith(FOLDER)) return;
      for await (const name of disk.folders(ctx, onDisk(prefix))) if (isShown(prefix + name)) yield name;
    },
    async close() {
      await Promise.all([disk.close(), memory.close()]);
    },
  };
}

/** Is there such a file or folder? What keeps us from looking is thrown. */
export async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (cause) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(cause))) return false;
    throw new Failure('denied', `looking for ${path}: ${messageOf(cause)}`, { cause });
  }
}
