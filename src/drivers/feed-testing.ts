// What tests of following are made of: a journal in a real store, and a feed of it as one engine process has it.

import { until } from '../../test/servers/processes.ts';
import { memoryBucket } from '../buckets/memory/bucket.ts';
import type { Component, Replay, ReplayTarget } from '../core/component.ts';
import { interruption, withSignal } from '../core/context.ts';
import { ERRORS, Failure, isFailure } from '../core/errors.ts';
import type { Feed, FeedBase, JournalGap, JournalRange } from '../core/journal.ts';
import type { Context, Cut, JournalPoint, Source } from '../core/model.ts';
import type { Store } from '../core/storage.ts';
import { captured } from '../core/testing.ts';
import { canReach, replayOf } from '../engine/replay.ts';
import { createStore, openStore } from '../stores/restic/testing.ts';
import { pointOf } from '../stores/suite/rig.suite.ts';

const COMPONENT = 'it';
const POLL_MS = 50;
const REACHED_MS = 120_000;

/** A store with the journal of one component, and the points of it. */
export interface Recording extends AsyncDisposable {
  readonly store: Store;
  /** With where they join, oldest first. */
  readonly points: readonly FeedBase[];
  /** Ids of all points, also of those that join nothing. */
  readonly taken: readonly string[];
  base(ctx: Context, component: Component): Promise<string>;
  /** Follows while the work goes on; then it is killed, and so is what it had begun. */
  follow(ctx: Context, component: Component, work: () => Promise<void>, options?: FollowOptions): Promise<void>;
  /** All up to now is stored, and there is a point that it is replayed on. */
  reached(ctx: Context): Promise<void>;
}
export interface FollowOptions {
  /** Before a piece is stored: throws what a store would, and is asked again when that may pass. */
  readonly before?: (piece: JournalRange | JournalGap) => Promise<void> | void;
}

export async function recording(ctx: Context): Promise<Recording> {
  const bucket = memoryBucket();
  await createStore(ctx, bucket);
  const store: Store = await openStore(ctx, bucket);
  const points: FeedBase[] = [];
  const taken: string[] = [];
  let end: () => Cut | null = () => null;
  const base = async (within: Context, component: Component): Promise<string> => {
    const { point, journal } = await takePoint(within, store, component, taken.length + 1);
    taken.push(point);
    if (journal) points.push({ ...journal, point });
    return point;
  };
  return {
    store,
    points,
    taken,
    base,
    async follow(outer, component, work, { before } = {}) {
      const stop = new AbortController();
      await using writer = await store.journal(COMPONENT).write(outer);
      end = () => writer.durable();
      const feed: Feed = {
        lineage: () => writer.lineage(),
        durable: () => writer.durable(),
        last: (c) => writer.last(c),
        begin: (c, start) => writer.begin(c, start),
        append: (c, range) => patiently(c, range, before, () => writer.append(c, range)),
        gap: (c, gap) => patiently(c, gap, before, () => writer.gap(c, gap)),
        base: (c) => base(c, component),
        bases: async () => points,
        async leads(c) {
          const [lineage, durable] = [writer.lineage(), writer.durable()];
          if (!lineage || !durable) return false;
          const place = { lineage: lineage.id, position: durable.position };
          return await canReach(c, store.journal(COMPONENT), place, points);
        },
        read(c, position) {
          const { id = '' } = writer.lineage() ?? {};
          return store.journal(COMPONENT).read(c, { lineage: id, position }, null);
        },
        open: (c, point) => store.open(c, point, COMPONENT),
      };
      const following = component.follow?.(withSignal(outer, stop.signal), feed).catch((error: unknown) => {
        if (!isFailure(error, 'interrupted')) throw error;
      });
      try {
        await Promise.race([work(), following]);
      } finally {
        stop.abort();
        await following;
        end = () => null;
      }
    },
    async reached(outer) {
      await until('a point', REACHED_MS, async () => points.length > 0);
      const now = outer.now().toISOString();
      await until('all of it in the journal', REACHED_MS, async () => (end()?.at ?? '') > now);
    },
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

/** Into a store that is away now and then, and full after fewer than so many pieces: that kills it. */
export async function followTillFull(
  ctx: Context,
  record: Recording,
  component: Component,
  { random, piecesMax, work }: { random: () => number; piecesMax: number; work: () => Promise<void> },
): Promise<void> {
  let left = Math.floor(random() * piecesMax);
  const before = async (): Promise<void> => {
    if (random() < 0.3) throw new Failure('unreachable', 'the store is away');
    if (left-- <= 0) throw new Failure('no-space', 'the store is full');
  };
  const quick = { ...ctx, sleep: (ms: number) => ctx.sleep(Math.min(ms, 100)) };
  const working = work(); // it goes on when the store is full
  await record
    .follow(quick, component, () => working, { before })
    .catch((error: unknown) => {
      if (!isFailure(error, 'no-space')) throw error;
    });
  await working;
}

/** As the engine's feed: what may pass is asked for again as it was. */
async function patiently(
  ctx: Context,
  piece: JournalRange | JournalGap,
  before: FollowOptions['before'],
  store: () => Promise<void>,
): Promise<void> {
  for (;;) {
    try {
      await before?.(piece);
      return await store();
    } catch (error) {
      if (ctx.signal.aborted) throw interruption(ctx.signal);
      if (!isFailure(error) || !ERRORS[error.code].retry) throw error;
    }
    await ctx.sleep(POLL_MS);
  }
}

async function takePoint(
  ctx: Context,
  store: Store,
  component: Component,
  day: number,
): Promise<{ point: string; journal: JournalPoint | null }> {
  const id = `2026-01-${String(day).padStart(2, '0')}-020000`;
  await using draft = await store.begin(ctx, id, { stack: 'shop', components: [{ name: COMPONENT, kind: 'kv' }] });
  const sink = draft.sink(COMPONENT);
  const { journal = null } = await component.capture(ctx, sink);
  const receipt = await sink.receipt(ctx);
  const components = { [COMPONENT]: captured({ journal }) };
  await store.commit(ctx, draft, { ...pointOf(id, [receipt]), components }, [receipt]);
  return { point: id, journal };
}

/** What a restore of the newest point, or of that one, is given. */
export async function chainOf(
  ctx: Context,
  { store, points }: Recording,
  target: ReplayTarget,
  point?: string,
): Promise<{ base: Source; replay: Replay }> {
  const base = points.find((each) => each.point === point) ?? points.at(-1);
  if (!base) throw new Error('there is no point');
  const replay = await replayOf(ctx, store.journal(COMPONENT), base, target);
  return { base: await store.open(ctx, base.point, COMPONENT), replay };
}

/** Of all lineages, in order: 'lineage: from-to', or why there is nothing. */
export async function stretchesOf(ctx: Context, { store }: Recording): Promise<string[]> {
  const stretches = await Array.fromAsync(store.journal(COMPONENT).stretches(ctx));
  return stretches.map(({ lineage, gap, ranges }) => `${Number(lineage.id)}: ${gap ?? (ranges > 0 ? 'ranges' : '')}`);
}

export async function rangesOf(ctx: Context, { store }: Recording): Promise<JournalRange[]> {
  const all: JournalRange[] = [];
  for await (const { id, from } of store.journal(COMPONENT).lineages(ctx)) {
    const at = { lineage: id, position: from.position };
    for await (const range of store.journal(COMPONENT).read(ctx, at, null)) {
      all.push({ ...range, body: Buffer.from(range.body) });
    }
  }
  return all;
}

/** Numbers from 0 to 1. */
export function randomOf(seed: number): () => number {
  let state = seed + 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}
