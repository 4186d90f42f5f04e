// An archive as PostgreSQL writes it, read while it streams: files and directories with plain names. Links it writes
// only where nobody asks for a map of the tablespaces, and everything else never: that is refused.

import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { Failure } from '../../../core/errors.ts';
import type { Bytes } from '../../../core/model.ts';
import { byteReader } from './reader.ts';

const BLOCK = 512;
/** The year 9999, beyond which stores know no times. */
const TIME_MS_MAX = Date.parse('9999-12-31T23:59:59Z');
const MAGIC = 'ustar\0';
const CHECKSUM = { from: 148, to: 156 } as const;

export interface TarEntry {
  /** '/'-separated, without a slash at either end. */
  readonly name: string;
  readonly type: 'file' | 'directory';
  readonly bytes: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: Date;
  /** Is read to its end before the next entry. */
  readonly body: Bytes;
}

/** `what` is named where it is 'malformed'. */
export async function* tarEntries(archive: Bytes, what: string): AsyncIterable<TarEntry> {
  const malformed = (why: string): Failure => new Failure('malformed', `${what}: ${why}`);
  const cut = (): Failure => malformed('the archive ends in the middle');
  const bytes = byteReader(archive, cut);
  for (;;) {
    const header = await bytes.exactly(BLOCK);
    if (!header) throw cut();
    if (isZero(header)) break;
    const entry = entryIn(header, malformed);
    let left = entry.bytes;
    const body = async function* (): Bytes {
      while (left > 0) {
        const piece = await bytes.some(left);
        if (!piece) throw cut();
        left -= piece.length;
        yield piece;
      }
    };
    yield { ...entry, body: body() };
    assert(left === 0, 'each entry is read to its end');
    const padding = (BLOCK - (entry.bytes % BLOCK)) % BLOCK;
    if (padding > 0 && !(await bytes.exactly(padding))) throw cut();
  }
  for (let rest = await bytes.some(BLOCK); rest; rest = await bytes.some(BLOCK)) {
    if (!isZero(rest)) throw malformed('something follows the end of the archive');
  }
}

type Malformed = (why: string) => Failure;

function isZero(block: Buffer): boolean {
  return block.every((byte) => byte === 0);
}

function entryIn(header: Buffer, malformed: Malformed): Omit<TarEntry, 'body'> {
  const number = (from: number, to: number): number => numberIn(header.subarray(from, to), malformed);
  if (header.toString('latin1', 257, 263) !== MAGIC || number(CHECKSUM.from, CHECKSUM.to) !== sumOf(header)) {
    throw malformed('the archive has a header that is none');
  }
  const type = typeIn(header, malformed);
  const name = nameIn(header, type, malformed);
  const bytes = number(124, 136);
  const mtime = new Date(number(136, 148) * 1000);
  if (!(mtime.getTime() <= TIME_MS_MAX)) throw malformed(`${name} has a time that is none`);
  if (type === 'directory' && bytes > 0) throw malformed(`the directory ${name} has bytes of its own`);
  return {
    name,
    type,
    bytes,
    mode: number(100, 108) & 0o7777,
    uid: number(108, 116),
    gid: number(116, 124),
    mtime,
  };
}

function sumOf(header: Buffer): number {
  let sum = 0;
  for (const [at, byte] of header.entries()) sum += at >= CHECKSUM.from && at < CHECKSUM.to ? 0x20 : byte;
  return sum;
}

function typeIn(header: Buffer, malformed: Malformed): TarEntry['type'] {
  const flag = String.fromCharCode(header[156] ?? 0);
  if (flag === '0' || flag === '\0') return 'file';
  if (flag === '5') return 'directory';
  throw malformed(`the archive has an entry of type ${JSON.stringify(flag)}`);
}

function nameIn(header: Buffer, type: TarEntry['type'], malformed: Malformed): string {
  const end = header.indexOf(0);
  const raw = header.subarray(0, Math.max(0, end));
  const shown = JSON.stringify(raw.toString('latin1'));
  // It fills no more than 99 bytes, and never the field for longer names.
  if (end < 1 || end > 99 || header[345] !== 0) throw malformed(`the archive has a name that is too long: ${shown}`);
  if (!isUtf8(raw)) throw unfit(shown, malformed);
  const text = raw.toString('utf8').replace(/^\.\//, ''); // it writes './pg_wal/archive_status'
  const name = type === 'directory' && text.endsWith('/') ? text.slice(0, -1) : text;
  if (!isPlainName(name)) throw unfit(shown, malformed);
  return name;
}

function unfit(shown: string, malformed: Malformed): Failure {
  const { code, message } = malformed(`the archive has the name ${shown}, which is none of PostgreSQL's`);
  return new Failure(code, message, { hint: 'move a file of that name out of the data directory' });
}

/** Beneath where it is put, and nothing in it that lists of lines or other programs would take for something else. */
export function isPlainName(name: string): boolean {
  if (/[\p{Cc}\\]/u.test(name)) return false;
  return name.split('/').every((segment) => segment !== '' && segment !== '.' && segment !== '..');
}

/** Octal, or from 8 GiB on the number itself after a byte 0x80. */
function numberIn(field: Buffer, malformed: Malformed): number {
  if (field[0] === 0x80) {
    const value = field.subarray(1).reduce((sum, byte) => sum * 256 + byte, 0);
    if (!Number.isSafeInteger(value)) throw malformed('the archive has a number that is too large');
    return value;
  }
  const [, digits] = /^ *([0-7]+)[ \0]*$/.exec(field.toString('latin1')) ?? [];
  if (digits === undefined) throw malformed('the archive has a number that is none');
  return Number.parseInt(digits, 8);
}
