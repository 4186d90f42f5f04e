// What a driver that follows is given: the journal in the first store, and points of its component alone.

import { interruption } from '../core/context.ts';
import { ERRORS, Failure, isFailure } from '../core/errors.ts';
import type { Feed, FeedBase, JournalEntry, JournalWriter, Lineage } from '../core/journal.ts';
import { giveBackMemory } from '../core/memory.ts';
import type { Context } from '../core/model.ts';
import { type BackUpRequest, backUp } from './backup.ts';
import { FOLLOW_PLAN, type FollowStore, pauses } from './follow-views.ts';
import { heldIn, type NamedStore, SAFETY_PLAN, type StackComponent } from './model.ts';
import { canReach } from './replay.ts';

export interface FeedRequest {
  readonly stack: string;
  readonly version?: string | null | undefined;
  readonly item: StackComponent;
  /** Whose journal is fed. */
  readonly first: NamedStore;
  /** That points go to, the first among them. */
  readonly stores: readonly FollowStore[];
  readonly writer: JournalWriter;
  /** Its signal comes some time after who follows is asked to stop, or when the feed has ended. */
  readonly lingering: Context;
  readonly events: FeedEvents;
}
export interface FeedEvents {
  stored(lineage: Lineage, entry: JournalEntry): void;
  begun(): void;
  /** Why nothing can be stored for now; null when it can again. */
  waiting(error: unknown): void;
  /** Nobody may write into this journal any more. */
  barred(error: Failure): void;
  /** What is captured may be different from one look to the next; a log may not. */
  pointFailed(error: unknown): void;
  takesPoint(isTaken: boolean): void;
}

type Capturing = NonNullable<Parameters<Feed['base']>[2]>;

export function feedOf(request: FeedRequest): Feed {
  const { writer, events, item, first, stack } = request;

  /** Makes the call again, as it was, until the store has taken it; whoever is asked to stop waits no longer. */
  async function patiently<T>(ctx: Context, work: (within: Context) => Promise<T>): Promise<T> {
    const pause = pauses();
    for (let isFirst = true; ; isFirst = false) {
      const { signal } = request.lingering;
      if (signal.aborted) throw interruption(signal);
      try {
        const done = await work({ ...ctx, signal });
        if (!isFirst) events.waiting(null);
        return done;
      } catch (error) {
        if (isFailure(error, 'lease-lost') || isFailure(error, 'different')) events.barred(error);
        else if (ctx.signal.aborted) throw interruption(ctx.signal);
        if (!passes(error)) throw error;
        events.waiting(error);
        await pause.wait(ctx);
      }
    }
  }
  async function add(ctx: Context, entry: JournalEntry): Promise<void> {
    const lineage = writer.lineage();
    await patiently(ctx, (within) => ('body' in entry ? writer.append(within, entry) : writer.gap(within, entry)));
    if (lineage) events.stored(lineage, entry);
  }

  const bases = async (ctx: Context): Promise<readonly FeedBase[]> => {
    const found: FeedBase[] = [];
    for await (const point of first.store.list(ctx)) {
      // No window begins with what a restore has saved.
      const isOurs = point.stack === stack && point.plan !== SAFETY_PLAN;
      const journal = isOurs ? heldIn(point, item.name)?.journal : null;
      if (journal) found.push({ point: point.id, ...journal });
    }
    return found;
  };

  return {
    lineage: () => writer.lineage(),
    durable: () => writer.durable(),
    last: (ctx) => writer.last(ctx),
    // Picked one by one: what a driver takes over from another lineage must not make it that one.
    async begin(ctx, { from, base, why, source, parent, detail }) {
      const start = { from, base, why, source, parent, ...(detail === undefined ? {} : { detail }) };
      const begun = await patiently(ctx, (within) => writer.begin(within, start));
      events.begun();
      return begun;
    },
    append: add,
    gap: add,
    read(ctx, position) {
      const { id: lineage = '' } = writer.lineage() ?? {};
      return first.store.journal(item.name).read(ctx, { lineage, position }, null);
    },
    open: (ctx, point) => first.store.open(ctx, point, item.name),
    async base(ctx, why, capture) {
      ctx.log.info('a point is taken to follow from', { component: item.name, why });
      events.takesPoint(true);
      try {
        return await takeBase(ctx, request, capture);
      } catch (error) {
        events.pointFailed(error);
        throw error;
      } finally {
        events.takesPoint(false);
        await giveBackMemory();
      }
    },
    bases,
    async leads(ctx) {
      const [lineage, durable] = [writer.lineage(), writer.durable()];
      if (!lineage || !durable) return false;
      const end = { lineage: lineage.id, position: durable.position };
      return await canReach(ctx, first.store.journal(item.name), end, await bases(ctx));
    },
  };
}

/** What goes by itself, or when somebody has made room. */
function passes(error: unknown): error is Failure {
  if (!isFailure(error) || error.code === 'lease-lost' || error.code === 'interrupted') return false;
  return ERRORS[error.code].retry || error.code === 'no-space';
}

async function takeBase(ctx: Context, request: FeedRequest, capture: Capturing | undefined): Promise<string> {
  const { stack, version, item, first } = request;
  await using undo = new AsyncDisposableStack();
  const stores: NamedStore[] = [];
  const unopened: { name: string; error: unknown }[] = [];
  for (const each of request.stores) {
    try {
      stores.push(undo.use(await each.open(ctx)));
    } catch (error) {
      if (ctx.signal.aborted || each.name === first.name) throw error;
      unopened.push({ name: each.name, error });
    }
  }
  const components: BackUpRequest['components'] = [capture ? withCapture(item, capture) : item];
  const done = await backUp(ctx, { stack, version, plan: FOLLOW_PLAN, components, stores, unopened });
  for (const text of done.warnings) ctx.log.info('a point was taken with a warning', { component: item.name, text });
  const [failed] = done.failures;
  if (failed || !done.point) throw failed?.error ?? new Error('a point without a failure is there');
  // A log is of use where its point is: it is owed this one, and another is taken.
  const there = done.stores.find(({ name }) => name === first.name);
  if (there?.error) throw there.error;
  return done.point.id;
}

function withCapture(item: StackComponent, capture: Capturing): StackComponent {
  let isTaken = false;
  return {
    ...item,
    component: {
      ...item.component,
      async capture(ctx, sink) {
        if (isTaken) throw new Failure('nothing-captured', 'the copy that came with the log could not be stored');
        isTaken = true; // it comes once
        return await capture(ctx, sink);
      },
    },
  };
}
