// Stock restic cuts files with a polynomial over GF(2) that is irreducible and of degree 53. We only choose it.

import { randomBytes } from 'node:crypto';

const DEGREE = 53;

export function randomPolynomial(): bigint {
  for (;;) {
    const random = BigInt(`0x${randomBytes(8).toString('hex')}`) & ((1n << BigInt(DEGREE)) - 1n);
    const candidate = random | (1n << BigInt(DEGREE)) | 1n;
    if (isIrreducible(candidate)) return candidate;
  }
}

/** Ben-Or: no factor of degree i divides both it and x^(2^i) - x. */
export function isIrreducible(polynomial: bigint): boolean {
  const x = 2n;
  let power = x;
  for (let i = 1; i <= degree(polynomial) / 2; i++) {
    power = squared(power, polynomial);
    if (commonDivisor(polynomial, power ^ x) !== 1n) return false;
  }
  return true;
}

function degree(polynomial: bigint): number {
  return polynomial === 0n ? -1 : polynomial.toString(2).length - 1;
}

function remainder(polynomial: bigint, divisor: bigint): bigint {
  const end = degree(divisor);
  let rest = polynomial;
  for (let at = degree(rest); at >= end; at = degree(rest)) rest ^= divisor << BigInt(at - end);
  return rest;
}

/** Squaring over GF(2) spreads the bits. */
function squared(polynomial: bigint, modulus: bigint): bigint {
  return remainder(BigInt(`0b${polynomial.toString(2).split('').join('0')}`), modulus);
}

function commonDivisor(a: bigint, b: bigint): bigint {
  return b === 0n ? a : commonDivisor(b, remainder(a, b));
}
