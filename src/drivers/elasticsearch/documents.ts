// Documents as they are stored: lines that the bulk API of every server takes, and a sum over them that does not
// depend on their order.

import { hash } from 'node:crypto';
import type { ReusedMemory } from '../../core/bytes.ts';
import { Failure } from '../../core/errors.ts';
import { AT, HIT_WORDS, type Page } from './scanner.ts';

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;
const SPACE = 32;
const LANES = 8;
const PREFIX = 'sha256-sum:';
/** What is written around a document besides its own bytes, at most. */
const AROUND_BYTES_MAX = 128;

/** What stands around the values; to copy bytes takes a fraction of writing a text. */
const [CREATE, INDEX, VERSION_TYPE, ID, ROUTING, HEAD_END] = [
  '{"create":{',
  '{"index":{"version":',
  ',"version_type":"external_gte",',
  '"_id":',
  ',"routing":',
  '}}\n',
].map((text) => Buffer.from(text)) as [Buffer, Buffer, Buffer, Buffer, Buffer, Buffer];

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
  const high = (bytes.charCodeAt(at + 2) << 16) | (bytes.charCodeAt(at + 3) << 24);
  return bytes.charCodeAt(at) | (bytes.charCodeAt(at + 1) << 8) | high; // what it is added to wraps, whatever its sign
}

export function isSum(text: string): boolean {
  return text.startsWith(PREFIX) && /^[0-9a-f]{64}$/.test(text.slice(PREFIX.length));
}

/** What became of a page of hits, borrowed until the next page is rendered. */
export interface Rendered {
  readonly body: Buffer;
  readonly documents: number;
  /** Of documents of which the server kept no source: nothing brings them back. */
  readonly withoutSource: number;
}

export interface Rendering {
  readonly operation: Operation;
  readonly sum: DocumentSum;
  readonly memory: ReusedMemory;
}

/**
 * Two lines for each document, its own bytes untouched but for line ends between its values, which become blanks. What
 * is summed is its id, its routing and these bytes.
 */
export function renderPage(page: Buffer, { hits }: Page, { operation, sum, memory }: Rendering): Rendered {
  const { count, words } = hits;
  const out = memory.room(page.length + count * AROUND_BYTES_MAX);
  const hasLineEnds = page.includes(LINE_FEED) || page.includes(CARRIAGE_RETURN);
  const word = (at: number): number => words[at] ?? 0;
  let at = 0;
  let documents = 0;
  for (let hit = 0; hit < count * HIT_WORDS; hit += HIT_WORDS) {
    const sourceTo = word(hit + AT.source + 1);
    if (sourceTo === 0) continue;
    at = putHead(page, { from: word(hit + AT.version), to: word(hit + AT.version + 1) }, operation, out, at);
    const summedFrom = at;
    at = put(ID, out, at);
    at = putText(page, word(hit + AT.id), word(hit + AT.id + 1), out, at);
    const routingTo = word(hit + AT.routing + 1);
    if (routingTo > 0) {
      at = put(ROUTING, out, at);
      at = putText(page, word(hit + AT.routing), routingTo, out, at);
    }
    at = put(HEAD_END, out, at);
    const sourceAt = at;
    at += page.copy(out, at, word(hit + AT.source), sourceTo);
    if (hasLineEnds) blankLineEnds(out, sourceAt, at);
    sum.add(out.subarray(summedFrom, at));
    out[at++] = LINE_FEED;
    documents += 1;
  }
  return { body: out.subarray(0, at), documents, withoutSource: count - documents };
}

export function idsOf(page: Buffer, { hits: { count, words } }: Page): string[] {
  return Array.from({ length: count }, (_, hit) => {
    const at = hit * HIT_WORDS + AT.id;
    return String(textOf(page, words[at] ?? 0, words[at + 1] ?? 0));
  });
}

/** The version may be the same, so that what was sent twice is there once. */
function putHead(
  page: Buffer,
  version: { readonly from: number; readonly to: number },
  operation: Operation,
  out: Buffer,
  at: number,
): number {
  if (operation === 'create') return put(CREATE, out, at);
  const from = put(INDEX, out, at);
  return put(VERSION_TYPE, out, from + page.copy(out, from, version.from, version.to));
}

function put(bytes: Uint8Array, out: Buffer, at: number): number {
  out.set(bytes, at);
  return at + bytes.length;
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
