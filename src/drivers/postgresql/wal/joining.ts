// Where the journal and the server's log meet: where to go on, or how another lineage begins.

import { Failure } from '../../../core/errors.ts';
import type { Feed, Lineage, LineageStart } from '../../../core/journal.ts';
import type { Context, Cut } from '../../../core/model.ts';
import type { Replication } from '../physical/replication.ts';
import { endsIn, historyDetail, historyIn, historyOf, type TimelineEnd } from './history.ts';
import { lsnOf, segmentStart, sourceIn, sourceJson, type WalSource } from './positions.ts';

export const WHICH = 'find out which one is the right one before anything goes on';

/** The server as it is now. */
export interface Standpoint {
  readonly source: WalSource;
  /** Of its timeline; null of the first, which has none. */
  readonly history: string | null;
  /** Up to where its log reaches. */
  readonly end: string;
  readonly isStandby: boolean;
  /** Its clock. */
  readonly at: string;
  /** From here on its slot holds the log. */
  readonly held: string;
  readonly segmentBytes: number;
}

export interface Joint {
  readonly lineage: Lineage;
  readonly timeline: number;
  /** Where the journal ends. */
  readonly from: Cut;
  /** The server has left this timeline: it ends before what is written now. */
  readonly isPast: boolean;
}

/** Of a log, to the one that was followed. */
export type Likeness = 'the same' | 'another' | 'nothing tells';

type Journal = Pick<Feed, 'lineage' | 'durable' | 'begin' | 'gap'>;

/** Begins lineages where the server's timelines have gone on without us. */
export async function joinLog(
  ctx: Context,
  feed: Journal,
  connection: Replication,
  server: Standpoint,
  compared: (past: TimelineEnd) => Promise<Likeness>,
): Promise<Joint> {
  const { source, history } = server;
  const ends = endsIn(history, source.timeline, connection.where);
  for (;;) {
    const [lineage, durable] = [feed.lineage(), feed.durable()];
    const followed = lineage && sourceIn(lineage.source);
    if (!lineage || !durable || followed?.system !== source.system) {
      if (lineage) ctx.log.warn('the journal goes on with another server', { lineage: lineage.id, ...source });
      await feed.begin(ctx, startHere(server, ends, lineage ? 'another server' : 'the first'));
      continue;
    }
    if (followed.timeline === source.timeline) {
      assertSameLog(connection.where, lineage, durable, server);
      return { lineage, timeline: source.timeline, from: durable, isPast: false };
    }
    if (followed.timeline > source.timeline) throw leftBehind(connection.where, followed, source);
    const past = ends.find(({ timeline }) => timeline === followed.timeline);
    if (past && durable.position < past.end) {
      return { lineage, timeline: followed.timeline, from: durable, isPast: true };
    }
    // A fork from before the timeline that was followed, or of another log: nothing of that one leads here.
    const likeness = past ? await compared(past) : 'another';
    if (likeness === 'nothing tells') {
      await beginUnknown(ctx, feed, connection.where, server);
      continue;
    }
    const from = past ? `the log of ${followed.timeline} that was followed` : `${followed.timeline}`;
    const start =
      past && likeness === 'the same'
        ? startAfter(past, await historyOf(connection, past.next), { lineage, durable, system: source.system })
        : startHere(server, ends, `timeline ${source.timeline}, which does not come from ${from}`);
    ctx.log.warn('the log goes on with another timeline', { from: start.from.position, why: start.why });
    await feed.begin(ctx, start);
  }
}

/** Nothing tells whether it is the log that was followed: it may be a copy's. */
export async function beginUnknown(ctx: Context, feed: Journal, where: string, server: Standpoint): Promise<void> {
  const ends = endsIn(server.history, server.source.timeline, where);
  const why = 'the server has removed what tells whether it is the log that was followed';
  ctx.log.warn(`${why}: the journal begins anew`, { lineage: feed.lineage()?.id, end: feed.durable()?.position });
  await feed.begin(ctx, startHere(server, ends, why));
}

/** The server has removed what comes next: notes what is missing, and begins anew with what it holds. */
export async function skipLost(
  ctx: Context,
  feed: Journal,
  where: string,
  server: Standpoint,
  reason: string,
): Promise<void> {
  const ends = endsIn(server.history, server.source.timeline, where);
  const start = startHere(server, ends, `after a gap: ${reason}`);
  const [from, to] = [feed.durable(), start.from];
  if (!from || to.position <= from.position) {
    throw new Failure('missing', `${where}: the log from ${from?.position} on is not there: ${reason}`);
  }
  ctx.log.error('the server has removed log that was not stored: a gap is noted', {
    from: from.position,
    to: to.position,
    reason,
  });
  await feed.gap(ctx, { from, to, at: ctx.now().toISOString(), reason });
  await feed.begin(ctx, start);
}

/**
 * With what the server holds of its own timeline, from the beginning of a segment: no server reads one without its
 * first page, and in that of a new timeline lies what came before.
 */
function startHere(server: Standpoint, ends: readonly TimelineEnd[], why: string): LineageStart {
  const { source, history, held, segmentBytes, at } = server;
  const begins = [held, ...ends.map(({ end }) => end)].toSorted().at(-1) ?? held;
  const from = { position: segmentStart(begins, segmentBytes), at };
  return { from, base: null, why, source: sourceJson(source), parent: null, ...historyDetail(history) };
}

/** What the one before has beyond the switch is no part of it. */
export function startAfter(
  { timeline, end, next }: TimelineEnd,
  history: string | null,
  { lineage, durable, system }: { lineage: Lineage; durable: Cut; system: string },
): LineageStart {
  return {
    from: { position: end, at: durable.at },
    base: null,
    why: `timeline ${next} goes on from timeline ${timeline} at ${lsnOf(end)}`,
    source: sourceJson({ system, timeline: next }),
    parent: { lineage: lineage.id, position: end },
    ...historyDetail(history),
  };
}

/** 'different' where it can't be the log that was followed, though it is called the same. */
function assertSameLog(where: string, lineage: Lineage, durable: Cut, server: Standpoint): void {
  const { source, history, end, isStandby } = server;
  const known = historyIn(lineage.detail);
  if (known !== null && known !== history) {
    const what = `its timeline ${source.timeline} has another history than the one that was followed: two primaries?`;
    throw new Failure('different', `${where}: ${what}`, { hint: WHICH });
  }
  if (end >= durable.position) return;
  const short = `its log ends at ${lsnOf(end)}, and the journal at ${lsnOf(durable.position)}`;
  if (isStandby) {
    throw new Failure('blocked', `${where}: ${short}: this standby is behind`, { hint: 'wait until it has caught up' });
  }
  throw new Failure('different', `${where}: ${short}: it was set back, or there are two primaries`, { hint: WHICH });
}

function leftBehind(where: string, followed: WalSource, source: WalSource): Failure {
  const what = `it is on timeline ${source.timeline}, and timeline ${followed.timeline} was followed: two primaries?`;
  return new Failure('different', `${where}: ${what}`, { hint: WHICH });
}
