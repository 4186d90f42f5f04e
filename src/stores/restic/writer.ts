// Turns streams into packs. This thread cuts the streams and decides what is new; worker threads do what costs time.
// Memory is bounded by budgets that only workers and the bucket have to pay back, never by another stream: a caller
// that feeds two streams in lockstep can't block itself.

import assert from 'node:assert/strict';
import { Failure } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';
import { CHUNK_BYTES_MIN, type Chunker, chunker, evenChunker, gearTable } from './chunker.ts';
import { sha256 } from './crypto.ts';
import type { BlobIndex } from './index.ts';
import { BLOB_BYTES_MAX, plainLength } from './pack.ts';
import { copyInto } from './pool-buffers.ts';
import { type Packing, type PackingOptions, startPacking } from './writer-packing.ts';

export interface WriterOptions extends PackingOptions {
  /** With the key it decides the borders of chunks: the same for ever within a repository. */
  readonly chunkerSeed: string;
}

export interface SmallBlob {
  /** SHA-256 of `plain`, which who gives it answers for: a wrong one that is known already stands for other bytes. */
  readonly id: Uint8Array;
  /** Less than the least chunk, and more than nothing. */
  readonly plain: Uint8Array;
}

/** The first failure is final: every call from then on, and every one that waits, rejects with it. */
export interface Writer extends AsyncDisposable {
  /**
   * Resolves when all of it was read and its ids are known, not yet when it is stored: `flush` waits for that. `even`:
   * it is pages that change in place, and is cut at places that do not depend on them.
   */
  addStream(ctx: Context, body: Bytes, even?: boolean): Promise<{ readonly ids: Buffer; readonly bytes: number }>;
  /** The bytes are the caller's again when it resolves to their id. More than a blob may have is 'value-too-large'. */
  addBlob(ctx: Context, kind: 'tree' | 'data', plain: Uint8Array): Promise<Buffer>;
  /**
   * Data whose ids are known. A wrong one is 'checksum': of new data when its pack is read back, of known data only
   * when its length differs. The bytes are the caller's again.
   */
  addBlobs(ctx: Context, blobs: readonly SmallBlob[]): Promise<void>;
  /** Resolves when everything added before is stored, was read back, and went to `onPack`. */
  flush(ctx: Context): Promise<void>;
}

/** What a chunk is collected in at first: one in twenty has more. */
const OPEN_CHUNK_BYTES = 2 * 1024 * 1024;
/** Blobs below the least chunk go to the workers together. */
const BATCH_BYTES = 1024 * 1024;
const ID_BYTES = 32;

interface Batch {
  readonly buffer: SharedArrayBuffer;
  readonly ids: Uint8Array[];
  readonly spans: number[];
  bytes: number;
}

export async function openWriter(ctx: Context, options: WriterOptions): Promise<Writer> {
  const packing = startPacking(ctx, options);
  const table = gearTable(options.key, options.chunkerSeed);
  const batches = new Map<'tree' | 'data', Batch>();

  /** What it returns, if anything, resolves when there is room for more. */
  function append(kind: 'tree' | 'data', { id, plain }: SmallBlob): Promise<void> | undefined {
    let batch = batches.get(kind);
    const full = batch && batch.bytes + plain.length > BATCH_BYTES ? batch : undefined;
    if (!batch || full) {
      batch = { buffer: packing.buffers.take(Math.max(plain.length, BATCH_BYTES)), ids: [], spans: [], bytes: 0 };
      batches.set(kind, batch);
    }
    copyInto(batch.buffer, batch.bytes, plain);
    batch.ids.push(id);
    batch.spans.push(batch.bytes, plain.length);
    batch.bytes += plain.length;
    return full && send(kind, full);
  }

  function send(kind: 'tree' | 'data', { buffer, ids, spans, bytes }: Batch): Promise<void> {
    return packing.add({
      buffer,
      spans: Uint32Array.from(spans),
      ids: Buffer.concat(ids),
      tree: kind === 'tree',
      bytes,
    });
  }

  async function addBlob(kind: 'tree' | 'data', plain: Uint8Array): Promise<Buffer> {
    const id = sha256(plain);
    if (packing.claim(id, kind === 'tree')) await packing.orEnd(() => append(kind, { id, plain }));
    return id;
  }

  return {
    async addStream(ctx, body, even = false) {
      await using stream = chunkedStream(packing, even ? evenChunker() : chunker(table), even);
      let bytes = 0;
      for await (const chunk of body) {
        packing.assertAlive(ctx);
        bytes += chunk.length;
        await stream.feed(chunk);
      }
      if (bytes >= CHUNK_BYTES_MIN) return { ids: await stream.end(), bytes };
      // Too short to be cut: it goes to the workers together with others.
      return { ids: bytes === 0 ? Buffer.alloc(0) : await addBlob('data', stream.uncut()), bytes };
    },
    async addBlob(ctx, kind, plain) {
      packing.assertAlive(ctx);
      if (plain.length > BLOB_BYTES_MAX) {
        throw new Failure('value-too-large', `a blob of ${plain.length} bytes is more than ${BLOB_BYTES_MAX}`);
      }
      return await addBlob(kind, plain);
    },
    async addBlobs(ctx, blobs) {
      packing.assertAlive(ctx);
      for (const blob of blobs) {
        assert(blob.id.length === ID_BYTES, 'an id is a SHA-256');
        if (!packing.claim(blob.id, false)) assertLength(options.index, blob);
        else {
          const sent = packing.orEnd(() => append('data', blob));
          if (sent) await sent;
        }
      }
    },
    async flush(ctx) {
      packing.assertAlive(ctx);
      const open = [...batches];
      batches.clear();
      await Promise.all(packing.orEnd(() => open.map(([kind, batch]) => send(kind, batch))));
      await packing.flush();
    },
    [Symbol.asyncDispose]: () => packing[Symbol.asyncDispose](),
  };
}

/** Of a blob that is known already. */
function assertLength(index: BlobIndex, { id, plain }: SmallBlob): void {
  const place = index.find(id, false);
  if (!place || plainLength(place) === plain.length) return;
  const name = Buffer.from(id).toString('hex');
  throw new Failure('checksum', `${plain.length} bytes are said to be blob ${name}, which has ${plainLength(place)}`);
}

interface ChunkedStream extends AsyncDisposable {
  /** Copies the piece; waits while the workers have enough to do. */
  feed(piece: Uint8Array): Promise<void>;
  /** The rest becomes the last chunk. Resolves to the ids of all, in order. */
  end(): Promise<Buffer>;
  /** What was fed and not cut off yet; valid until the stream is disposed. */
  uncut(): Uint8Array;
}

function chunkedStream(packing: Packing, { cut }: Chunker, isPages: boolean): ChunkedStream {
  const { buffers } = packing;
  const hashing = new Set<Promise<void>>();
  let ids = Buffer.alloc(0);
  let count = 0;
  let open: SharedArrayBuffer | undefined;
  let filled = 0;

  function collect(bytes: Uint8Array): void {
    const needed = filled + bytes.length;
    if (!open || needed > open.byteLength) {
      const larger = buffers.take(Math.max(needed, OPEN_CHUNK_BYTES));
      if (open) {
        copyInto(larger, 0, new Uint8Array(open, 0, filled));
        buffers.give(open);
      }
      open = larger;
    }
    copyInto(open, filled, bytes);
    filled = needed;
  }

  /** Hands over what was collected. */
  async function submit(): Promise<void> {
    if (!open || filled === 0) return;
    const [chunk, bytes] = [open, filled];
    open = undefined;
    filled = 0;
    const at = count++ * ID_BYTES;
    if (ids.length < count * ID_BYTES) ids = Buffer.concat([ids, Buffer.alloc(Math.max(ID_BYTES, ids.length))]);
    await packing.room(bytes);
    const job: Promise<void> = packing.addChunk({ buffer: chunk, bytes, isPages }).then(
      (id) => void ids.set(id, at),
      () => {}, // the writer has failed with it, and says so at the next call
    );
    hashing.add(job);
    void job.then(() => hashing.delete(job));
  }

  return {
    async feed(piece) {
      for (let from = 0; from < piece.length; ) {
        const border = cut(piece, from);
        const end = border < 0 ? piece.length : border;
        collect(piece.subarray(from, end));
        from = end;
        if (border >= 0) await submit();
      }
    },
    async end() {
      await submit();
      await Promise.all(hashing);
      packing.assertAlive();
      return ids.subarray(0, count * ID_BYTES);
    },
    uncut: () => (open ? new Uint8Array(open, 0, filled) : Buffer.alloc(0)),
    async [Symbol.asyncDispose]() {
      await Promise.all(hashing);
      if (open) buffers.give(open);
      open = undefined;
    },
  };
}
