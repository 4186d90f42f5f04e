// Joins what a journal holds to files of the log, as the server wants them: one segment each, complete, under its own
// name. A file has that name only when it is whole; the last one is filled up with zeros.

import {
  closeSync,
  constants,
  fchownSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { Failure, systemCode } from '../../../core/errors.ts';
import { type Dir, labelOf, within } from '../../beneath.ts';
import { attempt } from '../../failures.ts';
import type { Owner } from '../physical/target.ts';
import { logFileName } from '../wal/files.ts';
import { lsnAt } from '../wal/positions.ts';
import type { Piece } from './pieces.ts';

const MODE = 0o600;
const UNFINISHED = Buffer.from('unfinished');
const HEADER_BYTES = 40;
const COPY_BYTES = 1024 * 1024;

export interface SegmentPlace {
  /** Where files go. */
  readonly dir: Dir;
  readonly owner: Owner | null;
  readonly segmentBytes: number;
  /** Has what the base backup brought: the beginning of a segment that the journal begins within. */
  readonly own: Dir | null;
}

/** The names of what is there, as soon as each is; the last one may be a part of its segment. */
export async function* joined(pieces: AsyncIterable<Piece>, place: SegmentPlace): AsyncIterable<string> {
  let open: OpenSegment | null = null;
  try {
    for await (const piece of pieces) {
      for (let done = 0; done < piece.bytes.length; ) {
        const at = piece.at + done;
        open ??= beginSegment(place, at);
        const bytes = Math.min(piece.bytes.length - done, open.end - at);
        writeAt(open, piece.bytes.subarray(done, done + bytes), at);
        open.source = piece.source;
        done += bytes;
        if (at + bytes < open.end) continue;
        const full = open;
        open = null;
        const name = finish(place, full);
        if (name !== null) yield name;
      }
    }
    const last = open;
    open = null;
    const name = last && finish(place, last);
    if (name !== null) yield name;
  } finally {
    if (open) closeSync(open.fd);
  }
}

interface OpenSegment {
  readonly fd: number;
  readonly begin: number;
  readonly end: number;
  /** What of it was not in the journal: everything before that. */
  readonly from: number;
  source: Piece['source'] | null;
}

function beginSegment({ dir, owner, segmentBytes }: SegmentPlace, at: number): OpenSegment {
  const begin = Math.floor(at / segmentBytes) * segmentBytes;
  const fd = attempt(labelOf(dir, UNFINISHED), () => {
    rmSync(within(dir, UNFINISHED), { force: true });
    const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    return openSync(within(dir, UNFINISHED), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, MODE);
  });
  if (owner) fchownSync(fd, owner.uid, owner.gid);
  return { fd, begin, end: begin + segmentBytes, from: at, source: null };
}

function writeAt({ fd, begin }: OpenSegment, bytes: Uint8Array, at: number): void {
  attempt('a segment of the log', () => {
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(fd, bytes, done, bytes.length - done, at - begin + done);
    }
  });
}

/** Null where its beginning is nowhere: the server then goes by what the base backup brought. */
function finish({ dir, own, segmentBytes }: SegmentPlace, open: OpenSegment): string | null {
  const { fd, begin, from, source } = open;
  if (!source) return null;
  const name = logFileName({ timeline: source.timeline, number: begin / segmentBytes }, segmentBytes);
  try {
    if (from > begin && !copyBeginning(own, name, open)) return null;
    attempt(labelOf(dir, UNFINISHED), () => ftruncateSync(fd, segmentBytes));
    assertIsSegment(open, source, segmentBytes);
  } finally {
    closeSync(fd);
  }
  attempt(labelOf(dir, Buffer.from(name)), () => renameSync(within(dir, UNFINISHED), within(dir, Buffer.from(name))));
  return name;
}

function copyBeginning(own: Dir | null, name: string, { fd, begin, from }: OpenSegment): boolean {
  if (!own) return false;
  let source: number;
  try {
    source = openSync(within(own, Buffer.from(name)), constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
  }
  try {
    const buffer = Buffer.allocUnsafe(Math.min(COPY_BYTES, from - begin));
    for (let at = 0; at < from - begin; ) {
      const bytes = readSync(source, buffer, 0, Math.min(buffer.length, from - begin - at), at);
      if (bytes === 0) return false;
      for (let done = 0; done < bytes; ) done += writeSync(fd, buffer, done, bytes - done, at + done);
      at += bytes;
    }
    return true;
  } finally {
    closeSync(source);
  }
}

/** It says itself which log it is of, and which place in it: what says something else is another server's. */
function assertIsSegment({ fd, begin }: OpenSegment, { system }: Piece['source'], segmentBytes: number): void {
  const head = Buffer.alloc(HEADER_BYTES);
  readSync(fd, head, 0, HEADER_BYTES, 0);
  const [at, its, size] = [Number(head.readBigUInt64LE(8)), String(head.readBigUInt64LE(24)), head.readUInt32LE(32)];
  if (at === begin && its === system && size === segmentBytes) return;
  const told = `${lsnAt(at)} of system ${its}, in segments of ${size} bytes`;
  const wanted = `${lsnAt(begin)} of system ${system}, in segments of ${segmentBytes}`;
  throw new Failure('different', `the journal has at ${wanted} what says that it is at ${told}`, {
    hint: 'two servers have written this journal: choose another point, and look with lifeboat verify',
  });
}
