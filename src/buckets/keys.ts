import assert from 'node:assert/strict';
import { byteOrder } from '../core/bytes.ts';
import { Failure } from '../core/errors.ts';
import type { ByteRange } from '../core/model.ts';

const KEY_BYTES_MAX = 1024;
/** What the first segment of an unfinished object's name begins with, where a bucket needs such names. */
export const UNFINISHED = '.tmp-';

/** Refuses a key that leads out of a bucket or that not every bucket can hold: some come out of untrusted stores. */
export function checkKey(key: string): void {
  refuse(key, key.split('/'));
}

/** Whether it can be one of our keys. In a bucket that others use, too, lie some that can't. */
export function isKey(key: string): boolean {
  return problemOf(key, key.split('/')) === null;
}

/** A prefix is any beginning of a key. */
export function checkPrefix(prefix: string): void {
  refuse(prefix, prefix.split('/').slice(0, -1));
}

/** A range that is none is a bug; one that lies outside of the object is 'missing'. */
export function checkRange(range: ByteRange | undefined): void {
  if (!range) return;
  assert(Number.isSafeInteger(range.offset) && range.offset >= 0, 'a range begins within an object');
  assert(Number.isSafeInteger(range.length) && range.length >= 0, 'a range has a length');
}

export function missing(url: string, key: string, cause?: unknown): Failure {
  return new Failure('missing', `${url} has no object ${key}`, { cause });
}
export function missingRange(url: string, key: string, range: ByteRange | undefined, cause?: unknown): Failure {
  const bytes = range ? `bytes ${range.offset} to ${range.offset + range.length}` : 'such bytes';
  return new Failure('missing', `${url}: object ${key} has no ${bytes}`, { cause });
}
export function taken(url: string, key: string, cause?: unknown): Failure {
  return new Failure('exists', `${url} already has an object ${key}`, { cause });
}

/** Sorts in place by UTF-8 bytes, which is the order of UTF-16 units unless surrogate pairs occur. */
export function sortByBytes<T>(items: T[], keyOf: (item: T) => string): T[] {
  if (!items.some((item) => /[\ud800-\udfff]/.test(keyOf(item)))) {
    return items.sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : keyOf(a) > keyOf(b) ? 1 : 0));
  }
  return items.sort((a, b) => byteOrder(keyOf(a), keyOf(b)));
}

function refuse(key: string, segments: readonly string[]): void {
  const problem = problemOf(key, segments);
  if (problem) throw new Failure('malformed', `object key ${JSON.stringify(key.slice(0, 200))} ${problem}`);
}

function problemOf(key: string, segments: readonly string[]): string | null {
  if (Buffer.byteLength(key) > KEY_BYTES_MAX) return `is longer than ${KEY_BYTES_MAX} bytes`;
  if (!key.isWellFormed() || key.includes('\0')) return 'is no text';
  if (segments.some((each) => each === '' || each === '.' || each === '..')) return "has a segment '', '.' or '..'";
  return segments[0]?.startsWith(UNFINISHED) ? `begins with ${UNFINISHED}` : null;
}
