// LZF, the compression inside of RDB strings: runs of literals, and references to at most 8 KiB back.

import { ensure, type Input, malformed, PIECE_BYTES, type Region, regionFor, type TextOut } from './input.ts';

const REACH = 8192;
const WORD_BYTES = 4;
/** The longest that one instruction writes. */
const STEP_BYTES_MAX = 264;
/** The longest that one instruction is. */
const CODE_BYTES_MAX = 33;

/** Decompresses `packed` bytes of the input to exactly `total` bytes of `target`. */
export function inflateTo(input: Input, packed: number, target: Region, total: number): void {
  if (packed <= PIECE_BYTES) {
    ensure(input, packed);
    inflateWhole(input, packed, target, total);
    return;
  }
  let at = 0;
  for (let left = packed; left > 0; ) {
    if (input.end - input.pos < CODE_BYTES_MAX) ensure(input, Math.min(CODE_BYTES_MAX, left));
    const { pos } = input;
    at = inflateStep(input, { left, target: target.bytes, at, oldest: 0, limit: total });
    left -= input.pos - pos;
  }
  if (at !== total) throw malformed('a compressed string is shorter than it says');
}

/**
 * The usual case, in one loop: all of it lies in the window. Four bytes are moved at a time, so up to three more than
 * are wanted: what is written too much is overwritten next, or lies in the spare bytes that a region ends with.
 */
function inflateWhole(input: Input, packed: number, target: Region, total: number): void {
  const { bytes: source, view: from } = input.window;
  const { view: to } = target;
  let { pos } = input;
  const end = pos + packed;
  let at = 0;
  while (pos < end) {
    const control = source[pos++] as number;
    if (control < 32) {
      const stop = at + control + 1;
      if (pos + control >= end || stop > total) throw malformed('a compressed string overflows');
      const shift = pos - at;
      for (; at < stop; at += WORD_BYTES) to.setInt32(at, from.getInt32(at + shift, true), true);
      pos = stop + shift;
      at = stop;
      continue;
    }
    let length = (control >> 5) + 2;
    if (length === 9) length += source[pos++] as number;
    const back = ((control & 31) << 8) + (source[pos++] as number) + 1;
    const stop = at + length;
    if (pos > end || back > at || stop > total) throw malformed('a compressed string overflows');
    if (back >= WORD_BYTES) for (; at < stop; at += WORD_BYTES) to.setInt32(at, to.getInt32(at - back, true), true);
    else for (const { bytes } = target; at < stop; at++) bytes[at] = bytes[at - back] as number;
    at = stop;
  }
  if (at !== total) throw malformed('a compressed string is shorter than it says');
  input.pos = pos;
}

/** The same for a string of any size, in pieces: only what references can reach is held. */
export function inflateWindow(input: Input, packed: number, total: number, out: TextOut): void {
  const room = regionFor(REACH + PIECE_BYTES + STEP_BYTES_MAX);
  let at = REACH;
  let offset = 0;
  let left = packed;
  while (left > 0) {
    const code = Math.min(CODE_BYTES_MAX, left);
    ensure(input, code);
    const { pos } = input;
    const oldest = Math.max(0, REACH - offset);
    at = inflateStep(input, { left, target: room.bytes, at, oldest, limit: room.bytes.length });
    left -= input.pos - pos;
    if (offset + at - REACH > total) throw malformed('a compressed string is longer than it says');
    if (at < REACH + PIECE_BYTES) continue;
    out(room, REACH, REACH + PIECE_BYTES, offset, total);
    offset += PIECE_BYTES;
    room.bytes.copyWithin(0, PIECE_BYTES, at);
    at -= PIECE_BYTES;
  }
  if (offset + at - REACH !== total) throw malformed('a compressed string is shorter than it says');
  if (at > REACH) out(room, REACH, at, offset, total);
}

interface Step {
  /** Bytes of the packed string that are left. */
  readonly left: number;
  readonly target: Buffer;
  readonly at: number;
  readonly oldest: number;
  readonly limit: number;
}

/** One instruction; returns where the next one writes. */
function inflateStep(input: Input, { left, target, at: start, oldest, limit }: Step): number {
  const source = input.window.bytes;
  let pos = input.pos;
  let at = start;
  const control = source[pos++] as number;
  if (control < 32) {
    const end = pos + control + 1;
    if (end - input.pos > left || at + control + 1 > limit) throw malformed('a compressed string overflows');
    while (pos < end) target[at++] = source[pos++] as number;
    input.pos = pos;
    return at;
  }
  let length = control >> 5;
  if (length === 7) length += source[pos++] as number;
  let from = at - ((control & 31) << 8) - (source[pos++] as number) - 1;
  const end = at + length + 2;
  if (pos - input.pos > left || from < oldest || end > limit) throw malformed('a compressed string overflows');
  while (at < end) target[at++] = target[from++] as number;
  input.pos = pos;
  return at;
}
