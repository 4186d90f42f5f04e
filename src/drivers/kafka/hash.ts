// The hash behind inventories: 128 bits per record, MurmurHash3's x86 form. It finds accidents, not adversaries: the
// store has its own authentication. Records are chained in their order, so that two that changed places are seen, and
// chains of neighbours join to the chain of both: what was kept of an earlier capture is not read again for it.

export interface Chain {
  readonly count: number;
  readonly lanes: Int32Array;
}

const C1 = 0x239b961b;
const C2 = 0xab0e9789;
const C3 = 0x38b34ae5;
const C4 = 0xa1e38b93;
/** Odd, so that nothing that was chained is ever lost; one for each lane. */
const FACTORS = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f] as const;

/** Chains records one after another. */
export interface Chainer {
  /** The bytes from `from` to `to`, and a time in two words. */
  add(view: DataView, from: number, to: number, high: number, low: number): void;
  chain(): Chain;
}

export function chainer(): Chainer {
  let count = 0;
  const sum = new Int32Array(4);
  const state = new Int32Array(4);
  return {
    add(view, from, to, high, low) {
      hashInto(state, view, from, to, high, low);
      for (let i = 0; i < 4; i++) {
        sum[i] = (Math.imul(sum[i] as number, FACTORS[i] as number) + (state[i] as number)) | 0;
      }
      count += 1;
    },
    chain: () => ({ count, lanes: sum.slice() }),
  };
}

export const EMPTY_CHAIN: Chain = { count: 0, lanes: new Int32Array(4) };

/** The chain of the records of `a`, and then those of `b`. */
export function joined(a: Chain, b: Chain): Chain {
  const lanes = a.lanes.map(
    (lane, i) => (Math.imul(lane, power(FACTORS[i] as number, b.count)) + (b.lanes[i] ?? 0)) | 0,
  );
  return { count: a.count + b.count, lanes };
}

export function hexOf({ lanes }: Chain): string {
  return [...lanes].map((lane) => (lane >>> 0).toString(16).padStart(8, '0')).join('');
}

/** Null when it is none. */
export function chainFrom(count: number, hex: string): Chain | null {
  if (!/^[0-9a-f]{32}$/.test(hex)) return null;
  return { count, lanes: Int32Array.from([0, 8, 16, 24], (at) => Number.parseInt(hex.slice(at, at + 8), 16) | 0) };
}

/** Modulo 2^32. */
function power(factor: number, exponent: number): number {
  let result = 1;
  let square = factor;
  for (let left = exponent; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) result = Math.imul(result, square);
    square = Math.imul(square, square);
  }
  return result;
}

function hashInto(state: Int32Array, view: DataView, from: number, to: number, high: number, low: number): void {
  let h1 = low | 0;
  let h2 = high | 0;
  let h3 = 0;
  let h4 = 0;
  let at = from;
  for (; at + 16 <= to; at += 16) {
    h1 ^= Math.imul(turn(Math.imul(view.getInt32(at, true), C1), 15), C2);
    h1 = (Math.imul((turn(h1, 19) + h2) | 0, 5) + 0x561ccd1b) | 0;
    h2 ^= Math.imul(turn(Math.imul(view.getInt32(at + 4, true), C2), 16), C3);
    h2 = (Math.imul((turn(h2, 17) + h3) | 0, 5) + 0x0bcaa747) | 0;
    h3 ^= Math.imul(turn(Math.imul(view.getInt32(at + 8, true), C3), 17), C4);
    h3 = (Math.imul((turn(h3, 15) + h4) | 0, 5) + 0x96cd1c35) | 0;
    h4 ^= Math.imul(turn(Math.imul(view.getInt32(at + 12, true), C4), 18), C1);
    h4 = (Math.imul((turn(h4, 13) + h1) | 0, 5) + 0x32ac3b17) | 0;
  }
  const rest = to - at;
  if (rest > 12) h4 ^= Math.imul(turn(Math.imul(tail(view, at + 12, to), C4), 18), C1);
  if (rest > 8) h3 ^= Math.imul(turn(Math.imul(tail(view, at + 8, to), C3), 17), C4);
  if (rest > 4) h2 ^= Math.imul(turn(Math.imul(tail(view, at + 4, to), C2), 16), C3);
  if (rest > 0) h1 ^= Math.imul(turn(Math.imul(tail(view, at, to), C1), 15), C2);
  const length = to - from;
  h1 ^= length;
  h2 = mix((h2 ^ length) + h1);
  h3 = mix((h3 ^ length) + h1);
  h4 = mix((h4 ^ length) + h1);
  h1 = (mix(h1) + h2 + h3 + h4) | 0;
  state[0] = h1;
  state[1] = (h1 + h2) | 0;
  state[2] = (h1 + h3) | 0;
  state[3] = (h1 + h4) | 0;
}

function turn(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

function mix(word: number): number {
  let h = word ^ (word >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** Up to four bytes as a little-endian word. */
function tail(view: DataView, from: number, to: number): number {
  let word = 0;
  for (let at = Math.min(to, from + 4) - 1; at >= from; at--) word = (word << 8) | view.getUint8(at);
  return word;
}
