// A pack: sealed blobs one after another, then the sealed list of them, then that list's length. docs/format.md.

import { Failure, messageOf } from '../../core/errors.ts';
import { type MasterKey, openInto, SEAL_BYTES, sha256 } from './crypto.ts';
import type { BlobPlace, PackedBlob } from './index.ts';
import { decompressTo } from './zstd.ts';

/** Of what changes in place: a multiple of all pages of PostgreSQL's. */
export const EVEN_CHUNK_BYTES = 1024 * 1024;
/** A pack is closed before it would grow over this, unless a single blob does. */
export const PACK_BYTES_MAX = 16 * 1024 * 1024;
/**
 * A blob is held in memory whole. Stock restic's largest data is 8 MiB; a tree grows with the entries of its folder.
 */
export const BLOB_BYTES_MAX = 128 * 1024 * 1024;

const LENGTH_BYTES = 4; // of the sealed header, at the very end
const STORED_BYTES = 37; // type, length, id
const COMPRESSED_BYTES = 41; // type, length, uncompressed length, id
const COMPRESSED_TYPE = 2; // 0 data, 1 tree, and 2 more when compressed
/** What a blob adds to its pack at most, beside its sealed bytes. */
export const HEADER_ENTRY_BYTES = COMPRESSED_BYTES;
/** What every pack has beside its blobs and their entries. */
export const PACK_FRAME_BYTES = SEAL_BYTES + LENGTH_BYTES;

export function packKey(pack: string): string {
  return `data/${pack.slice(0, 2)}/${pack}`;
}

export function plainLength(blob: Pick<BlobPlace, 'length' | 'uncompressedLength'>): number {
  return blob.uncompressedLength || blob.length - SEAL_BYTES;
}

/** The list of blobs as it is sealed into the pack. */
export function encodeHeader(blobs: readonly PackedBlob[]): Buffer {
  const header = Buffer.allocUnsafe(blobs.length * COMPRESSED_BYTES);
  let at = 0;
  for (const blob of blobs) {
    const compressed = blob.uncompressedLength > 0;
    header[at] = (blob.tree ? 1 : 0) + (compressed ? COMPRESSED_TYPE : 0);
    header.writeUInt32LE(blob.length, at + 1);
    if (compressed) header.writeUInt32LE(blob.uncompressedLength, at + 5);
    header.set(blob.id, at + (compressed ? 9 : 5));
    at += compressed ? COMPRESSED_BYTES : STORED_BYTES;
  }
  return header.subarray(0, at);
}

export function decodeHeader(plain: Uint8Array): PackedBlob[] {
  const header = Buffer.from(plain.buffer, plain.byteOffset, plain.length);
  const blobs: PackedBlob[] = [];
  let offset = 0;
  for (let at = 0; at < header.length; ) {
    const type = header[at] ?? 0;
    const compressed = type >= COMPRESSED_TYPE;
    const end = at + (compressed ? COMPRESSED_BYTES : STORED_BYTES);
    if (type > 3 || end > header.length) throw new Failure('checksum', 'the header of a pack is no list of blobs');
    const length = header.readUInt32LE(at + 1);
    const uncompressedLength = compressed ? header.readUInt32LE(at + 5) : 0;
    if (length < SEAL_BYTES || (compressed && uncompressedLength === 0)) {
      throw new Failure('checksum', 'the header of a pack lists a blob of an impossible length');
    }
    blobs.push({ id: header.subarray(end - 32, end), tree: type % 2 === 1, offset, length, uncompressedLength });
    offset += length;
    at = end;
  }
  return blobs;
}

/** How many of a pack's last bytes its header takes, said by the last four of them. */
export function headerBytes(packEnd: Uint8Array): number {
  const end = Buffer.from(packEnd.buffer, packEnd.byteOffset, packEnd.length);
  if (end.length < LENGTH_BYTES) throw new Failure('checksum', `a pack of ${end.length} bytes has no header`);
  return end.readUInt32LE(end.length - LENGTH_BYTES) + LENGTH_BYTES;
}

/** The blobs of a pack of `packBytes`, from its last `headerBytes` or more. */
export function openHeader(key: MasterKey, packEnd: Uint8Array, packBytes: number): PackedBlob[] {
  const tail = headerBytes(packEnd);
  if (tail < PACK_FRAME_BYTES || tail > packEnd.length) {
    throw new Failure('checksum', `the header of a pack would be ${tail} of its ${packBytes} bytes`);
  }
  const sealed = packEnd.subarray(packEnd.length - tail, packEnd.length - LENGTH_BYTES);
  const header = Buffer.allocUnsafe(sealed.length - SEAL_BYTES);
  openInto(key, sealed, header, 0);
  const blobs = decodeHeader(header);
  const last = blobs.at(-1);
  if ((last ? last.offset + last.length : 0) !== packBytes - tail) {
    throw new Failure('checksum', 'the blobs that the header of a pack lists do not fill it');
  }
  return blobs;
}

/**
 * Gives the plain bytes of a sealed blob to `use` after every check there is (seal, zstd, SHA-256 unless it has no id);
 * they are valid until it returns. The lengths come from an index that may be hostile: no more than `BLOB_BYTES_MAX`
 * come out.
 */
export function openBlob<T>(
  key: MasterKey,
  sealed: Uint8Array,
  blob: { readonly id: Uint8Array | null; readonly uncompressedLength: number },
  use: (plain: Buffer) => T,
): T {
  const bytes = plainLength({ length: sealed.length, uncompressedLength: blob.uncompressedLength });
  if (bytes > BLOB_BYTES_MAX) throw new Failure('checksum', `a blob of ${bytes} bytes is more than is ever written`);
  const scratch = scratchOf(sealed.length);
  const opened = scratch.subarray(0, openInto(key, sealed, scratch, 0));
  return use(checked(blob.uncompressedLength === 0 ? opened : decompressTo(opened, bytes)));

  function checked(content: Buffer): Buffer {
    if (blob.id === null || sha256(content).equals(blob.id)) return content;
    throw new Failure('checksum', 'the bytes are not those that the id was made of');
  }
}

export interface PackDamage {
  /** The blob, or null when it is the pack: its name, its header. */
  readonly blob: PackedBlob | null;
  readonly reason: string;
}
export interface PackCheck {
  /** What the pack's header lists; nothing when that can't be read. */
  readonly blobs: readonly PackedBlob[];
  readonly damages: readonly PackDamage[];
}
/** Everything that is wrong with a whole pack; nothing when all of it can be read. */
export function checkPack(key: MasterKey, pack: Uint8Array, id: Uint8Array): PackCheck {
  const { blobs, damages } = checkBlobs(key, pack);
  if (sha256(pack).equals(id)) return { blobs, damages };
  return { blobs, damages: [{ blob: null, reason: 'its bytes are not those that it is named after' }, ...damages] };
}

/** The same but for its name, which is made of it. */
function checkBlobs(key: MasterKey, pack: Uint8Array): PackCheck {
  let blobs: PackedBlob[];
  try {
    blobs = openHeader(key, pack, pack.length);
  } catch (error) {
    return { blobs: [], damages: [{ blob: null, reason: messageOf(error) }] };
  }
  const damages: PackDamage[] = [];
  for (const blob of blobs) {
    try {
      openBlob(key, pack.subarray(blob.offset, blob.offset + blob.length), blob, () => {});
    } catch (error) {
      damages.push({ blob, reason: messageOf(error) });
    }
  }
  return { blobs, damages };
}

// Each thread decrypts into a buffer of its own: fresh ones would cost more than the decryption.
let threadScratch = Buffer.alloc(0);
function scratchOf(bytes: number): Buffer {
  if (threadScratch.length < bytes) threadScratch = Buffer.allocUnsafeSlow(bytes);
  return threadScratch;
}
