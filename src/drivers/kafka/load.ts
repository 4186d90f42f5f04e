// The records of a partition of a point, sent to a topic in their order.

import { readAll } from '../../core/bytes.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context, Source } from '../../core/model.ts';
import { mapOrdered } from '../../core/parallel.ts';
import { type Batch, batchesIn, eachRecord, isWhole, recordsOf } from './batches.ts';
import type { Budget } from './budget.ts';
import type { Cluster, PartitionName } from './cluster.ts';
import { produceBatch } from './protocol.ts';
import type { Range } from './ranges.ts';
import { refuse } from './refusals.ts';
import { type Builder, builderOf, resealed, type Sealed, type Writer } from './sealing.ts';
import { countBefore } from './tally.ts';
import { endOf } from './topics.ts';

/** Smaller batches are put together. */
const BATCH_BYTES_MIN = 64 * 1024;
const BATCH_BYTES = 768 * 1024;
const PARTS_AHEAD = 2;
const RANGE_BYTES_MAX = 2 ** 31 - 1;

export interface Window {
  /** Milliseconds, from `since` to before `until`. */
  readonly since: number;
  readonly until: number;
}
export interface LoadWork {
  readonly cluster: Cluster;
  readonly source: Source;
  readonly writer: Writer;
  /** Null for all records. */
  readonly window: Window | null;
  /** Count which records come before committed offsets, where the point does not say it. */
  readonly counting: boolean;
  readonly onBytes: (bytes: number) => void;
  /** Of batches that are on their way: each is there twice. */
  readonly sending: Budget;
}
/** It goes on with what is sent. */
export interface Loaded extends PartitionName {
  /** The offset after the last record. */
  end: number;
  /** By offset where it was captured: how many records that were sent come before it. Only where they are counted. */
  readonly positions: Map<number, number>;
}
/** Records that lie one after another: those from `first` to before `end`. */
export interface Piece {
  readonly part: string;
  readonly batches: readonly Batch[];
  readonly first: number;
  readonly end: number;
}

/** The partition is new. */
export async function loadPartition(ctx: Context, work: LoadWork, ranges: readonly Range[], to: Loaded): Promise<void> {
  await sendPieces(ctx, work, piecesOf(ctx, work, ranges), to);
}

/** One batch is on its way while the next is made, so that their order is that of the pieces. */
export async function sendPieces(
  ctx: Context,
  work: LoadWork,
  pieces: AsyncIterable<Piece> | Iterable<Piece>,
  to: Loaded,
): Promise<void> {
  const { topic, partition } = to;
  let sending = Promise.resolve();
  for await (const { bytes, count } of sealedBatches(work, pieces, to)) {
    await sending;
    sending = produce(ctx, work, { topic, partition, bytes, count, at: to.end });
    sending.catch(() => undefined); // thrown by whoever waits next
    to.end += count;
  }
  await sending;
}

interface Sending extends PartitionName, Sealed {
  /** The offset that its first record gets. */
  readonly at: number;
}

/**
 * A batch whose answer was lost is looked for before it is sent again: brokers know a batch for one that they have
 * only while they remember its writer, and they forget one whose records are older than a day when they start.
 */
async function produce(ctx: Context, { cluster, sending }: LoadWork, batch: Sending): Promise<void> {
  const { topic, bytes, count, at } = batch;
  let tries = 0;
  await sending.take(bytes.length);
  try {
    await cluster.onLeader(ctx, batch, `write to topic ${topic}`, async (connection) => {
      if (tries++ > 0 && (await endOf(connection, batch)) === at + count) return;
      const { errorCode, message, baseOffset } = await produceBatch(connection, batch, bytes, cluster.timeoutMs);
      refuse(errorCode, message);
      if (baseOffset !== at) throw misplaced(cluster.where, batch, baseOffset);
    });
  } finally {
    sending.give(bytes.length);
  }
}

function misplaced(where: string, { topic, partition, at }: Sending, found: number): Failure {
  const what = `${topic}/${partition}`;
  if (found < at) {
    return new Failure('different', `${where}: ${at - found} records that ${what} had taken are gone`, {
      hint: 'a broker has lost what it had not yet written to its disk: see its log, then restore again',
    });
  }
  return new Failure('different', `${where}: somebody else writes to ${what}`, {
    hint: 'stop what writes to the restored topics, then restore again',
  });
}

async function* sealedBatches(
  work: LoadWork,
  pieces: AsyncIterable<Piece> | Iterable<Piece>,
  to: Loaded,
): AsyncIterable<Sealed> {
  const sealer = sealerOf(work, to);
  for await (const piece of pieces) {
    for (const batch of piece.batches) yield* sealer.add(batch, piece);
  }
  yield* sealer.rest();
}

async function* piecesOf(ctx: Context, work: LoadWork, ranges: readonly Range[]): AsyncIterable<Piece> {
  const { window, cluster } = work;
  const wanted = ranges.filter(({ maxTime }) => window === null || maxTime >= window.since);
  let held = 0;
  const read = async (range: Range): Promise<{ range: Range; batches: readonly Batch[] }> => {
    await cluster.memory.take(range.bytes);
    held += range.bytes;
    return await readRange(ctx, work, range);
  };
  try {
    for await (const { range, batches } of mapOrdered(wanted, PARTS_AHEAD, read)) {
      try {
        yield { part: range.part, batches, first: range.first, end: Number.POSITIVE_INFINITY };
      } finally {
        cluster.memory.give(range.bytes);
        held -= range.bytes;
      }
    }
  } finally {
    cluster.memory.give(held); // of what was read ahead in vain
  }
}

interface Sealer {
  add(batch: Batch, piece: Piece): Iterable<Sealed>;
  rest(): Iterable<Sealed>;
}

function sealerOf({ writer, window, counting }: LoadWork, { end, positions }: Loaded): Sealer {
  let builder: Builder | null = null;
  let sequence = end; // each record that is there was one of it
  const counted = counting ? positions : null;
  const sealed = (batch: Sealed): Sealed => {
    sequence += batch.count;
    return batch;
  };
  function* rest(): Iterable<Sealed> {
    if (builder && builder.count > 0) yield sealed(builder.seal(writer, sequence));
  }
  return {
    *add(batch, piece) {
      const isReady = isSentAsItIs(batch, piece, window);
      if (isReady || builder?.codec !== batch.codec) yield* rest();
      if (isReady) {
        for (const [offset, before] of counted ?? []) {
          positions.set(offset, before + countBefore(batch, offset, piece.first, piece.part));
        }
        return yield sealed(resealed(batch, writer, sequence));
      }
      if (builder?.codec !== batch.codec) builder = builderOf(batch.codec, BATCH_BYTES + BATCH_BYTES_MIN);
      addRecords(builder, batch, piece, { window, counted });
      if (builder.bytes >= BATCH_BYTES) yield* rest();
    },
    rest,
  };
}

/** Nothing about it has to change but its writer. */
function isSentAsItIs(batch: Batch, { first, end }: Piece, window: Window | null): boolean {
  const whole = batch.count === batch.last - batch.first + 1 && batch.first >= first && batch.last < end;
  return whole && window === null && !batch.hasAppendTime && batch.bytes.length >= BATCH_BYTES_MIN;
}

function addRecords(
  builder: Builder,
  batch: Batch,
  { first, end, part }: Piece,
  { window, counted }: { window: Window | null; counted: Map<number, number> | null },
): void {
  const data = recordsOf(batch, part);
  eachRecord(batch, data, part, (record) => {
    if (record.offset < first || record.offset >= end) return;
    if (window && (record.time < window.since || record.time >= window.until)) return;
    for (const [offset, before] of counted ?? []) if (record.offset < offset) counted?.set(offset, before + 1);
    builder.add(data, record);
  });
}

async function readRange(
  ctx: Context,
  { source, onBytes }: LoadWork,
  range: Range,
): Promise<{ range: Range; batches: readonly Batch[] }> {
  const what = `${source.point}/${source.component}/${range.part}`;
  const bytes = await readAll(source.get(ctx, range.part), RANGE_BYTES_MAX);
  if (bytes.length !== range.bytes) {
    throw new Failure('checksum', `${what} has ${bytes.length} bytes instead of ${range.bytes}`);
  }
  const batches = [...malformed(what, batchesIn(bytes, range.part))];
  const read = batches.reduce((sum, batch) => sum + batch.bytes.length, 0);
  if (read !== range.bytes || !batches.every(isWhole)) throw new Failure('checksum', `${what} is damaged`);
  onBytes(read);
  return { range, batches };
}

/** What is wrong with batches that were stored is wrong with the store. */
export function* malformed<T>(what: string, items: Iterable<T>): Iterable<T> {
  try {
    yield* items;
  } catch (error) {
    if (!isFailure(error, 'source-damaged') && !isFailure(error, 'version-mismatch')) throw error;
    throw new Failure('malformed', `${what}: ${error.message}`, { cause: error });
  }
}
