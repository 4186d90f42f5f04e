// Writes one entry into an opened directory.

import { createHash, hash, randomBytes } from 'node:crypto';
import {
  type BigIntStats,
  closeSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  ftruncateSync,
  futimesSync,
  lchownSync,
  linkSync,
  lutimesSync,
  renameSync,
  rmSync,
  symlinkSync,
  write as writeFile,
  writeSync,
} from 'node:fs';
import { promisify } from 'node:util';
import { Failure } from '../../core/errors.ts';
import type { Bytes } from '../../core/model.ts';
import { type Dir, labelOf, within } from './beneath.ts';
import { type Creator, createDirectly } from './creating.ts';
import type { Entry } from './entries.ts';
import { attempt, explained } from './failures.ts';
import { decode } from './names.ts';

const write = promisify(writeFile);
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
export async function putWhole(
  place: Place,
  entry: Entry,
  data: Buffer,
  creator: Creator = createDirectly,
): Promise<BigIntStats> {
  check(place, entry, { bytes: data.length, sha256: hash('sha256', data) });
  return await putFile(place, entry, creator, (fd) => {
    for (let at = 0; at < data.length; ) at += writeSync(fd, data, at, data.length - at, at);
  });
}

/** A file of any size. What it is on the disk then. */
export async function putStreamed(place: Place, entry: Entry, body: Bytes, creator: Creator): Promise<BigIntStats> {
  return await putFile(place, entry, creator, async (fd) => check(place, entry, await copy(fd, body)));
}

async function putFile(
  place: Place,
  entry: Entry,
  creator: Creator,
  fill: (fd: number) => void | Promise<void>,
): Promise<BigIntStats> {
  const label = labelOf(place.dir, place.name);
  const path = place.overwrite ? besides(place) : within(place.dir, place.name);
  const fd = await created(label, path, creator);
  try {
    let stat: BigIntStats;
    try {
      await fill(fd);
      setAttributes(fd, entry);
      stat = fstatSync(fd, { bigint: true });
    } finally {
      closeSync(fd);
    }
    if (place.overwrite) renameSync(path, within(place.dir, place.name));
    return stat;
  } catch (cause) {
    rmSync(path, { force: true }); // what is cut short must not look like a file
    throw explained(label, cause);
  }
}

async function created(label: string, path: Buffer, creator: Creator): Promise<number> {
  try {
    return await creator(path);
  } catch (cause) {
    throw explained(label, cause);
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
