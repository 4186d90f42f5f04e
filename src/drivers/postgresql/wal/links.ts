// Whether a segment goes on from the log that the journal has before it, where a server has nothing older to compare:
// its first record says where the one before it begins, and that has to be the last one there.

import type { JournalRange } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';
import { type LogRecord, recordReader } from '../recovery/records.ts';
import { isUnreadable } from './known.ts';
import { placeOf, positionAt } from './positions.ts';

/** A record that is longer is not waited for. */
const FIRST_BYTES_MAX = 1024 * 1024;
/** Of what lies before it. */
const LOOKED_AT_BYTES = 64 * 1024;
const PAGE_BYTES = 8192;
/** Two logs with fewer may have them at the same places. A base backup, as standbys begin with, writes so many. */
const TELLING_RECORDS_MIN = 4;

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

/** Null where nothing tells: its first record is not there, or little lay before it, as on a server that was idle. */
export async function isLinked(
  ctx: Context,
  { at, begin, segmentBytes, read, segment }: Link,
): Promise<boolean | null> {
  const pieces: Uint8Array[] = [];
  const first = await firstRecord(at, segmentBytes, segment, pieces);
  if (!first || first.before < begin || first.before >= at) return null;
  const page = Math.floor((first.before - LOOKED_AT_BYTES) / PAGE_BYTES) * PAGE_BYTES;
  const from = Math.max(begin, page, first.before - (first.before % segmentBytes));
  const reader = recordReader(from, { segmentBytes, isRecord: false });
  const found: LogRecord[] = [];
  try {
    for await (const range of read(ctx, positionAt(from))) {
      const place = placeOf(range.from.position);
      if (place >= at) break;
      found.push(...reader.push(range.body.subarray(Math.max(0, from - place), at - place)));
    }
  } catch (error) {
    if (isUnreadable(error)) return null;
    throw error;
  }
  for (const piece of pieces) found.push(...reader.push(piece));
  found.push(...reader.end());
  const next = found.findIndex((record) => record.at >= at);
  if (found[next]?.at !== first.at || found[next - 1]?.at !== first.before) return false;
  return next >= TELLING_RECORDS_MIN ? true : null;
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
