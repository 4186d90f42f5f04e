// The Redis protocol, version 2: what is asked and what is answered, as bytes.

import { Failure } from '../../core/errors.ts';

export interface ErrorReply {
  /** 'NOAUTH Authentication required.' */
  readonly error: string;
}
export type Reply = null | number | Buffer | ErrorReply | readonly Reply[];
export type Argument = string | number | Uint8Array;

const LF = 10;
const LINE_BYTES_MAX = 64 * 1024;
/** The largest that is asked for is a key that fits a row. A server would say up to 512 MiB. */
export const REPLY_BYTES_MAX = 65 * 1024 * 1024;
/** '+', CR and LF. */
const REPLY_BYTES_MIN = 3;
const DEPTH_MAX = 16;

export function encodeCommand(parts: readonly Argument[]): Buffer {
  const pieces: Buffer[] = [Buffer.from(`*${parts.length}\r\n`)];
  for (const part of parts) {
    const bytes =
      part instanceof Uint8Array ? Buffer.from(part.buffer, part.byteOffset, part.length) : Buffer.from(`${part}`);
    pieces.push(Buffer.from(`$${bytes.length}\r\n`), bytes, CRLF);
  }
  return Buffer.concat(pieces);
}
const CRLF = Buffer.from('\r\n');

/** Splits a stream into replies. What it can't be is thrown as a SyntaxError, what is too large as a Failure. */
export interface ReplyReader {
  push(chunk: Buffer): void;
  /** The next whole reply; undefined while there is none. */
  next(): Reply | undefined;
  /** What was pushed and not yet given out. */
  rest(): Buffer;
}

export function replyReader(): ReplyReader {
  let chunks: Buffer[] = [];
  let held = 0;
  // A reply of many megabytes is looked at again only when enough of it is there.
  let wanted = 1;

  function joined(): Buffer {
    const bytes = chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks, held);
    chunks = [bytes];
    return bytes;
  }
  return {
    push(chunk) {
      chunks.push(chunk);
      held += chunk.length;
    },
    next() {
      if (held < wanted) return undefined;
      const bytes = joined();
      let start = 0;
      while (bytes[start] === LF) start += 1; // what a server says while it makes a replica wait
      const parsed = parse(bytes, start, 0);
      if ('wanted' in parsed) {
        if (Math.max(parsed.wanted, held) - start > REPLY_BYTES_MAX) throw tooLarge();
        wanted = Math.max(parsed.wanted, held + 1);
        return undefined;
      }
      wanted = 1;
      chunks = [bytes.subarray(parsed.end)];
      held = bytes.length - parsed.end;
      return parsed.reply;
    },
    rest: joined,
  };
}

type Parsed = { readonly reply: Reply; readonly end: number } | { readonly wanted: number };

function parse(bytes: Buffer, start: number, depth: number): Parsed {
  const lineEnd = bytes.indexOf(LF, start);
  if (lineEnd < 0) {
    if (bytes.length - start > LINE_BYTES_MAX) throw new SyntaxError('a line without end');
    return { wanted: bytes.length + 1 };
  }
  const line = bytes.toString('utf8', start + 1, lineEnd - 1);
  const end = lineEnd + 1;
  switch (bytes[start]) {
    case 0x2b: // +
      return { reply: Buffer.from(line), end };
    case 0x2d: // -
      return { reply: { error: line }, end };
    case 0x3a: // :
      return { reply: integer(line), end };
    case 0x24: // $
      return parseBulk(bytes, integer(line), end);
    case 0x2a: // *
      return parseArray(bytes, integer(line), end, depth);
    default:
      throw new SyntaxError('no reply of a Redis server');
  }
}

function parseBulk(bytes: Buffer, length: number, start: number): Parsed {
  if (length < 0) return { reply: null, end: start };
  const end = start + length + 2;
  return end > bytes.length ? { wanted: end } : { reply: bytes.subarray(start, end - 2), end };
}

function parseArray(bytes: Buffer, length: number, start: number, depth: number): Parsed {
  if (length < 0) return { reply: null, end: start };
  if (depth > DEPTH_MAX) throw new SyntaxError('a reply nested too deeply');
  const reply: Reply[] = [];
  let end = start;
  while (reply.length < length) {
    const parsed = parse(bytes, end, depth + 1);
    if ('wanted' in parsed) {
      return { wanted: Math.max(parsed.wanted, end + REPLY_BYTES_MIN * (length - reply.length)) };
    }
    reply.push(parsed.reply);
    end = parsed.end;
  }
  return { reply, end };
}

function integer(line: string): number {
  if (!/^[+-]?\d{1,19}$/.test(line)) throw new SyntaxError('a reply of an impossible length');
  return Number(line);
}

function tooLarge(): Failure {
  return new Failure('value-too-large', `an answer of the server is larger than ${REPLY_BYTES_MAX} bytes`, {
    hint: 'leave its largest keys out of what is compared and merged; a whole server is restored whatever their size',
  });
}

export function isError(reply: Reply): reply is ErrorReply {
  return reply !== null && typeof reply === 'object' && 'error' in reply;
}

/** The first refusal in a reply: the answer to a transaction holds those to its commands. */
export function refusedIn(reply: Reply): string | null {
  const refused = Array.isArray(reply) ? reply.find(isError) : reply;
  return refused !== undefined && isError(refused) ? refused.error : null;
}

/** A status or bulk reply as text; '' for anything else. */
export function textOf(reply: Reply): string {
  return Buffer.isBuffer(reply) ? reply.toString() : '';
}
