// The hash behind inventories: 128 bits, MurmurHash3's x86 form with the state before as its seed. It finds accidents,
// not adversaries: the store has its own authentication. Per element it costs a tenth of what a call into OpenSSL does.

/** Four words. */
export type Lanes = Int32Array;

export function lanes(seed = 0): Lanes {
  return new Int32Array(4).fill(seed);
}

/** Folds bytes into the state, their number included: 'ab','c' and 'a','bc' differ. */
export function hashBytes(state: Lanes, view: DataView, from: number, to: number): void {
  let h1 = state[0] as number;
  let h2 = state[1] as number;
  let h3 = state[2] as number;
  let h4 = state[3] as number;
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
  finish(state, h1, h2, h3, h4, to - from);
}

/** Folds four words into the state. */
export function hashWords(state: Lanes, a: number, b: number, c: number, d: number): void {
  const h1 = (state[0] as number) ^ Math.imul(turn(Math.imul(a | 0, C1), 15), C2);
  const h2 = (state[1] as number) ^ Math.imul(turn(Math.imul(b | 0, C2), 16), C3);
  const h3 = (state[2] as number) ^ Math.imul(turn(Math.imul(c | 0, C3), 17), C4);
  const h4 = (state[3] as number) ^ Math.imul(turn(Math.imul(d | 0, C4), 18), C1);
  finish(state, h1, h2, h3, h4, 16);
}

/** Folds another hash into the state. */
export function foldLanes(state: Lanes, other: Lanes): void {
  const [a = 0, b = 0, c = 0, d = 0] = other;
  hashWords(state, a, b, c, d);
}

/** Adds a hash to a sum, which therefore does not depend on the order of what is summed. */
export function addLanes(sum: Lanes, hash: Lanes): void {
  for (let i = 0; i < 4; i++) sum[i] = ((sum[i] as number) + (hash[i] as number)) | 0;
}

export function hexOf(state: Lanes): string {
  let text = '';
  for (const word of state) text += (word >>> 0).toString(16).padStart(8, '0');
  return text;
}

const C1 = 0x239b961b;
const C2 = 0xab0e9789;
const C3 = 0x38b34ae5;
const C4 = 0xa1e38b93;

function finish(state: Lanes, a: number, b: number, c: number, d: number, length: number): void {
  let h2 = b ^ length;
  let h3 = c ^ length;
  let h4 = d ^ length;
  let h1 = ((a ^ length) + h2 + h3 + h4) | 0;
  h2 = mix(h1 + h2);
  h3 = mix(h1 + h3);
  h4 = mix(h1 + h4);
  h1 = (mix(h1) + h2 + h3 + h4) | 0;
  state[0] = h1;
  state[1] = h1 + h2;
  state[2] = h1 + h3;
  state[3] = h1 + h4;
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
