// Records are chained in their order, so that two that changed places are seen, and chains of neighbours join to the
// chain of both: what was kept of an earlier capture is not read again for it.

import { hashBytes, type Lanes, hexOf as lanesHex } from '../../core/murmur.ts';

export interface Chain {
  readonly count: number;
  readonly lanes: Lanes;
}

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
      state[0] = low;
      state[1] = high;
      state[2] = 0;
      state[3] = 0;
      hashBytes(state, view, from, to);
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
  return lanesHex(lanes);
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
