// What is in a range of the journal: pieces of the replication stream as they came, each with its time. See
// docs/drivers/redis.md.

import { Failure } from '../../core/errors.ts';

/** Milliseconds by the server's clock, then how many bytes follow; big endian. */
const RECORD_HEAD_BYTES = 12;
const LENGTH_AT = 8;

export interface Record {
  /** When the last of it arrived, in milliseconds, by the server's clock. */
  readonly at: number;
  readonly bytes: Buffer;
}

export interface Shipment {
  /** Lent until the next one is taken. */
  readonly body: Uint8Array;
  /** Of the stream. */
  readonly bytes: number;
  readonly lastAt: number;
}

/** Room for records, filled until they are taken. */
export interface Records {
  readonly bytes: number;
  readonly isFull: boolean;
  /** Takes as much of it as there is room for; gives the rest. */
  add(piece: Buffer, at: number): Buffer;
  taken(): Shipment;
  clear(): void;
}

export function records(room: number): Records {
  const body = Buffer.allocUnsafeSlow(room);
  let used = 0;
  let bytes = 0;
  let last = { start: -1, at: -1 };
  return {
    get bytes() {
      return bytes;
    },
    get isFull() {
      return room - used <= RECORD_HEAD_BYTES;
    },
    add(piece, at) {
      // What came in one millisecond is one record.
      const isNew = last.at !== at;
      const step = Math.min(piece.length, room - used - (isNew ? RECORD_HEAD_BYTES : 0));
      if (step <= 0) return piece;
      if (isNew) {
        last = { start: used, at };
        body.writeBigUInt64BE(BigInt(at), used);
        body.writeUInt32BE(0, used + LENGTH_AT);
        used += RECORD_HEAD_BYTES;
      }
      piece.copy(body, used, 0, step);
      body.writeUInt32BE(body.readUInt32BE(last.start + LENGTH_AT) + step, last.start + LENGTH_AT);
      used += step;
      bytes += step;
      return piece.subarray(step);
    },
    taken: () => ({ body: body.subarray(0, used), bytes, lastAt: last.at }),
    clear() {
      used = 0;
      bytes = 0;
      last = { start: -1, at: -1 };
    },
  };
}

/** `where` is the range, for messages. Nothing is copied. */
export function* recordsOf(where: string, body: Uint8Array): Iterable<Record> {
  const data = Buffer.from(body.buffer, body.byteOffset, body.length);
  for (let at = 0; at < data.length; ) {
    const start = at + RECORD_HEAD_BYTES;
    const length = start <= data.length ? data.readUInt32BE(at + LENGTH_AT) : Number.POSITIVE_INFINITY;
    if (start + length > data.length) throw new Failure('malformed', `${where} breaks off within a record`);
    yield { at: Number(data.readBigUInt64BE(at)), bytes: data.subarray(start, start + length) };
    at = start + length;
  }
}
