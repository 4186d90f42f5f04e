// Writes one entry into an opened directory.

import { createHash, hash, randomBytes } from 'node:crypto';
import {
  type BigIntStats,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  futimesSync,
  lchownSync,
  linkSync,
  lutimesSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { Failure } from '../../core/errors.ts';
import type { Bytes } from '../../core/model.ts';
import { type Dir, labelOf, within } from '../beneath.ts';
import { attempt, explained } from '../failures.ts';
import type { Entry } from './entries.ts';
import { decode } from './names.ts';

const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
/** Closed to others until it has its own mode. */
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

/** Ways to the same content. Where one gives other bytes than the entry says, the next is tried. */
export type Bodies = readonly (() => Bytes)[];

interface Sum {
  readonly bytes: number;
  readonly sha256: string;
}

/** A small file, all at once, by the caller's own thread. What it is on the disk then. */
export function putWhole(place: Place, entry: Entry, whole: Uint8Array): BigIntStats {
  check(place, entry, { bytes: whole.length, sha256: hash('sha256', whole) });
  const path = pathOf(place);
  try {
    const fd = openSync(path, FLAGS, MODE);
    try {
      const stat = filled(fd, entry, whole);
      if (place.overwrite) renameSync(path, within(place.dir, place.name));
      return stat;
    } catch (cause) {
      rmSync(path, { force: true }); // what is cut short must not look like a file
      throw cause;
    }
  } catch (cause) {
    throw explained(labelOf(place.dir, place.name), cause);
  }
}

function filled(fd: number, entry: Entry, whole: Uint8Array): BigIntStats {
  try {
    for (let at = 0; at < whole.length; ) at += writeSync(fd, whole, at, whole.length - at, at);
    setAttributes(fd, entry);
    return fstatSync(fd, { bigint: true });
  } finally {
    closeSync(fd);
  }
}

/** A file of any size, by other threads. What it is on the disk then. */
export async function putStreamed(place: Place, entry: Entry, bodies: Bodies): Promise<BigIntStats> {
  const path = pathOf(place);
  try {
    const file = await open(path, FLAGS, MODE);
    try {
      const stat = await streamed(file, place, entry, bodies);
      if (place.overwrite) await rename(path, within(place.dir, place.name));
      return stat;
    } catch (cause) {
      await rm(path, { force: true });
      throw cause;
    }
  } catch (cause) {
    throw explained(labelOf(place.dir, place.name), cause);
  }
}

async function streamed(file: FileHandle, place: Place, entry: Entry, bodies: Bodies): Promise<BigIntStats> {
  try {
    check(place, entry, await copyOne(file, entry, bodies));
    if (ownersKept) await file.chown(entry.uid, entry.gid);
    await file.chmod(entry.mode);
    await file.utimes(secondsOf(entry), secondsOf(entry));
    return await file.stat({ bigint: true });
  } finally {
    await file.close();
  }
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

/** Where it is written: in its place, or beside what it is to replace. */
function pathOf(place: Place): Buffer {
  return place.overwrite ? besides(place) : within(place.dir, place.name);
}

function besides({ dir }: Place): Buffer {
  return within(dir, Buffer.from(`.lifeboat-${randomBytes(6).toString('hex')}`));
}

function check(place: Place, entry: Entry, sum: Sum): void {
  if (isOf(entry, sum)) return;
  throw new Failure(
    'checksum',
    `${labelOf(place.dir, place.name)} is not written: the point has other bytes than it says`,
    {
      hint: 'run lifeboat verify --all --read-data',
    },
  );
}

function isOf(entry: Entry, sum: Sum): boolean {
  return sum.bytes === entry.bytes && sum.sha256 === entry.sha256;
}

async function copyOne(file: FileHandle, entry: Entry, bodies: Bodies): Promise<Sum> {
  let sum: Sum = { bytes: 0, sha256: '' };
  for (const [tries, body] of bodies.entries()) {
    // What the one before has left would show through holes. One that was emptied waits for the disk when it is closed
    // (ext4), so a new file is not.
    if (tries > 0) await file.truncate();
    sum = await copy(file, body());
    if (isOf(entry, sum)) break;
  }
  return sum;
}

async function copy(file: FileHandle, body: Bytes): Promise<Sum> {
  const digest = createHash('sha256');
  let [at, writtenTo] = [0, 0];
  for await (const chunk of body) {
    const written = writeRuns(file, chunk, at); // by another thread, while this one hashes
    digest.update(chunk);
    writtenTo = (await written) ?? writtenTo;
    at += chunk.length;
  }
  if (writtenTo < at) await file.truncate(at); // it ends in a hole
  return { bytes: at, sha256: digest.digest('hex') };
}

/** Where the last run ends in the file; null when the chunk is a hole. */
async function writeRuns(file: FileHandle, chunk: Uint8Array, at: number): Promise<number | null> {
  let end: number | null = null;
  for (const { offset, length } of runsOf(chunk)) {
    for (let done = 0; done < length; ) {
      done += (await file.write(chunk, offset + done, length - done, at + offset + done)).bytesWritten;
    }
    end = at + offset + length;
  }
  return end;
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
