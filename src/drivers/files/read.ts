// Reads files that may change, shrink or vanish meanwhile.

import { hash } from 'node:crypto';
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  open as openFile,
  openSync,
  read as readFile,
  readSync,
  realpathSync,
} from 'node:fs';
import { promisify } from 'node:util';
import { bytesOf, readBuffer } from '../../core/bytes.ts';
import { type Digester, digester } from '../../core/digest.ts';
import { systemCode } from '../../core/errors.ts';
import { isLocalDisk } from '../../core/local-disk.ts';
import type { Bytes, Context } from '../../core/model.ts';
import { paceOf } from '../../core/pace.ts';
import { pathOf } from '../beneath.ts';
import { explained, GONE, unlessGone } from '../failures.ts';
import type { Found } from './walk.ts';

/** Neither a link that took the file's place nor a pipe that would make us wait. */
const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

const open = promisify(openFile);
const read = promisify(readFile);

const SLOW_MS = 1;

/** A file up to this size is read whole before it is stored, so that it can be read again when it changed meanwhile. */
export const WHOLE_BYTES_MAX = 1024 * 1024;
const CHUNK_BYTES = 1024 * 1024;
/** One is read, one is borrowed, and one is hashed. */
const CHUNKS = 3;
const ATTEMPTS = 3;

/** To be disposed of once its body was read to the end, or was left. */
export interface FileRead extends Disposable {
  /** Of that which was read, before it was: what a path led to when somebody looked may be another file. */
  readonly stat: BigIntStats;
  /** False when `body` is one chunk that is there already. */
  readonly streamed: boolean;
  readonly body: Bytes;
  /** True once `body` has ended, when it is not one state of the file. */
  changed(): boolean;
  /** Of all that `body` has given, once it has ended. */
  sum(): { bytes: number; sha256: string };
}

/** A file of which all was read. */
export interface WholeFile {
  /** As in `FileRead`. */
  readonly stat: BigIntStats;
  readonly data: Buffer;
  /** True when `data` is not one state of the file. */
  readonly changed: boolean;
  readonly sha256: string;
}

export interface FileReader {
  /**
   * Null when it is gone or no file any more, or when another one is met there than was seen, unless that one took its
   * very place.
   */
  read(path: Buffer, seen: BigIntStats): Promise<FileRead | null>;
  /** Asks what disks files lie on: only those of this machine are read at once, as others may hang. */
  look(files: readonly Pick<Found, 'path' | 'stat'>[]): Promise<void>;
  /**
   * As `read`, at once, into `memory`. Undefined when it is one for `read`: large, or on a disk that takes long or was
   * not looked at.
   */
  readNow(path: Buffer, seen: BigIntStats, memory: Buffer): WholeFile | null | undefined;
}

/** What is read at once is read by the caller's thread, the rest by others, several files at a time. */
export function fileReader(ctx: Context, root: string): FileReader {
  const large: LargeFiles = { digests: digester(), spare: [] };
  const pace = paceOf(SLOW_MS);
  const disks = new Map<bigint, boolean>();
  return {
    async look(files) {
      for (const { path, stat } of files) if (!disks.has(stat.dev)) disks.set(stat.dev, await isLocalDisk(path));
    },
    async read(path, seen) {
      for (let attempt = 1; ; attempt++) {
        const file = await readOnce({ path, seen, root }, large);
        if (!file || file.streamed || !file.changed() || attempt === ATTEMPTS) return file;
      }
    },
    readNow(path, seen, memory) {
      if (seen.size > WHOLE_BYTES_MAX || !disks.get(seen.dev) || pace.isSlow()) return undefined;
      for (let attempt = 1; ; attempt++) {
        const file = pace.timed(ctx, () => wholeNow({ path, seen, root }, memory));
        if (!file?.changed || attempt === ATTEMPTS) return file;
      }
    },
  };
}

interface Wanted {
  readonly path: Buffer;
  readonly seen: BigIntStats;
  /** What the path begins with. */
  readonly root: string;
}

async function readOnce(wanted: Wanted, large: LargeFiles): Promise<FileRead | null> {
  const fd = await open(wanted.path, FLAGS, 0).catch((cause) => nullIfGone(wanted, cause));
  if (fd === null) return null;
  let streamed = false;
  try {
    const stat = statOf(fd, wanted);
    if (!stat) return null;
    streamed = stat.size > WHOLE_BYTES_MAX;
    if (streamed) return inChunks(fd, stat, large);
    const data = Buffer.allocUnsafe(Number(stat.size));
    let bytes = 0;
    while (bytes < data.length) {
      const { bytesRead } = await read(fd, data, bytes, data.length - bytes, bytes);
      if (bytesRead === 0) break; // it shrank
      bytes += bytesRead;
    }
    return asRead(whole(fd, stat, data.subarray(0, bytes)));
  } finally {
    if (!streamed) closeSync(fd);
  }
}

/** Undefined when it has grown beyond what is read at once. */
function wholeNow(wanted: Wanted, memory: Buffer): WholeFile | null | undefined {
  const fd = openNow(wanted);
  if (fd === null) return null;
  try {
    const stat = statOf(fd, wanted);
    if (!stat) return null;
    const size = Number(stat.size);
    if (size > Math.min(WHOLE_BYTES_MAX, memory.length)) return undefined;
    let bytes = 0;
    while (bytes < size) {
      const got = readSync(fd, memory, bytes, size - bytes, bytes);
      if (got === 0) break; // it shrank
      bytes += got;
    }
    return whole(fd, stat, memory.subarray(0, bytes));
  } finally {
    closeSync(fd);
  }
}

/** Of the file that was opened; null when it is not the one that is wanted. */
function statOf(fd: number, wanted: Wanted): BigIntStats | null {
  const stat = fstatSync(fd, { bigint: true });
  return stat.isFile() && isWanted(fd, stat, wanted) ? stat : null;
}

/**
 * A file that was saved by a rename is another one, in the same place. What else is met was reached through a link that
 * took the place of a directory above, and would be stored as if it belonged there.
 */
function isWanted(fd: number, met: BigIntStats, { path, seen, root }: Wanted): boolean {
  if (met.ino === seen.ino && met.dev === seen.dev) return true;
  if (seen.nlink > 1n) return false; // its other names would be taken for names of this one
  const inPlace = unlessGone(path, () => {
    const above = realpathSync.native(root, 'buffer');
    const place = Buffer.concat([above, path.subarray(Buffer.byteLength(root))]);
    return pathOf({ fd }) === place.toString('latin1');
  });
  return inPlace === true;
}

function openNow(wanted: Wanted): number | null {
  try {
    return openSync(wanted.path, FLAGS);
  } catch (cause) {
    return nullIfGone(wanted, cause);
  }
}

function nullIfGone({ path }: Wanted, cause: unknown): null {
  if ([...GONE, 'ELOOP', 'ENXIO'].includes(systemCode(cause))) return null;
  throw explained(path.toString(), cause);
}

function whole(fd: number, stat: BigIntStats, data: Buffer): WholeFile {
  const changed = isChanged(stat, fstatSync(fd, { bigint: true }));
  return { stat, data, changed, sha256: hash('sha256', data) };
}

function asRead({ stat, data, changed, sha256 }: WholeFile): FileRead {
  return {
    stat,
    streamed: false,
    body: bytesOf(data),
    changed: () => changed,
    sum: () => ({ bytes: data.length, sha256 }),
    [Symbol.dispose]: () => {},
  };
}

interface Chunk {
  readonly memory: Uint8Array<SharedArrayBuffer>;
  /** It may be filled again. */
  hashed: Promise<void>;
}

type Chunks = Generator<Chunk, never>;

/** What files that are read in chunks have one after the other. */
interface LargeFiles {
  readonly digests: Digester;
  /** Memory that nobody uses. */
  readonly spare: Chunks[];
}

function* chunksInTurn(): Chunks {
  const chunks = Array.from({ length: CHUNKS }, () => ({
    memory: readBuffer(CHUNK_BYTES, SharedArrayBuffer),
    hashed: Promise.resolve(),
  }));
  for (;;) yield* chunks;
}

function inChunks(fd: number, stat: BigIntStats, { digests, spare }: LargeFiles): FileRead {
  const size = Number(stat.size);
  let bytes = 0;
  let changed = false;
  let sha256 = '';
  async function* body(): Bytes {
    await using digest = digests.begin(size);
    const chunks = spare.pop() ?? chunksInTurn();
    const readNext = async (): Promise<Uint8Array> => {
      const chunk = chunks.next().value;
      await chunk.hashed;
      const wanted = Math.max(0, Math.min(CHUNK_BYTES, size - bytes));
      const { bytesRead } = await read(fd, chunk.memory, 0, wanted, bytes);
      const piece = chunk.memory.subarray(0, bytesRead);
      bytes += bytesRead;
      chunk.hashed = digest.update(piece);
      return piece;
    };
    let next = readNext();
    try {
      for (;;) {
        const piece = await next;
        if (piece.length === 0) break; // the end, or it shrank
        next = readNext();
        next.catch(() => undefined); // thrown where it is awaited
        yield piece;
      }
    } finally {
      await next.catch(() => undefined); // whoever wanted it has it, or has left
    }
    changed = isChanged(stat, fstatSync(fd, { bigint: true }));
    sha256 = await digest.end();
    spare.push(chunks);
  }
  return {
    stat,
    streamed: true,
    body: body(),
    changed: () => changed,
    sum: () => ({ bytes, sha256 }),
    [Symbol.dispose]: () => closeSync(fd),
  };
}

function isChanged(before: BigIntStats, after: BigIntStats): boolean {
  return before.size !== after.size || before.mtimeNs !== after.mtimeNs || before.ctimeNs !== after.ctimeNs;
}
