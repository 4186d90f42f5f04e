// Files of a data directory on the disk: written beneath an opened directory with no link followed, hashed on the way,
// and brought to the disk when all are there.

import { createHash, hash } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  lchownSync,
  openSync,
  rmSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { Failure } from '../../../core/errors.ts';
import type { Bytes } from '../../../core/model.ts';
import { gate } from '../../../core/parallel.ts';
import { close, type Dir, labelOf, makeDir, openDir, within } from '../../beneath.ts';
import { attempt, explained, GONE, notOnDisk, unlessGone } from '../../failures.ts';
import { give, type Owner, syncOpen } from './target.ts';

const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
/** What is no file may be opened too, and never waits for another. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const FILE_MODE = 0o600;
const DIR_MODE = 0o700;
/** The others of the threads that Node has for files go on reading and writing. */
const SYNCS_AT_ONCE = 2;
/** Files that are kept open for it. */
const SYNCS_AHEAD = 16;

/** A file as the inventory has it. */
export interface ExpectedFile {
  /** As seen from its root. */
  readonly name: string;
  readonly bytes: number;
  /** 'sha256:' and hex. */
  readonly digest: string;
}

export function putDirectory(root: Dir, name: string, owner: Owner | null): void {
  inDirectory(root, name.split('/'), (dir) => attempt(dir.label, () => give(dir.fd, owner)), true);
}

/** All of it at once. */
export function putWhole(root: Dir, file: ExpectedFile, whole: Uint8Array, owner: Owner | null): void {
  inFolderOf(root, file.name, (dir, name) => {
    assertSame(labelOf(dir, name), file, whole.length, hash('sha256', whole));
    attempt(labelOf(dir, name), () => {
      const fd = openSync(within(dir, name), FLAGS, FILE_MODE);
      try {
        for (let at = 0; at < whole.length; ) at += writeSync(fd, whole, at, whole.length - at, at);
        if (owner) fchownSync(fd, owner.uid, owner.gid);
      } finally {
        closeSync(fd);
      }
    });
  });
}

/** Brings files to the disk while others are written. */
export interface Syncs extends AsyncDisposable {
  /** Takes an open file over. Waits while too many are not on the disk yet. */
  add(label: string, handle: FileHandle): Promise<void>;
  /** Resolves when all are on the disk. */
  end(): Promise<void>;
}
export function syncsBehind(): Syncs {
  const room = gate(SYNCS_AHEAD);
  const disk = gate(SYNCS_AT_ONCE);
  const running = new Set<Promise<void>>();
  let failed: { readonly error: unknown } | undefined;
  return {
    async add(label, handle) {
      const entered = Promise.withResolvers<void>();
      const sync = async (): Promise<void> => {
        entered.resolve();
        try {
          await disk.run(() => handle.sync()).finally(() => handle.close());
        } catch (cause) {
          failed ??= { error: notOnDisk(label, cause) };
        }
      };
      const work: Promise<void> = room.run(sync).finally(() => running.delete(work));
      running.add(work);
      await entered.promise;
    },
    async end() {
      await Promise.all(running);
      if (failed) throw failed.error;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(running);
    },
  };
}

/** As it comes; another thread writes while this one hashes. */
export async function putStreamed(
  root: Dir,
  file: ExpectedFile,
  body: Bytes,
  { owner, syncs }: { readonly owner: Owner | null; readonly syncs: Syncs },
): Promise<void> {
  const [handle, label] = await inFolderOf(root, file.name, async (dir, name) => {
    const at = labelOf(dir, name);
    return [await open(within(dir, name), FLAGS, FILE_MODE).catch((cause) => Promise.reject(explained(at, cause))), at];
  });
  const digest = createHash('sha256');
  let at = 0;
  try {
    if (owner) await handle.chown(owner.uid, owner.gid);
    for await (const chunk of body) {
      const written = writeAll(handle, chunk, at);
      digest.update(chunk);
      await written;
      at += chunk.length;
    }
    assertSame(label, file, at, digest.digest('hex'));
  } catch (cause) {
    await handle.close();
    throw explained(label, cause);
  }
  await syncs.add(label, handle);
}

async function writeAll(handle: FileHandle, chunk: Uint8Array, from: number): Promise<void> {
  for (let done = 0; done < chunk.length; ) {
    done += (await handle.write(chunk, done, chunk.length - done, from + done)).bytesWritten;
  }
}

/** Opened for reading, where it is a file of that size. */
export function openSame(root: Dir, { name, bytes }: ExpectedFile): number | null {
  return inFolderOf(root, name, (dir, base) => {
    const fd = unlessGone(within(dir, base), () => openSync(within(dir, base), READ_FLAGS), [
      ...GONE,
      'ELOOP',
      'ENXIO',
    ]);
    if (fd === null) return null;
    const there = fstatSync(fd);
    if (there.isFile() && there.size === bytes) return fd;
    closeSync(fd);
    return null;
  });
}
export function closeFile(fd: number): void {
  closeSync(fd);
}

/** As one that was written here. */
export function makeOurs(fd: number, owner: Owner | null): void {
  fchmodSync(fd, FILE_MODE);
  if (owner) fchownSync(fd, owner.uid, owner.gid);
}

/** A missing one is no error. */
export function removeFile(root: Dir, name: string): void {
  inFolderOf(root, name, (dir, base) => attempt(labelOf(dir, base), () => rmSync(within(dir, base), { force: true })));
}

/** In place of what has that name. */
export function replaceFile(root: Dir, name: string, content: string | Uint8Array, owner: Owner | null): void {
  removeFile(root, name);
  const whole = Buffer.from(content);
  putWhole(root, { name, bytes: whole.length, digest: `sha256:${hash('sha256', whole)}` }, whole, owner);
}

export function putLink(root: Dir, name: string, to: string, owner: Owner | null): void {
  inFolderOf(root, name, (dir, base) =>
    attempt(labelOf(dir, base), () => {
      symlinkSync(to, within(dir, base));
      if (owner) lchownSync(within(dir, base), owner.uid, owner.gid);
    }),
  );
}

/** What was written before is on the disk when it resolves: of a file, or of a directory what is in it. */
export async function syncFile(root: Dir, name: string): Promise<void> {
  const [handle, label] = await inFolderOf(root, name, async (dir, base) => [
    await open(within(dir, base), constants.O_RDONLY | constants.O_NOFOLLOW),
    labelOf(dir, base),
  ]);
  try {
    await handle.sync();
  } catch (cause) {
    throw notOnDisk(label, cause);
  } finally {
    await handle.close();
  }
}
export function syncDirectory(root: Dir, name: string): void {
  inDirectory(root, name.split('/'), syncOpen);
}

function assertSame(label: string, file: ExpectedFile, bytes: number, sha256: string): void {
  if (bytes === file.bytes && `sha256:${sha256}` === file.digest) return;
  throw new Failure('checksum', `${label} is not restored: the point has other bytes than it says`, {
    hint: 'run lifeboat verify --all --read-data',
  });
}

function inFolderOf<T>(root: Dir, name: string, work: (dir: Dir, base: Buffer) => T): T {
  const segments = name.split('/');
  const base = Buffer.from(segments.pop() ?? '');
  return inDirectory(root, segments, (dir) => work(dir, base));
}

/** Each segment is opened in the one before. They stay open until the work is done, also where that is a promise. */
function inDirectory<T>(root: Dir, segments: readonly string[], work: (dir: Dir) => T, isMade = false): T {
  const opened: Dir[] = [];
  const closeAll = (): void => opened.forEach(close);
  let result: T;
  try {
    let dir = root;
    for (const segment of segments) {
      const name = Buffer.from(segment);
      const below: Dir | null = isMade ? makeDir(dir, name, DIR_MODE) : openDir(dir, name);
      if (!below) throw new Failure('malformed', `the point does not say that ${labelOf(dir, name)} is a directory`);
      opened.push(below);
      dir = below;
    }
    result = work(dir);
  } catch (error) {
    closeAll();
    throw error;
  }
  if (result instanceof Promise) return result.finally(closeAll) as T;
  closeAll();
  return result;
}
