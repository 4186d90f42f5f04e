// Documents as they are stored: lines that the bulk API of every server takes, and a sum over them that does not
// depend on their order.

import { hash } from 'node:crypto';
import { Failure } from '../../core/errors.ts';
import type { Hit, Page } from './scanner.ts';

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;
const SPACE = 32;
const LANES = 8;
const PREFIX = 'sha256-sum:';
/** What is written around a document besides its own bytes, at most. */
const AROUND_BYTES_MAX = 128;

/** Into an index with its version, or added to a data stream, which takes nothing else. */
export type Operation = 'index' | 'create';

/** Sums SHA-256 over documents: eight numbers of 32 bits, each modulo 2^32. */
export interface DocumentSum {
  add(document: Uint8Array): void;
  addSum(other: string): void;
  readonly count: number;
  text(): string;
}

export function documentSum(): DocumentSum {
  const lanes = new Uint32Array(LANES);
  let count = 0;
  return {
    add(document) {
      const digest = hash('sha256', document, 'binary'); // a character for each byte: no memory of its own to free
      count += 1;
      for (let lane = 0; lane < LANES; lane++) lanes[lane] = (lanes[lane] ?? 0) + uint32LE(digest, lane * 4);
    },
    addSum(other) {
      const words = Buffer.from(other.slice(PREFIX.length), 'hex');
      for (let lane = 0; lane < LANES; lane++) lanes[lane] = (lanes[lane] ?? 0) + words.readUInt32BE(lane * 4);
    },
    get count() {
      return count;
    },
    text: () => PREFIX + [...lanes].map((lane) => lane.toString(16).padStart(8, '0')).join(''),
  };
}

function uint32LE(bytes: string, at: number): number {
  const [a, b] = [bytes.charCodeAt(at), bytes.charCodeAt(at + 1)];
  return a + (b << 8) + (bytes.charCodeAt(at + 2) << 16) + bytes.charCodeAt(at + 3) * 0x1000000;
}

export function isSum(text: string): boolean {
  return text.startsWith(PREFIX) && /^[0-9a-f]{64}$/.test(text.slice(PREFIX.length));
}

/** What became of a page of hits. */
export interface Rendered {
  readonly body: Buffer;
  readonly documents: number;
  /** Of documents of which the server kept no source: nothing brings them back. */
  readonly withoutSource: number;
}

/**
 * Two lines for each document, its own bytes untouched but for line ends between its values, which become blanks. What
 * is summed is its id, its routing and these bytes.
 */
export function renderPage(page: Buffer, { hits }: Page, operation: Operation, sum: DocumentSum): Rendered {
  const out = Buffer.allocUnsafe(page.length + hits.length * AROUND_BYTES_MAX);
  const hasLineEnds = page.includes(LINE_FEED) || page.includes(CARRIAGE_RETURN);
  let at = 0;
  let documents = 0;
  for (const hit of hits) {
    if (hit.sourceTo === 0) continue;
    at = putHead(page, hit, operation, out, at);
    const summedFrom = at;
    at += out.write('"_id":', at, 'latin1');
    at = putText(page, hit.idFrom, hit.idTo, out, at);
    if (hit.routingTo > 0) {
      at += out.write(',"routing":', at, 'latin1');
      at = putText(page, hit.routingFrom, hit.routingTo, out, at);
    }
    at += out.write('}}\n', at, 'latin1');
    const sourceAt = at;
    at += page.copy(out, at, hit.sourceFrom, hit.sourceTo);
    if (hasLineEnds) blankLineEnds(out, sourceAt, at);
    sum.add(out.subarray(summedFrom, at));
    out[at++] = LINE_FEED;
    documents += 1;
  }
  return { body: out.subarray(0, at), documents, withoutSource: hits.length - documents };
}

export function idsOf(page: Buffer, { hits }: Page): string[] {
  return hits.map(({ idFrom, idTo }) => String(textOf(page, idFrom, idTo)));
}

/** The version may be the same, so that what was sent twice is there once. */
function putHead(page: Buffer, hit: Hit, operation: Operation, out: Buffer, at: number): number {
  if (operation === 'create') return at + out.write('{"create":{', at, 'latin1');
  let to = at + out.write('{"index":{"version":', at, 'latin1');
  to += page.copy(out, to, hit.versionFrom, hit.versionTo);
  return to + out.write(',"version_type":"external_gte",', to, 'latin1');
}

/** Servers escape the same text in different ways: where they do, it is written in ours. */
function putText(page: Buffer, from: number, to: number, out: Buffer, at: number): number {
  for (let i = from; i < to; i++) {
    if (page[i] !== 0x5c) continue;
    return at + out.write(JSON.stringify(textOf(page, from, to)), at, 'utf8');
  }
  return at + page.copy(out, at, from, to);
}

function textOf(page: Buffer, from: number, to: number): unknown {
  try {
    return JSON.parse(page.toString('utf8', from, to));
  } catch (cause) {
    throw new Failure('malformed', 'a document has an id or a routing that is no text', { cause });
  }
}

function blankLineEnds(out: Buffer, from: number, to: number): void {
  for (let i = from; i < to; i++) if (out[i] === LINE_FEED || out[i] === CARRIAGE_RETURN) out[i] = SPACE;
}
