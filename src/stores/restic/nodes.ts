// The entries of trees, as stock restic writes them: names quoted as Go quotes them, fields in its order.

import { Failure } from '../../core/errors.ts';
import type { FileAttributes } from '../../core/model.ts';
import { goTime, isId } from './documents.ts';

/** What we read of an entry. Stock restic's other fields are its own business. */
interface RawNode {
  readonly name: string;
  readonly type: string;
  readonly mode: number;
  readonly mtime: string;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly content: readonly string[] | null;
  readonly subtree: string | null;
}

export interface TreeNode {
  /** Raw: a name need not be text. */
  readonly name: Buffer;
  readonly type: string; // 'file', 'dir', 'symlink', …
  readonly bytes: number;
  readonly attributes: FileAttributes | undefined;
  /** Of a file: the ids of its blobs, 32 bytes each. */
  readonly content: Buffer;
  /** Of a folder: the id of its tree. */
  readonly subtree: Buffer | undefined;
}

const PERMISSIONS = 0o777;
const UNKNOWN_TIME = '1970-01-01T00:00:00Z';
/** A part without attributes is a file with these. */
const NO_ATTRIBUTES: FileAttributes = { mode: 0o600, uid: 0, gid: 0, mtime: UNKNOWN_TIME };
/** '2026-01-01T00:00:00.000Z' */
const MILLISECONDS_LENGTH = 24;
const DIR_MODE = 0x80000000 + 0o700; // Go's os.ModeDir

export function parseTree(json: Uint8Array, what: string): TreeNode[] {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(json.buffer, json.byteOffset, json.length).toString('utf8'));
  } catch (cause) {
    throw new Failure('malformed', `${what} is no JSON`, { cause });
  }
  const list = value !== null && typeof value === 'object' && 'nodes' in value ? value.nodes : undefined;
  if (list !== null && !Array.isArray(list)) throw new Failure('malformed', `${what} is not what it should be`);
  const nodes = (list ?? []).map((node: unknown) => nodeOf(rawNode(node, what), what));
  const names = new Set(nodes.map(({ name }) => name.toString('latin1')));
  if (names.size !== nodes.length) throw new Failure('malformed', `${what} has a name twice`);
  return nodes;
}

/** By hand: there are millions of them, and a schema takes as long as all the rest. */
function rawNode(value: unknown, what: string): RawNode {
  const given: Partial<Record<keyof RawNode, unknown>> = value !== null && typeof value === 'object' ? value : {};
  const { name, type, mode = 0, mtime = UNKNOWN_TIME, uid = 0, gid = 0, size = 0 } = given;
  const [content, subtree] = [given.content ?? null, given.subtree ?? null];
  const isRight =
    typeof name === 'string' &&
    typeof type === 'string' &&
    typeof mtime === 'string' &&
    isNumber(mode) &&
    isNumber(uid) &&
    isNumber(gid) &&
    isNumber(size) &&
    size >= 0 &&
    (content === null || (Array.isArray(content) && content.every(isHexId))) &&
    (subtree === null || isHexId(subtree));
  if (isRight) return { name, type, mode, mtime, uid, gid, size, content, subtree };
  throw new Failure('malformed', `${what} is not what it should be`);
}

function isNumber(value: unknown): value is number {
  return Number.isFinite(value);
}

function isHexId(value: unknown): value is string {
  return typeof value === 'string' && isId(value);
}

function nodeOf(node: RawNode, what: string): TreeNode {
  const name = goUnquote(node.name);
  const text = name?.toString('latin1') ?? '';
  if (text === '' || text === '.' || text === '..' || /[/\0]/.test(text)) {
    throw new Failure('malformed', `${what} has an entry with an impossible name: ${JSON.stringify(node.name)}`);
  }
  if (node.type === 'dir' && !node.subtree) throw new Failure('malformed', `${what}: folder ${node.name} has no tree`);
  if (node.type === 'file' && !node.content && node.size > 0) {
    throw new Failure('malformed', `${what}: file ${node.name} has no content`);
  }
  return {
    name: name ?? Buffer.alloc(0),
    type: node.type,
    bytes: node.size,
    attributes: attributesOf(node),
    content: Buffer.from((node.content ?? []).join(''), 'hex'),
    subtree: node.subtree ? Buffer.from(node.subtree, 'hex') : undefined,
  };
}

function attributesOf({ mode, uid, gid, mtime }: FileAttributes): FileAttributes | undefined {
  const none = NO_ATTRIBUTES;
  if (mode === none.mode && uid === none.uid && gid === none.gid && mtime === none.mtime) return undefined;
  return { mode: mode & PERMISSIONS, uid, gid, mtime: withMilliseconds(mtime) };
}

/** Of an entry as it is written: what is read of it is the same. */
export function fileNode(
  name: Buffer,
  { bytes, content, attributes }: Pick<TreeNode, 'bytes' | 'content' | 'attributes'>,
): TreeNode {
  const read = attributes && attributesOf({ ...attributes, mtime: goTime(attributes.mtime) });
  return { name, type: 'file', bytes, attributes: read, content, subtree: undefined };
}

export function dirNode(name: Buffer, subtree: Buffer): TreeNode {
  const attributes = { mode: DIR_MODE & PERMISSIONS, uid: 0, gid: 0, mtime: withMilliseconds(UNKNOWN_TIME) };
  return { name, type: 'dir', bytes: 0, attributes, content: Buffer.alloc(0), subtree };
}

/** As Date writes it: Go leaves out the zeros at the end of a fraction. */
function withMilliseconds(time: string): string {
  if (time.length === MILLISECONDS_LENGTH && time.endsWith('Z')) return time;
  const [, start, fraction = '', zone] = /^(.*:\d\d)(?:\.(\d+))?(Z|[+-].*)$/.exec(time) ?? [];
  return start ? `${start}.${fraction.padEnd(3, '0')}${zone}` : time;
}

export function fileJson(name: Buffer, bytes: number, content: Buffer, attributes = NO_ATTRIBUTES): string {
  const { mode, uid, gid, mtime } = attributes;
  const time = goJson(goTime(mtime));
  const ids: string[] = [];
  for (let at = 0; at < content.length; at += 32) ids.push(`"${content.toString('hex', at, at + 32)}"`);
  const modeField = mode === 0 ? '' : `,"mode":${mode}`; // Go leaves out what is zero
  const sizeField = bytes === 0 ? '' : `,"size":${bytes}`;
  const times = `"mtime":${time},"atime":${time},"ctime":${time}`;
  const fields = `${modeField},${times},"uid":${uid},"gid":${gid}${sizeField},"content":[${ids.join(',')}]`;
  return `{"name":${goJson(goQuote(name))},"type":"file"${fields}}`;
}

export function dirJson(name: Buffer, subtree: Buffer): string {
  const time = UNKNOWN_TIME;
  return goJson({
    name: goQuote(name),
    type: 'dir',
    mode: DIR_MODE,
    mtime: time,
    atime: time,
    ctime: time,
    uid: 0,
    gid: 0,
    content: null,
    subtree: subtree.toString('hex'),
  });
}

/** The blob of a tree whose entries come in byte order of name. */
export function treeBlob(entries: readonly string[]): Buffer {
  return Buffer.from(`{"nodes":[${entries.join(',')}]}\n`);
}

/** Go's encoder escapes what HTML would take for its own. */
function goJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '\\': '\\\\',
  '"': '\\"',
};

/** As strconv.Quote, without the quotes around. */
export function goQuote(name: Buffer): string {
  const text = name.toString('utf8');
  if (/^[ !#-[\]-~]*$/.test(text)) return text; // nearly all names
  if (!Buffer.from(text).equals(name)) return quoteBytes(name);
  return Array.from(text, quoteChar).join('');
}

function quoteChar(char: string): string {
  const short = SHORT_ESCAPES[char];
  if (short) return short;
  if (/^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u.test(char)) return char;
  const code = char.codePointAt(0) ?? 0;
  if (code < 0x20 || code === 0x7f) return `\\x${code.toString(16).padStart(2, '0')}`;
  return code > 0xffff ? `\\U${code.toString(16).padStart(8, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
}

/** A name that is no UTF-8: what can be read of it as text, the other bytes as \xNN. */
function quoteBytes(name: Buffer): string {
  let quoted = '';
  for (let at = 0; at < name.length; ) {
    const length = [1, 2, 3, 4].find((bytes) => isText(name.subarray(at, at + bytes), bytes)) ?? 0;
    quoted += length > 0 ? quoteChar(name.toString('utf8', at, at + length)) : `\\x${name.toString('hex', at, at + 1)}`;
    at += Math.max(1, length);
  }
  return quoted;
}
function isText(bytes: Buffer, length: number): boolean {
  const text = bytes.toString('utf8');
  return bytes.length === length && [...text].length === 1 && Buffer.from(text).equals(bytes);
}

const UNESCAPED: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
  '\\': 92,
  '"': 34,
  "'": 39,
};

/** Undoes strconv.Quote. Undefined when it is none. */
export function goUnquote(quoted: string): Buffer | undefined {
  if (!quoted.includes('\\')) return quoted.includes('"') ? undefined : Buffer.from(quoted);
  const piece = /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|([abfnrtv\\"']))|([^\\"]+)/gy;
  const pieces: Buffer[] = [];
  while (piece.lastIndex < quoted.length) {
    const found = piece.exec(quoted);
    if (!found) return undefined;
    const [, byte, short, long, octal, letter, plain] = found;
    const code = short ?? long;
    if (plain !== undefined) pieces.push(Buffer.from(plain));
    else if (byte !== undefined) pieces.push(Buffer.from(byte, 'hex'));
    else if (octal !== undefined) pieces.push(Buffer.of(Number.parseInt(octal, 8) & 0xff));
    else if (letter !== undefined) pieces.push(Buffer.of(UNESCAPED[letter] ?? 0));
    else if (code !== undefined && Number.parseInt(code, 16) <= 0x10ffff) {
      pieces.push(Buffer.from(String.fromCodePoint(Number.parseInt(code, 16))));
    } else return undefined;
  }
  return Buffer.concat(pieces);
}
