// The bytes of an RDB, pulled chunk by chunk through a window, with what its format is made of: lengths, strings,
// numbers. Whoever reads says when it is done with bytes by reading on; nothing larger than one element is held.

import { Failure } from '../../../core/errors.ts';
import { type Crc64, crc64Update } from './crc64.ts';

/** A stretch of memory and a view of it, so that nobody makes views in a loop. */
export interface Region {
  readonly bytes: Buffer;
  readonly view: DataView;
}

export interface Input {
  /** The next chunk, or null at the end. May block. */
  readonly next: () => Uint8Array | null;
  /** What has been read and not yet consumed lies in it from `pos` to `end`. */
  window: Region;
  /** How many bytes came before the window. */
  offset: number;
  pos: number;
  end: number;
  /** Up to here the window is in the check sum. */
  summed: number;
  readonly crc: Crc64;
  /** Where compressed strings and numbers become text. */
  scratch: Region;
  /** The element that was read last: borrowed until the next read. */
  item: Region;
  from: number;
  to: number;
  /** When set, gets every byte that is consumed. */
  tap: ((bytes: Uint8Array) => void) | null;
  tapped: number;
}

/** Called with a string, whole or in pieces of exactly PIECE_BYTES but the last. */
export type TextOut = (region: Region, from: number, to: number, offset: number, total: number) => void;

export const PIECE_BYTES = 64 * 1024;
const WINDOW_BYTES = 1024 * 1024;
const SPARE_BYTES = 16;

/** Memory for `bytes` bytes; a number may be read across their end before its bounds are checked. */
export function regionFor(size: number): Region {
  return viewed(Buffer.allocUnsafeSlow(size + SPARE_BYTES));
}

/** Gives memory back at once: the collector would let several large regions pile up before it looks. */
export function release({ bytes }: Region): void {
  if (bytes.buffer instanceof ArrayBuffer) bytes.buffer.transfer(0);
}

export function viewed(bytes: Buffer): Region {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) };
}

export function inputFrom(next: () => Uint8Array | null): Input {
  const scratch = regionFor(PIECE_BYTES);
  const window = regionFor(WINDOW_BYTES);
  const position = { offset: 0, pos: 0, end: 0, summed: 0, from: 0, to: 0, tapped: 0 };
  return { next, window, scratch, item: scratch, crc: { low: 0, high: 0 }, tap: null, ...position };
}

export function inputOf(bytes: Uint8Array): Input {
  let rest: Uint8Array | null = bytes;
  return inputFrom(() => {
    const chunk = rest;
    rest = null;
    return chunk;
  });
}

export function malformed(what: string): Failure {
  return new Failure('malformed', `the RDB is damaged: ${what}`);
}

/** Makes the next `bytes` bytes lie in the window. */
export function ensure(input: Input, bytes: number): void {
  while (input.end - input.pos < bytes) {
    const chunk = input.next();
    if (chunk === null) throw malformed('it ends early');
    makeRoom(input, Math.max(bytes, input.end - input.pos + chunk.length));
    input.window.bytes.set(chunk, input.end);
    input.end += chunk.length;
  }
}

/** True when nothing follows. */
export function atEnd(input: Input): boolean {
  while (input.pos === input.end) {
    const chunk = input.next();
    if (chunk === null) return true;
    makeRoom(input, chunk.length);
    input.window.bytes.set(chunk, input.end);
    input.end += chunk.length;
  }
  return false;
}

/** Takes what was consumed into the check sum, and shows it to the tap. */
export function settle(input: Input): void {
  crc64Update(input.crc, input.window.view, input.summed, input.pos);
  input.summed = input.pos;
  if (input.tap && input.tapped < input.pos) input.tap(input.window.bytes.subarray(input.tapped, input.pos));
  input.tapped = input.pos;
}

/** Shows `tap` everything that is consumed from here on, until it is set to null. */
export function tapInput(input: Input, tap: ((bytes: Uint8Array) => void) | null): void {
  settle(input);
  input.tap = tap;
}

export function readByte(input: Input): number {
  if (input.pos === input.end) ensure(input, 1);
  return input.window.bytes[input.pos++] as number;
}

/** A length as the format packs it. */
export function readLength(input: Input): number {
  const value = readWide(input);
  if (typeof value === 'number') return value;
  throw malformed('an impossible length');
}

/** A packed number of up to 64 bits; a bigint only where it has to be. */
export function readWide(input: Input): number | bigint {
  const first = readByte(input);
  if (first < 0x40) return first;
  if (first < 0x80) return ((first & 0x3f) << 8) | readByte(input);
  if (first === 0x80) {
    ensure(input, 4);
    input.pos += 4;
    return input.window.view.getUint32(input.pos - 4);
  }
  if (first !== 0x81) throw malformed('a length was expected');
  ensure(input, 8);
  input.pos += 8;
  const wide = input.window.view.getBigUint64(input.pos - 8);
  return wide <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(wide) : wide;
}

/** Milliseconds since 1970, eight bytes. */
export function readMs(input: Input): number {
  ensure(input, 8);
  input.pos += 8;
  return Number(input.window.view.getBigInt64(input.pos - 8, true));
}

export function readDouble(input: Input): number {
  ensure(input, 8);
  input.pos += 8;
  return input.window.view.getFloat64(input.pos - 8, true);
}

export function skip(input: Input, bytes: number): void {
  for (let left = bytes; left > 0; ) {
    if (input.pos === input.end) ensure(input, 1);
    const step = Math.min(left, input.end - input.pos);
    input.pos += step;
    left -= step;
  }
}

export function capacityOf(region: Region): number {
  return region.bytes.length - SPARE_BYTES;
}

/** So much larger than needed that it is given back. */
export function isOversized(region: Region, need: number): boolean {
  return region.bytes.length > 4 * WINDOW_BYTES && need < region.bytes.length / 4;
}

/** Moves what is left to the front; grows the window for one large element and shrinks it after. */
function makeRoom(input: Input, bytes: number): void {
  const { window, pos, end } = input;
  const oversized = isOversized(window, bytes);
  if (pos + bytes <= capacityOf(window) && !oversized) return;
  settle(input);
  const fits = bytes <= capacityOf(window) && !oversized;
  const target = fits ? window : regionFor(Math.max(WINDOW_BYTES, bytes));
  window.bytes.copy(target.bytes, 0, pos, end);
  if (target !== window) release(window);
  input.window = target;
  input.offset += pos;
  input.end = end - pos;
  input.pos = 0;
  input.summed = 0;
  input.tapped = 0;
}
