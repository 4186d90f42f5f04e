// Follows components of the stack side by side until it is told to stop: each feeds the journal of the first store, and
// the journals of the others are kept as full as that.

import { isDeepStrictEqual } from 'node:util';
import { lingering, withSignal } from '../core/context.ts';
import { Failure, isFailure, messageOf } from '../core/errors.ts';
import type { JournalEntry } from '../core/journal.ts';
import type { Context } from '../core/model.ts';
import { needNewest } from './follow-ahead.ts';
import { HELD_BYTES_MAX, type JournalCopier, journalCopier } from './follow-copies.ts';
import { type FeedEvents, feedOf } from './follow-feed.ts';
import { type OtherStore, otherStore } from './follow-stores.ts';
import { type FollowStore, type FollowView, pauses } from './follow-views.ts';
import type { NamedStore, StackComponent } from './model.ts';

/**
 * Who only puts a segment of the log has the journal for a moment, and while a service moves to another server an
 * address may lead to the old one: what is still so after so many tries in a row stays so.
 */
const RIVAL_TRIES = 5;
/** For storing what came before all was told to stop. */
const LINGER_MS = 15_000;

export interface FollowRequest {
  readonly stack: string;
  /** The application's version, for the points that are taken. */
  readonly version?: string | null | undefined;
  readonly components: readonly StackComponent[];
  /** The first has the journals that are fed; the others get copies. */
  readonly stores: readonly FollowStore[];
  /** Those that are configured and not followed into: one of them may have had the journals before. */
  readonly elsewhere?: readonly FollowStore[] | undefined;
  /** Begin in the first store also where another one has more of a log. */
  readonly anew?: boolean | undefined;
  /** Called whenever something about a component has changed. */
  readonly told?: ((view: FollowView) => void) | undefined;
}
export interface Followed {
  readonly component: string;
  /** Why it ended by itself; null when it was stopped. */
  readonly error: Failure | null;
  readonly view: FollowView;
}

/**
 * Ends by the signal, or when none can be followed any more. Throws when the first store can't be opened; after that a
 * component that fails is tried again, for good, and stops no other.
 */
export async function follow(ctx: Context, request: FollowRequest): Promise<readonly Followed[]> {
  const [main, ...rest] = request.stores;
  if (!main) throw new Failure('usage', 'a store is needed to follow into');
  await using undo = new AsyncDisposableStack();
  const first = undo.use(await main.open(ctx));
  const others = rest.map((each) => undo.use(otherStore(each)));
  const elsewhere = (request.elsewhere ?? []).map((each) => undo.use(otherStore(each)));
  const room = { bytes: HELD_BYTES_MAX };
  const ended = new AbortController();
  const drivers = new Map(request.components.map(({ kind, driver }) => [kind, driver]));
  const settling = others.map((each) => each.settle(withSignal(ctx, ended.signal), first, drivers));
  const all = request.components.map((item) => {
    const look = untilDone(async () => {
      if (!request.anew) await needNewest(ctx, item.name, first, [...others, ...elsewhere]);
    });
    return followOne(ctx, { ...request, item, first, others, look, room });
  });
  try {
    return await Promise.all(all);
  } finally {
    ended.abort();
    await Promise.all(settling);
  }
}

/** What has succeeded is not done again. */
function untilDone(work: () => Promise<void>): () => Promise<void> {
  let isDone = false;
  return async () => {
    if (!isDone) await work();
    isDone = true;
  };
}

interface OneRequest extends FollowRequest {
  readonly item: StackComponent;
  readonly first: NamedStore;
  readonly others: readonly OtherStore[];
  /** Throws where another store has more of its log; not again after it did not. */
  readonly look: () => Promise<void>;
  readonly room: { bytes: number };
}

async function followOne(ctx: Context, request: OneRequest): Promise<Followed> {
  const { item, first, others, room, told } = request;
  const component = item.name;
  const stop = new AbortController();
  const from = first.store.journal(component);
  let view: Omit<FollowView, 'copies'> = {
    ...{ component, state: 'starting', error: null, takesPoint: false, durable: null, cameAt: null, bytes: 0 },
    ranges: 0,
  };
  let copiers: readonly JournalCopier[] = [];
  const whole = (): FollowView => ({ ...view, copies: copiers.map((each) => each.view) });
  const show = (more: Partial<FollowView>): void => {
    const next = { ...view, ...more };
    if (isDeepStrictEqual(next, view)) return;
    view = next;
    told?.(whole());
  };
  copiers = others.map((to) => journalCopier({ component, from, to, room, told: () => told?.(whole()) }));
  const copying = Promise.all(copiers.map((each) => each.run({ ...ctx, signal: stop.signal })));
  const error = await keepFollowing(ctx, request, copiers, { view: () => view, show });
  // What came at last is stored in the others too, if they take it.
  stop.abort();
  await copying;
  show({ state: 'ended', error });
  return { component, error, view: whole() };
}

interface Shown {
  view(): Omit<FollowView, 'copies'>;
  show(more: Partial<FollowView>): void;
}

/** Null when it was told to stop. */
async function keepFollowing(
  ctx: Context,
  request: OneRequest,
  copiers: readonly JournalCopier[],
  shown: Shown,
): Promise<Failure | null> {
  const component = request.item.name;
  const { unfollowable } = request.item.component;
  if (unfollowable) return givenUp(ctx, component, unfollowable);
  const pause = pauses();
  let rivalTries = 0;
  while (!ctx.signal.aborted) {
    const { ranges } = shown.view();
    const ended = await once(ctx, request, copiers, shown);
    if (ctx.signal.aborted) return null;
    const { error } = ended;
    rivalTries = ended.isRival ? rivalTries + 1 : 0;
    const isFinal = ended.isFinal || rivalTries >= RIVAL_TRIES;
    if (isFinal && isFailure(error)) return givenUp(ctx, component, error);
    const hint = isFailure(error) ? error.hint : undefined;
    // What has stored something was well: this failure is a new one.
    if (shown.view().ranges > ranges) pause.reset();
    const fields = { component, again_in_ms: pause.next(), reason: messageOf(error), hint };
    ctx.log.warn('a component can not be followed for now', fields);
    shown.show({ state: 'waiting', error });
    await pause.wait(ctx).catch(() => {}); // the signal is looked at next
  }
  return null;
}

function givenUp(ctx: Context, component: string, error: Failure): Failure {
  ctx.log.error('a component is not followed any more', { component, reason: error.message, hint: error.hint });
  return error;
}

interface Ended {
  readonly error: unknown;
  /** Another one has taken over, or the log forks: going on would spoil the journal. */
  readonly isFinal: boolean;
  /** Another one writes the journal, or the service has another log than it: final if it stays so. */
  readonly isRival: boolean;
}

async function once(
  ctx: Context,
  request: OneRequest,
  copiers: readonly JournalCopier[],
  { view, show }: Shown,
): Promise<Ended> {
  const { item, first, others } = request;
  const closed = new AbortController();
  let barred: Failure | null = null;
  let isRival = false;
  let ofPoint: unknown = null;
  try {
    using linger = lingering(ctx, LINGER_MS);
    await request.look();
    // Opened anew after each failure: what a call that failed has stored is found out so.
    await using writer = await first.store
      .journal(item.name)
      .write(linger.ctx)
      .catch((error: unknown) => {
        // One that can't be seen from here may be gone, and passes by itself then.
        isRival = isFailure(error, 'locked') && error.until === undefined;
        throw error;
      });
    const events: FeedEvents = {
      stored(lineage, entry) {
        for (const each of copiers) each.stored(lineage, entry);
        show({ durable: writer.durable(), ...countedWith(view(), entry), state: 'following', error: null });
      },
      begun() {
        for (const each of copiers) each.more();
        show({ durable: writer.durable() });
      },
      waiting(error) {
        if (error && view().error === null) {
          const hint = isFailure(error) ? error.hint : undefined;
          const fields = { component: item.name, store: first.name, reason: messageOf(error), hint };
          ctx.log.warn('the store takes nothing of a journal for now', fields);
        }
        show({ state: error ? 'waiting' : 'following', error });
      },
      barred: (error) => void (barred = error),
      pointFailed: (error) => void (ofPoint = error),
      takesPoint(takesPoint) {
        if (!takesPoint) for (const each of others) each.owe();
        show({ takesPoint });
      },
    };
    const feed = feedOf({ ...request, writer, lingering: withSignal(linger.ctx, closed.signal), events });
    show({ state: 'following', error: null, durable: writer.durable() });
    if (!item.component.follow) throw new Failure('settings-invalid', `${item.kind} can not be followed`);
    // What a driver has left behind must not write beside the next call.
    await item.component
      .follow(ctx, feed)
      .catch((error: unknown) => {
        isRival = isFailure(error, 'different') && error !== ofPoint;
        throw error;
      })
      .finally(() => closed.abort(new Failure('interrupted', 'the feed has ended')));
    return { error: new Failure('program-failed', `following ${item.name} ended by itself`), isFinal: false, isRival };
  } catch (error) {
    return { error: barred ?? error, isFinal: barred !== null, isRival };
  }
}

function countedWith(view: Omit<FollowView, 'copies'>, entry: JournalEntry): Partial<FollowView> {
  if (!('body' in entry)) return {};
  return { cameAt: entry.at, bytes: view.bytes + entry.body.length, ranges: view.ranges + 1 };
}
