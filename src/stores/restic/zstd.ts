// zstd. Node makes a new context, and memory for the result, for everything that is compressed or decompressed: for a
// small blob that takes three times as long as the work itself, for a large one a fifth. So each thread keeps one
// context for each direction (docs/adr/0005-zstd-contexts.md).

import { constants, createZstdCompress, createZstdDecompress, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { Failure, systemCode } from '../../core/errors.ts';

/** Larger results, those of large folders, are rare: Node makes them, in memory of their own. Pages cost when used. */
const OUTPUT_BYTES_MAX = 8 * 1024 * 1024 + 64 * 1024;
const PIECE_BYTES_MIN = 64;
const PIECE_BYTES_USUAL = 64 * 1024;
const PIECE_BYTES_MAX = 16 * 1024 * 1024;
/** A whole range of a journal. */
const TOLD_BYTES_MAX = 17 * 1024 * 1024;
const RATIO_USUAL = 8;

/** 256 KiB back, a match is still in the processor's cache (docs/adr/0003-compression-level.md). */
const WINDOW_LOG = 18;
/** What is larger, zstd compresses with other tables at the same level. */
const SMALL_BYTES_MAX = 256 * 1024;
/** Of large blobs at level 2: twice what that level has, to find again what the smaller window loses. */
const HASH_LOG = 17;
/** Of pages, which are full of short matches that lie near: a fifth less time, 0.6 % more bytes. */
const PAGES_HASH_LOG = 15;
const ZSTDS_OWN = 0;

/** Works on one whole frame. Null when the result is larger than `bytesMax`, or is not all that the frame asks for. */
type Engine = (data: Uint8Array, bytesMax: number) => Buffer | null;

let decompressor: Engine | null | undefined;
/** By level. */
const compressors = {
  small: new Map<number, Engine | null>(),
  large: new Map<number, Engine | null>(),
  pages: new Map<number, Engine | null>(),
};

/** The result is valid until the next call in this thread. `isPages`: of a file that changes in place. */
export function compress(data: Uint8Array, level: number, isPages = false): Buffer {
  const isLarge = data.length > SMALL_BYTES_MAX;
  const hashLog = isPages ? PAGES_HASH_LOG : HASH_LOG;
  const params = {
    [constants.ZSTD_c_compressionLevel]: level,
    [constants.ZSTD_c_windowLog]: WINDOW_LOG,
    [constants.ZSTD_c_hashLog]: isLarge && level === 2 ? hashLog : ZSTDS_OWN,
  };
  const bytesMax = data.length + (data.length >> 8) + 1024;
  if (bytesMax < OUTPUT_BYTES_MAX) {
    const kept = !isLarge ? compressors.small : isPages ? compressors.pages : compressors.large;
    let engine = kept.get(level);
    if (engine === undefined) kept.set(level, (engine = engineOf(createZstdCompress({ params }))));
    const frame = engine?.(data, bytesMax);
    if (frame) return frame;
    if (engine) kept.delete(level);
  }
  // One output buffer a little over the input: the default of 16 KiB pieces costs more than the compression.
  return zstdCompressSync(data, { chunkSize: bytesMax, params });
}

/** Exactly `bytes`, else 'checksum'. The result is valid until the next call in this thread. */
export function decompressTo(data: Uint8Array, bytes: number): Buffer {
  const plain = decompressKept(data, bytes) ?? decompressAnew(data, bytes);
  if (plain.length === bytes) return plain;
  throw new Failure('checksum', `${plain.length} bytes came out, not ${bytes}`);
}

/**
 * Throws 'checksum' when it is no zstd or more than `bytesMax` come out: what a bomb must not do is fill the memory.
 */
export function decompress(data: Uint8Array, bytesMax: number): Buffer {
  const isLarge = toldBytes(data) >= OUTPUT_BYTES_MAX; // to begin with what can't be ended takes as long again
  const plain = isLarge ? null : decompressKept(data, Math.min(bytesMax, OUTPUT_BYTES_MAX - 1));
  return plain ? Buffer.from(plain) : decompressAnew(data, bytesMax);
}

/** What a frame says that comes out of it; 0 where it does not. Anybody may have written that. */
function toldBytes(data: Uint8Array): number {
  const frame = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const descriptor = frame[4] ?? 0;
  const [form, isSingle, dictionary] = [descriptor >> 6, (descriptor >> 5) & 1, [0, 1, 2, 4][descriptor & 3] ?? 0];
  const at = 5 + (1 - isSingle) + dictionary;
  if (form < 2 || frame.length < at + 8) return 0; // less than 64 KiB
  return form === 2 ? frame.readUInt32LE(at) : Number(frame.readBigUInt64LE(at));
}

/** In the context that this thread keeps; null when that can't. The result is valid until the next call. */
function decompressKept(data: Uint8Array, bytesMax: number): Buffer | null {
  if (bytesMax >= OUTPUT_BYTES_MAX) return null;
  if (decompressor === undefined) decompressor = engineOf(createZstdDecompress());
  const plain = decompressor?.(data, bytesMax) ?? null;
  // It may be in the middle of a frame now: another one goes on.
  if (decompressor && !plain) decompressor = undefined;
  return plain;
}

/** In a context of its own, which tells what is wrong. */
function decompressAnew(data: Uint8Array, bytesMax: number): Buffer {
  try {
    return zstdDecompressSync(data, {
      maxOutputLength: Math.max(1, bytesMax),
      chunkSize: pieceBytes(data, bytesMax),
    });
  } catch (cause) {
    const why =
      systemCode(cause) === 'ERR_BUFFER_TOO_LARGE' ? `it holds more than ${bytesMax} bytes` : 'it is not valid';
    throw new Failure('checksum', `zstd data can't be decompressed: ${why}`, { cause });
  }
}

/** Each piece of output is allocated whole: not the most that may come, but what is told, or usual. */
function pieceBytes(data: Uint8Array, bytesMax: number): number {
  const told = toldBytes(data);
  if (told > 0 && told <= Math.min(bytesMax, TOLD_BYTES_MAX)) return told + PIECE_BYTES_MIN;
  const usual = Math.max(data.length * RATIO_USUAL, PIECE_BYTES_USUAL);
  return Math.min(bytesMax + PIECE_BYTES_MIN, usual, PIECE_BYTES_MAX);
}

/** What a stream of Node's zlib has inside. */
interface Native {
  writeSync(
    flush: number,
    input: Uint8Array,
    at: number,
    bytes: number,
    out: Uint8Array,
    to: number,
    max: number,
  ): void;
  onerror: () => void;
}

/** Null where Node is other inside than it was for years: then its own functions do it. */
function engineOf(stream: object): Engine | null {
  const { _handle: native, _writeState: left } = stream as { _handle?: Partial<Native>; _writeState?: unknown };
  if (typeof native?.writeSync !== 'function' || !(left instanceof Uint32Array)) return null;
  const { writeSync } = native;
  const output = Buffer.allocUnsafeSlow(OUTPUT_BYTES_MAX);
  let failed = false;
  native.onerror = () => {
    failed = true;
  };
  return (data, bytesMax) => {
    failed = false;
    const room = bytesMax + 1; // what is too large fills it
    writeSync.call(native, constants.ZSTD_e_end, data, 0, data.length, output, 0, room);
    const [roomLeft = 0, inputLeft = 0] = left;
    return failed || inputLeft > 0 || roomLeft === 0 ? null : output.subarray(0, room - roomLeft);
  };
}
