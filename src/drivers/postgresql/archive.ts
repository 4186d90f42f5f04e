// The custom format of pg_dump, read while it streams by: its table of contents, and where each table's data lies.
//
//   "PGDMP", version, sizes of numbers, when and from where, number of entries, the entries;
//   then blocks: type, number of the entry, chunks (length, bytes) up to a chunk of length 0.
//
// A pipe can't be sought in, so pg_dump leaves the places of the blocks empty in the table of contents. Knowing them
// allows to restore in parallel, and one table without the others.

import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { Bytes } from '../../core/model.ts';

const FORMAT_CUSTOM = 1;
export const INT_BYTES = 5;
const OFFSET_NO_DATA = 3;
export const BLOCK_DATA = 1;
const BLOCK_LARGE_OBJECTS = 3;
const VERSION_COMPRESSION_BYTE = 0x010f;
const VERSION_RELKIND = 0x0110;
const VERSIONS = [0x010e, 0x010f, 0x0110];
const ENCODING = /^SET client_encoding = '([A-Za-z0-9_]+)';\n$/;
/** A string of a table of contents that is longer is damage, not a function. */
const STRING_BYTES_MAX = 256 * 1024 * 1024;
const ENTRIES_MAX = 5_000_000;

const place = z.number().int().nonnegative();
/** A part of a point carries them, so what is read here may come from anywhere. */
export const tocEntry = z.strictObject({
  id: z.number().int(),
  what: z.string(), // 'TABLE', 'TABLE DATA', 'INDEX'
  schema: z.string(),
  name: z.string(),
  owner: z.string(),
  tablespace: z.string(),
  needs: z.array(z.number().int()),
  /** Where in the archive the place of its data is told: a flag and eight bytes. */
  field: place,
  /** Null when it has no data. */
  data: z.strictObject({ at: place, bytes: place }).nullable(),
});
export type TocEntry = Readonly<z.output<typeof tocEntry>>;

export interface Toc {
  /** The pg_dump that wrote it: '16.14'. */
  readonly writtenBy: string;
  readonly server: string;
  readonly database: string;
  /** Where the blocks begin. */
  readonly blocksAt: number;
  readonly bytes: number;
  readonly entries: readonly TocEntry[];
}

/** As it was read: in another encoding than UTF-8 each character of a name is still one of its bytes. */
export interface RawToc extends Toc {
  /** Of names, definitions and rows: 'UTF8', 'WIN1251'. */
  readonly encoding: string;
}

export interface ArchiveReader {
  push(chunk: Uint8Array): void;
  /** What was read. 'malformed' unless the archive ended where it should, with all its data. */
  end(): RawToc;
}

/** How the rows of an archive are to be read: what its part of a point leaves out. */
export interface CopyTexts {
  /** Of rows and of names. */
  encoding: string;
  /** 'COPY public.orders (id, total) FROM stdin;\n', by the number of the entry. */
  readonly statements: Map<number, Buffer>;
}

type Entry = Omit<TocEntry, 'data'> & { expectsData: boolean; data: TocEntry['data'] };
interface Head {
  readonly encoding: string;
  readonly writtenBy: string;
  readonly server: string;
  readonly database: string;
  readonly entries: Map<number, Entry>;
}

/** Of entries of an archive that begins so. */
export async function copyTextsOf(head: Bytes, ids: readonly number[]): Promise<CopyTexts> {
  const texts: CopyTexts = { encoding: '', statements: new Map(ids.map((id) => [id, Buffer.alloc(0)])) };
  const reader = archiveReader(texts);
  for await (const chunk of head) reader.push(chunk);
  return texts;
}

/** `copies` is told of the entries that are in it. */
export function archiveReader(copies?: CopyTexts): ArchiveReader {
  let position = 0;
  let head: Head | null = null;
  let blocks: BlockWalker | null = null;
  const parser = parseHead(() => position, copies);
  let wanted = parser.next().value as number;
  let held: Buffer = Buffer.alloc(0);

  /** Feeds the parser with exactly the bytes that it asks for; what is left belongs to the blocks. */
  function feedHead(chunk: Buffer): Buffer {
    let data = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    while (data.length >= wanted) {
      const piece = data.subarray(0, wanted);
      data = data.subarray(wanted);
      position += piece.length;
      const step = parser.next(piece);
      if (step.done) {
        head = step.value;
        blocks = blockWalker(head.entries, position);
        held = Buffer.alloc(0);
        return data;
      }
      wanted = step.value;
    }
    held = Buffer.from(data); // chunks are borrowed
    return Buffer.alloc(0);
  }

  return {
    push(chunk) {
      const data = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      const rest = blocks ? data : feedHead(data);
      blocks?.push(rest);
    },
    end() {
      if (!head || !blocks) throw damaged('it ends within its table of contents');
      const bytes = blocks.end();
      const { entries, ...facts } = head;
      return { ...facts, blocksAt: position, bytes, entries: [...entries.values()].map(finished) };
    },
  };
}

function finished({ expectsData, ...entry }: Entry): TocEntry {
  if (expectsData && !entry.data) throw damaged(`the data of ${entry.what} ${entry.schema}.${entry.name} is not in it`);
  return entry;
}

/** Yields the number of bytes that it needs next, and is given them. */
function* parseHead(position: () => number, copies?: CopyTexts): Generator<number, Head, Buffer> {
  const start = yield 11;
  if (start.toString('latin1', 0, 5) !== 'PGDMP') throw damaged('it does not begin as one');
  const version = start.readUInt16BE(5);
  if (!VERSIONS.includes(version)) throw damaged(`its version 1.${start[6]} is not known`);
  if (start[8] !== 4 || start[9] !== 8) throw damaged('its numbers have unusual sizes');
  if (start[10] !== FORMAT_CUSTOM) throw damaged('it is not in the custom format');
  const compression = version >= VERSION_COMPRESSION_BYTE ? (yield 1)[0] : yield* int();
  if (compression !== 0) throw damaged('it is compressed, though it was not to be');
  for (let field = 0; field < 7; field++) yield* int(); // when it was made
  const database = (yield* string()) ?? '';
  const server = (yield* string()) ?? '';
  const writtenBy = (yield* string()) ?? '';
  const count = yield* int();
  if (count < 0 || count > ENTRIES_MAX) throw damaged(`it says that it has ${count} entries`);
  const entries = new Map<number, Entry>();
  let encoding = 'UTF8';
  for (let i = 0; i < count; i++) {
    const { definition, ...entry } = yield* parseEntry({ version, position, encoding, copies });
    entries.set(entry.id, entry);
    // It comes before all that users have named.
    if (entry.what === 'ENCODING') encoding = ENCODING.exec(definition)?.[1] ?? encoding;
  }
  if (copies) copies.encoding = encoding;
  return { database, server, writtenBy, encoding, entries };
}

interface Parsing {
  readonly version: number;
  readonly position: () => number;
  readonly encoding: string;
  readonly copies: CopyTexts | undefined;
}

function* parseEntry({
  version,
  position,
  encoding,
  copies,
}: Parsing): Generator<number, Entry & { definition: string }, Buffer> {
  const read = isUnicode(encoding) ? 'utf8' : 'latin1';
  const id = yield* int();
  yield* int(); // whether it has data is told by its place
  yield* string(); // catalogue
  yield* string(); // its row there
  const name = (yield* string(read)) ?? '';
  const what = (yield* string()) ?? '';
  yield* int(); // section
  const definition = (yield* string()) ?? '';
  yield* string(); // drop statement
  const statement = yield* bytes();
  if (copies?.statements.has(id)) copies.statements.set(id, Buffer.from(statement ?? []));
  const schema = (yield* string(read)) ?? '';
  const tablespace = (yield* string(read)) ?? '';
  yield* string(); // access method
  if (version >= VERSION_RELKIND) yield* int();
  const owner = (yield* string(read)) ?? '';
  yield* string(); // has oids
  const needs: number[] = [];
  for (let each = yield* string(); each !== null; each = yield* string()) needs.push(Number(each));
  const field = position();
  const expectsData = (yield 9)[0] !== OFFSET_NO_DATA;
  return { id, what, schema, name, owner, tablespace, needs, field, expectsData, data: null, definition };
}

/** Names in SQL_ASCII are bytes of nobody knows what, which our sessions are told only where they are UTF-8. */
export function isUnicode(encoding: string): boolean {
  return encoding === 'UTF8' || encoding === 'SQL_ASCII';
}

function* int(): Generator<number, number, Buffer> {
  return intAt(yield 5, 0);
}

function* string(encoding: BufferEncoding = 'utf8'): Generator<number, string | null, Buffer> {
  return (yield* bytes())?.toString(encoding) ?? null;
}

function* bytes(): Generator<number, Buffer | null, Buffer> {
  const length = yield* int();
  if (length < 0) return null;
  if (length > STRING_BYTES_MAX) throw damaged('a text in its table of contents is too long');
  return length === 0 ? Buffer.alloc(0) : yield length;
}

/** A number: its sign, then four bytes, the least first. */
export function intAt(data: Buffer, at: number): number {
  const value = data.readUInt32LE(at + 1);
  return data[at] === 0 ? value : -value;
}
/** The same for a number that is not negative. */
export function intOf(value: number): Buffer {
  const data = Buffer.alloc(INT_BYTES);
  data.writeUInt32LE(value, 1);
  return data;
}

interface BlockWalker {
  push(data: Buffer): void;
  /** The length of the archive. */
  end(): number;
}

/** What the next header announces: a block, a chunk of rows, a large object, a chunk of one. */
type Expect = 'block' | 'rows' | 'object' | 'object-bytes';

function blockWalker(entries: Map<number, Entry>, start: number): BlockWalker {
  let position = start;
  let skip = 0; // bytes of the chunk we are in
  let expect: Expect = 'block';
  let current: { entry: Entry; at: number } | null = null;
  const partial = Buffer.alloc(6);
  let have = 0;

  function header(data: Buffer, at: number, from: number): void {
    if (expect === 'block') {
      beginBlock(data[at] ?? 0, intAt(data, at + 1), from);
      return;
    }
    const value = intAt(data, at);
    if (value < 0) throw damaged('a chunk of it has a negative length');
    if (expect === 'object') {
      if (value === 0) endBlock(from + 5);
      else expect = 'object-bytes';
    } else if (value > 0) {
      skip = value;
    } else if (expect === 'object-bytes') {
      expect = 'object';
    } else {
      endBlock(from + 5);
    }
  }

  function beginBlock(type: number, id: number, at: number): void {
    const entry = entries.get(id);
    if (!entry || entry.data) throw damaged(`its block ${id} belongs to no entry`);
    if (type !== BLOCK_DATA && type !== BLOCK_LARGE_OBJECTS) throw damaged(`it has a block of unknown type ${type}`);
    current = { entry, at };
    expect = type === BLOCK_DATA ? 'rows' : 'object';
  }

  function endBlock(end: number): void {
    if (current) current.entry.data = { at: current.at, bytes: end - current.at };
    current = null;
    expect = 'block';
  }

  return {
    push(data) {
      const base = position;
      let at = 0;
      while (at < data.length) {
        if (skip > 0) {
          const passed = Math.min(skip, data.length - at);
          at += passed;
          skip -= passed;
          continue;
        }
        const size = expect === 'block' ? 6 : 5;
        if (have === 0 && data.length - at >= size) {
          const from = at;
          at += size;
          header(data, from, base + from);
          continue;
        }
        const taken = Math.min(size - have, data.length - at);
        data.copy(partial, have, at, at + taken);
        at += taken;
        have += taken;
        if (have < size) break;
        have = 0;
        header(partial, 0, base + at - size);
      }
      position = base + data.length;
    },
    end() {
      if (expect !== 'block' || skip > 0 || have > 0) throw damaged('it ends within the data of a table');
      return position;
    },
  };
}

export function damaged(why: string): Failure {
  return new Failure('malformed', `the archive that pg_dump wrote is none: ${why}`);
}
