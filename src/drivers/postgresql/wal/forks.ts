// Whether a server that has left a timeline had the log of it that was followed: one that was set back and ran on had
// another, though it has left it before the journal's end.

import { withDeadline } from '../../../core/context.ts';
import { Failure, isFailure } from '../../../core/errors.ts';
import type { Feed, JournalRange } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';
import { sqlState } from '../connection.ts';
import { openReplication } from '../physical/replication.ts';
import type { Server } from '../settings.ts';
import type { TimelineEnd } from './history.ts';
import type { Likeness } from './joining.ts';
import { type Compared, isUnreadable, knownLog, NothingTells, WAYS } from './known.ts';
import { isLinked } from './links.ts';
import { placeOf, positionAt, segmentStart } from './positions.ts';
import { type StreamPlace, streamWal, UNDEFINED_FILE } from './stream.ts';

type Stored = Pick<Feed, 'lineage' | 'read'>;
const COMPARE_MS_MAX = 60_000;

export async function comparedWithJournal(
  ctx: Context,
  feed: Stored,
  options: { readonly server: Server; readonly past: TimelineEnd; readonly segmentBytes: number },
): Promise<Likeness> {
  const { end } = options.past;
  const begin = feed.lineage()?.from.position ?? end;
  if (end <= begin) return end === begin ? 'the same' : 'another';
  for (const compared of WAYS) {
    try {
      const tells = await withDeadline(ctx, COMPARE_MS_MAX, 'to compare', (within) =>
        compare(within, feed, { ...options, compared }),
      );
      if (tells) return 'the same';
    } catch (error) {
      if (isFailure(error, 'different')) return 'another';
      if (isUnreadable(error)) return 'nothing tells';
      if (!(error instanceof NothingTells) && sqlState(error) !== UNDEFINED_FILE) throw error;
    }
  }
  const { server, past, segmentBytes } = options;
  const isOne = await goesOn(ctx, feed, { server, timeline: past.next, position: end, segmentBytes });
  return isOne ? 'the same' : 'nothing tells';
}

/** By the first record of the segment that a position lies in: for a server that has nothing older. */
export async function goesOn(
  ctx: Context,
  { lineage, read }: Stored,
  options: {
    readonly server: Server;
    readonly timeline: number;
    readonly position: string;
    readonly segmentBytes: number;
  },
): Promise<boolean> {
  const { server, timeline, position, segmentBytes } = options;
  const from = segmentStart(position, segmentBytes);
  const begin = placeOf(lineage()?.from.position ?? from);
  try {
    return await withDeadline(ctx, COMPARE_MS_MAX, 'to compare', async (within) => {
      const segment = streamed(within, server, { slot: null, timeline, from });
      return (await isLinked(within, { at: placeOf(from), begin, segmentBytes, read, segment })) ?? false;
    });
  } catch (error) {
    if (sqlState(error) === UNDEFINED_FILE) return false;
    throw error;
  }
}

async function* streamed(ctx: Context, server: Server, place: StreamPlace): AsyncIterable<Buffer> {
  await using connection = await openReplication(ctx, server);
  const stream = streamWal(connection, place);
  for (let message = await stream.next(); message.kind !== 'end'; message = await stream.next()) {
    if (message.kind !== 'log') continue;
    for (let piece = await message.piece(); piece; piece = await message.piece()) yield piece;
  }
}

/** Whether what is the same tells. 'different' where it is another log; `NothingTells`. */
async function compare(
  ctx: Context,
  feed: Stored,
  options: { server: Server; past: TimelineEnd; segmentBytes: number; compared: Compared },
): Promise<boolean> {
  const { server, past, segmentBytes, compared } = options;
  const where = `postgresql at ${server.host}:${server.port}`;
  const slot = { restart: past.end, was: 'not there' } as const;
  const end = { position: past.end, at: '' };
  const known = await knownLog(ctx, upTo(feed, past.end), { end, slot, segmentBytes, compared, where });
  for await (const piece of streamed(ctx, server, { slot: null, timeline: past.timeline, from: known.from })) {
    await known.beyond(piece);
    if (!known.isComparing()) break;
  }
  if (known.isComparing()) throw new Failure('malformed', `${where}: timeline ${past.timeline} ends too early`);
  return known.tells;
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
