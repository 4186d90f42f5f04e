// Files of the log, as a server archives them: their names, and what their first page says of itself.

import { type FileHandle, open } from 'node:fs/promises';
import { endianness } from 'node:os';
import { Failure, systemCode } from '../../../core/errors.ts';
import { isSegmentSize, segmentName } from './files.ts';

const HEADER_BYTES = 40;
/** In the second field of a page: it is the first one of a segment, and says whose it is. */
const LONG_HEADER = 2;

export interface Segment extends AsyncDisposable {
  readonly path: string;
  readonly timeline: number;
  readonly system: string;
  /** Where it begins and ends. */
  readonly from: number;
  readonly to: number;
  readonly bytes: number;
  /** When the last of it was written. */
  readonly at: Date;
  /** What it has from one place to another. */
  read(from: number, to: number): Promise<Buffer>;
}

/** 'malformed' unless it is the segment that its name says. */
export async function openSegment(path: string): Promise<Segment> {
  const name = path.slice(path.lastIndexOf('/') + 1);
  await using undo = new AsyncDisposableStack();
  const file = undo.use(await opened(path));
  const { size: bytes, mtime: at } = await file.stat();
  const header = await readExactly(file, path, 0, Math.min(bytes, HEADER_BYTES));
  const about = headerOf(header, bytes);
  const timeline = Number.parseInt(name.slice(0, 8), 16);
  // The first page of a timeline's first segment is still the one of the timeline before.
  if (!about || about.timeline > timeline || segmentName(timeline, about.from, bytes) !== name.slice(0, 24)) {
    throw new Failure('malformed', `${path} is not the segment of the log that its name says`);
  }
  const { from, system } = about;
  const kept = undo.move();
  return {
    ...{ path, timeline, system, from, to: from + bytes, bytes, at },
    read: (start, end) => readExactly(file, path, start - from, end - start),
    [Symbol.asyncDispose]: () => kept[Symbol.asyncDispose](),
  };
}

async function opened(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (cause) {
    const code = systemCode(cause) === 'ENOENT' ? 'missing' : 'denied';
    throw new Failure(code, `${path} can not be opened (${systemCode(cause)})`, { cause });
  }
}

async function readExactly(file: FileHandle, path: string, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(length), 0, length, position);
  if (bytesRead === length) return buffer;
  throw new Failure('malformed', `${path} ends at ${position + bytesRead}`);
}

interface Header {
  readonly timeline: number;
  readonly from: number;
  readonly system: string;
}

/** In the byte order of the machine, which is that of its server. */
function headerOf(header: Buffer, bytes: number): Header | null {
  if (!isSegmentSize(bytes) || header.length < HEADER_BYTES) return null;
  const view = new DataView(header.buffer, header.byteOffset, header.length);
  const isLittle = endianness() === 'LE';
  if ((view.getUint16(2, isLittle) & LONG_HEADER) === 0 || view.getUint32(32, isLittle) !== bytes) return null;
  const from = Number(view.getBigUint64(8, isLittle));
  return { timeline: view.getUint32(4, isLittle), from, system: String(view.getBigUint64(24, isLittle)) };
}
