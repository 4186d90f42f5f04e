// How sealed blobs come out of a bucket: one by one with a second try, or neighbours with one ranged read.

import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { ByteRange, Context } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { type MasterKey, SEAL_BYTES } from './crypto.ts';
import type { BlobIndex, BlobPlace } from './index.ts';
import { BLOB_BYTES_MAX, openBlob, packKey, plainLength } from './pack.ts';
import { openPool, type Pool } from './pool.ts';
import { type Buffers, buffers, copyInto } from './pool-buffers.ts';

export interface ReaderOptions {
  readonly bucket: Bucket;
  readonly key: MasterKey;
  readonly index: BlobIndex;
}

/** What everyone who reads a repository shares. */
export interface Reading extends ReaderOptions {
  readonly pool: Pool;
  readonly buffers: Buffers;
  /** False where the caller hashes all that comes out: then runs are not. */
  readonly hashes: boolean;
}

export interface WantedBlob {
  readonly id: Uint8Array;
  /** Of the index. */
  readonly entry: number;
  readonly place: BlobPlace;
}

/** Blobs of one pack, in order of offset, to be read with one request. */
export type Run = readonly [WantedBlob, ...WantedBlob[]];

/** Plain bytes of a run's blobs, each valid until `release`. Null for one that has to be read alone. */
export interface OpenedRun {
  readonly plain: readonly (Uint8Array | null)[];
  release(): void;
}

/** What a run is decoded into is at most so large, but for a blob that alone needs more. */
export const RUN_BYTES_MAX = 4 * 1024 * 1024 + 256 * 1024;
/** Small, as a thousand small blobs may each lie in another pack. Fresh memory for each would outrun the collector. */
const BUFFER_BYTES_MIN = RUN_BYTES_MAX / 4096;

export function startReading(options: ReaderOptions): Reading {
  const pool = openPool({ key: options.key, compressionLevel: 0 });
  return { ...options, pool, buffers: buffers(BUFFER_BYTES_MIN), hashes: true };
}

/** Looks the blob up. The index may be hostile, so that a size without measure is refused here. */
export function lookUp(index: BlobIndex, id: Uint8Array): WantedBlob {
  const entry = index.entryOf(id);
  const hint = 'run lifeboat verify --all';
  if (entry < 0) throw new Failure('missing', `blob ${hexOf(id)} is in no index`, { hint });
  const place = index.placeAt(entry);
  if (Math.max(plainLength(place), place.length - SEAL_BYTES) <= BLOB_BYTES_MAX) return { id, entry, place };
  throw new Failure('checksum', `blob ${hexOf(id)} is larger than any blob, says the index`, { hint });
}

/** Reads one blob alone; once more when that fails, for a bad read may be a transient one, and then elsewhere. */
export async function readBlob(ctx: Context, reading: Reading, blob: WantedBlob): Promise<Buffer> {
  const { id, place } = blob;
  try {
    return await tryBlob(ctx, reading, blob);
  } catch (error) {
    if (!isDamage(error)) throw error;
  }
  try {
    return await tryBlob(ctx, reading, blob);
  } catch (cause) {
    if (!isDamage(cause)) throw cause;
    // A backup writes what was lost once more, so that another pack may have it.
    reading.index.forget(place.pack);
    if (reading.index.has(id)) return await readBlob(ctx, reading, lookUp(reading.index, id));
    throw new Failure(cause.code, `blob ${hexOf(id)} of pack ${place.pack} is lost: ${messageOf(cause)}`, {
      cause,
      hint: 'run lifeboat verify --all',
    });
  }
}

/** Reads neighbours at once and opens them in a worker. What fails here is left to `readBlob`, which can say why. */
export async function openRun(ctx: Context, reading: Reading, run: Run): Promise<OpenedRun> {
  const { pool, buffers: free } = reading;
  const [first] = run;
  const end = run.reduce((max, { place }) => Math.max(max, place.offset + place.length), 0);
  const range = { offset: first.place.offset, length: end - first.place.offset };
  const sealed = free.take(range.length);
  const plain = free.take(run.reduce((sum, { place }) => sum + plainLength(place), 0));
  const release = (): void => free.give(plain);
  try {
    await readInto(ctx, reading.bucket, first.place.pack, range, sealed);
    const spans = run.flatMap(({ place }) => [place.offset - range.offset, place.length]);
    const { damages } = await pool.run(
      'open',
      {
        buffer: sealed,
        spans: Uint32Array.from(spans),
        ids: reading.hashes ? Buffer.concat(run.map(({ id }) => id)) : null,
        uncompressed: Uint32Array.from(run.map(({ place }) => place.uncompressedLength)),
        plain,
      },
      { cost: range.length },
    );
    let at = 0;
    const pieces = run.map(({ place }, i) => {
      const piece = new Uint8Array(plain, at, plainLength(place));
      at += piece.length;
      return damages.has(i) ? null : piece;
    });
    return { plain: pieces, release };
  } catch (error) {
    release();
    if (!isDamage(error)) throw error;
    return { plain: run.map(() => null), release: () => {} };
  } finally {
    free.give(sealed);
  }
}

/** Fills the beginning of `target` with a range of a pack. */
export async function readInto(
  ctx: Context,
  bucket: Bucket,
  pack: string,
  range: ByteRange,
  target: ArrayBufferLike,
): Promise<void> {
  let at = 0;
  for await (const chunk of bucket.get(ctx, packKey(pack), range)) {
    if (at + chunk.length > range.length) break;
    copyInto(target, at, chunk);
    at += chunk.length;
  }
  if (at === range.length) return;
  throw new Failure('checksum', `${bucket.url}: pack ${pack} gave other than ${range.length} bytes at ${range.offset}`);
}

async function tryBlob(ctx: Context, { bucket, key }: Reading, { id, place }: WantedBlob): Promise<Buffer> {
  const { offset, length } = place;
  const sealed = new ArrayBuffer(length);
  await readInto(ctx, bucket, place.pack, { offset, length }, sealed);
  return openBlob(key, new Uint8Array(sealed), { id, uncompressedLength: place.uncompressedLength }, (plain) =>
    Buffer.from(plain),
  );
}

/** The pack is changed, cut short or gone: a matter of the data, not of the way to it. */
export function isDamage(error: unknown): error is Failure {
  return isFailure(error, 'checksum') || isFailure(error, 'missing');
}

function hexOf(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, id.length).toString('hex');
}
