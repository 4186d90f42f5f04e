// Whether a segment goes on from the log that the journal has before it, where a server has nothing older to compare:
// its first record says where the one before it begins, and that has to be the last one there.

import type { JournalRange } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';
import { type LogRecord, recordReader } from '../recovery/records.ts';
import { isUnreadable } from './known.ts';
import { placeOf, positionAt } from './positions.ts';

/** A record that is longer is not waited for. */
const FIRST_BYTES_MAX = 1024 * 1024;

export interface Link {
  /** Where the segment begins. */
  readonly at: number;
  /** Where the journal's lineage does. */
  readonly begin: number;
  readonly segmentBytes: number;
  /** What the journal has from a position on. */
  read(ctx: Context, from: string): AsyncIterable<JournalRange>;
  /** What the segment begins with, in pieces. */
  readonly segment: AsyncIterable<Uint8Array>;
}

/** Null where nothing tells: its first record is not there, or what lay before it. */
export async function isLinked(
  ctx: Context,
  { at, begin, segmentBytes, read, segment }: Link,
): Promise<boolean | null> {
  const pieces: Uint8Array[] = [];
  const first = await firstRecord(at, segmentBytes, segment, pieces);
  if (!first || first.before < begin || first.before >= at) return null;
  const reader = recordReader(first.before, { segmentBytes, isRecord: true });
  const found: LogRecord[] = [];
  try {
    for await (const { from, body } of read(ctx, positionAt(first.before))) {
      const place = placeOf(from.position);
      if (place >= at) break;
      found.push(...reader.push(body.subarray(Math.max(0, first.before - place), at - place)));
    }
  } catch (error) {
    if (isUnreadable(error)) return null;
    throw error;
  }
  for (const piece of pieces) found.push(...reader.push(piece));
  const [before, next] = [...found, ...reader.end()];
  return before?.at === first.before && next?.at === first.at;
}

/** As soon as it is whole: an idle server sends no more than that. */
async function firstRecord(
  at: number,
  segmentBytes: number,
  segment: AsyncIterable<Uint8Array>,
  pieces: Uint8Array[],
): Promise<LogRecord | null> {
  let bytes = 0;
  for await (const piece of segment) {
    pieces.push(Buffer.from(piece));
    bytes += piece.length;
    const reader = recordReader(at, { segmentBytes, isRecord: false });
    const [first = reader.end()[0]] = pieces.flatMap((each) => reader.push(each));
    if (first || bytes >= FIRST_BYTES_MAX) return first ?? null;
  }
  return null;
}
