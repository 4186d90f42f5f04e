// A file as an incremental backup has it: the pages that changed, and how much of the earlier file still counts. With
// the earlier file it becomes the whole one, as pg_combinebackup would make it, while both stream.

import { Failure } from '../../../core/errors.ts';
import type { ByteRange, Bytes } from '../../../core/model.ts';
import { type ByteReader, byteReader } from './reader.ts';

export const INCREMENTAL = 'INCREMENTAL.';
const MAGIC = 0xd3ae1f0d;
const WORD = 4;
const WORDS = 3;
const ZEROS = Buffer.alloc(64 * 1024);

export interface IncrementalFile {
  /** Of the whole file. */
  readonly bytes: number;
  /** Of the earlier one: all pages below this count that have not changed. */
  readonly oldBytesMax: number;
  /** No page came. */
  readonly isEmpty: boolean;
  /** The whole file. `old` has as many bytes as it is said to have, and is read at most once. */
  whole(old: { readonly bytes: number; get(range: ByteRange): Bytes }): Bytes;
}

/** Reads its head. 'malformed' unless it is one of that size, its pages in order. */
export async function incrementalFile(
  body: Bytes,
  { bytes, pageBytes, what }: { readonly bytes: number; readonly pageBytes: number; readonly what: string },
): Promise<IncrementalFile> {
  const malformed = (): Failure => new Failure('malformed', `${what} is no file of an incremental backup`);
  const reader = byteReader(body, malformed);
  const head = await reader.exactly(WORDS * WORD);
  if (!head) throw malformed();
  const isLittle = head.readUInt32LE(0) === MAGIC;
  const words = (from: Buffer): number[] =>
    Array.from({ length: from.length / WORD }, (_, i) =>
      isLittle ? from.readUInt32LE(i * WORD) : from.readUInt32BE(i * WORD),
    );
  const [magic, count = 0, oldPages = 0] = words(head);
  const listed = (WORDS + count) * WORD;
  const padding = count === 0 ? 0 : (pageBytes - (listed % pageBytes)) % pageBytes;
  if (magic !== MAGIC || listed + padding + count * pageBytes !== bytes) throw malformed();
  const list = count === 0 ? [] : words((await reader.exactly(count * WORD)) ?? Buffer.alloc(0));
  if (padding > 0 && !(await reader.exactly(padding))) throw malformed();
  if (list.length !== count || list.some((page, i) => i > 0 && page <= (list[i - 1] ?? 0))) throw malformed();
  const pages = Math.max(oldPages, (list.at(-1) ?? -1) + 1);
  return {
    bytes: pages * pageBytes,
    oldBytesMax: oldPages * pageBytes,
    isEmpty: count === 0,
    async *whole(old) {
      const counting = Math.min(oldPages, Math.floor(old.bytes / pageBytes));
      const length = counting * pageBytes;
      const earlier = length === 0 ? null : byteReader(old.get({ offset: 0, length }), malformed);
      let at = 0;
      for (const { from, to } of runsOf(list)) {
        yield* unchanged(earlier, { from: at, to: from, counting, pageBytes, cut: malformed });
        await pass(earlier, Math.max(0, Math.min(to, counting) - from) * pageBytes, malformed);
        yield* piecesOf(reader, (to - from) * pageBytes, malformed);
        at = to;
      }
      yield* unchanged(earlier, { from: at, to: pages, counting, pageBytes, cut: malformed });
    },
  };
}

/** Pages that follow one another go together. */
function* runsOf(pages: readonly number[]): Iterable<{ readonly from: number; readonly to: number }> {
  for (let i = 0; i < pages.length; ) {
    const from = pages[i] ?? 0;
    let to = from + 1;
    for (i += 1; pages[i] === to; i += 1) to += 1;
    yield { from, to };
  }
}

interface Gap {
  readonly from: number;
  readonly to: number;
  /** Pages of the earlier file that count; behind them there are zeros. */
  readonly counting: number;
  readonly pageBytes: number;
  readonly cut: () => Failure;
}

async function* unchanged(earlier: ByteReader | null, { from, to, counting, pageBytes, cut }: Gap): Bytes {
  const end = Math.min(to, Math.max(from, counting));
  if (earlier) yield* piecesOf(earlier, (end - from) * pageBytes, cut);
  for (let left = (to - end) * pageBytes; left > 0; left -= ZEROS.length) {
    yield ZEROS.subarray(0, Math.min(left, ZEROS.length));
  }
}

async function* piecesOf(reader: ByteReader, bytes: number, cut: () => Failure): Bytes {
  for (let left = bytes; left > 0; ) {
    const piece = await reader.some(left);
    if (!piece) throw cut();
    left -= piece.length;
    yield piece;
  }
}

async function pass(reader: ByteReader | null, bytes: number, cut: () => Failure): Promise<void> {
  if (reader) for await (const _ of piecesOf(reader, bytes, cut));
}

/** The same label as of a full backup: one that names an earlier backup keeps a server from starting. */
export function fullLabel(label: string): string {
  return label.replace(/^INCREMENTAL FROM (?:LSN|TLI): .*\n/gm, '');
}
