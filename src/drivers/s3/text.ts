// Keys are bytes, most of them UTF-8. Here a key is a text in which a byte that belongs to no character stands as a
// lone surrogate U+DC80 to U+DCFF, as Python's 'surrogateescape' has it: nothing is lost, and JSON can say it.

import { isUtf8 } from 'node:buffer';
import { byteOrder } from '../../core/bytes.ts';

const ESCAPED = 0xdc00;

export function textOf(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString('utf8');
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const length = characterAt(bytes, at);
    text += length > 0 ? bytes.toString('utf8', at, at + length) : String.fromCharCode(ESCAPED + (bytes[at] ?? 0));
    at += Math.max(1, length);
  }
  return text;
}

export function bytesOfText(text: string): Buffer {
  if (text.isWellFormed()) return Buffer.from(text);
  const pieces = text.split(/([\udc80-\udcff])/);
  return Buffer.concat(
    // The high half of a pair would be torn from a low one that looks escaped: it is joined first.
    joined(pieces).map((each) =>
      each.isWellFormed() ? Buffer.from(each) : Buffer.from([each.charCodeAt(0) - ESCAPED]),
    ),
  );
}

/** Whether bytes can be made of it: other lone surrogates stand for nothing. */
export function isText(value: string): boolean {
  return (
    value.isWellFormed() ||
    !/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udc7f\udd00-\udfff]/.test(value)
  );
}

/** In the order of their bytes. */
export function keyOrder(a: string, b: string): number {
  if (a.isWellFormed() && b.isWellFormed()) return byteOrder(a, b);
  return Buffer.compare(bytesOfText(a), bytesOfText(b));
}

/** As a query has it. */
export function percentEncoded(text: string): string {
  if (/^[A-Za-z0-9\-._~]*$/.test(text)) return text;
  if (text.isWellFormed()) return encodeURIComponent(text).replace(/[!'()*]/g, percent);
  return bytesOfText(text)
    .toString('latin1')
    .replace(/[^A-Za-z0-9\-._~]/g, percent);
}

/** As a path has it. */
export function pathEncoded(text: string): string {
  return /^[A-Za-z0-9\-._~/]*$/.test(text) ? text : percentEncoded(text).replaceAll('%2F', '/');
}

/** Of a listing with `encoding-type=url`. */
export function percentDecoded(text: string): string {
  if (!/[%+]/.test(text)) return text;
  const plain = text.replaceAll('+', ' ');
  const pieces = plain.split(/%([0-9A-Fa-f]{2})/);
  return textOf(Buffer.concat(pieces.map((each, i) => (i % 2 ? Buffer.from(each, 'hex') : Buffer.from(each)))));
}

/** Headers come as their bytes, one character each. */
export function textOfHeader(value: string): string {
  return /[\x80-\xff]/.test(value) ? textOf(Buffer.from(value, 'latin1')) : value;
}

export function headerOfText(text: string): string {
  return /[^\0-\x7f]/.test(text) ? bytesOfText(text).toString('latin1') : text;
}

function percent(char: string): string {
  return `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
}

/** How many bytes the character takes that begins here, 0 when none does. */
function characterAt(bytes: Buffer, at: number): number {
  const lead = bytes[at] ?? 0;
  const length = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 0;
  return length > 0 && at + length <= bytes.length && isUtf8(bytes.subarray(at, at + length)) ? length : 0;
}

function joined(pieces: readonly string[]): string[] {
  const out: string[] = [];
  for (const piece of pieces) {
    const last = out.at(-1);
    if (last !== undefined && /[\ud800-\udbff]$/.test(last)) out[out.length - 1] = last + piece;
    else out.push(piece);
  }
  return out.filter((piece) => piece !== '');
}
