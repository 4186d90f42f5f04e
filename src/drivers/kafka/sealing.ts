// Batches to be sent: those that were captured, as they are but for who writes them, and new ones of many small ones.

import { compressionsAlgorithmsByBitmask, crc32c } from '@platformatic/kafka';
import {
  type Batch,
  COMPRESSION,
  CRC_FROM,
  HEAD_BYTES,
  MAGIC,
  type RecordPlace,
  TIME_MAX,
  TRANSACTIONAL,
} from './batches.ts';

/** Who writes, so that a batch that is sent twice is taken once. */
export interface Writer {
  readonly producerId: bigint;
  readonly epoch: number;
}
/** One batch, and where it begins in the sequence of what the writer sends to this partition. */
export interface Sealed {
  readonly bytes: Buffer;
  readonly count: number;
}

const LENGTH_FROM = 12;
const RECORD_OVERHEAD_MAX = 32;
const SEQUENCES = 2 ** 31;

/** The batch as it is, by another writer and in no transaction. */
export function resealed({ bytes, count, codec }: Batch, writer: Writer, sequence: number): Sealed {
  const copy = Buffer.from(bytes);
  copy.fill(0, 0, 8);
  copy.writeInt16BE(codec, 21);
  return { bytes: finished(copy, writer, sequence), count };
}

/** The batch as it is, but of nobody and in no transaction: without the mark of its end that would never have ended. */
export function outOfTransaction(batch: Batch): Batch {
  const bytes = Buffer.from(batch.bytes);
  bytes.writeInt16BE(bytes.readInt16BE(21) & ~TRANSACTIONAL, 21);
  bytes.fill(0xff, 43, 57); // producer, its epoch, its sequence
  bytes.writeUInt32BE(crc32c(bytes.subarray(CRC_FROM)), 17);
  return { ...batch, bytes, isTransactional: false, producerId: -1n };
}

export interface Builder {
  readonly count: number;
  readonly bytes: number;
  readonly codec: number;
  add(data: Buffer, record: RecordPlace): void;
  /** What was added, and the builder is empty again. */
  seal(writer: Writer, sequence: number): Sealed;
}

/** All records of one batch are compressed together. */
export function builderOf(codec: number, size: number): Builder {
  let buffer = Buffer.allocUnsafe(size);
  let at = HEAD_BYTES;
  let count = 0;
  let base = { time: 0, high: 0, low: 0 };
  let latest = base;
  function room(bytes: number): void {
    if (at + bytes <= buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(buffer.length * 2, at + bytes));
    buffer.copy(larger, 0, 0, at);
    buffer = larger;
  }
  return {
    codec,
    get count() {
      return count;
    },
    get bytes() {
      return at - HEAD_BYTES;
    },
    add(data, { time, timeHigh, timeLow, from, to }) {
      const own = { time, high: timeHigh, low: timeLow };
      if (count === 0) base = latest = own;
      if (time > latest.time) latest = own;
      room(to - from + RECORD_OVERHEAD_MAX);
      const exact = Math.abs(time) < TIME_MAX && Math.abs(base.time) < TIME_MAX;
      const delta = exact ? zigzag(time - base.time) : bigZigzag(exactly(own) - exactly(base));
      at = putVarint(buffer, at, zigzag(1 + sizeOf(delta) + sizeOf(zigzag(count)) + to - from));
      buffer[at++] = 0; // attributes
      at = putVarint(buffer, at, delta);
      at = putVarint(buffer, at, zigzag(count));
      data.copy(buffer, at, from, to);
      at += to - from;
      count += 1;
    },
    seal(writer, sequence) {
      let whole = Buffer.from(buffer.subarray(0, at));
      if (codec !== 0) {
        const packed = compressionsAlgorithmsByBitmask[codec]?.compressSync(whole.subarray(HEAD_BYTES));
        whole = Buffer.concat([whole.subarray(0, HEAD_BYTES), packed ?? Buffer.alloc(0)]);
      }
      whole.fill(0, 0, HEAD_BYTES);
      whole.writeInt16BE(codec & COMPRESSION, 21);
      whole.writeInt32BE(count - 1, 23);
      whole.writeBigInt64BE(exactly(base), 27);
      whole.writeBigInt64BE(exactly(latest), 35);
      whole.writeInt32BE(count, 57);
      const sealed = { bytes: finished(whole, writer, sequence), count };
      at = HEAD_BYTES;
      count = 0;
      return sealed;
    },
  };
}

/** From the length of the key on, without headers: for `add`. */
export function plainRecord(key: Buffer, value: Buffer): Buffer {
  const record = Buffer.alloc(key.length + value.length + RECORD_OVERHEAD_MAX);
  let at = putVarint(record, 0, zigzag(key.length));
  at += key.copy(record, at);
  at = putVarint(record, at, zigzag(value.length));
  at += value.copy(record, at);
  return record.subarray(0, at + 1);
}

/** What the check sum is made of comes before it. */
function finished(bytes: Buffer, { producerId, epoch }: Writer, sequence: number): Buffer {
  bytes.writeInt32BE(bytes.length - LENGTH_FROM, 8);
  bytes.writeInt32BE(-1, 12); // the leader says its epoch
  bytes[16] = MAGIC;
  bytes.writeBigInt64BE(producerId, 43);
  bytes.writeInt16BE(epoch, 51);
  bytes.writeInt32BE(sequence % SEQUENCES, 53);
  bytes.writeUInt32BE(crc32c(bytes.subarray(CRC_FROM)), 17);
  return bytes;
}

function exactly({ time, high, low }: { time: number; high: number; low: number }): bigint {
  return Math.abs(time) < TIME_MAX ? BigInt(time) : (BigInt(high) << 32n) | BigInt(low >>> 0);
}

function zigzag(value: number): number {
  return value >= 0 ? value * 2 : -value * 2 - 1;
}

function bigZigzag(value: bigint): bigint {
  return BigInt.asUintN(64, (value << 1n) ^ (value >> 63n));
}

function sizeOf(value: number | bigint): number {
  let size = 1;
  if (typeof value === 'bigint') for (let left = value; left >= 128n; left >>= 7n) size += 1;
  else for (let left = value; left >= 128; left = Math.floor(left / 128)) size += 1;
  return size;
}

function putVarint(buffer: Buffer, from: number, value: number | bigint): number {
  let at = from;
  if (typeof value === 'bigint') {
    let left = value;
    for (; left >= 128n; left >>= 7n) buffer[at++] = Number(left & 127n) | 128;
    buffer[at++] = Number(left);
    return at;
  }
  let left = value;
  for (; left >= 128; left = Math.floor(left / 128)) buffer[at++] = (left % 128) | 128;
  buffer[at++] = left;
  return at;
}
