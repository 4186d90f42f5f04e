// The packed collections inside of RDB strings: listpacks, and what came before them, ziplists and sets of integers.
// A cursor walks one; every bound is checked, for the bytes are somebody else's.

import { type Input, malformed, type Region } from './input.ts';
import { itemFromNumber } from './strings.ts';

/** Walks the entries between `at` and `end`. After `packNext`, `integer` or the bytes `from`–`to` are the entry. */
export interface Pack {
  readonly region: Region;
  at: number;
  readonly end: number;
  readonly next: (pack: Pack) => void;
  /** Null when the entry is a string. */
  integer: number | bigint | null;
  from: number;
  to: number;
}

const LISTPACK_HEADER = 6;
const ZIPLIST_HEADER = 10;
const END = 0xff;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
/** What a number holds exactly, whichever digits they are. */
const DIGITS_MAX = 15;

export function listpackIn(region: Region, from: number, to: number): Pack {
  return packIn(region, from, to, LISTPACK_HEADER, listpackNext);
}

export function ziplistIn(region: Region, from: number, to: number): Pack {
  return packIn(region, from, to, ZIPLIST_HEADER, ziplistNext);
}

/** False at the end. */
export function packHasMore(pack: Pack): boolean {
  return pack.at < pack.end;
}

export function packNext(pack: Pack): void {
  if (pack.at >= pack.end) throw malformed('a packed value ends early');
  pack.next(pack);
  if (pack.at > pack.end || pack.to > pack.end) throw malformed('a packed value overflows');
}

/** Makes the next entry the item of the input: text, also where it is packed as a number. */
export function packItem(input: Input, pack: Pack): void {
  packNext(pack);
  if (pack.integer !== null) {
    itemFromNumber(input, pack.integer);
    return;
  }
  input.item = pack.region;
  input.from = pack.from;
  input.to = pack.to;
}

/** The next entry, which has to be a number. */
export function packNumber(pack: Pack): number | bigint {
  packNext(pack);
  if (pack.integer !== null) return pack.integer;
  const text = pack.region.bytes.toString('latin1', pack.from, pack.to);
  if (!/^-?\d{1,20}$/.test(text)) throw malformed('a packed value holds text where a number belongs');
  const wide = BigInt(text);
  return Number.isSafeInteger(Number(wide)) ? Number(wide) : wide;
}

/** The next entry as the score of a sorted set. */
export function packScore(pack: Pack): number {
  packNext(pack);
  if (pack.integer !== null) return Number(pack.integer);
  return scoreIn(pack.region.bytes, pack.from, pack.to);
}

/** 'inf', '-inf', '1.5' as a number. */
export function scoreIn(bytes: Buffer, from: number, to: number): number {
  const short = shortDecimal(bytes, from, to);
  if (!Number.isNaN(short)) return short;
  const text = bytes.toString('latin1', from, to);
  if (text === 'inf' || text === '+inf') return Number.POSITIVE_INFINITY;
  if (text === '-inf') return Number.NEGATIVE_INFINITY;
  const score = Number(text);
  if (text === '' || Number.isNaN(score)) throw malformed('a score is no number');
  return score;
}

/**
 * A decimal of few digits, NaN if it is none. It is the number that JavaScript makes of the text: two whole
 * numbers that it holds exactly are divided, which rounds once. To make the text first would take ten times as long.
 */
function shortDecimal(bytes: Buffer, from: number, to: number): number {
  const isNegative = bytes[from] === MINUS;
  let whole = 0;
  let scale = 0; // a power of ten after the point
  let digits = 0;
  for (let at = isNegative ? from + 1 : from; at < to; at++) {
    const digit = (bytes[at] as number) - ZERO;
    if (digit >= 0 && digit <= 9) {
      whole = whole * 10 + digit;
      scale *= 10;
      digits += 1;
    } else if (bytes[at] === POINT && scale === 0) scale = 1;
    else return Number.NaN;
  }
  if (digits === 0 || digits > DIGITS_MAX) return Number.NaN;
  const score = scale > 1 ? whole / scale : whole;
  return isNegative ? -score : score;
}

/** The numbers of an intset, in their order. */
export function* integersIn({ view }: Region, from: number, to: number): Iterable<number | bigint> {
  if (to - from < 8) throw malformed('a set of integers ends early');
  const width = view.getUint32(from, true);
  const count = view.getUint32(from + 4, true);
  if (![2, 4, 8].includes(width) || from + 8 + count * width > to) throw malformed('a set of integers overflows');
  for (let at = from + 8, left = count; left > 0; left--, at += width) {
    if (width === 2) yield view.getInt16(at, true);
    else if (width === 4) yield view.getInt32(at, true);
    else yield view.getBigInt64(at, true);
  }
}

function packIn(region: Region, from: number, to: number, header: number, next: (pack: Pack) => void): Pack {
  if (to - from < header + 1) throw malformed('a packed value ends early');
  const bytes = region.view.getUint32(from, true);
  if (bytes !== to - from || region.bytes[to - 1] !== END) throw malformed('a packed value has another length');
  return { region, at: from + header, end: to - 1, next, integer: null, from: 0, to: 0 };
}

function listpackNext(pack: Pack): void {
  const { bytes, view } = pack.region;
  const { at } = pack;
  const first = bytes[at] as number;
  if (first < 0x80) packInteger(pack, first, 1, backLength(1));
  else if (first < 0xc0) packText(pack, 1, first & 0x3f);
  else if (first < 0xe0) packInteger(pack, ((((first & 0x1f) << 8) | (bytes[at + 1] as number)) << 19) >> 19, 2, 1);
  else if (first < 0xf0) packText(pack, 2, ((first & 15) << 8) | (bytes[at + 1] as number));
  else if (first === 0xf0) packText(pack, 5, view.getUint32(at + 1, true));
  else if (first === 0xf1) packInteger(pack, view.getInt16(at + 1, true), 3, 1);
  else if (first === 0xf2) packInteger(pack, bytes.readIntLE(at + 1, 3), 4, 1);
  else if (first === 0xf3) packInteger(pack, view.getInt32(at + 1, true), 5, 1);
  else if (first === 0xf4) packInteger(pack, view.getBigInt64(at + 1, true), 9, 1);
  else throw malformed('a packed value has an unknown entry');
}

function packInteger(pack: Pack, value: number | bigint, bytes: number, back: number): void {
  pack.integer = value;
  pack.to = 0;
  pack.at += bytes + back;
}

function packText(pack: Pack, header: number, length: number): void {
  pack.integer = null;
  pack.from = pack.at + header;
  pack.to = pack.from + length;
  pack.at = pack.to + backLength(header + length);
}

/** A listpack entry ends with its own length, so that it can be walked backwards. */
function backLength(bytes: number): number {
  if (bytes <= 127) return 1;
  if (bytes < 16383) return 2;
  if (bytes < 2097151) return 3;
  return bytes < 268435455 ? 4 : 5;
}

function ziplistNext(pack: Pack): void {
  const { bytes, view } = pack.region;
  const at = pack.at + ((bytes[pack.at] as number) < 254 ? 1 : 5);
  const first = bytes[at] as number;
  if (first < 0x40) ziplistText(pack, at + 1, first);
  else if (first < 0x80) ziplistText(pack, at + 2, ((first & 0x3f) << 8) | (bytes[at + 1] as number));
  else if (first < 0xc0) ziplistText(pack, at + 5, view.getUint32(at + 1));
  else if (first === 0xc0) ziplistInteger(pack, at + 3, view.getInt16(at + 1, true));
  else if (first === 0xd0) ziplistInteger(pack, at + 5, view.getInt32(at + 1, true));
  else if (first === 0xe0) ziplistInteger(pack, at + 9, view.getBigInt64(at + 1, true));
  else if (first === 0xf0) ziplistInteger(pack, at + 4, bytes.readIntLE(at + 1, 3));
  else if (first === 0xfe) ziplistInteger(pack, at + 2, ((bytes[at + 1] as number) << 24) >> 24);
  else if (first > 0xf0 && first < 0xfe) ziplistInteger(pack, at + 1, (first & 15) - 1);
  else throw malformed('a packed value has an unknown entry');
}

function ziplistText(pack: Pack, from: number, length: number): void {
  pack.integer = null;
  pack.from = from;
  pack.to = from + length;
  pack.at = pack.to;
}

function ziplistInteger(pack: Pack, end: number, value: number | bigint): void {
  pack.integer = value;
  pack.to = 0;
  pack.at = end;
}
