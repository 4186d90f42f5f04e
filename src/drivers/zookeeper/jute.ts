// Jute, the encoding of ZooKeeper's protocol: big-endian numbers, texts and byte arrays behind their lengths.

import { Failure } from '../../core/errors.ts';

export interface JuteWriter {
  int(value: number): JuteWriter;
  long(value: bigint): JuteWriter;
  bool(value: boolean): JuteWriter;
  text(value: string): JuteWriter;
  /** Null is told apart from empty. */
  bytes(value: Uint8Array | null): JuteWriter;
  done(): Buffer;
}

const ROOM_BYTES = 128;

export function juteWriter(): JuteWriter {
  let buffer = Buffer.allocUnsafe(ROOM_BYTES);
  let at = 0;
  function room(bytes: number): number {
    if (at + bytes > buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(buffer.length * 2, at + bytes));
      buffer.copy(larger, 0, 0, at);
      buffer = larger;
    }
    const here = at;
    at += bytes;
    return here;
  }
  const writer: JuteWriter = {
    int(value) {
      const here = room(4);
      buffer.writeInt32BE(value, here);
      return writer;
    },
    long(value) {
      const here = room(8);
      buffer.writeBigInt64BE(value, here);
      return writer;
    },
    bool(value) {
      const here = room(1);
      buffer[here] = value ? 1 : 0;
      return writer;
    },
    text(value) {
      const bytes = Buffer.byteLength(value);
      const here = room(4 + bytes);
      buffer.writeInt32BE(bytes, here);
      buffer.write(value, here + 4);
      return writer;
    },
    bytes(value) {
      const here = room(4 + (value?.length ?? 0));
      buffer.writeInt32BE(value?.length ?? -1, here);
      if (value) buffer.set(value, here + 4);
      return writer;
    },
    done: () => buffer.subarray(0, at),
  };
  return writer;
}

export interface JuteReader {
  int(): number;
  long(): bigint;
  bool(): boolean;
  text(): string;
  /** Parts of what was read, not copies. */
  bytes(): Buffer | null;
  list<T>(item: () => T): T[];
  left(): number;
}

/** Whatever is not of the form that is asked for is 'malformed'. */
export function juteReader(buffer: Buffer): JuteReader {
  let at = 0;
  function take(bytes: number): number {
    if (bytes < 0 || at + bytes > buffer.length) {
      throw new Failure('malformed', `an answer of a ZooKeeper ends after ${buffer.length} bytes, within a field`);
    }
    const here = at;
    at += bytes;
    return here;
  }
  const reader: JuteReader = {
    int: () => buffer.readInt32BE(take(4)),
    long: () => buffer.readBigInt64BE(take(8)),
    bool: () => buffer[take(1)] !== 0,
    text: () => reader.bytes()?.toString('utf8') ?? '',
    bytes() {
      const length = reader.int();
      if (length === -1) return null;
      const here = take(length);
      return buffer.subarray(here, here + length);
    },
    list(item) {
      const length = reader.int();
      if (length > (buffer.length - at) / 4) take(-1); // each takes four bytes at least
      return Array.from({ length: Math.max(0, length) }, item);
    },
    left: () => buffer.length - at,
  };
  return reader;
}
