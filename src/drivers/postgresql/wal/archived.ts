// What the journal has of a file that is archived: the same bytes, or the log of another server.

import { Failure, isFailure } from '../../../core/errors.ts';
import type { Journal, JournalRange, Lineage } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';
import { WHICH } from './joining.ts';
import { isUnreadable } from './known.ts';
import { isLinked } from './links.ts';
import { placeOf, positionAt, sourceIn } from './positions.ts';
import type { Segment } from './segments.ts';

const PIECE_BYTES = 64 * 1024;
const POLL_MS = 1000;
const FOLLOWED_MS_MAX = 60_000;

/** 'different' unless the journal has the same up to `to`; 'missing' where it has not got all of it. */
export async function assertSame(
  ctx: Context,
  journal: Journal,
  lineage: Lineage,
  segment: Segment,
  to: number,
): Promise<void> {
  const start = Math.max(placeOf(lineage.from.position), segment.from);
  if (start >= to) return;
  const place = { lineage: lineage.id, position: positionAt(start) };
  for await (const range of journal.read(ctx, place, positionAt(to))) {
    const [from, end] = [placeOf(range.from.position), placeOf(range.to.position)];
    const [first, last] = [Math.max(from, start), Math.min(end, to)];
    const stored = range.body.subarray(first - from, last - from);
    if ((await segment.read(first, last)).equals(stored)) continue;
    const what = `${segment.path} has other bytes than the journal from ${positionAt(first)} on: two primaries?`;
    throw new Failure('different', what, { hint: WHICH });
  }
}

/**
 * Whether a segment goes on from what the journal has up to `to`, which lies in it or where it begins: by what lies
 * there, by the segment before, or by its first record. Null where nothing tells.
 */
export async function goesOnIn(
  ctx: Context,
  journal: Journal,
  lineage: Lineage,
  segment: Segment,
  { to, before }: { readonly to: number; readonly before: Segment | null },
): Promise<boolean | null> {
  const { from: at, bytes: segmentBytes } = segment;
  const begin = placeOf(lineage.from.position);
  const read = (within: Context, position: string): AsyncIterable<JournalRange> =>
    journal.read(within, { lineage: lineage.id, position }, positionAt(to));
  try {
    await assertSame(ctx, journal, lineage, segment, to);
    if (begin >= at) return true;
    if (before) await assertSame(ctx, journal, lineage, before, at);
    return before !== null || (await isLinked(ctx, { at, begin, segmentBytes, read, segment: piecesOf(segment) }));
  } catch (error) {
    if (isFailure(error, 'different')) return false;
    if (isUnreadable(error)) return null;
    throw error;
  }
}

async function* piecesOf(segment: Segment): AsyncIterable<Buffer> {
  for (let at = segment.from; at < segment.to; at += PIECE_BYTES) {
    yield await segment.read(at, Math.min(at + PIECE_BYTES, segment.to));
  }
}

/** The lineages of the log that a segment belongs to, newest first. */
async function lineagesOf(ctx: Context, journal: Journal, segment: Segment): Promise<readonly Lineage[]> {
  const all = await Array.fromAsync(journal.lineages(ctx));
  return all.reverse().filter(({ source }) => {
    const found = sourceIn(source);
    return found?.system === segment.system && found.timeline === segment.timeline;
  });
}

/** True when the journal has all of it, up to `to`; 'different' when it has other bytes. */
export async function isArchived(ctx: Context, journal: Journal, segment: Segment, to: number): Promise<boolean> {
  for (const lineage of await lineagesOf(ctx, journal, segment)) {
    try {
      // The end first: as long as that is not there, nothing else need be read.
      const place = { lineage: lineage.id, position: positionAt(to - 1) };
      for await (const _ of journal.read(ctx, place, positionAt(to)));
      await assertSame(ctx, journal, lineage, segment, to);
      return true;
    } catch (error) {
      if (!isFailure(error, 'missing')) throw error;
    }
  }
  return false;
}

/** While somebody else writes the journal, it is up to him. 'locked' when he has not stored it for a minute. */
export async function awaitFollowed(ctx: Context, journal: Journal, segment: Segment, to: number): Promise<void> {
  const begunMs = ctx.monotonicMs();
  while (!(await isArchived(ctx, journal, segment, to))) {
    if (ctx.monotonicMs() - begunMs > FOLLOWED_MS_MAX) {
      const what = `another one writes this journal, and has not stored ${segment.path} within a minute`;
      throw new Failure('locked', what, { hint: 'see what lifeboat follow says; the server will ask again' });
    }
    await ctx.sleep(POLL_MS);
  }
}
