import { link, lstat, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';
import type { ObjectInfo } from '../../core/storage.ts';
import { checkKey, taken } from '../keys.ts';
import { startDraft, tidyOnce, writeBody } from './draft.ts';
import { failureOf } from './failures.ts';
import { nameOf, type Root, syncFolder } from './root.ts';

const PUBLISH_ATTEMPTS = 16;

/** All of it or none, and on the disk. */
export async function putAlone(
  ctx: Context,
  root: Root,
  key: string,
  body: Bytes | Uint8Array,
  ifAbsent = false,
): Promise<ObjectInfo> {
  checkKey(key);
  ctx.signal.throwIfAborted();
  await using draft = await startDraft(root);
  await tidyOnce(root, draft.path);
  await writeBody(ctx, draft.file, body, root.url);
  const { size, mtime } = await draft.sync();
  await publish(root, draft.path, key, ifAbsent);
  return { key, bytes: size, modifiedAt: mtime };
}

/** Gives the draft its name. Until then nobody sees it; afterwards it is durable. */
export async function publish(root: Root, draft: string, key: string, ifAbsent: boolean): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const folder = await root.makeFolder(key);
    const path = join(folder, nameOf(key));
    try {
      if (ifAbsent) await renameIfAbsent(draft, path);
      else await rename(draft, path);
      return await syncFolder(folder);
    } catch (error) {
      if (['EEXIST', 'EISDIR', 'ENOTEMPTY', 'ENOTDIR'].includes(systemCode(error))) throw taken(root.url, key, error);
      // A deletion removes folders that it leaves empty, this one perhaps a moment ago.
      if (systemCode(error) === 'ENOENT' && attempt < PUBLISH_ATTEMPTS) continue;
      throw failureOf(error, `writing ${key}`, root.url);
    }
  }
}

async function renameIfAbsent(from: string, to: string): Promise<void> {
  try {
    await link(from, to); // fails when it is there, which rename does not
    await unlink(from);
  } catch (error) {
    if (!['EPERM', 'ENOTSUP', 'ENOSYS'].includes(systemCode(error))) throw error;
    // A file system without hard links: as good as it can tell.
    if (await lstat(to).catch(() => null)) throw Object.assign(new Error('it is there'), { code: 'EEXIST' });
    await rename(from, to);
  }
}
