// Fills packs within one thread: compress, seal, and read everything back before a pack counts.

import { Failure } from '../../core/errors.ts';
import { compress, type MasterKey, SEAL_BYTES, sealInto, sha256 } from './crypto.ts';
import type { PackedBlob } from './index.ts';
import {
  CHUNK_ROOM_BYTES,
  checkPack,
  encodeHeader,
  HEADER_ENTRY_BYTES,
  PACK_BYTES_TARGET,
  PACK_FRAME_BYTES,
} from './pack.ts';

/** Bounds what a pack's header and its entries in memory take when blobs are tiny. */
const BLOBS_MAX = 8192;
const PACK_BYTES_CAPACITY = PACK_BYTES_TARGET + CHUNK_ROOM_BYTES + BLOBS_MAX * HEADER_ENTRY_BYTES + PACK_FRAME_BYTES;
/** Compression that saves less than this share is not worth decompressing. */
const SAVING_MIN = 0.02;
const TREE_LEVEL_MIN = 1;

/** A closed pack that was read back. Its bytes are the first of `buffer`, which is large enough to be used again. */
export interface FinishedPack {
  readonly buffer: ArrayBuffer;
  readonly bytes: number;
  readonly id: string; // hex
  readonly header: Uint8Array; // plain, for decodeHeader
}

export interface PackBuilder {
  /** Gives the pack that this closed, if any. */
  add(id: Uint8Array, plain: Uint8Array): FinishedPack | undefined;
  /** Closes the pack that is open, if any. */
  finish(): FinishedPack | undefined;
}

/** `compressionLevel` 0 stores data as it is. `spare` gives a buffer back that a finished pack has left, if any. */
export function packBuilder(options: {
  key: MasterKey;
  tree: boolean;
  compressionLevel: number;
  spare(): ArrayBuffer | undefined;
}): PackBuilder {
  const { key, tree } = options;
  const level = tree ? Math.max(options.compressionLevel, TREE_LEVEL_MIN) : options.compressionLevel;
  let pack = Buffer.alloc(0);
  let used = 0;
  let blobs: PackedBlob[] = [];

  /** Makes room for a blob; an open pack that has none is closed first. */
  function reserve(bytes: number): FinishedPack | undefined {
    const needed = bytes + (blobs.length + 1) * HEADER_ENTRY_BYTES + PACK_FRAME_BYTES;
    const closed = used > 0 && used + needed > pack.length ? finish() : undefined;
    if (used === 0 && needed > pack.length) {
      const spare = options.spare();
      pack = Buffer.from(spare && spare.byteLength >= needed ? spare : freshBuffer(needed));
    }
    return closed;
  }

  function finish(): FinishedPack | undefined {
    if (blobs.length === 0) return undefined;
    const header = encodeHeader(blobs);
    const sealedBytes = sealInto(key, header, pack, used);
    const bytes = pack.writeUInt32LE(sealedBytes, used + sealedBytes);
    const whole = pack.subarray(0, bytes);
    const id = sha256(whole);
    readBack(key, whole, id, blobs);
    const finished = { buffer: pack.buffer as ArrayBuffer, bytes, id: id.toString('hex'), header };
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
      // A pack closed for lack of room leaves a new one with a single blob, so both never happen at once but for a
      // blob as large as a pack; that one waits for the next call.
      if (closed) return closed;
      return used >= PACK_BYTES_TARGET || blobs.length >= BLOBS_MAX ? finish() : undefined;
    },
  };
}

function freshBuffer(needed: number): ArrayBuffer {
  return new ArrayBuffer(Math.max(needed, PACK_BYTES_CAPACITY));
}

/** What the compressor, the memory or a library has spoiled is found here, while the source can still be read again. */
function readBack(key: MasterKey, pack: Buffer, id: Buffer, written: readonly PackedBlob[]): void {
  const { blobs, damages } = checkPack(key, pack, id);
  const same =
    blobs.length === written.length && blobs.every((blob, i) => Buffer.compare(blob.id, written[i]?.id ?? pack) === 0);
  if (damages.length === 0 && same) return;
  const reason = damages[0]?.reason ?? 'its header lists other blobs';
  throw new Failure('checksum', `a pack can't be read back before it was stored: ${reason}`, {
    hint: 'nothing was stored; test the memory of this machine',
  });
}
