// A partition's log, written to the store in pieces of some MiB.

import { interruption } from '../../core/context.ts';
import type { Bytes, Context, InventoryLevel, Sink } from '../../core/model.ts';
import { type Batch, latestIn } from './batches.ts';
import type { Cluster } from './cluster.ts';
import { partName, type Range } from './ranges.ts';
import { type Batches, type Log, readLog } from './reading.ts';
import { outOfTransaction } from './sealing.ts';
import { type Tally, tallyOf } from './tally.ts';

/** More is held for a moment: what came together stays together. */
const RANGE_BYTES = 8 * 1024 * 1024;

export interface PieceOptions {
  readonly from: number;
  readonly to: number;
  readonly level: InventoryLevel;
  readonly onGone: (from: number, start: number) => void;
  /** Sees every batch that is captured, once. */
  readonly onBatch: (batch: Batch) => void;
}

/** The ranges that were written, in order. A new one begins where the one before has become large enough. */
export async function writePieces(
  ctx: Context,
  cluster: Cluster,
  sink: Sink,
  log: Log,
  { from, to, level, onGone, onBatch }: PieceOptions,
): Promise<Range[]> {
  const ranges: Range[] = [];
  let at = from;
  let piece = emptyPiece(log, level);
  let writing: Promise<unknown> = Promise.resolve();
  async function flush(): Promise<void> {
    if (piece.batches.length === 0) return;
    await writing;
    const range = piece.range(Math.max(from, piece.batches[0]?.first ?? from));
    const { batches, bytes } = piece;
    piece = emptyPiece(log, level);
    writing = sink.put(ctx, range.part, bodyOf(batches)).finally(() => cluster.memory.give(bytes));
    writing.catch(() => undefined); // thrown by whoever waits next
    ranges.push(range);
  }
  const gone = (start: number): void => onGone(at, start);
  try {
    for await (const batches of readLog(ctx, cluster, log, { from, to, onGone: gone })) {
      if (ctx.signal.aborted) throw interruption(ctx.signal);
      for (const batch of batches) {
        onBatch(batch);
        piece.add(batch.isTransactional ? outOfTransaction(batch) : batch, from);
        cluster.memory.add(batch.bytes.length);
        at = batch.last + 1;
      }
      if (piece.bytes >= RANGE_BYTES) await flush();
    }
    await flush();
    await writing;
  } finally {
    cluster.memory.give(piece.bytes); // of what did not come to be written
  }
  return ranges;
}

interface Piece {
  readonly batches: Batch[];
  readonly bytes: number;
  add(batch: Batch, from: number): void;
  range(first: number): Range;
}

function emptyPiece({ topic, partition }: Log, level: InventoryLevel): Piece {
  const batches: Batch[] = [];
  const tally: Tally = tallyOf(level, `${topic}/${partition}`);
  let bytes = 0;
  let largestBatch = 0;
  let maxTime = Number.NEGATIVE_INFINITY;
  return {
    batches,
    get bytes() {
      return bytes;
    },
    add(batch, from) {
      batches.push(batch);
      tally.add(batch, from);
      bytes += batch.bytes.length;
      largestBatch = Math.max(largestBatch, batch.bytes.length);
      maxTime = Math.max(maxTime, latestIn(batch));
    },
    range(first) {
      const { last, epoch } = batches.at(-1) as Batch; // a range has one
      const part = partName(topic, partition, first);
      const { records } = tally;
      const size = { records, bytes, epoch, largestBatch, maxTime };
      return { part, topic, partition, first, last, ...size, chain: tally.chain() };
    },
  };
}

/** Batches that lie one behind the other in memory go on as one chunk. */
async function* bodyOf(batches: Batches): Bytes {
  let held: Buffer | null = null;
  for (const { bytes } of batches) {
    if (held && held.buffer === bytes.buffer && held.byteOffset + held.length === bytes.byteOffset) {
      held = Buffer.from(held.buffer, held.byteOffset, held.length + bytes.length);
      continue;
    }
    if (held) yield held;
    held = bytes;
  }
  if (held) yield held;
}
