// Reads blobs and streams of them. Every byte that comes out was checked: seal, decompressed size, and SHA-256 unless
// the caller does that.

import type { ByteRange, Bytes, Context } from '../../core/model.ts';
import { type Gate, gate } from '../../core/parallel.ts';
import { CHUNK_BYTES_MIN } from './chunker.ts';
import { type PackCheck, plainLength } from './pack.ts';
import { lookUp, openRun, type ReaderOptions, type Reading, readBlob, startReading } from './reader-blobs.ts';
import { nearbyBlobs } from './reader-nearby.ts';
import { packChecks } from './reader-packs.ts';
import { ID_BYTES, planWindows, runsOf, type Window } from './reader-plan.ts';

export interface Reader extends AsyncDisposable {
  /** 'missing' when no index knows it or its pack is gone, 'checksum' when it is damaged, each after a second try. */
  blob(ctx: Context, id: Uint8Array): Promise<Buffer>;
  /** The bytes of blobs one after another; `ids` are 32 bytes each. Fails as `blob` does. */
  stream(ctx: Context, ids: Uint8Array, range?: ByteRange): Bytes;
  /** The same of whole blobs, whose SHA-256 nobody has looked at. */
  unhashed(ctx: Context, ids: Uint8Array): Bytes;
  /** Each of these blobs in this order, some at a time; borrowed as chunks are. Fails as `blob` does. */
  blobs(ctx: Context, ids: Uint8Array): AsyncIterable<readonly Uint8Array[]>;
  /** Everything that is wrong with a pack of that size, seen twice. Each call holds the pack in memory. */
  checkPack(ctx: Context, pack: string, bytes: number): Promise<PackCheck>;
}

/** What all streams together may have decoded ahead. One that has nothing ahead gets its next window all the same. */
const AHEAD_BYTES = 16 * 1024 * 1024;

/** By all streams together: small blobs may lie in as many packs as there are. */
const READS_MAX = 16;

export async function openReader(_ctx: Context, options: ReaderOptions): Promise<Reader> {
  const reading = startReading(options);
  const nearby = nearbyBlobs(reading);
  const { tryPack } = packChecks(reading);
  const ahead = { bytes: 0, reads: gate(READS_MAX) };
  return {
    blob: nearby.blob,
    async *stream(ctx, ids, range) {
      const isSmall = ids.length === ID_BYTES && plainLength(lookUp(reading.index, ids).place) < CHUNK_BYTES_MIN;
      if (isSmall) {
        const plain = await nearby.blob(ctx, ids);
        yield range ? plain.subarray(range.offset, range.offset + range.length) : plain;
        return;
      }
      for await (const pieces of windows(ctx, reading, ahead, planWindows(reading.index, ids, range))) yield* pieces;
    },
    async *unhashed(ctx, ids) {
      const plan = planWindows(reading.index, ids);
      for await (const pieces of windows(ctx, { ...reading, hashes: false }, ahead, plan)) yield* pieces;
    },
    blobs: (ctx, ids) => windows(ctx, reading, ahead, planWindows(reading.index, ids)),
    async checkPack(ctx, pack, bytes) {
      const first = await tryPack(ctx, pack, bytes);
      return first.damages.length === 0 ? first : await tryPack(ctx, pack, bytes);
    },
    [Symbol.asyncDispose]: () => reading.pool[Symbol.asyncDispose](),
  };
}

interface Ahead {
  bytes: number;
  readonly reads: Gate;
}

/** What is wanted of the blobs of some windows, in their order. */
async function* windows(
  ctx: Context,
  reading: Reading,
  ahead: Ahead,
  plan: Iterator<Window, void>,
): AsyncIterable<readonly Uint8Array[]> {
  const fetching: { readonly window: Window; readonly opened: Promise<OpenedWindow> }[] = [];
  let lost: { readonly error: unknown } | undefined;
  let planned = planNext();
  function planNext(): IteratorResult<Window, void> {
    try {
      return plan.next();
    } catch (error) {
      lost = { error }; // it is thrown when all before it was given
      return { done: true, value: undefined };
    }
  }
  function fetchAhead(): void {
    while (!planned.done && (fetching.length === 0 || ahead.bytes + planned.value.bytes <= AHEAD_BYTES)) {
      const opened = openWindow(ctx, reading, ahead.reads, planned.value);
      opened.catch(() => {}); // it is thrown when its turn comes
      ahead.bytes += planned.value.bytes;
      fetching.push({ window: planned.value, opened });
      planned = planNext();
    }
  }
  try {
    for (fetchAhead(); fetching[0]; fetchAhead()) {
      const { window, opened } = fetching[0];
      const { plain } = await opened;
      let pieces: Uint8Array[] = [];
      for (const [i, blob] of window.blobs.entries()) {
        const { skip, take } = blob;
        if (!plain[i] && pieces.length > 0) {
          yield pieces; // what comes before a blob that is lost can be had
          pieces = [];
        }
        const piece = plain[i] ?? (await readBlob(ctx, reading, blob));
        pieces.push(take === piece.length ? piece : piece.subarray(skip, skip + take));
      }
      ctx.signal.throwIfAborted();
      yield pieces;
      await close(fetching.shift());
    }
    if (lost) throw lost.error;
  } finally {
    while (fetching.length > 0) await close(fetching.shift());
  }

  async function close(done: (typeof fetching)[number] | undefined): Promise<void> {
    ahead.bytes -= done?.window.bytes ?? 0;
    await done?.opened.then(
      ({ release }) => release(),
      () => {}, // thrown when its turn came, or nobody waits for it any more
    );
  }
}

interface OpenedWindow {
  /** By number of the blob in its window; null for one that has to be read alone. */
  readonly plain: readonly (Uint8Array | null)[];
  release(): void;
}

async function openWindow(ctx: Context, reading: Reading, reads: Gate, { blobs }: Window): Promise<OpenedWindow> {
  const opening = runsOf(blobs).map(async (run) => ({ run, ...(await reads.run(() => openRun(ctx, reading, run))) }));
  const runs = await Promise.all(opening);
  const byEntry = new Map<number, Uint8Array | null>();
  for (const { run, plain } of runs) for (const [i, { entry }] of run.entries()) byEntry.set(entry, plain[i] ?? null);
  return {
    plain: blobs.map(({ entry }) => byEntry.get(entry) ?? null),
    release: () => {
      for (const { release } of runs) release();
    },
  };
}
