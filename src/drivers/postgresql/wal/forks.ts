// Whether a server that has left a timeline had the log of it that was followed: one that was set back and ran on had
// another, though it has left it before the journal's end.

import { withDeadline } from '../../../core/context.ts';
import { Failure } from '../../../core/errors.ts';
import type { Feed, JournalRange } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';
import { sqlState } from '../connection.ts';
import { openReplication } from '../physical/replication.ts';
import type { Server } from '../settings.ts';
import type { TimelineEnd } from './history.ts';
import { type Compared, isUnreadable, knownLog, WAYS } from './known.ts';
import { placeOf, positionAt } from './positions.ts';
import { streamWal, UNDEFINED_FILE } from './stream.ts';

type Stored = Pick<Feed, 'lineage' | 'read'>;
const COMPARE_MS_MAX = 60_000;

/** True also where nothing tells. */
export async function cameFromJournal(
  ctx: Context,
  feed: Stored,
  options: { readonly server: Server; readonly past: TimelineEnd; readonly segmentBytes: number },
): Promise<boolean> {
  const { end } = options.past;
  const begin = feed.lineage()?.from.position ?? end;
  if (end <= begin) return end === begin;
  for (const compared of WAYS) {
    try {
      await withDeadline(ctx, COMPARE_MS_MAX, 'to compare', (within) =>
        compare(within, feed, { ...options, compared }),
      );
      return true;
    } catch (error) {
      // What can't be read leads nowhere.
      if (isUnreadable(error)) return false;
      if (sqlState(error) !== UNDEFINED_FILE) throw error;
    }
  }
  return false;
}

/** 'different' where it is another log. */
async function compare(
  ctx: Context,
  feed: Stored,
  options: { server: Server; past: TimelineEnd; segmentBytes: number; compared: Compared },
): Promise<void> {
  const { server, past, segmentBytes, compared } = options;
  await using connection = await openReplication(ctx, server);
  const { where } = connection;
  const slot = { restart: past.end, was: 'not there' } as const;
  const end = { position: past.end, at: '' };
  const known = await knownLog(ctx, upTo(feed, past.end), {
    end,
    slot,
    segmentBytes,
    compared,
    isStandby: true,
    where,
  });
  const stream = streamWal(connection, { slot: null, timeline: past.timeline, from: known.from });
  while (known.isComparing()) {
    const message = await stream.next();
    if (message.kind === 'end') throw new Failure('malformed', `${where}: timeline ${past.timeline} ends too early`);
    if (message.kind !== 'log') continue;
    for (let piece = await message.piece(); piece; piece = await message.piece()) {
      await known.beyond(piece);
    }
  }
}

/** The journal as if it ended there. */
function upTo({ lineage, read }: Stored, end: string): Pick<Feed, 'lineage' | 'last' | 'read'> {
  async function* ranges(ctx: Context, from: string): AsyncIterable<JournalRange> {
    for await (const range of read(ctx, from)) {
      const bytes = placeOf(end) - placeOf(range.from.position);
      if (bytes <= 0) return;
      const isWhole = range.to.position <= end;
      yield isWhole ? range : { ...range, to: { ...range.to, position: end }, body: range.body.subarray(0, bytes) };
    }
  }
  return {
    lineage,
    read: ranges,
    async last(ctx) {
      for await (const range of ranges(ctx, positionAt(placeOf(end) - 1))) return range;
      return null;
    },
  };
}
