import { type FileHandle, lstat, open, opendir, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { readBuffer, release } from '../../core/bytes.ts';
import { Failure, systemCode } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';
import type { Bucket, ObjectInfo } from '../../core/storage.ts';
import { checkKey, checkPrefix, checkRange, missing, missingRange, sortByBytes, UNFINISHED } from '../keys.ts';
import { clearAway } from './draft.ts';
import { failureOf, isGone } from './failures.ts';
import { putAlone } from './put.ts';
import { infoOf, type QuickLook, quickLook } from './quick.ts';
import { nameOf, openRoot, READ_FLAGS, type Root, syncFolder } from './root.ts';
import { togetherIn } from './together.ts';

const READ_BYTES = 1024 * 1024;
const SMALL_BYTES = 64 * 1024;
/** Of the buffers that nobody reads into: to make one costs as much as to fill it. */
const SPARE_MAX = 4;
const STATS_AHEAD = 64;
const DIR_ENTRIES_AHEAD = 1024;

/** Objects as files of one directory, readable by their owner only. The directory is made by the first put. */
export function localBucket(dir: string): Bucket {
  const root = openRoot(dir);
  const { url } = root;
  const quick = quickLook(root);
  const spare: Uint8Array<ArrayBuffer>[] = [];
  return {
    url,
    put: (ctx, key, body, options) => putAlone(ctx, root, key, body, options?.ifAbsent),
    putAll: togetherIn(root),
    async *get(ctx, key, range): Bytes {
      checkKey(key);
      checkRange(range);
      ctx.signal.throwIfAborted();
      const whole = range ? null : quick.read(ctx, key);
      if (whole) return yield whole;
      await using file = await openObject(root, key);
      const stats = await file.stat();
      if (!stats.isFile()) throw missing(url, key);
      const { size } = stats;
      const { offset, length } = range ?? { offset: 0, length: size };
      if (offset + length > size) throw missingRange(url, key, range);
      yield* contentOf(ctx, file, { url, key, offset, length, spare });
    },
    async head(_ctx, key) {
      checkKey(key);
      const info = await look(root, key);
      if (info) return info;
      await root.mustBeThere();
      throw missing(url, key);
    },
    list: (ctx, prefix) => list(ctx, root, quick, prefix, true),
    async *folders(_ctx, prefix) {
      checkPrefix(prefix);
      for (const name of await entriesOf(root, prefix)) if (name.endsWith('/')) yield name;
    },
    files: (ctx, prefix) => list(ctx, root, quick, prefix, false),
    async delete(_ctx, key) {
      checkKey(key);
      const folder = await remove(root, key);
      if (folder !== null) await settle(root, folder);
    },
    deleteAll: (ctx, keys) => deleteAll(ctx, root, keys),
    close: () => clearAway(root),
  };
}

async function openObject(root: Root, key: string): Promise<FileHandle> {
  try {
    return await open(join(await root.folderOf(key), nameOf(key)), READ_FLAGS);
  } catch (error) {
    if (!isGone(error)) throw failureOf(error, `reading ${key}`, root.url);
    await root.mustBeThere();
    throw missing(root.url, key, error);
  }
}

interface Content {
  readonly url: string;
  readonly key: string;
  readonly offset: number;
  readonly length: number;
  readonly spare: Uint8Array<ArrayBuffer>[];
}

async function* contentOf(ctx: Context, file: FileHandle, { url, key, offset, length, spare }: Content): Bytes {
  // One for all: chunks are borrowed. Small objects, of which many are read at the same time, have their own.
  const isSmall = length <= SMALL_BYTES;
  const buffer = isSmall ? readBuffer(length, ArrayBuffer) : (spare.pop() ?? readBuffer(READ_BYTES, ArrayBuffer));
  try {
    for (let at = offset; at < offset + length; ) {
      ctx.signal.throwIfAborted();
      const wanted = Math.min(buffer.length, offset + length - at);
      const { bytesRead } = await file.read(buffer, 0, wanted, at).catch((error: unknown) => {
        // A bad sector, or a file system whose own checksum disagrees: the object is damaged, not out of reach.
        if (systemCode(error) === 'EIO')
          throw new Failure('checksum', `${url}/${key} can't be read: EIO`, { cause: error });
        throw failureOf(error, `reading ${key}`, url);
      });
      if (bytesRead === 0) throw missingRange(url, key, { offset: at, length: wanted });
      yield buffer.subarray(0, bytesRead);
      at += bytesRead;
    }
  } finally {
    if (!isSmall && spare.length < SPARE_MAX) spare.push(buffer);
    else release(buffer.buffer);
  }
}

async function look(root: Root, key: string): Promise<ObjectInfo | null> {
  const folder = await pathOf(root, key);
  return folder === null ? null : await infoIn(root, folder, key);
}

/** The folder of a key or prefix; null when it is not there. */
async function pathOf(root: Root, key: string): Promise<string | null> {
  try {
    return await root.folderOf(key);
  } catch (error) {
    if (isGone(error)) return null;
    throw failureOf(error, `looking at ${key}`, root.url);
  }
}

async function infoIn(root: Root, folder: string, key: string): Promise<ObjectInfo | null> {
  try {
    return infoOf(key, await lstat(join(folder, nameOf(key))));
  } catch (error) {
    if (isGone(error)) return null;
    throw failureOf(error, `looking at ${key}`, root.url);
  }
}

async function* list(
  ctx: Context,
  root: Root,
  quick: QuickLook,
  prefix: string,
  deep: boolean,
): AsyncIterable<ObjectInfo> {
  checkPrefix(prefix);
  const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
  const all = await entriesOf(root, folder);
  const names = all.filter((name) => (folder + name).startsWith(prefix) && (deep || !name.endsWith('/')));
  for (let at = 0; at < names.length; at += STATS_AHEAD) {
    ctx.signal.throwIfAborted();
    const path = await pathOf(root, folder);
    if (path === null) return await root.mustBeThere();
    const some = names.slice(at, at + STATS_AHEAD).map((name) => folder + name);
    const infos = await Promise.all(
      some.map((key) => (key.endsWith('/') ? null : (quick.info(ctx, path, key) ?? infoIn(root, path, key)))),
    );
    for (const [i, key] of some.entries()) {
      const info = infos[i];
      if (info) yield info;
      else if (key.endsWith('/')) yield* list(ctx, root, quick, key, deep);
    }
  }
}

/** The names in a folder in the order of the keys they lead to: folders end in '/'. Links are neither. */
async function entriesOf(root: Root, folder: string): Promise<string[]> {
  const names: string[] = [];
  try {
    const entries = await opendir(await root.folderOf(folder), { bufferSize: DIR_ENTRIES_AHEAD });
    for await (const entry of entries) {
      if (folder === '' && entry.name.startsWith(UNFINISHED)) continue;
      if (entry.isFile()) names.push(entry.name);
      else if (entry.isDirectory()) names.push(`${entry.name}/`);
    }
  } catch (error) {
    if (!isGone(error)) throw failureOf(error, `listing ${folder}`, root.url);
  }
  if (names.length === 0) await root.mustBeThere();
  return sortByBytes(names, (name) => name);
}

/** Resolves to the folder that the object was in, null when there was none. */
async function remove(root: Root, key: string): Promise<string | null> {
  try {
    const folder = await root.folderOf(key);
    await unlink(join(folder, nameOf(key)));
    return folder;
  } catch (error) {
    if (!isGone(error) && systemCode(error) !== 'EISDIR') throw failureOf(error, `deleting ${key}`, root.url);
    await root.mustBeThere();
    return null;
  }
}

/** Makes deletions in a folder durable, and removes it when they left it empty. */
async function settle(root: Root, folder: string): Promise<void> {
  await syncFolder(folder);
  for (let at = folder; at !== root.path(); at = join(at, '..')) {
    try {
      await rmdir(at);
    } catch {
      return; // it holds something, or may not go: an empty folder harms nobody
    }
  }
}

async function deleteAll(
  ctx: Context,
  root: Root,
  keys: readonly string[],
): Promise<{ key: string; reason: string }[]> {
  for (const key of keys) checkKey(key);
  const failed: { key: string; reason: string }[] = [];
  const folders = new Set<string>();
  for (const key of keys) {
    ctx.signal.throwIfAborted();
    try {
      const folder = await remove(root, key);
      if (folder !== null) folders.add(folder);
    } catch (error) {
      failed.push({ key, reason: error instanceof Error ? error.message : String(error) });
    }
  }
  for (const folder of folders) await settle(root, folder);
  return failed;
}
