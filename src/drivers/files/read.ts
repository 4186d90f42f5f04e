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
import type { Bytes, Context } from '../../core/model.ts';
import { paceOf } from '../../core/pace.ts';
import { pathOf } from './beneath.ts';
import { explained, GONE, unlessGone } from './failures.ts';

/** Neither a link that took the file's place nor a pipe that would make us wait. */
const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

const open = promisify(openFile);
const read = promisify(readFile);

interface Calls {
  open(path: Buffer): number | Promise<number>;
  /** Fills `data` from `at` on; answers how much it got. */
  read(fd: number, data: Buffer, at: number): number | Promise<number>;
}
const DIRECT: Calls = {
  open: (path) => openSync(path, FLAGS),
  read: (fd, data, at) => readSync(fd, data, at, data.length - at, at),
};
const THREADED: Calls = {
  open: (path) => open(path, FLAGS, 0),
  read: async (fd, data, at) => (await read(fd, data, at, data.length - at, at)).bytesRead,
};
const SLOW_MS = 1;

/** A file up to this size is read whole before it is stored, so that it can be read again when it changed meanwhile. */
const WHOLE_BYTES_MAX = 1024 * 1024;
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

export interface FileReader {
  /**
   * Null when it is gone or no file any more, or when another one is met there than was seen, unless that one took its
   * very place.
   */
  read(path: Buffer, seen: BigIntStats): Promise<FileRead | null>;
}

/** By threads, several at a time, where it takes long. */
export function fileReader(ctx: Context, root: string): FileReader {
  const large: LargeFiles = { digests: digester(), spare: [] };
  const pace = paceOf(SLOW_MS);
  return {
    async read(path, seen) {
      for (let attempt = 1; ; attempt++) {
        const calls = pace.isSlow() ? THREADED : DIRECT;
        const begun = ctx.monotonicMs();
        const file = await readOnce({ path, seen, root }, calls, large);
        if (calls === DIRECT) pace.took(ctx.monotonicMs() - begun);
        if (!file || file.streamed || !file.changed() || attempt === ATTEMPTS) return file;
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

async function readOnce(wanted: Wanted, calls: Calls, large: LargeFiles): Promise<FileRead | null> {
  const fd = await openIfThere(wanted.path, calls);
  if (fd === null) return null;
  let streamed = false;
  try {
    const before = fstatSync(fd, { bigint: true });
    if (!before.isFile() || !isWanted(fd, before, wanted)) return null;
    streamed = before.size > WHOLE_BYTES_MAX;
    if (streamed) return inChunks(fd, before, large);
    const data = await readUpTo(fd, Number(before.size), calls);
    return whole(data, before, isChanged(before, fstatSync(fd, { bigint: true })));
  } finally {
    if (!streamed) closeSync(fd);
  }
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

async function openIfThere(path: Buffer, calls: Calls): Promise<number | null> {
  try {
    return await calls.open(path);
  } catch (cause) {
    if ([...GONE, 'ELOOP', 'ENXIO'].includes(systemCode(cause))) return null;
    throw explained(path.toString(), cause);
  }
}

async function readUpTo(fd: number, bytes: number, calls: Calls): Promise<Buffer> {
  const data = Buffer.allocUnsafe(bytes);
  let at = 0;
  while (at < bytes) {
    const got = await calls.read(fd, data, at);
    if (got === 0) break; // it shrank
    at += got;
  }
  return data.subarray(0, at);
}

function whole(data: Buffer, stat: BigIntStats, changed: boolean): FileRead {
  const sum = { bytes: data.length, sha256: hash('sha256', data) };
  return {
    stat,
    streamed: false,
    body: bytesOf(data),
    changed: () => changed,
    sum: () => sum,
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
