// Names of files are bytes, names of parts are text. A name that is not UTF-8 is written with %XX, and so is '%'
// itself, so that every name comes back as it was.

import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import { Failure } from '../../core/errors.ts';

/** As `Part.name` allows. */
const PART_NAME_BYTES_MAX = 1024;

export function encode(bytes: Buffer): string {
  if (isUtf8(bytes)) {
    const text = bytes.toString('utf8');
    return text.includes('%') ? text.replaceAll('%', '%25') : text;
  }
  return bytes
    .toString('latin1')
    .replace(/[%\x80-\xff]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`);
}

export function decode(text: string): Buffer {
  if (!text.includes('%')) return Buffer.from(text);
  if (/%(?![0-9A-F]{2})/.test(text)) throw new Failure('malformed', `${JSON.stringify(text)} is not a name of ours`);
  const pieces = text.split(/(%[0-9A-F]{2})/);
  return Buffer.concat(pieces.map((each, i) => (i % 2 ? Buffer.from(each.slice(1), 'hex') : Buffer.from(each))));
}

/** All of these `segmentsOf` takes. */
const PLAIN_NAME = /^(?:\/|(?:\/(?!\.\.?(?:\/|$))[^/%\0]+)+\/?)$/;

/** Refuses what `segmentsOf` does. */
export function assertName(name: string): void {
  if (!PLAIN_NAME.test(name)) segmentsOf(name);
}

/** '/etc/app/' → ['etc', 'app'], as bytes. Refuses all that could lead elsewhere: the store may be hostile. */
export function segmentsOf(name: string): Buffer[] {
  if (!name.startsWith('/')) throw new Failure('malformed', `${JSON.stringify(name)} is not an absolute name`);
  if (name === '/') return [];
  return name
    .slice(1, name.endsWith('/') ? -1 : undefined)
    .split('/')
    .map(segment);
}

function segment(text: string): Buffer {
  const bytes = decode(text);
  const plain = bytes.toString('latin1');
  if (plain === '' || plain === '.' || plain === '..' || plain.includes('/') || plain.includes('\0')) {
    throw new Failure('malformed', `${JSON.stringify(text)} is not the name of a file`);
  }
  return bytes;
}

/** The part that holds a file's bytes. */
export function partOf(name: string): string {
  const part = `data${name}`;
  if (part.length * 3 <= PART_NAME_BYTES_MAX || Buffer.byteLength(part) <= PART_NAME_BYTES_MAX) return part;
  return `long/${createHash('sha256').update(name).digest('hex')}`;
}

export function isDirectoryName(name: string): boolean {
  return name.endsWith('/');
}

/** '/etc/app/' for '/etc/app/x.conf', '/etc/' for '/etc/app/'. */
export function parentOf(name: string): string {
  return name.slice(0, name.lastIndexOf('/', name.length - 2) + 1);
}

/** Its last segment, as bytes. */
export function baseOf(name: string): Buffer {
  if (PLAIN_NAME.test(name) && !isDirectoryName(name)) return Buffer.from(name.slice(name.lastIndexOf('/') + 1));
  const base = segmentsOf(name).at(-1);
  assert(base, 'only the root has no name');
  return base;
}

/** True for what lies beneath the path, and for itself. */
export function isBeneath(name: string, path: string): boolean {
  const plain = isDirectoryName(name) ? name.slice(0, -1) : name;
  return path === '/' || plain === path || name.startsWith(`${path}/`);
}
