// SQL text as pg_dump writes it, cut into statements and COPY data while it streams.
//
// It may come from anywhere, and psql would obey its meta-commands (`\!` runs programs). So it never sees psql: we cut
// it ourselves, by psql's own rules, and refuse every backslash outside of quotes but the end of COPY data and a
// matching pair of \restrict and \unrestrict. Were it cut in a wrong place, the server would refuse a statement.

import { isAscii, isUtf8 } from 'node:buffer';
import { Failure } from '../../core/errors.ts';
import type { Bytes } from '../../core/model.ts';

export interface SqlItem {
  /** One statement, without comments and its semicolon. */
  readonly text: string;
  readonly line: number;
  /** What follows COPY … FROM stdin. Must be read before the next item. */
  readonly data: Bytes | null;
}

/** What these bytes are in an encoding that PostgreSQL calls so. */
export type Decode = (bytes: Uint8Array, encoding: string) => Promise<string>;

/**
 * What a database may be in but UTF-8 and bytes, as pg_dump names it. In all of these a byte of ASCII is never a part
 * of another character, so that the text can be cut before it is decoded.
 */
const SET_ENCODING =
  /^set client_encoding = '((?:EUC_(?:CN|JP|JIS_2004|KR|TW)|ISO_8859_[5-8]|KOI8[RU]|LATIN\d+|WIN(?:125\d|866|874)))'$/i;
const SET_OTHER = /^set client_encoding\b/i;

/** INSERTs with large values are as long as those; nothing that pg_dump writes is longer. */
const STATEMENT_BYTES_MAX = 256 * 1024 * 1024;

const [TAB, LF, CR, SPACE] = [9, 10, 13, 32];
const [QUOTE, DOUBLE, DOLLAR, BACKSLASH, SEMICOLON] = [39, 34, 36, 92, 59];
const [OPEN, CLOSE, DASH, SLASH, STAR, DOT] = [40, 41, 45, 47, 42, 46];

type State = 'code' | 'text' | 'escaped-text' | 'name' | 'tag' | 'dollar' | 'line-comment' | 'comment' | 'command';

/** With `decode` statements in other encodings come as if the text were in UTF-8; rows stay as they are, and say so. */
export async function* sqlItems(body: Bytes, decode?: Decode): AsyncIterable<SqlItem> {
  const input = body[Symbol.asyncIterator]();
  const lexer = statementLexer();
  let rest: Uint8Array = new Uint8Array();
  let encoding: string | null = null;
  const next = async (): Promise<boolean> => {
    const { done, value } = await input.next();
    rest = done ? new Uint8Array() : value;
    return !done;
  };
  try {
    while (rest.length > 0 || (await next())) {
      const { used, statement } = lexer.read(rest);
      rest = rest.subarray(used);
      if (statement === null) continue;
      const { line } = statement;
      const text = await textOf(statement, encoding, decode);
      if (text === '') continue;
      if (!isCopyIn(text)) {
        const set: string | null = (decode && SET_ENCODING.exec(text)?.[1]) ?? null;
        if (set !== null || SET_OTHER.test(text)) encoding = set;
        yield { text: set === null ? text : "SET client_encoding = 'UTF8'", line, data: null };
        continue;
      }
      const copy = copyData(lexer.countLines);
      const data = async function* (): Bytes {
        while (!copy.ended && (rest.length > 0 || (await next()))) {
          const step = copy.read(rest);
          rest = rest.subarray(step.used);
          if (step.data.length > 0) yield step.data;
        }
        if (!copy.ended) throw malformed(line, 'its COPY data has no end');
      };
      yield { text: encoding === null ? text : `${text} with (encoding '${encoding}')`, line, data: data() };
      if (!copy.ended) throw new Error('COPY data must be read before the next statement');
    }
    lexer.end();
  } finally {
    await input.return?.();
  }
}

async function textOf({ bytes, line }: Statement, encoding: string | null, decode?: Decode): Promise<string> {
  if (encoding !== null && decode && !isAscii(bytes)) return (await decode(bytes, encoding)).trim();
  if (!isUtf8(bytes)) {
    throw malformed(line, 'it is not in UTF-8', 'convert it with iconv, and its `SET client_encoding` too');
  }
  return bytes.toString('utf8').trim();
}

function isCopyIn(text: string): boolean {
  return /^copy\b[\s\S]*\bfrom\s+stdin$/i.test(text.trim());
}

/** Its bytes are written over when the next one is read. */
interface Statement {
  readonly bytes: Buffer;
  readonly line: number;
}

interface Lexer {
  /** Reads up to the end of one statement. */
  read(data: Uint8Array): { used: number; statement: Statement | null };
  countLines(lines: number): void;
  end(): void;
}

/** Where in the text we are. */
interface Position {
  state: State;
  line: number;
  /** Of the statement. */
  startLine: number;
  /** The statement as far as it is read, without comments. */
  out: Buffer;
  length: number;
  previous: number;
  parens: number;
  comments: number; // depth
  /** A quote that ends a text unless another one follows. */
  maybeEnd: boolean;
  /** The kind of a text behind which only space and line comments came: behind a line's end it may go on. */
  endedText: 'text' | 'escaped-text' | null;
  /** A line has ended since. */
  lineEnded: boolean;
  /** Behind a backslash. */
  escaped: boolean;
  /** Of a dollar-quoted text, or the psql command. */
  tag: string;
  /** How much of the closing tag was seen. */
  matched: number;
  /** The key of an open \\restrict. */
  restricted: string | null;
  word: string;
  /** The first ones of the statement. */
  words: string[];
  /** Depth of BEGIN ATOMIC … END, and CASE … END within. */
  atomic: number;
}

function statementLexer(): Lexer {
  const at: Position = {
    state: 'code',
    line: 1,
    startLine: 1,
    out: Buffer.alloc(64 * 1024),
    length: 0,
    previous: 0,
    parens: 0,
    comments: 0,
    maybeEnd: false,
    endedText: null,
    lineEnded: false,
    escaped: false,
    tag: '',
    matched: 0,
    restricted: null,
    word: '',
    words: [],
    atomic: 0,
  };
  return {
    read(data) {
      for (let i = 0; i < data.length; i++) {
        const byte = data[i] ?? 0;
        const commented = at.state === 'comment';
        const isCode = at.state === 'code' || readOther(at, byte);
        const ends = isCode && readCode(at, byte);
        if (byte === LF) at.line += 1;
        at.previous = commented || at.state === 'comment' ? firstOfPair(byte, at.previous) : byte;
        if (!ends) continue;
        return { used: i + 1, statement: finished(at) };
      }
      return { used: data.length, statement: null };
    },
    countLines: (lines) => void (at.line += lines),
    end() {
      if (at.state === 'command') obey(at);
      const open = !['code', 'line-comment', 'command'].includes(at.state) && !at.maybeEnd;
      const left = at.out.toString('utf8', 0, at.length).trim();
      if (open || left !== '') throw malformed(at.startLine, 'its last statement has no end');
      if (at.restricted !== null) throw malformed(at.line, 'it has \\restrict without \\unrestrict');
    },
  };
}

/** A character that has begun or ended a comment, as the second of a pair, is no first one. */
function firstOfPair(byte: number, previous: number): number {
  return (byte === STAR && previous === SLASH) || (byte === SLASH && previous === STAR) ? 0 : byte;
}

function finished(at: Position): Statement {
  const bytes = at.out.subarray(0, at.length);
  Object.assign(at, { length: 0, words: [], atomic: 0, parens: 0 });
  return { bytes, line: at.startLine };
}

function keep(at: Position, byte: number): void {
  if (at.length === at.out.length) {
    if (at.length >= STATEMENT_BYTES_MAX) throw malformed(at.startLine, 'a statement is too long');
    at.out = Buffer.concat([at.out], at.out.length * 2);
  }
  if (at.length === 0) at.startLine = at.line;
  at.out[at.length++] = byte;
}

/** True at the end of a statement. */
function readCode(at: Position, byte: number): boolean {
  if (isWordByte(byte)) {
    if (at.word.length < 64) at.word += String.fromCharCode(byte); // longer ones are no keywords
  } else if (byte !== DOLLAR || at.word === '') {
    if (byte === QUOTE) at.state = continued(at) ?? (/^e$/i.test(at.word) ? 'escaped-text' : 'text');
    else if (byte === DOLLAR) Object.assign(at, { state: 'tag', tag: '$' });
    endWord(at);
  }
  if (byte === DOUBLE) at.state = 'name';
  else if (byte === OPEN) at.parens += 1;
  else if (byte === CLOSE) at.parens = Math.max(0, at.parens - 1);
  else if (byte === DASH && at.previous === DASH) return beginComment(at, 'line-comment');
  else if (byte === STAR && at.previous === SLASH) return beginComment(at, 'comment');
  else if (byte === BACKSLASH) return beginCommand(at);
  else if (byte === SEMICOLON && at.parens === 0 && at.atomic === 0) return true;
  noteBehindText(at, byte);
  if (at.length > 0 || !isSpace(byte)) keep(at, byte);
  return false;
}

/** 'a' and 'b' on the next line are one text, of the kind that the first one has. */
function continued(at: Position): 'text' | 'escaped-text' | null {
  return at.lineEnded ? at.endedText : null;
}

function noteBehindText(at: Position, byte: number): void {
  if (at.endedText === null) return;
  const loneDash = at.previous === DASH; // two of them have begun a comment
  if (loneDash || (byte !== DASH && !isSpace(byte))) at.endedText = null;
  else if (byte === LF || byte === CR) at.lineEnded = true;
}

function endWord(at: Position): void {
  if (at.word === '') return;
  const said = at.word.toLowerCase();
  at.word = '';
  if (at.words.length < 4) at.words.push(said);
  const [first, second, third, fourth] = at.words;
  const kind = second === 'or' && third === 'replace' ? fourth : second;
  if (first !== 'create' || (kind !== 'function' && kind !== 'procedure') || at.parens > 0) return;
  if (said === 'begin' || (said === 'case' && at.atomic > 0)) at.atomic += 1;
  else if (said === 'end' && at.atomic > 0) at.atomic -= 1;
}

function beginComment(at: Position, kind: 'line-comment' | 'comment'): boolean {
  at.length -= 1; // its first character
  at.comments = 1;
  at.state = kind;
  return false;
}

function beginCommand(at: Position): boolean {
  if (at.length > 0) throw malformed(at.line, 'it has a psql command within a statement');
  at.state = 'command';
  at.tag = '';
  return false;
}

/** Bytes of everything but code; true when the byte turned out to be code after all. */
function readOther(at: Position, byte: number): boolean {
  if (at.state === 'text' || at.state === 'escaped-text') return readText(at, byte);
  if (at.state === 'comment' || at.state === 'line-comment' || at.state === 'command') return readOutside(at, byte);
  if (at.state === 'name') {
    if (byte === DOUBLE) at.state = 'code';
  } else if (at.state === 'dollar') {
    const expected = at.tag.charCodeAt(at.matched);
    at.matched = byte === expected ? at.matched + 1 : byte === DOLLAR ? 1 : 0;
    if (at.matched === at.tag.length) at.state = 'code';
  } else if (byte === DOLLAR) {
    Object.assign(at, { state: 'dollar', tag: `${at.tag}$`, matched: 0 });
  } else if (isWordByte(byte)) {
    at.tag += String.fromCharCode(byte);
  } else {
    at.state = 'code';
    return true;
  }
  keep(at, byte);
  return false;
}

function readText(at: Position, byte: number): boolean {
  if (at.maybeEnd) {
    at.maybeEnd = false;
    if (byte !== QUOTE) {
      Object.assign(at, { endedText: at.state, lineEnded: false, state: 'code' });
      return true;
    }
  } else if (at.escaped) at.escaped = false;
  else if (byte === BACKSLASH && at.state === 'escaped-text') at.escaped = true;
  else if (byte === QUOTE) at.maybeEnd = true;
  keep(at, byte);
  return false;
}

/** Comments and commands leave nothing behind but a space, or the end of their line. */
function readOutside(at: Position, byte: number): boolean {
  if (at.state === 'comment') {
    if (byte === STAR && at.previous === SLASH) at.comments += 1;
    else if (byte === SLASH && at.previous === STAR) at.comments -= 1;
    if (at.comments > 0) return false;
  } else if (byte !== LF) {
    if (at.state === 'command') at.tag += String.fromCharCode(byte);
    return false;
  } else if (at.state === 'command') obey(at);
  const between = at.state === 'comment' ? SPACE : LF;
  at.state = 'code';
  if (between === LF) at.lineEnded = true;
  else at.endedText = null;
  if (at.length > 0) keep(at, between);
  return false;
}

/** A whole line that begins with a backslash. */
function obey(at: Position): void {
  const [, word, key] = /^(restrict|unrestrict) ([A-Za-z0-9]+)\r?$/.exec(at.tag) ?? [];
  if (word === 'restrict' && key !== undefined && at.restricted === null) at.restricted = key;
  else if (word === 'unrestrict' && at.restricted !== null && key === at.restricted) at.restricted = null;
  else throw malformed(at.line, `it has the psql command \\${at.tag.slice(0, 40).trim()}`);
}

/** The lines of COPY data up to the one that is `\.`; begins behind the semicolon. */
function copyData(countLines: (lines: number) => void) {
  let started = false; // the rest of the line of COPY itself is over
  let lineStart = true;
  let held = Buffer.alloc(0); // the beginning of a line that may be the last one
  const reader = {
    ended: false,
    read(chunk: Uint8Array): { used: number; data: Uint8Array } {
      if (!started) {
        const end = chunk.indexOf(LF);
        if (end >= 0) countLines(1);
        started = end >= 0;
        return { used: end < 0 ? chunk.length : end + 1, data: new Uint8Array() };
      }
      const data = Buffer.concat([held, chunk]);
      const before = held.length;
      held = Buffer.alloc(0);
      for (let at = 0; ; ) {
        if (lineStart && data[at] === BACKSLASH) {
          const verdict = endMark(data, at);
          if (verdict === 'short') {
            held = Buffer.from(data.subarray(at));
            return { used: chunk.length, data: data.subarray(0, at) };
          }
          if (verdict > 0) {
            reader.ended = true;
            countLines(1);
            return { used: at + verdict - before, data: data.subarray(0, at) };
          }
        }
        const end = data.indexOf(LF, at);
        lineStart = end >= 0;
        if (end < 0) return { used: chunk.length, data };
        countLines(1);
        at = end + 1;
        if (at === data.length) return { used: chunk.length, data };
      }
    },
  };
  return reader;
}

/** The length of the end mark at `at`, 0 when there is another line, 'short' when that can't be told yet. */
function endMark(data: Buffer, at: number): number | 'short' {
  if (at + 1 >= data.length) return 'short';
  if (data[at + 1] !== DOT) return 0;
  if (at + 2 >= data.length) return 'short';
  if (data[at + 2] === LF) return 3;
  if (data[at + 2] !== CR) return 0;
  if (at + 3 >= data.length) return 'short';
  return data[at + 3] === LF ? 4 : 0;
}

function isWordByte(byte: number): boolean {
  return (
    (byte >= 97 && byte <= 122) || (byte >= 65 && byte <= 90) || (byte >= 48 && byte <= 57) || byte === 95 || byte > 127
  );
}
function isSpace(byte: number): boolean {
  return byte === SPACE || byte === LF || byte === CR || byte === TAB;
}

function malformed(line: number, why: string, hint?: string): Failure {
  return new Failure('malformed', `the SQL text is refused at line ${line}: ${why}`, { hint });
}
