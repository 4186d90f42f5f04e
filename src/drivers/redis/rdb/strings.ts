// Strings of an RDB: raw, as numbers, compressed; whole or in pieces.

import { Failure } from '../../../core/errors.ts';
import {
  capacityOf,
  ensure,
  type Input,
  isOversized,
  malformed,
  PIECE_BYTES,
  readByte,
  readLength,
  regionFor,
  release,
  skip,
  type TextOut,
} from './input.ts';
import { inflateTo, inflateWindow } from './lzf.ts';

/** An element of a list, set or hash is held whole. A plain string value never is. */
const ELEMENT_BYTES_MAX = 256 * 1024 * 1024;

const INT8 = 0xc0;
const INT16 = 0xc1;
const INT32 = 0xc2;
const LZF = 0xc3;

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
    release(input.scratch);
    input.scratch = regionFor(Math.max(total, PIECE_BYTES));
  }
  inflateTo(input, packed, input.scratch, total);
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
