// Fills packs within one thread: compress, seal, and read everything back before a pack counts.

import { Failure } from '../../core/errors.ts';
import { type MasterKey, SEAL_BYTES, sealInto, sha256 } from './crypto.ts';
import type { PackedBlob } from './index.ts';
import { checkBlobs, encodeHeader, HEADER_ENTRY_BYTES, PACK_FRAME_BYTES } from './pack.ts';
import type { LentBuffers } from './pool-buffers.ts';
import { compress } from './zstd.ts';

/** Bounds what a pack's header and its entries in memory take when blobs are tiny. */
const BLOBS_MAX = 8192;
/** Compression that saves less than this share is not worth decompressing. */
const SAVING_MIN = 0.02;
const TREE_LEVEL_MIN = 1;

/** A closed pack that was read back: the first `bytes` of a buffer. */
export interface FinishedPack {
  /** Lent by the thread that filled it until somebody calls `giveBack`. */
  readonly buffer: ArrayBufferLike;
  readonly bytes: number;
  readonly id: string; // hex
  readonly header: Uint8Array; // plain, for decodeHeader
}

export interface PackBuilder {
  /** Gives the pack that this closed, if any. */
  add(id: Uint8Array, plain: Buffer): FinishedPack | undefined;
  /** Closes the pack that is open, if any. */
  finish(): FinishedPack | undefined;
}

/** `compressionLevel` 0 stores data as it is. */
export function packBuilder(options: {
  key: MasterKey;
  tree: boolean;
  compressionLevel: number;
  /** Of the thread; what a pack has at most. */
  memory: LentBuffers;
}): PackBuilder {
  const { key, tree, memory } = options;
  const level = tree ? Math.max(options.compressionLevel, TREE_LEVEL_MIN) : options.compressionLevel;
  let pack: Buffer = Buffer.alloc(0);
  let used = 0;
  let blobs: PackedBlob[] = [];

  /** Makes room for a blob; an open pack that has none is closed first. */
  function reserve(bytes: number): FinishedPack | undefined {
    const needed = bytes + (blobs.length + 1) * HEADER_ENTRY_BYTES + PACK_FRAME_BYTES;
    const full = used + needed > pack.length || blobs.length === BLOBS_MAX;
    const closed = full ? finish() : undefined;
    if (needed > pack.length) pack = memoryOf(needed);
    return closed;
  }

  /** What a pack usually takes is filled again; a blob that is larger gets memory of its own. */
  function memoryOf(bytes: number): Buffer {
    if (bytes > memory.bytes) return Buffer.allocUnsafeSlow(bytes);
    return Buffer.from(memory.take(), 0, memory.bytes);
  }

  function finish(): FinishedPack | undefined {
    if (blobs.length === 0) return undefined;
    const header = encodeHeader(blobs);
    const sealedBytes = sealInto(key, header, pack, used);
    const bytes = pack.writeUInt32LE(sealedBytes, used + sealedBytes);
    const whole = pack.subarray(0, bytes);
    readBack(key, whole, blobs);
    const finished = { buffer: pack.buffer, bytes, id: sha256(whole).toString('hex'), header };
    pack = Buffer.alloc(0);
    used = 0;
    blobs = [];
    return finished;
  }

  return {
    finish,
    add(id, plain) {
      const packed = level > 0 ? compress(plain, level) : plain;
      const compressed = tree || packed.length < plain.length * (1 - SAVING_MIN);
      const body = compressed ? packed : plain;
      const closed = reserve(body.length + SEAL_BYTES);
      const length = sealInto(key, body, pack, used);
      blobs.push({ id, tree, offset: used, length, uncompressedLength: compressed ? plain.length : 0 });
      used += length;
      return closed;
    },
  };
}

/** What the compressor, the memory or a library has spoiled is found here, while the source can still be read again. */
function readBack(key: MasterKey, pack: Buffer, written: readonly PackedBlob[]): void {
  const { blobs, damages } = checkBlobs(key, pack);
  const same =
    blobs.length === written.length && blobs.every((blob, i) => Buffer.compare(blob.id, written[i]?.id ?? pack) === 0);
  if (damages.length === 0 && same) return;
  const reason = damages[0]?.reason ?? 'its header lists other blobs';
  throw new Failure('checksum', `a pack can't be read back before it was stored: ${reason}`, {
    hint: 'nothing was stored; test the memory of this machine',
  });
}
