// Record batches (format 2, of Kafka 0.11 and later) as the brokers keep and send them, and the records within.

import { compressionsAlgorithmsByBitmask, crc32c } from '@platformatic/kafka';
import { Failure } from '../../core/errors.ts';

/** Up to the first record: offset 8, length 4, epoch 4, magic 1, CRC 4, attributes 2, … */
export const HEAD_BYTES = 61;
/** What comes before the length's own count. */
const LENGTH_END = 12;
export const CRC_FROM = 21;
export const MAGIC = 2;
export const COMPRESSION = 0b111;
const APPEND_TIME = 1 << 3;
export const TRANSACTIONAL = 1 << 4;
const CONTROL = 1 << 5;
/** Beyond, milliseconds are no exact numbers. */
export const TIME_MAX = 2 ** 52;
const HIGH = 2 ** 32;

export interface Batch {
  /** All of it, as it was sent. */
  readonly bytes: Buffer;
  readonly first: number;
  readonly last: number;
  /** Fewer than its offsets where compaction took some. */
  readonly count: number;
  readonly epoch: number;
  readonly codec: number;
  readonly isControl: boolean;
  readonly isTransactional: boolean;
  /** All records have the time at which the broker took them. */
  readonly hasAppendTime: boolean;
  /** -1 when nobody said who wrote it. */
  readonly producerId: bigint;
}

/** Whole batches only: where an answer ends within one, that comes again with the next. */
export function* batchesIn(bytes: Buffer, what: string): Iterable<Batch> {
  let at = 0;
  while (at + LENGTH_END <= bytes.length) {
    const end = at + LENGTH_END + bytes.readInt32BE(at + 8);
    if (end <= at + LENGTH_END) throw damaged(what, 'a batch without a length');
    if (end > bytes.length) return;
    const batch = batchOf(bytes.subarray(at, end), what);
    yield batch;
    at = end;
  }
}

function batchOf(bytes: Buffer, what: string): Batch {
  if (bytes.length < 17) throw damaged(what, 'a batch that is too short');
  if (bytes[16] !== MAGIC) {
    throw new Failure('version-mismatch', `${what} has records in the format ${bytes[16]} of Kafka before 0.11`, {
      hint: 'let the brokers rewrite them, or leave the topic out: exclude',
    });
  }
  if (bytes.length < HEAD_BYTES) throw damaged(what, 'a batch that is too short');
  const first = int64(bytes, 0);
  const attributes = bytes.readInt16BE(21);
  return {
    bytes,
    first,
    last: first + bytes.readInt32BE(23),
    count: bytes.readInt32BE(57),
    epoch: bytes.readInt32BE(12),
    codec: attributes & COMPRESSION,
    isControl: (attributes & CONTROL) !== 0,
    isTransactional: (attributes & TRANSACTIONAL) !== 0,
    hasAppendTime: (attributes & APPEND_TIME) !== 0,
    producerId: bytes.readBigInt64BE(43),
  };
}

export function isWhole({ bytes }: Batch): boolean {
  return crc32c(bytes.subarray(CRC_FROM)) === bytes.readUInt32BE(17);
}

/** True when it is the end of an aborted transaction. Only of a control batch. */
export function isAbort({ bytes }: Batch): boolean {
  // length, attributes, time, offset, length of the key; then version 2, type 2: 0 is an abort
  const keyAt = HEAD_BYTES + 5;
  return bytes.length >= keyAt + 4 && bytes.readInt16BE(keyAt + 2) === 0;
}

/** The latest time of its records, as the batch says; rounded where it is no exact number. */
export function latestIn({ bytes }: Batch): number {
  return int64(bytes, 35);
}

/** The records, uncompressed. */
export function recordsOf({ bytes, codec, first }: Batch, what: string): Buffer {
  const body = bytes.subarray(HEAD_BYTES);
  if (codec === 0) return body;
  const algorithm = compressionsAlgorithmsByBitmask[codec];
  if (!algorithm) throw damaged(what, `a batch with the unknown compression ${codec}`);
  try {
    return Buffer.from(algorithm.decompressSync(body));
  } catch (cause) {
    throw new Failure('source-damaged', `${what}: the batch at offset ${first} can't be decompressed`, { cause });
  }
}

/** Where one record lies within its batch's records. Borrowed: the next one is written over it. */
export interface RecordPlace {
  offset: number;
  /** Milliseconds; not exact beyond 2^52. */
  time: number;
  /** The time's 64 bits. */
  timeHigh: number;
  timeLow: number;
  /** From the length of its key up to its end: key, value and headers. */
  from: number;
  to: number;
}

export function eachRecord(batch: Batch, data: Buffer, what: string, visit: (record: RecordPlace) => void): void {
  const timing = batch.bytes;
  const base = int64(timing, 27);
  const max = int64(timing, 35);
  const exact = Math.abs(base) < TIME_MAX && Math.abs(max) < TIME_MAX;
  const place: RecordPlace = { offset: 0, time: 0, timeHigh: 0, timeLow: 0, from: 0, to: 0 };
  const cursor = { at: 0 };
  for (let n = 0; n < batch.count; n++) {
    const length = varint(data, cursor);
    const to = cursor.at + length;
    if (length < 4 || !(to <= data.length))
      throw damaged(what, `a record without an end in the batch at ${batch.first}`);
    cursor.at += 1; // attributes, unused so far
    const deltaAt = cursor.at;
    const delta = varint(data, cursor);
    place.offset = batch.first + varint(data, cursor);
    place.from = cursor.at;
    place.to = to;
    if (exact && Math.abs(delta) < TIME_MAX) {
      place.time = batch.hasAppendTime ? max : base + delta;
      place.timeHigh = Math.floor(place.time / HIGH) | 0;
      place.timeLow = place.time | 0;
    } else {
      const exactly = batch.hasAppendTime
        ? timing.readBigInt64BE(35)
        : timing.readBigInt64BE(27) + bigVarint(data, deltaAt);
      place.time = Number(exactly);
      place.timeHigh = Number(BigInt.asIntN(32, exactly >> 32n));
      place.timeLow = Number(BigInt.asIntN(32, exactly));
    }
    visit(place);
    cursor.at = to;
  }
}

/** What a record says; null for one that only deletes its key. */
export function valueIn(data: Buffer, { from }: RecordPlace): Buffer | null {
  const cursor = { at: from };
  const keyBytes = varint(data, cursor);
  cursor.at += Math.max(0, keyBytes);
  const bytes = varint(data, cursor);
  return bytes < 0 ? null : data.subarray(cursor.at, cursor.at + bytes);
}

function int64(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at) * HIGH + bytes.readUInt32BE(at + 4);
}

/** Signed ones change places with unsigned ones: 0, -1, 1, -2, … */
function varint(data: Buffer, cursor: { at: number }): number {
  let byte = data[cursor.at++] as number;
  if (byte < 0x80) return byte & 1 ? -(byte + 1) / 2 : byte / 2;
  let value = byte & 0x7f;
  for (let unit = 128; byte >= 0x80; unit *= 128) {
    byte = data[cursor.at++] as number;
    value += (byte & 0x7f) * unit;
  }
  return value % 2 === 1 ? -(value + 1) / 2 : value / 2;
}

function bigVarint(data: Buffer, from: number): bigint {
  let value = 0n;
  let shift = 0n;
  for (let at = from; ; at++) {
    const byte = data[at] as number;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) break;
    shift += 7n;
  }
  return (value >> 1n) ^ -(value & 1n);
}

function damaged(what: string, why: string): Failure {
  return new Failure('source-damaged', `${what} has ${why}`);
}
