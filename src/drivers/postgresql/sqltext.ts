// SQL text as pg_dump writes it, cut into statements and COPY data while it streams.
//
// It may come from anywhere, and psql would obey its meta-commands (`\!` runs programs). So it never sees psql: we cut
// it ourselves, by psql's own rules, and refuse every backslash outside of quotes but the end of COPY data and a
// matching pair of \restrict and \unrestrict. Were it cut in a wrong place, the server would refuse a statement.

import { isUtf8 } from 'node:buffer';
import { Failure } from '../../core/errors.ts';
import type { Bytes } from '../../core/model.ts';

export interface SqlItem {
  /** One statement, without comments and its semicolon. */
  readonly text: string;
  readonly line: number;
  /** What follows COPY … FROM stdin. Must be read before the next item. */
  readonly data: Bytes | null;
}

/** INSERTs with large values are as long as those; nothing that pg_dump writes is longer. */
const STATEMENT_BYTES_MAX = 256 * 1024 * 1024;

const [TAB, LF, CR, SPACE] = [9, 10, 13, 32];
const [QUOTE, DOUBLE, DOLLAR, BACKSLASH, SEMICOLON] = [39, 34, 36, 92, 59];
const [OPEN, CLOSE, DASH, SLASH, STAR, DOT] = [40, 41, 45, 47, 42, 46];

type State = 'code' | 'text' | 'escaped-text' | 'name' | 'tag' | 'dollar' | 'line-comment' | 'comment' | 'command';

export async function* sqlItems(body: Bytes): AsyncIterable<SqlItem> {
  const input = body[Symbol.asyncIterator]();
  const lexer = statementLexer();
  let rest: Uint8Array = new Uint8Array();
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
      if (!isCopyIn(statement.text)) {
        yield { ...statement, data: null };
        continue;
      }
      const copy = copyData(lexer.countLines);
      const data = async function* (): Bytes {
        while (!copy.ended && (rest.length > 0 || (await next()))) {
          const step = copy.read(rest);
          rest = rest.subarray(step.used);
          if (step.data.length > 0) yield step.data;
        }
        if (!copy.ended) throw malformed(statement.line, 'its COPY data has no end');
      };
      yield { ...statement, data: data() };
      if (!copy.ended) throw new Error('COPY data must be read before the next statement');
    }
    lexer.end();
  } finally {
    await input.return?.();
  }
}

function isCopyIn(text: string): boolean {
  return /^copy\b[\s\S]*\bfrom\s+stdin$/i.test(text.trim());
}

interface Lexer {
  /** Reads up to the end of one statement. */
  read(data: Uint8Array): { used: number; statement: { text: string; line: number } | null };
  countLines(lines: number): void;
  end(): void;
}

function statementLexer(): Lexer {
  let state: State = 'code';
  let line = 1;
  let startLine = 1;
  let out = Buffer.alloc(64 * 1024);
  let length = 0;
  let prev = 0;
  let parens = 0;
  let comments = 0; // depth
  let maybeEnd = false; // a quote that ends a text unless another one follows
  let skipNext = false; // after a backslash
  let tag = '';
  let matched = 0; // of the closing tag
  let restricted: string | null = null;
  let word = '';
  let words: string[] = []; // the first ones of the statement
  let atomic = 0; // depth of BEGIN ATOMIC … END and CASE … END within

  function keep(byte: number): void {
    if (length === out.length) {
      if (length >= STATEMENT_BYTES_MAX) throw malformed(startLine, 'a statement is too long');
      out = Buffer.concat([out], out.length * 2);
    }
    if (length === 0) startLine = line;
    out[length++] = byte;
  }

  function endWord(): void {
    if (word === '') return;
    const said = word.toLowerCase();
    word = '';
    if (words.length < 4) words.push(said);
    const [first, second, third, fourth] = words;
    const kind = second === 'or' && third === 'replace' ? fourth : second;
    if (first !== 'create' || (kind !== 'function' && kind !== 'procedure') || parens > 0) return;
    if (said === 'begin') atomic += 1;
    else if (said === 'case' && atomic > 0) atomic += 1;
    else if (said === 'end' && atomic > 0) atomic -= 1;
  }

  function finished(): { text: string; line: number } | null {
    const bytes = out.subarray(0, length);
    length = 0;
    words = [];
    atomic = 0;
    parens = 0;
    if (!isUtf8(bytes)) {
      throw malformed(startLine, 'it is not in UTF-8', 'convert it with iconv, and its `SET client_encoding` too');
    }
    const text = bytes.toString('utf8').trim();
    return text === '' ? null : { text, line: startLine };
  }

  /** In code; true at the end of a statement. */
  function code(byte: number): boolean {
    if (isWordByte(byte)) {
      word += String.fromCharCode(byte);
      if (word.length > 64) word = 'x'.repeat(64); // long names are no keywords
    } else if (byte !== DOLLAR || word === '') {
      if (byte === QUOTE) state = /^e$/i.test(word) ? 'escaped-text' : 'text';
      else if (byte === DOLLAR) [state, tag] = ['tag', '$'];
      endWord();
    }
    if (byte === DOUBLE) state = 'name';
    else if (byte === OPEN) parens += 1;
    else if (byte === CLOSE) parens = Math.max(0, parens - 1);
    else if (byte === DASH && prev === DASH) return comment('line-comment');
    else if (byte === STAR && prev === SLASH) return comment('comment');
    else if (byte === BACKSLASH) return command();
    else if (byte === SEMICOLON && parens === 0 && atomic === 0) return true;
    if (length > 0 || !isSpace(byte)) keep(byte);
    return false;
  }

  function comment(kind: 'line-comment' | 'comment'): boolean {
    length -= 1; // its first character
    comments = 1;
    state = kind;
    return false;
  }

  function command(): boolean {
    if (length > 0) throw malformed(line, 'it has a psql command within a statement');
    state = 'command';
    tag = '';
    return false;
  }

  /** A whole line that begins with a backslash. */
  function obey(text: string): void {
    const [, word, key] = /^(restrict|unrestrict) ([A-Za-z0-9]+)\r?$/.exec(text) ?? [];
    if (word === 'restrict' && key !== undefined && restricted === null) restricted = key;
    else if (word === 'unrestrict' && restricted !== null && key === restricted) restricted = null;
    else throw malformed(line, `it has the psql command \\${text.slice(0, 40).trim()}`);
  }

  function quotedText(byte: number): boolean {
    if (maybeEnd) {
      maybeEnd = false;
      if (byte !== QUOTE) {
        state = 'code';
        return true; // this one is code
      }
    } else if (skipNext) skipNext = false;
    else if (byte === BACKSLASH && state === 'escaped-text') skipNext = true;
    else if (byte === QUOTE) maybeEnd = true;
    keep(byte);
    return false;
  }

  /** Bytes of everything but code; true when the byte turned out to be code after all. */
  function other(byte: number): boolean {
    if (state === 'text' || state === 'escaped-text') return quotedText(byte);
    if (state === 'name') {
      if (byte === DOUBLE) state = 'code';
    } else if (state === 'tag') {
      if (byte === DOLLAR) [state, tag, matched] = ['dollar', `${tag}$`, 0];
      else if (isWordByte(byte)) tag += String.fromCharCode(byte);
      else {
        state = 'code';
        return true;
      }
    } else if (state === 'dollar') {
      const expected = tag.charCodeAt(matched);
      matched = byte === expected ? matched + 1 : byte === DOLLAR ? 1 : 0;
      if (matched === tag.length) state = 'code';
    } else return outside(byte);
    keep(byte);
    return false;
  }

  /** Comments and commands leave nothing behind but a space. */
  function outside(byte: number): boolean {
    if (state === 'comment') {
      if (byte === STAR && prev === SLASH) comments += 1;
      else if (byte === SLASH && prev === STAR) comments -= 1;
      else return false;
      if (comments > 0) return false;
    } else if (byte !== LF) {
      if (state === 'command') tag += String.fromCharCode(byte);
      return false;
    } else if (state === 'command') obey(tag);
    state = 'code';
    if (length > 0) keep(SPACE);
    return false;
  }

  return {
    read(data) {
      for (let i = 0; i < data.length; i++) {
        const byte = data[i] ?? 0;
        const isCode = state === 'code' || other(byte);
        const ends = isCode && code(byte);
        if (byte === LF) line += 1;
        prev = prevAfter(byte, prev);
        if (!ends) continue;
        const statement = finished();
        if (statement) return { used: i + 1, statement };
      }
      return { used: data.length, statement: null };
    },
    countLines: (lines) => void (line += lines),
    end() {
      if (state === 'command') obey(tag);
      const open = state !== 'code' && state !== 'line-comment' && state !== 'command' && !maybeEnd;
      if (open || out.toString('utf8', 0, length).trim() !== '')
        throw malformed(startLine, 'its last statement has no end');
      if (restricted !== null) throw malformed(line, 'it has \\restrict without \\unrestrict');
    },
  };
}

/** A character that has served as the second of a pair is no first one. */
function prevAfter(byte: number, prev: number): number {
  return (byte === STAR && prev === SLASH) || (byte === SLASH && prev === STAR) ? 0 : byte;
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
