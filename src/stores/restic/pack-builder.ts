// Fills packs within one thread: compress, seal, and read everything back before a pack counts.

import { Failure, messageOf } from '../../core/errors.ts';
import { assertSealed, type MasterKey, SEAL_BYTES, sealInto, sha256 } from './crypto.ts';
import type { PackedBlob } from './index.ts';
import { encodeHeader, HEADER_ENTRY_BYTES, openBlob, openHeader, PACK_FRAME_BYTES } from './pack.ts';
import { buffers, copyInto, type LentBuffers } from './pool-buffers.ts';
import { compress } from './zstd.ts';

/** Bounds what a pack's header and its entries in memory take when blobs are tiny. */
const BLOBS_MAX = 8192;
/** Compression that saves less than this share is not worth decompressing. */
const SAVING_MIN = 0.02;
const TREE_LEVEL_MIN = 1;
/** Of what is sealed and not in a pack yet. */
const HELD_BYTES_MIN = 512 * 1024;

/** A closed pack that was read back: the first `bytes` of a buffer. */
export interface FinishedPack {
  /** Lent by the thread that filled it until somebody calls `giveBack`. */
  readonly buffer: ArrayBufferLike;
  readonly bytes: number;
  readonly id: string; // hex
  readonly header: Uint8Array; // plain, for decodeHeader
}

/** Sealed and proved. */
export interface HeldBlob {
  readonly id: Uint8Array;
  readonly memory: SharedArrayBuffer;
  readonly length: number;
  readonly uncompressedLength: number;
}

export interface PackBuilder {
  /** Gives the pack that this closed, if any. */
  add(id: Uint8Array, plain: Buffer, isPages?: boolean): FinishedPack | undefined;
  /** Of what nobody has hashed yet: the id is that of what was read back. It is in no pack before it is kept. */
  hold(plain: Buffer, isPages?: boolean): HeldBlob;
  /** As `add`. Its memory is used again, as it is after `drop`. */
  keep(held: HeldBlob): FinishedPack | undefined;
  drop(held: HeldBlob): void;
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
  const holding = buffers(HELD_BYTES_MIN);
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
    readBack(() => assertWhole(key, whole, blobs));
    const finished = { buffer: pack.buffer, bytes, id: sha256(whole).toString('hex'), header };
    pack = Buffer.alloc(0);
    used = 0;
    blobs = [];
    return finished;
  }

  function bodyOf(plain: Buffer, isPages = false): { readonly body: Buffer; readonly uncompressedLength: number } {
    const packed = level > 0 ? compress(plain, level, isPages) : plain;
    const compressed = tree || packed.length < plain.length * (1 - SAVING_MIN);
    return { body: compressed ? packed : plain, uncompressedLength: compressed ? plain.length : 0 };
  }
  function enter({ id, length, uncompressedLength }: Omit<HeldBlob, 'memory'>): void {
    blobs.push({ id, tree, offset: used, length, uncompressedLength });
    used += length;
  }

  return {
    finish,
    add(id, plain, isPages) {
      const { body, uncompressedLength } = bodyOf(plain, isPages);
      const closed = reserve(body.length + SEAL_BYTES);
      const length = sealInto(key, body, pack, used);
      readBack(() => provedId(key, pack.subarray(used, used + length), { known: id, uncompressedLength, plain }));
      enter({ id, length, uncompressedLength });
      return closed;
    },
    hold(plain, isPages) {
      const { body, uncompressedLength } = bodyOf(plain, isPages);
      const memory = holding.take(body.length + SEAL_BYTES);
      const sealed = Buffer.from(memory, 0, body.length + SEAL_BYTES);
      const length = sealInto(key, body, sealed, 0);
      const id = readBack(() => provedId(key, sealed, { known: null, uncompressedLength, plain }));
      return { id, memory, length, uncompressedLength };
    },
    keep(held) {
      const closed = reserve(held.length);
      copyInto(pack.buffer, pack.byteOffset + used, Buffer.from(held.memory, 0, held.length));
      enter(held);
      holding.give(held.memory);
      return closed;
    },
    drop: ({ memory: held }) => holding.give(held),
  };
}

/** Decrypts, decompresses and hashes a blob while it still lies in the processor's cache. */
function provedId(
  key: MasterKey,
  sealed: Buffer,
  blob: { readonly known: Uint8Array | null; readonly uncompressedLength: number; readonly plain: Buffer },
): Uint8Array {
  const { known, uncompressedLength, plain } = blob;
  return openBlob(key, sealed, { id: known, uncompressedLength }, (back) => {
    if (known) return known;
    if (!back.equals(plain)) throw new Failure('checksum', 'other bytes come out than were put in');
    return sha256(back);
  });
}

/** Its blobs were read back when they were sealed: here, that they still are as they were, and are what it lists. */
function assertWhole(key: MasterKey, pack: Buffer, written: readonly PackedBlob[]): void {
  for (const { offset, length } of written) assertSealed(key, pack.subarray(offset, offset + length));
  const listed = openHeader(key, pack, pack.length);
  const isSame =
    listed.length === written.length &&
    listed.every((blob, i) => {
      const { id, tree, offset, length, uncompressedLength } = written[i] ?? blob;
      const isThere = blob.offset === offset && blob.length === length;
      const isKind = blob.tree === tree && blob.uncompressedLength === uncompressedLength;
      return isThere && isKind && Buffer.compare(blob.id, id) === 0;
    });
  if (!isSame) throw new Failure('checksum', 'its header lists other blobs');
}

/** What the compressor, the memory or a library has spoiled is found here, while the source can still be read again. */
function readBack<T>(work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw new Failure('checksum', `a pack can't be read back before it was stored: ${messageOf(cause)}`, {
      cause,
      hint: 'nothing was stored; test the memory of this machine',
    });
  }
}
