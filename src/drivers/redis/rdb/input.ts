// The bytes of an RDB, pulled chunk by chunk through a window, with what its format is made of: lengths, strings,
// numbers. Whoever reads says when it is done with bytes by reading on; nothing larger than one element is held.

import { Failure } from '../../../core/errors.ts';
import { type Crc64, crc64Update } from './crc64.ts';
import { inflateTo, inflateWindow } from './lzf.ts';

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
/** An element of a list, set or hash is held whole. A plain string value never is. */
const ELEMENT_BYTES_MAX = 256 * 1024 * 1024;
const WINDOW_BYTES = 1024 * 1024;
const SPARE_BYTES = 16;

const INT8 = 0xc0;
const INT16 = 0xc1;
const INT32 = 0xc2;
const LZF = 0xc3;

/** Memory for `bytes` bytes; a number may be read across their end before its bounds are checked. */
export function regionFor(size: number): Region {
  return viewed(Buffer.allocUnsafeSlow(size + SPARE_BYTES));
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

export function skipString(input: Input): void {
  ensure(input, 1);
  const first = input.window.bytes[input.pos] as number;
  if (first < INT8) {
    skip(input, readLength(input));
    return;
  }
  input.pos += 1;
  if (first === INT8) skip(input, 1);
  else if (first === INT16) skip(input, 2);
  else if (first === INT32) skip(input, 4);
  else if (first === LZF) {
    const packed = readLength(input);
    readLength(input);
    skip(input, packed);
  } else throw malformed('an unknown string encoding');
}

/** Reads a string into `item`, whole. */
export function readElement(input: Input): void {
  ensure(input, 1);
  const first = input.window.bytes[input.pos] as number;
  if (first >= INT8) {
    readEncoded(input);
    return;
  }
  const bytes = elementBytes(readLength(input));
  ensure(input, bytes);
  input.item = input.window;
  input.from = input.pos;
  input.pos += bytes;
  input.to = input.pos;
}

/** Reads a string of any size and hands it on in pieces. */
export function readText(input: Input, out: TextOut): void {
  ensure(input, 1);
  const first = input.window.bytes[input.pos] as number;
  if (first < INT8) {
    readPieces(input, readLength(input), out);
    return;
  }
  if (first === LZF) {
    input.pos += 1;
    const packed = readLength(input);
    const total = readLength(input);
    if (total > PIECE_BYTES) {
      inflateWindow(input, packed, total, out);
      return;
    }
    readPacked(input, packed, total);
  } else {
    readEncoded(input);
  }
  out(input.item, input.from, input.to, 0, input.to - input.from);
}

/** The text of the element that was read last. */
export function itemText(input: Input): string {
  return input.item.bytes.toString('latin1', input.from, input.to);
}

/** Puts a whole number as decimal text into the scratch and makes that the item. */
export function itemFromNumber(input: Input, value: number | bigint): void {
  input.item = input.scratch;
  input.from = 0;
  input.to = input.scratch.bytes.write(String(value), 0, 'latin1');
}

function readPieces(input: Input, total: number, out: TextOut): void {
  let offset = 0;
  do {
    const bytes = Math.min(PIECE_BYTES, total - offset);
    ensure(input, bytes);
    const { pos } = input;
    input.pos += bytes;
    out(input.window, pos, input.pos, offset, total);
    offset += bytes;
  } while (offset < total);
}

function readEncoded(input: Input): void {
  const first = readByte(input);
  if (first === LZF) {
    const packed = readLength(input);
    readPacked(input, packed, elementBytes(readLength(input)));
    return;
  }
  if (first !== INT8 && first !== INT16 && first !== INT32) throw malformed('an unknown string encoding');
  const bytes = first === INT8 ? 1 : first === INT16 ? 2 : 4;
  ensure(input, bytes);
  input.pos += bytes;
  itemFromNumber(input, input.window.bytes.readIntLE(input.pos - bytes, bytes));
}

function readPacked(input: Input, packed: number, total: number): void {
  if (capacityOf(input.scratch) < total || isOversized(input.scratch, total)) {
    input.scratch = regionFor(Math.max(total, PIECE_BYTES));
  }
  inflateTo(input, packed, input.scratch.bytes, total);
  input.item = input.scratch;
  input.from = 0;
  input.to = total;
}

function elementBytes(bytes: number): number {
  if (bytes <= ELEMENT_BYTES_MAX) return bytes;
  throw new Failure('value-too-large', `an element of ${bytes} bytes can't be digested in bounded memory`, {
    hint: 'set inventory: counts for this component; its data is then captured and counted, not digested',
  });
}

function capacityOf(region: Region): number {
  return region.bytes.length - SPARE_BYTES;
}

function isOversized(region: Region, need: number): boolean {
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
  input.window = target;
  input.offset += pos;
  input.end = end - pos;
  input.pos = 0;
  input.summed = 0;
  input.tapped = 0;
}
