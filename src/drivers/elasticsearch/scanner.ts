// Finds where each document lies in a page of search results, without making objects of it. A page is untrusted: what
// does not have the shape of one is 'malformed', and no document can reach beyond its own bytes.

import { Failure } from '../../core/errors.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const SPACE = 0x20;
/** Of a text; beyond, it is searched for its end. */
const NEAR_BYTES = 32;
/** Of a number of 64 bits. */
const VERSION_DIGITS_MAX = 19;

const [ID, SOURCE, ROUTING, VERSION, SORT] = ['_id', '_source', '_routing', '_version', 'sort'].map((name) =>
  Buffer.from(name),
) as [Buffer, Buffer, Buffer, Buffer, Buffer];

/** Words of a hit in `Hits.words`: from where to where in the page each value lies, 0 and 0 where there is none. */
export const AT = { id: 0, routing: 2, version: 4, source: 6 } as const;
export const HIT_WORDS = 8;
const HITS_FIRST = 1024;

/** Numbers, as objects would be megabytes of garbage for each page, in memory that grows when it must. */
export interface Hits {
  count: number;
  words: Uint32Array;
}
export function noHits(): Hits {
  return { count: 0, words: new Uint32Array(HITS_FIRST * HIT_WORDS) };
}
export interface Page {
  readonly hits: Readonly<Hits>;
  /** Of the last hit, as JSON. */
  readonly lastSort: string | null;
  readonly pit: string | null;
  readonly timedOut: boolean;
  readonly failedShards: number;
  readonly shards: number;
}
/** What is being found. */
interface Found {
  readonly hits: Hits;
  sortFrom: number;
  sortTo: number;
}

/** What is found is put into `hits`. */
export function scanPage(page: Buffer, hits = noHits()): Page {
  const found: Found = { hits, sortFrom: 0, sortTo: 0 };
  let any = false;
  let pit: unknown = null;
  let timedOut: unknown = null;
  let shards: unknown = null;
  const end = eachField(page, skipSpace(page, 0), (from, to, at) => {
    const key = page.toString('latin1', from, to);
    if (key === 'hits') {
      any = true;
      hits.count = 0;
      found.sortTo = 0;
      return scanHits(page, at, found);
    }
    const after = valueEnd(page, at);
    if (key === 'pit_id') pit = jsonAt(page, at, after);
    else if (key === 'timed_out') timedOut = jsonAt(page, at, after);
    else if (key === '_shards') shards = jsonAt(page, at, after);
    return after;
  });
  if (skipSpace(page, end) !== page.length) throw malformed('something follows it');
  const { total, failed } = typeof shards === 'object' && shards !== null ? (shards as Record<string, unknown>) : {};
  if (!any || typeof timedOut !== 'boolean' || typeof total !== 'number' || typeof failed !== 'number') {
    throw malformed('it lacks what every page has');
  }
  return {
    hits,
    lastSort: found.sortTo === 0 ? null : page.toString('utf8', found.sortFrom, found.sortTo),
    pit: typeof pit === 'string' ? pit : null,
    timedOut,
    shards: total,
    failedShards: failed,
  };
}

/** `at` is where {"total":…,"hits":[…]} begins. */
function scanHits(page: Buffer, at: number, found: Found): number {
  return eachField(page, at, (from, to, value) => {
    if (page.toString('latin1', from, to) !== 'hits') return valueEnd(page, value);
    if (page[value] !== OPEN_ARRAY) throw malformed('its hits are no list');
    found.hits.count = 0;
    let next = skipSpace(page, value + 1);
    if (page[next] === CLOSE_ARRAY) return next + 1;
    for (;;) {
      next = skipSpace(page, scanHit(page, next, found));
      if (page[next] === CLOSE_ARRAY) return next + 1;
      if (page[next] !== COMMA) throw malformed('its hits do not end');
      next = skipSpace(page, next + 1);
    }
  });
}

function scanHit(page: Buffer, at: number, found: Found): number {
  const { words, base } = nextHit(found.hits);
  const put = (which: number, from: number, to: number): void => {
    words[base + which] = from;
    words[base + which + 1] = to;
  };
  const end = eachField(page, at, (from, to, value) => {
    const after = valueEnd(page, value);
    if (isKey(page, from, to, SOURCE)) {
      if (page[value] !== OPEN_OBJECT) throw malformed('a document is no object');
      put(AT.source, value, after);
    } else if (isKey(page, from, to, ID)) {
      if (page[value] !== QUOTE) throw malformed('an id is no text');
      put(AT.id, value, after);
    } else if (isKey(page, from, to, ROUTING)) {
      if (page[value] !== QUOTE) throw malformed('a routing is no text');
      put(AT.routing, value, after);
    } else if (isKey(page, from, to, VERSION)) {
      put(AT.version, value, after);
    } else if (isKey(page, from, to, SORT)) {
      found.sortFrom = value;
      found.sortTo = after;
    }
    return after;
  });
  if (words[base + AT.id + 1] === 0) throw malformed('a hit has no id');
  if (!isDigits(page, words[base + AT.version] ?? 0, words[base + AT.version + 1] ?? 0)) {
    throw malformed('a hit has no version');
  }
  return end;
}

function nextHit(hits: Hits): { words: Uint32Array; base: number } {
  const base = hits.count * HIT_WORDS;
  if (base === hits.words.length) {
    const more = new Uint32Array(base * 2);
    more.set(hits.words);
    hits.words = more;
  }
  hits.words.fill(0, base, base + HIT_WORDS);
  hits.count += 1;
  return { words: hits.words, base };
}

function isDigits(page: Buffer, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if ((page[i] ?? 0) < 0x30 || (page[i] ?? 0) > 0x39) return false;
  return to > from && to - from <= VERSION_DIGITS_MAX;
}

function isKey(page: Buffer, from: number, to: number, key: Buffer): boolean {
  if (to - from !== key.length) return false;
  for (let i = 0; i < key.length; i++) if (page[from + i] !== key[i]) return false;
  return true;
}

/** Calls `visit` with where each key lies and where its value begins; it gives back where that ends. */
function eachField(page: Buffer, at: number, visit: (keyFrom: number, keyTo: number, value: number) => number): number {
  if (page[at] !== OPEN_OBJECT) throw malformed('an object is missing');
  let next = skipSpace(page, at + 1);
  if (page[next] === CLOSE_OBJECT) return next + 1;
  for (;;) {
    if (page[next] !== QUOTE) throw malformed('a name is missing');
    const keyEnd = stringEnd(page, next);
    const colon = skipSpace(page, keyEnd);
    if (page[colon] !== COLON) throw malformed('a name has no value');
    const after = skipSpace(page, visit(next + 1, keyEnd - 1, skipSpace(page, colon + 1)));
    if (page[after] === CLOSE_OBJECT) return after + 1;
    if (page[after] !== COMMA) throw malformed('an object does not end');
    next = skipSpace(page, after + 1);
  }
}

/** Where the value that begins at `at` ends. Brackets are counted, whatever is nested in whatever. */
function valueEnd(page: Buffer, at: number): number {
  const first = page[at];
  if (first === QUOTE) return stringEnd(page, at);
  if (first !== OPEN_OBJECT && first !== OPEN_ARRAY) return scalarEnd(page, at);
  let depth = 0;
  for (let i = at; i < page.length; ) {
    const byte = page[i];
    if (byte === QUOTE) {
      i = stringEnd(page, i);
      continue;
    }
    i += 1;
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) depth += 1;
    else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) {
      depth -= 1;
      if (depth > 0) continue;
      if ((byte === CLOSE_OBJECT) !== (first === OPEN_OBJECT)) throw malformed('its brackets do not match');
      return i;
    }
  }
  throw malformed('it ends early');
}

/** Short texts are looked through here, long ones by who does it faster once it is called. */
function stringEnd(page: Buffer, at: number): number {
  const near = Math.min(at + NEAR_BYTES, page.length);
  let i = at + 1;
  for (; i < near; i++) {
    const byte = page[i];
    if (byte === QUOTE) return i + 1;
    if (byte === BACKSLASH) i += 1;
  }
  for (const from = i; ; i += 1) {
    i = page.indexOf(QUOTE, i);
    if (i < 0) throw malformed('a text does not end');
    let before = i;
    while (before > from && page[before - 1] === BACKSLASH) before -= 1;
    if ((i - before) % 2 === 0) return i + 1; // else the quote is part of the text
  }
}

function scalarEnd(page: Buffer, at: number): number {
  let i = at;
  for (; i < page.length; i++) {
    const byte = page[i] ?? 0;
    if (byte === COMMA || byte === CLOSE_OBJECT || byte === CLOSE_ARRAY || byte <= SPACE) break;
  }
  if (i === at) throw malformed('a value is missing');
  return i;
}

function skipSpace(page: Buffer, at: number): number {
  let i = at;
  while (i < page.length && (page[i] ?? 0) <= SPACE) i += 1;
  return i;
}

function jsonAt(page: Buffer, from: number, to: number): unknown {
  try {
    return JSON.parse(page.toString('utf8', from, to));
  } catch (cause) {
    throw new Failure('malformed', 'a page of documents has a value that is none', { cause });
  }
}

function malformed(why: string): Failure {
  return new Failure('malformed', `a page of documents is no such thing: ${why}`);
}
