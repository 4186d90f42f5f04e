// The records of a partition of a point, sent to a topic in their order.

import { readAll } from '../../core/bytes.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context, Source } from '../../core/model.ts';
import { mapOrdered } from '../../core/parallel.ts';
import { type Batch, batchesIn, eachRecord, isWhole, recordsOf } from './batches.ts';
import type { Budget } from './budget.ts';
import type { Cluster } from './cluster.ts';
import { produceBatch } from './protocol.ts';
import type { Range } from './ranges.ts';
import { refuse } from './refusals.ts';
import { type Builder, builderOf, resealed, type Sealed, type Writer } from './sealing.ts';

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
  readonly onBytes: (bytes: number) => void;
  /** Of batches that are on their way: each is there twice. */
  readonly sending: Budget;
}
export interface Loaded {
  /** The offset of the first record, and the one after the last. */
  readonly start: number;
  readonly end: number;
  /** By offset in the point: how many records that were sent come before it. Only where a window says which were. */
  readonly positions: ReadonlyMap<number, number>;
}

/** One batch is on its way while the next is made, so that their order is that of the point. */
export async function loadPartition(
  ctx: Context,
  work: LoadWork,
  ranges: readonly Range[],
  { topic, partition, offsets }: { topic: string; partition: number; offsets: readonly number[] },
): Promise<Loaded> {
  const positions = new Map(offsets.map((offset) => [offset, 0]));
  let sending: Promise<number> = Promise.resolve(0);
  let start: number | null = null;
  let sent = 0;
  async function send({ bytes, count }: Sealed): Promise<void> {
    const at = await sending;
    start ??= sent > 0 ? at : null;
    const expected = start === null ? null : start + sent;
    sent += count;
    sending = produce(ctx, work, { topic, partition, bytes, expected });
    sending.catch(() => undefined); // thrown by whoever waits next
  }
  for await (const sealed of sealedBatches(ctx, work, ranges, positions)) await send(sealed);
  const last = await sending;
  const first = start ?? (sent > 0 ? last : 0);
  return { start: first, end: first + sent, positions };
}

async function produce(
  ctx: Context,
  { cluster, sending }: LoadWork,
  { topic, partition, bytes, expected }: { topic: string; partition: number; bytes: Buffer; expected: number | null },
): Promise<number> {
  const at = { topic, partition };
  await sending.take(bytes.length);
  try {
    return await cluster.onLeader(ctx, at, `write to topic ${topic}`, async (connection) => {
      const { errorCode, message, baseOffset } = await produceBatch(connection, at, bytes, cluster.timeoutMs);
      refuse(errorCode, message);
      if (expected !== null && baseOffset !== expected) {
        throw new Failure('different', `${cluster.where}: somebody else writes to ${topic}/${partition}`, {
          hint: 'stop what writes to the restored topics, then restore again',
        });
      }
      return baseOffset;
    });
  } finally {
    sending.give(bytes.length);
  }
}

/** Also counts which records come before each of the offsets. */
async function* sealedBatches(
  ctx: Context,
  work: LoadWork,
  ranges: readonly Range[],
  positions: Map<number, number>,
): AsyncIterable<Sealed> {
  const { window, cluster } = work;
  const wanted = ranges.filter(({ maxTime }) => window === null || maxTime >= window.since);
  let held = 0;
  const read = async (range: Range): Promise<{ range: Range; batches: readonly Batch[] }> => {
    await cluster.memory.take(range.bytes);
    held += range.bytes;
    return await readRange(ctx, work, range);
  };
  const sealer = sealerOf(work, positions);
  try {
    for await (const { range, batches } of mapOrdered(wanted, PARTS_AHEAD, read)) {
      try {
        for (const batch of batches) yield* sealer.add(batch, range);
      } finally {
        cluster.memory.give(range.bytes);
        held -= range.bytes;
      }
    }
    yield* sealer.rest();
  } finally {
    cluster.memory.give(held); // of what was read ahead in vain
  }
}

interface Sealer {
  add(batch: Batch, range: Range): Iterable<Sealed>;
  rest(): Iterable<Sealed>;
}

function sealerOf({ writer, window }: LoadWork, positions: Map<number, number>): Sealer {
  let builder: Builder | null = null;
  let sequence = 0;
  const sealed = (batch: Sealed): Sealed => {
    sequence += batch.count;
    return batch;
  };
  function* rest(): Iterable<Sealed> {
    if (builder && builder.count > 0) yield sealed(builder.seal(writer, sequence));
  }
  return {
    *add(batch, range) {
      const isReady = isSentAsItIs(batch, range, window);
      if (isReady || builder?.codec !== batch.codec) yield* rest();
      if (isReady) return yield sealed(resealed(batch, writer, sequence));
      if (builder?.codec !== batch.codec) builder = builderOf(batch.codec, BATCH_BYTES + BATCH_BYTES_MIN);
      addRecords(builder, batch, range, { window, positions });
      if (builder.bytes >= BATCH_BYTES) yield* rest();
    },
    rest,
  };
}

/** Nothing about it has to change but its writer. */
function isSentAsItIs(batch: Batch, { first }: Range, window: Window | null): boolean {
  const whole = batch.count === batch.last - batch.first + 1 && batch.first >= first;
  return whole && window === null && !batch.hasAppendTime && batch.bytes.length >= BATCH_BYTES_MIN;
}

function addRecords(
  builder: Builder,
  batch: Batch,
  { first, part }: Range,
  { window, positions }: { window: Window | null; positions: Map<number, number> },
): void {
  const data = recordsOf(batch, part);
  eachRecord(batch, data, part, (record) => {
    if (record.offset < first) return;
    if (window) {
      if (record.time < window.since || record.time >= window.until) return;
      for (const [offset, before] of positions) if (record.offset < offset) positions.set(offset, before + 1);
    }
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

/** What is wrong with the batches of a point is wrong with the point. */
function* malformed<T>(what: string, items: Iterable<T>): Iterable<T> {
  try {
    yield* items;
  } catch (error) {
    if (!isFailure(error, 'source-damaged') && !isFailure(error, 'version-mismatch')) throw error;
    throw new Failure('malformed', `${what}: ${error.message}`, { cause: error });
  }
}
