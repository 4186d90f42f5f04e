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
/** Of a number of 64 bits. */
const VERSION_DIGITS_MAX = 19;

const [ID, SOURCE, ROUTING, VERSION, SORT] = ['_id', '_source', '_routing', '_version', 'sort'].map((name) =>
  Buffer.from(name),
) as [Buffer, Buffer, Buffer, Buffer, Buffer];

/** Positions in the page, `from` and `to` of each value; 0 and 0 where the document has none. */
export interface Hit {
  idFrom: number;
  idTo: number;
  routingFrom: number;
  routingTo: number;
  versionFrom: number;
  versionTo: number;
  sourceFrom: number;
  sourceTo: number;
}
export interface Page {
  readonly hits: readonly Hit[];
  /** Of the last hit, as JSON. */
  readonly lastSort: string | null;
  readonly pit: string | null;
  readonly timedOut: boolean;
  readonly failedShards: number;
  readonly shards: number;
}

export function scanPage(page: Buffer): Page {
  let hits: readonly Hit[] | null = null;
  let sort: readonly [number, number] = [0, 0];
  let pit: unknown = null;
  let timedOut: unknown = null;
  let shards: unknown = null;
  const end = eachField(page, skipSpace(page, 0), (from, to, at) => {
    const key = page.toString('latin1', from, to);
    const after = valueEnd(page, at);
    if (key === 'hits') {
      const found = scanHits(page, at);
      hits = found.hits;
      sort = found.sort;
    } else if (key === 'pit_id') pit = jsonAt(page, at, after);
    else if (key === 'timed_out') timedOut = jsonAt(page, at, after);
    else if (key === '_shards') shards = jsonAt(page, at, after);
    return after;
  });
  if (skipSpace(page, end) !== page.length) throw malformed('something follows it');
  const { total, failed } = typeof shards === 'object' && shards !== null ? (shards as Record<string, unknown>) : {};
  if (hits === null || typeof timedOut !== 'boolean' || typeof total !== 'number' || typeof failed !== 'number') {
    throw malformed('it lacks what every page has');
  }
  return {
    hits,
    lastSort: sort[1] === 0 ? null : page.toString('utf8', sort[0], sort[1]),
    pit: typeof pit === 'string' ? pit : null,
    timedOut,
    shards: total,
    failedShards: failed,
  };
}

/** `at` is where {"total":…,"hits":[…]} begins. */
function scanHits(page: Buffer, at: number): { hits: Hit[]; sort: [number, number] } {
  const hits: Hit[] = [];
  const sort: [number, number] = [0, 0];
  eachField(page, at, (from, to, value) => {
    if (page.toString('latin1', from, to) !== 'hits') return valueEnd(page, value);
    if (page[value] !== OPEN_ARRAY) throw malformed('its hits are no list');
    let next = skipSpace(page, value + 1);
    if (page[next] === CLOSE_ARRAY) return next + 1;
    for (;;) {
      const hit = emptyHit();
      next = skipSpace(page, scanHit(page, next, hit, sort));
      hits.push(hit);
      if (page[next] === CLOSE_ARRAY) return next + 1;
      if (page[next] !== COMMA) throw malformed('its hits do not end');
      next = skipSpace(page, next + 1);
    }
  });
  return { hits, sort };
}

function scanHit(page: Buffer, at: number, hit: Hit, sort: [number, number]): number {
  const end = eachField(page, at, (from, to, value) => {
    const after = valueEnd(page, value);
    if (isKey(page, from, to, SOURCE)) {
      if (page[value] !== OPEN_OBJECT) throw malformed('a document is no object');
      hit.sourceFrom = value;
      hit.sourceTo = after;
    } else if (isKey(page, from, to, ID)) {
      if (page[value] !== QUOTE) throw malformed('an id is no text');
      hit.idFrom = value;
      hit.idTo = after;
    } else if (isKey(page, from, to, ROUTING)) {
      if (page[value] !== QUOTE) throw malformed('a routing is no text');
      hit.routingFrom = value;
      hit.routingTo = after;
    } else if (isKey(page, from, to, VERSION)) {
      hit.versionFrom = value;
      hit.versionTo = after;
    } else if (isKey(page, from, to, SORT)) {
      sort[0] = value;
      sort[1] = after;
    }
    return after;
  });
  if (hit.idTo === 0) throw malformed('a hit has no id');
  if (!isDigits(page, hit.versionFrom, hit.versionTo)) throw malformed('a hit has no version');
  return end;
}

function emptyHit(): Hit {
  return {
    idFrom: 0,
    idTo: 0,
    routingFrom: 0,
    routingTo: 0,
    versionFrom: 0,
    versionTo: 0,
    sourceFrom: 0,
    sourceTo: 0,
  };
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

function stringEnd(page: Buffer, at: number): number {
  for (let i = at + 1; i < page.length; i++) {
    const byte = page[i];
    if (byte === QUOTE) return i + 1;
    if (byte === BACKSLASH) i += 1;
  }
  throw malformed('a text does not end');
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
