// Writes one entry into an opened directory.

import { createHash, randomBytes } from 'node:crypto';
import {
  type BigIntStats,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  ftruncateSync,
  futimesSync,
  lchownSync,
  linkSync,
  lutimesSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  write as writeFile,
  writeSync,
} from 'node:fs';
import { promisify } from 'node:util';
import { Failure } from '../../core/errors.ts';
import type { Bytes, Whole } from '../../core/model.ts';
import { type Dir, labelOf, within } from './beneath.ts';
import type { Entry } from './entries.ts';
import { attempt, explained } from './failures.ts';
import { decode } from './names.ts';

const write = promisify(writeFile);
const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const MODE = 0o600;
/** Runs of zeros at least this long become holes. */
const HOLE_BYTES = 64 * 1024;
const ZEROS = Buffer.alloc(HOLE_BYTES);

/** Only root can give files away. */
export const ownersKept = process.geteuid?.() === 0;

export interface Place {
  readonly dir: Dir;
  readonly name: Buffer;
  /** What is there is replaced in one step; else it must not be there. */
  readonly overwrite: boolean;
}

/** A small file, all at once. What it is on the disk then. */
export function putWhole(place: Place, entry: Entry, { whole, sha256 }: Whole): BigIntStats {
  check(place, entry, { bytes: whole.length, sha256 });
  const file = newFile(place);
  try {
    for (let at = 0; at < whole.length; ) at += writeSync(file.fd, whole, at, whole.length - at, at);
    return file.finish(entry);
  } catch (cause) {
    throw file.discard(cause);
  }
}

/** A file of any size. What it is on the disk then. */
export async function putStreamed(place: Place, entry: Entry, body: Bytes): Promise<BigIntStats> {
  const file = newFile(place);
  try {
    check(place, entry, await copy(file.fd, body));
    return file.finish(entry);
  } catch (cause) {
    throw file.discard(cause);
  }
}

interface NewFile {
  readonly fd: number;
  /** Closes it when all of it is written, and gives it its name. What it is on the disk then. */
  finish(entry: Entry): BigIntStats;
  /** Removes it, for what is cut short must not look like a file. Answers why. */
  discard(cause: unknown): unknown;
}

/** Closed to others until it has its own mode. */
function newFile(place: Place): NewFile {
  const path = place.overwrite ? besides(place) : within(place.dir, place.name);
  const why = (cause: unknown): unknown => explained(labelOf(place.dir, place.name), cause);
  let fd: number;
  try {
    fd = openSync(path, FLAGS, MODE);
  } catch (cause) {
    throw why(cause);
  }
  let isOpen = true;
  function close(): void {
    isOpen = false;
    closeSync(fd);
  }
  return {
    fd,
    finish(entry) {
      setAttributes(fd, entry);
      const stat = fstatSync(fd, { bigint: true });
      close();
      if (place.overwrite) renameSync(path, within(place.dir, place.name));
      return stat;
    },
    discard(cause) {
      if (isOpen) close();
      rmSync(path, { force: true });
      return why(cause);
    },
  };
}

export function putSymlink(place: Place, entry: Entry): void {
  const target = decode(entry.target ?? '');
  create(place, (path) => {
    symlinkSync(target, path);
    if (ownersKept) lchownSync(path, entry.uid, entry.gid);
    lutimesSync(path, secondsOf(entry), secondsOf(entry));
  });
}

export function putHardlink(place: Place, first: Buffer): void {
  create(place, (path) => linkSync(first, path));
}

/** Of an open file or directory. The owner first: changing it clears special bits of the mode. */
export function setAttributes(fd: number, entry: Entry): void {
  if (ownersKept) fchownSync(fd, entry.uid, entry.gid);
  fchmodSync(fd, entry.mode);
  futimesSync(fd, secondsOf(entry), secondsOf(entry));
}

function create(place: Place, make: (path: Buffer) => void): void {
  const path = within(place.dir, place.name);
  attempt(labelOf(place.dir, place.name), () => {
    if (!place.overwrite) return make(path);
    const beside = besides(place);
    try {
      make(beside);
      renameSync(beside, path);
    } finally {
      rmSync(beside, { force: true });
    }
  });
}

function besides({ dir }: Place): Buffer {
  return within(dir, Buffer.from(`.lifeboat-${randomBytes(6).toString('hex')}`));
}

function check(place: Place, entry: Entry, sum: { bytes: number; sha256: string }): void {
  if (sum.bytes === entry.bytes && sum.sha256 === entry.sha256) return;
  throw new Failure(
    'checksum',
    `${labelOf(place.dir, place.name)} is not written: the point has other bytes than it says`,
    {
      hint: 'run lifeboat verify --all --read-data',
    },
  );
}

async function copy(fd: number, body: Bytes): Promise<{ bytes: number; sha256: string }> {
  const digest = createHash('sha256');
  let at = 0;
  for await (const chunk of body) {
    digest.update(chunk);
    for (const { offset, length } of runsOf(chunk)) {
      for (let done = 0; done < length; ) {
        done += (await write(fd, chunk, offset + done, length - done, at + offset + done)).bytesWritten;
      }
    }
    at += chunk.length;
  }
  ftruncateSync(fd, at);
  return { bytes: at, sha256: digest.digest('hex') };
}

/** What has to be written of a chunk: all but blocks of zeros. */
function runsOf(chunk: Uint8Array): { offset: number; length: number }[] {
  const runs: { offset: number; length: number }[] = [];
  let begin = 0;
  let at = 0;
  for (; at + HOLE_BYTES <= chunk.length; at += HOLE_BYTES) {
    if (!ZEROS.equals(chunk.subarray(at, at + HOLE_BYTES))) continue;
    if (at > begin) runs.push({ offset: begin, length: at - begin });
    begin = at + HOLE_BYTES;
  }
  if (chunk.length > begin) runs.push({ offset: begin, length: chunk.length - begin });
  return runs;
}

function secondsOf(entry: Entry): number {
  return Number(entry.mtime_ns) / 1e9;
}
