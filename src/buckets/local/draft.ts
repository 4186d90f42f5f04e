import { randomBytes } from 'node:crypto';
import type { Stats } from 'node:fs';
import { type FileHandle, open, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemCode } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';
import { UNFINISHED } from '../keys.ts';
import { failureOf } from './failures.ts';
import type { Root } from './root.ts';

/** Of drafts: as `Root` takes it. */
export const DRAFTS = `${UNFINISHED}lifeboat/`;
export const FILE_MODE = 0o600;
const OPEN_ATTEMPTS = 16;
const WRITE_BYTES = 512 * 1024;
/** No living put leaves its file alone for so long. */
const LEFTOVER_AGE_MS = 24 * 3600 * 1000;
const tidied = new WeakSet<Root>();

/** An object being written. Disposed before it got its name, it is gone. */
export interface ObjectDraft extends AsyncDisposable {
  readonly path: string;
  readonly file: FileHandle;
  /** What was written is on the disk when this resolves. */
  sync(): Promise<Stats>;
}

export async function startDraft(root: Root): Promise<ObjectDraft> {
  const { path, file } = await openFresh(root);
  return {
    path,
    file,
    async sync() {
      try {
        await file.datasync();
        return await file.stat();
      } catch (error) {
        throw failureOf(error, 'writing to the disk', root.url);
      }
    },
    async [Symbol.asyncDispose]() {
      await file.close();
      await rm(path, { force: true });
    },
  };
}

async function openFresh(root: Root): Promise<{ path: string; file: FileHandle }> {
  for (let attempt = 1; ; attempt++) {
    const path = join(await root.makeFolder(DRAFTS), randomBytes(12).toString('hex'));
    try {
      return { path, file: await open(path, 'wx', FILE_MODE) };
    } catch (error) {
      // Another process has closed this bucket, and with it the folder that was empty.
      if (systemCode(error) === 'ENOENT' && attempt < OPEN_ATTEMPTS) continue;
      throw failureOf(error, 'beginning an object', root.url);
    }
  }
}

/** Removes the folder of drafts while it is empty, and a bucket that was made for nothing. */
export async function clearAway(root: Root): Promise<void> {
  await removeIfEmpty(join(root.path(), DRAFTS));
  if (root.isMade()) await removeIfEmpty(root.path());
}

async function removeIfEmpty(folder: string): Promise<void> {
  await rmdir(folder).catch(() => undefined); // it holds something, or may not go: an empty folder harms nobody
}

/** Writes buffers as they are; small pieces of a stream are gathered first. */
export async function writeBody(ctx: Context, file: FileHandle, body: Bytes | Uint8Array, url: string): Promise<void> {
  const write = async (data: Uint8Array): Promise<void> => {
    ctx.signal.throwIfAborted();
    try {
      for (let at = 0; at < data.length; ) at += (await file.write(data, at)).bytesWritten;
    } catch (error) {
      throw failureOf(error, 'writing an object', url);
    }
  };
  if (body instanceof Uint8Array) return await write(body);
  let gathered: Buffer | undefined;
  let used = 0;
  const flush = async (): Promise<void> => {
    if (gathered && used > 0) await write(gathered.subarray(0, used));
    used = 0;
  };
  for await (const chunk of body) {
    if (used + chunk.length > WRITE_BYTES) await flush();
    if (chunk.length >= WRITE_BYTES) {
      await write(chunk);
      continue;
    }
    gathered ??= Buffer.allocUnsafe(WRITE_BYTES);
    gathered.set(chunk, used);
    used += chunk.length;
  }
  await flush();
}

/** Removes what puts of dead processes left. Ages are told by the disk's own clock: that of the fresh draft. */
export async function tidyOnce(root: Root, draft: string): Promise<void> {
  if (tidied.has(root)) return;
  tidied.add(root);
  const fresh = await stat(draft);
  for (const name of await readdir(dirname(draft))) {
    const path = join(dirname(draft), name);
    const stats = await stat(path).catch(() => null); // finished meanwhile
    if (stats && fresh.mtimeMs - stats.mtimeMs > LEFTOVER_AGE_MS) await rm(path, { force: true });
  }
}
