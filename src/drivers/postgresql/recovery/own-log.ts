// Whether the log to be replayed is that of the server whose base it is replayed on. A copy of a server that went on by
// itself has its name and its timeline, and another log. A base backup brings the log of its own time with it.

import { readAll } from '../../../core/bytes.ts';
import type { Replay } from '../../../core/component.ts';
import { Failure } from '../../../core/errors.ts';
import type { Context, Source } from '../../../core/model.ts';
import type { BackupFacts } from '../physical/inventory.ts';
import { DATA_TREE } from '../physical/names.ts';
import { isSegmentSize, logFileIn } from '../wal/files.ts';
import { WHICH } from '../wal/joining.ts';
import { lsnAt, placeOfLsn } from '../wal/positions.ts';
import { piecesOf } from './pieces.ts';

/** Where a base begins, a server writes what no other one does: a checkpoint, with its time. */
const COMPARED_BYTES_MAX = 1024 * 1024;

/** 'different' where it is another one's. */
export async function assertOwnLog(
  ctx: Context,
  base: Source,
  replay: Replay,
  { start, end }: BackupFacts,
): Promise<void> {
  const [from, to] = [placeOfLsn(start.lsn) ?? 0, placeOfLsn(end.lsn) ?? 0];
  const until = Math.min(to, from + COMPARED_BYTES_MAX);
  const segments = await segmentsIn(ctx, base, start.timeline);
  for await (const { at, bytes, source } of piecesOf(ctx, replay, from)) {
    if (at >= until) return;
    if (source.timeline !== start.timeline) continue;
    for (const segment of segments) {
      const [first, last] = [Math.max(at, segment.from), Math.min(at + bytes.length, segment.to, until)];
      if (first >= last) continue;
      const own = base.get(ctx, segment.part, { offset: first - segment.from, length: last - first });
      if ((await readAll(own, last - first)).equals(bytes.subarray(first - at, last - at))) continue;
      const what = `the journal has other bytes from ${lsnAt(first)} on than the base backup has: two primaries?`;
      throw new Failure('different', `${base.point}/${base.component}: ${what}`, {
        hint: `restore the point as it is, or choose another one; ${WHICH}`,
      });
    }
  }
}

interface OwnSegment {
  readonly part: string;
  readonly from: number;
  readonly to: number;
}

async function segmentsIn(ctx: Context, base: Source, timeline: number): Promise<readonly OwnSegment[]> {
  const segments: OwnSegment[] = [];
  const folder = `${DATA_TREE.parts}pg_wal/`;
  for await (const { name: part, bytes } of base.parts(ctx, folder)) {
    const file = isSegmentSize(bytes) ? logFileIn(part.slice(folder.length), bytes) : null;
    if (file?.timeline === timeline) segments.push({ part, from: file.number * bytes, to: (file.number + 1) * bytes });
  }
  return segments;
}
