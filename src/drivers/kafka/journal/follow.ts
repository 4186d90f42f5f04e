// Follows a cluster: in rounds of some seconds what came to each partition up to its last stable offset, and what has
// changed of groups and topics. Nothing is committed at the brokers: where we are stands in the journal.

import type { Standing } from '../../../core/component.ts';
import { ERRORS, isFailure } from '../../../core/errors.ts';
import type { Feed } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';
import {
  type Bases,
  cutAt,
  eachRound,
  justBefore,
  type Moving,
  type Rounds,
  roundsOf,
  withBases,
} from '../../../core/moments.ts';
import { mapBounded } from '../../../core/parallel.ts';
import { type Cluster, connect } from '../cluster.ts';
import { type Described, describe } from '../describe.ts';
import { partitionKey } from '../ranges.ts';
import { type Log, readLog } from '../reading.ts';
import { listed } from '../selection.ts';
import type { Settings } from '../settings.ts';
import { readRange } from './format.ts';
import { newlyTold, type Shipper, type Shipping, shipperOf, tellAll } from './shipping.ts';
import { applyChanges, applyLogs, changesTo, emptyState, logKey, type State, seenState, sourceOf } from './state.ts';

const PARTITIONS_AT_ONCE = 4;
/** After so many rounds the journal says that nothing came. */
const IDLE_ROUNDS = 5;
/** A moment lies no further before what was seen: else points would be taken to have it that do not. */
const LOOKING_MS_MAX = 8_000;
const FIRST = 'the cluster is followed from here on';

interface Work extends Shipping {
  readonly cluster: Cluster;
  readonly settings: Settings;
  readonly bases: Bases;
}

export async function follow(ctx: Context, settings: Settings, feed: Feed): Promise<void> {
  await using cluster = await connect(ctx, settings);
  const source = sourceOf(cluster.layout().clusterId);
  const rounds = roundsOf(feed);
  const goesOn = (): boolean => rounds.goesOn(source, ctx.now().getTime());
  await withBases(ctx, feed, async (within, bases) => {
    for (;;) {
      const known = goesOn() ? await readBack(within, feed, rounds) : null;
      const going = known ?? (await beginAnew(within, cluster, settings, rounds));
      bases.need(going.told.joins, FIRST);
      const work: Work = { cluster, settings, bases, ...going };
      await eachRound(within, settings.followEveryMs, goesOn, (moving) => round(within, work, moving));
    }
  });
}

/** Its log has no clock and no end: it reaches to now. */
export async function standing(ctx: Context, settings: Settings): Promise<Standing> {
  await using cluster = await connect(ctx, settings);
  return { source: sourceOf(cluster.layout().clusterId), end: cutAt(ctx.now().getTime()), clock: null };
}

async function beginAnew(ctx: Context, cluster: Cluster, settings: Settings, rounds: Rounds): Promise<Shipping> {
  const described = await describe(ctx, cluster, settings);
  const ends = emptyState();
  for (const { id, ends: each } of described.topics) {
    for (const [partition, { stable }] of each.entries()) ends.next.set(logKey({ id, partition }), stable);
  }
  const state = seenState(described, ends);
  await rounds.begin(ctx, sourceOf(described.clusterId), FIRST, described.at.getTime());
  const shipping = { rounds, state, told: newlyTold(rounds.position()) };
  await tellAll(ctx, shipping, true);
  return shipping;
}

/** What the journal knows, from the last range in which all is told. Null when that can't be read any more. */
async function readBack(ctx: Context, feed: Feed, rounds: Rounds): Promise<Shipping | null> {
  const state = emptyState();
  const told = newlyTold('');
  try {
    for await (const range of feed.read(ctx, justBefore(rounds.position()))) told.whole = readRange(range).head.whole;
    for await (const range of feed.read(ctx, told.whole)) {
      const { head } = readRange(range);
      told.joins = head.joins;
      told.ranges += 1;
      told.bytes += range.body.length;
      applyLogs(state, head);
      if (head.changes) applyChanges(state, head.changes);
    }
  } catch (error) {
    if (!isFailure(error) || !ERRORS[error.code].lost) throw error;
    ctx.log.warn('where the journal is can not be read from it: a new one is begun', { reason: error.message });
    return null;
  }
  return { rounds, state, told };
}

async function round(ctx: Context, work: Work, moving: Moving): Promise<void> {
  const { cluster, settings, rounds, state } = work;
  const begunMs = ctx.now().getTime();
  const described = await describe(ctx, cluster, settings);
  const toMs = Math.max(begunMs, ctx.now().getTime() - LOOKING_MS_MAX, rounds.atMs() + 1);
  const logs = logsOf(described, state);
  const lost: Lost[] = logs.filter(({ start, next }) => start > next);
  if (lost.length > 0) return await noteLoss(ctx, work, lost, toMs);
  await tellAll(ctx, work);
  const shipper = shipperOf(work, toMs);
  const grown = logs.filter(({ next, stable }) => stable > next);
  await moving(() => mapBounded(grown, PARTITIONS_AT_ONCE, (each) => ship(ctx, work, shipper, { each, lost })));
  if (lost.length > 0) return await noteLoss(ctx, work, lost, toMs);
  const changes = changesTo(state, seenState(described, state));
  const isSaid = toMs - rounds.atMs() < settings.followEveryMs * IDLE_ROUNDS;
  if (shipper.isEmpty && changes === null && isSaid) return;
  await moving(() => shipper.end(ctx, changes));
  if (changes) applyChanges(state, changes);
}

interface FollowedLog extends Log {
  readonly start: number;
  readonly stable: number;
  /** Where it is gone on with. */
  readonly next: number;
}
/** Records that are gone before they were read. */
type Lost = Pick<FollowedLog, 'topic' | 'topicId' | 'partition' | 'start' | 'next'>;

/** Those that are new begin with what they have. */
function logsOf({ topics }: Described, { next }: State): FollowedLog[] {
  return topics.flatMap(({ name, id, ends }) =>
    ends.map(({ start, stable }, partition) => {
      const key = logKey({ id, partition });
      if (!next.has(key)) next.set(key, start);
      return { topic: name, topicId: id, partition, start, stable, next: next.get(key) ?? start };
    }),
  );
}

async function ship(
  ctx: Context,
  { cluster }: Work,
  shipper: Shipper,
  { each, lost }: { each: FollowedLog; lost: Lost[] },
): Promise<void> {
  let at = each.next;
  let isGone = false;
  const onGone = (start: number): void => {
    lost.push({ ...each, next: at, start });
    isGone = true;
  };
  try {
    for await (const batches of readLog(ctx, cluster, each, { from: at, to: each.stable, onGone })) {
      if (isGone) return;
      await shipper.add(ctx, each, batches);
      at = (batches.at(-1)?.last ?? at - 1) + 1;
    }
    if (!isGone) await shipper.reached(each, each.stable);
  } catch (error) {
    const isDeleted = cluster.layout().topics.get(each.topic)?.id !== each.topicId;
    if (!isFailure(error, 'missing') || !isDeleted) throw error;
  }
}

/** Nothing can be replayed over it: a point is taken after it, and the logs go on with what is left. */
async function noteLoss(ctx: Context, work: Work, lost: readonly Lost[], toMs: number): Promise<void> {
  const { rounds, state, told, bases } = work;
  const what = lost.map((each) => `${partitionKey(each)} from ${each.next} to ${each.start - 1}`);
  const reason = `records were deleted before they were read: ${listed(what)}`;
  ctx.log.warn('records were deleted before they were read', { lost: what });
  await rounds.gap(ctx, toMs, reason);
  for (const { topicId: id, partition, start } of lost) state.next.set(logKey({ id, partition }), start);
  told.joins = rounds.position();
  await tellAll(ctx, work, true);
  bases.need(told.joins, reason);
}
