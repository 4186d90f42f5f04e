// Follows a server's log: streams it from a slot into the journal, and lets the server forget what is stored there.

import { withSignal } from '../../../core/context.ts';
import { ERRORS, Failure, isFailure, messageOf } from '../../../core/errors.ts';
import type { Feed } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';
import { type Session, sqlState } from '../connection.ts';
import { connectSomewhere } from '../databases.ts';
import { identifySame, openReplication, type Replication } from '../physical/replication.ts';
import type { Server } from '../settings.ts';
import { type BaseKeeper, keepBases } from './bases.ts';
import { comparedWithJournal, goesOn } from './forks.ts';
import { historyOf } from './history.ts';
import { beginUnknown, type Joint, joinLog, type Standpoint, skipLost } from './joining.ts';
import { type Compared, type Known, knownLog, NothingTells, wayAfter } from './known.ts';
import { positionOf } from './positions.ts';
import { pulseOf } from './pulse.ts';
import { receiveLog } from './receiving.ts';
import { type Shipping, shipLog } from './shipping.ts';
import { dropSlot, type HeldSlot, holdSlot, inUse } from './slot.ts';
import { type WalFacts, walFacts } from './standing.ts';
import { streamWal, UNDEFINED_FILE } from './stream.ts';

/** While a base is taken, whose connections have nothing to do with this one. */
const AGAIN_MS = 5000;
/** Of the server's error codes: an object in use. */
const IN_USE = '55006';

interface Following {
  readonly ctx: Context;
  readonly server: Server;
  readonly feed: Feed;
  readonly bases: BaseKeeper;
  /** With what the journal has last, to see that it is the same log. */
  compared: Compared;
  /** A position of the journal from which the server's log goes on, though what lay before is gone. */
  linkedAt: string | null;
  /** Since something was stored: it may be why what comes next is gone. */
  slotWas: HeldSlot['was'];
}
/** Why the log does not go on as it was asked for. */
type Ended = 'the timeline ends' | 'nothing to compare with' | 'nothing tells' | 'a gap';

/** Undefined where it can be followed as it is configured. */
export function unfollowableBy({ methods }: Server): Failure | undefined {
  if (methods.includes('physical')) return undefined;
  return new Failure('settings-invalid', 'postgresql: a log can only be replayed on a base backup', {
    hint: 'set capture: [physical] of the component, or do not follow it',
  });
}

/** Until the signal or a failure. */
export async function followServer(ctx: Context, server: Server, feed: Feed): Promise<void> {
  const unfollowable = unfollowableBy(server);
  if (unfollowable) throw unfollowable;
  await using bases = keepBases(ctx, feed);
  const following: Following = { ctx, server, feed, bases, compared: 'what tells', linkedAt: null, slotWas: 'there' };
  for (;;) {
    try {
      const ended = await followOnce(following);
      following.compared = ended === 'nothing to compare with' ? wayAfter(following.compared) : 'what tells';
    } catch (error) {
      const mayPass = isFailure(error) && ERRORS[error.code].retry && !ctx.signal.aborted;
      if (!bases.isTaking() || !mayPass) throw error;
      ctx.log.warn('the log broke off while a base is taken: it is gone on with', { reason: messageOf(error) });
      await ctx.sleep(AGAIN_MS);
    }
  }
}

async function followOnce(following: Following): Promise<Ended> {
  const { ctx, server, feed, bases } = following;
  const stop = new AbortController();
  const within = withSignal(ctx, stop.signal);
  await using reached = await reach(within, server);
  if (reached.slotWas !== 'there') following.slotWas = reached.slotWas;
  const { segmentBytes } = reached.facts;
  const joint = await joinLog(ctx, feed, reached.connection, reached.standpoint, (past) =>
    comparedWithJournal(within, feed, { server, past, segmentBytes }),
  );
  if (!joint.isPast) bases.want(joint.lineage);
  const meeting = { following, reached, joint, known: await knownAt(within, following, reached, joint) };
  const { shipping, run } = transferOf(within, meeting);
  try {
    await run(stop);
    await shipping.end();
    return 'the timeline ends';
  } catch (error) {
    // What came is stored before anything else: it may be the last of a server that is gone. Whoever is asked to stop
    // does so as far as the feed still takes it.
    await shipping.end().catch((failed: unknown) => {
      if (!ctx.signal.aborted) throw failed;
    });
    return await endedBy(error, meeting);
  }
}

/** Where the journal and the server's log have met. */
interface Meeting {
  readonly following: Following;
  readonly reached: Reached;
  readonly joint: Joint;
  readonly known: Known;
}

async function knownAt(ctx: Context, following: Following, reached: Reached, joint: Joint): Promise<Known> {
  const { feed, compared, linkedAt, slotWas } = following;
  const { connection, facts, standpoint } = reached;
  return await knownLog(ctx, feed, {
    end: joint.from,
    slot: { restart: standpoint.held, was: slotWas },
    segmentBytes: facts.segmentBytes,
    compared,
    isLinked: linkedAt === joint.from.position,
    where: connection.where,
  });
}

interface Transfer {
  readonly shipping: Shipping;
  /** Until the timeline ends; `stop` ends what goes on beside. */
  run(stop: AbortController): Promise<void>;
}

/** From the server into the journal. */
function transferOf(within: Context, { following, reached, joint, known }: Meeting): Transfer {
  const { ctx, server, feed, bases } = following;
  const { session, connection, facts } = reached;
  const { segmentBytes, patienceMs, clock } = facts;
  const stream = streamWal(connection, { slot: server.slot, timeline: joint.timeline, from: known.from });
  const pulse = pulseOf(ctx, session, server, clock);
  const onDurable = (): void => {
    following.slotWas = 'there';
    receiving.report();
  };
  const { isPast } = joint;
  const shipping = shipLog(ctx, joint.from, { feed, segmentBytes, isPast, clock: pulse.clock, onDurable });
  const { where } = connection;
  const receiving = receiveLog(within, { where, patienceMs, stream, feed, shipping, pulse, known });
  const run = async (stop: AbortController): Promise<void> =>
    await whicheverEnds(stop, [receiving.run(), receiving.watch(bases.check), pulse.run(within)]);
  return { shipping, run };
}

/** Throws what it is not for us to mend. */
async function endedBy(error: unknown, { following, reached, joint, known }: Meeting): Promise<Ended> {
  const { ctx, server, feed } = following;
  const { connection, facts, standpoint } = reached;
  if (error instanceof NothingTells) {
    const { timeline, isPast, from } = joint;
    const place = { server, timeline, position: from.position, segmentBytes: facts.segmentBytes };
    // One that was begun a moment ago, as standbys are, has nothing older.
    if ((isPast || standpoint.isStandby) && (await goesOn(ctx, feed, place))) following.linkedAt = from.position;
    else await beginUnknown(ctx, feed, connection.where, standpoint);
    return 'nothing tells';
  }
  if (sqlState(error) === IN_USE) throw inUse(server.slot, null, error);
  if (sqlState(error) !== UNDEFINED_FILE) throw error;
  if (known.isComparing()) return 'nothing to compare with';
  await noteGap(following, messageOf(error));
  return 'a gap';
}

/** The first that ends; the others are ended then. */
async function whicheverEnds(stop: AbortController, works: readonly Promise<void>[]): Promise<void> {
  try {
    await Promise.race(works);
  } finally {
    stop.abort();
    await Promise.allSettled(works);
  }
}

interface Reached extends AsyncDisposable {
  readonly session: Session;
  readonly connection: Replication;
  readonly facts: WalFacts;
  readonly standpoint: Standpoint;
  readonly slotWas: HeldSlot['was'];
}

async function reach(ctx: Context, server: Server): Promise<Reached> {
  await using opened = new AsyncDisposableStack();
  const session = opened.use(await connectSomewhere(ctx, server));
  const facts = await walFacts(ctx, session, server);
  const connection = opened.use(await openReplication(ctx, server));
  const { timeline, xlogpos } = await identifySame(connection, facts.identity);
  const history = await historyOf(connection, timeline);
  const slot = await holdSlot(ctx, session, server);
  const standpoint = {
    source: { system: facts.identity, timeline },
    history,
    end: positionOf(xlogpos),
    isStandby: facts.isStandby,
    at: facts.at.toISOString(),
    held: slot.restart,
    segmentBytes: facts.segmentBytes,
  };
  const kept = opened.move();
  const reached = { session, connection, facts, standpoint, slotWas: slot.was };
  return { ...reached, [Symbol.asyncDispose]: () => kept[Symbol.asyncDispose]() };
}

async function noteGap({ ctx, server, feed, slotWas }: Following, said: string): Promise<void> {
  await using source = await reach(ctx, server);
  const { session, connection, standpoint } = source;
  const durable = feed.durable()?.position ?? '';
  let { held } = standpoint;
  if (held <= durable) {
    // It is what we have told it last. Made anew, it holds what is there.
    await dropSlot(session, server);
    held = (await holdSlot(ctx, session, server)).restart;
  }
  const reason = slotWas === 'there' ? said : `the slot was ${slotWas}; ${said}`;
  await skipLost(ctx, feed, connection.where, { ...standpoint, held }, reason);
}
