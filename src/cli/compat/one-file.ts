// A single old backup file, wherever it lies, as the only content of a store that is gone with the process.

import { basename, dirname } from 'node:path';
import { localBucket } from '../../buckets/local/bucket.ts';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import { isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Bucket, ObjectInfo } from '../../core/storage.ts';

/** The file is `folder/<its name>`; what is put goes to memory, and the file is only read. */
export function oneFileBucket(file: string, folder: string): Bucket {
  const name = basename(file);
  const shownAs = `${folder}/${name}`;
  const disk = localBucket(dirname(file));
  const memory = memoryBucket();

  async function shown(ctx: Context): Promise<ObjectInfo> {
    return { ...(await disk.head(ctx, name)), key: shownAs };
  }
  return {
    ...memory,
    url: file,
    get: (ctx, key, range) => (key === shownAs ? disk.get(ctx, name, range) : memory.get(ctx, key, range)),
    head: async (ctx, key) => (key === shownAs ? await shown(ctx) : await memory.head(ctx, key)),
    async *list(ctx, prefix) {
      const all = await Array.fromAsync(memory.list(ctx, prefix));
      if (shownAs.startsWith(prefix)) all.push(await shown(ctx));
      yield* all.sort((a, b) => (a.key < b.key ? -1 : 1));
    },
    async *folders(ctx, prefix) {
      const all = new Set(await Array.fromAsync(memory.folders(ctx, prefix)));
      if (prefix === '') all.add(`${folder}/`);
      yield* [...all].sort();
    },
    async close() {
      await Promise.all([disk.close(), memory.close()]);
    },
  };
}

/** Is there such a file? What keeps us from looking is thrown. */
export async function fileIsThere(ctx: Context, file: string): Promise<boolean> {
  const disk = localBucket(dirname(file));
  try {
    await disk.head(ctx, basename(file));
    return true;
  } catch (error) {
    if (isFailure(error, 'missing')) return false;
    throw error;
  } finally {
    await disk.close();
  }
}
