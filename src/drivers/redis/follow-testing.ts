// A journal in a real store, points in memory, and replays of both: what an engine gives to who follows and restores.

import assert from 'node:assert/strict';
import { memoryBucket } from '../../buckets/memory/bucket.ts';
import type { Chain, Component, ReplayTarget } from '../../core/component.ts';
import { isFailure } from '../../core/errors.ts';
import type { Feed, FeedBase, Journal, JournalWriter, Lineage } from '../../core/journal.ts';
import type { Capture, Context, Source } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { memoryParts } from '../../core/testing.ts';
import { canReach, replayOf } from '../../engine/replay.ts';
import { plainFormat } from '../../stores/plain/store.ts';

const COMPONENT = 'cache';

export interface Point {
  readonly id: string;
  readonly why: string;
  readonly source: Source;
  readonly capture: Capture;
}
export interface Keeper {
  readonly journal: Journal;
  readonly points: Point[];
  /** Follows until it is stopped; rejects with what else ended it. */
  follow(ctx: Context, component: Component): Following;
  /** Takes a point as a backup does. */
  capture(ctx: Context, component: Component, why?: string): Promise<Point>;
  lineages(ctx: Context): Promise<readonly Lineage[]>;
  /** What a restore is given: the point, and the log behind it. */
  chain(ctx: Context, point: Point, target: ReplayTarget): Promise<Chain>;
}
export interface Following {
  readonly ended: Promise<void>;
  /** Null before there is any. */
  durable(): string | null;
  stop(): Promise<void>;
}

/** `committing`: awaited before a point counts. */
export async function keeper(
  ctx: Context,
  bucket: Bucket = memoryBucket(),
  { committing = async () => {} }: { committing?: () => Promise<void> } = {},
): Promise<Keeper> {
  const settings = { stack: 'test', layout: 'dated' };
  await plainFormat.create(ctx, bucket, settings);
  const store = await plainFormat.open(ctx, bucket, settings);
  const journal = store.journal(COMPONENT);
  const points: Point[] = [];

  async function take(why: string, capture: (sink: ReturnType<typeof memoryParts>['sink']) => Promise<Capture>) {
    const id = `point-${points.length + 1}`;
    const { sink, source } = memoryParts(COMPONENT, id);
    const point = { id, why, source, capture: await capture(sink) };
    await committing();
    points.push(point);
    return point;
  }
  const lineages = async (within: Context): Promise<Lineage[]> => await Array.fromAsync(journal.lineages(within));
  function feedOf(component: Component, writer: JournalWriter): Feed {
    return {
      ...writer,
      // As engines do: after the signal, too, and until the store takes it.
      async append(within, range) {
        for (;;) {
          try {
            return await writer.append(ctx, range);
          } catch (error) {
            if (!isFailure(error, 'unreachable') || within.signal.aborted) throw error;
            await ctx.sleep(100);
          }
        }
      },
      read: () => assert.fail('the server keeps where we are'),
      open: () => assert.fail('nothing of a point is needed'),
      async base(within, why, capture = component.capture) {
        return (await take(why, (sink) => capture(within, sink))).id;
      },
      bases: async () => bases(),
      async leads(within) {
        const [lineage, durable] = [writer.lineage(), writer.durable()];
        if (!lineage || !durable) return false;
        return await canReach(within, journal, { lineage: lineage.id, position: durable.position }, bases());
      },
    };
  }
  const bases = (): FeedBase[] =>
    points.flatMap(({ id, capture }) => (capture.journal ? [{ point: id, ...capture.journal }] : []));
  return {
    journal,
    points,
    lineages,
    capture: (within, component, why = 'a backup') => take(why, (sink) => component.capture(within, sink)),
    follow(within, component) {
      const stop = new AbortController();
      let writing: JournalWriter | null = null;
      const run = async (): Promise<void> => {
        await using writer = await journal.write(within);
        writing = writer;
        const inner = { ...within, signal: stop.signal };
        await component.follow?.(inner, feedOf(component, writer));
      };
      const ended = run();
      ended.catch(() => {}); // told to who waits for it
      return {
        ended,
        durable: () => writing?.durable()?.position ?? null,
        async stop() {
          stop.abort();
          await ended.catch((error: unknown) => assert.ok(isFailure(error, 'interrupted'), `${error}`));
        },
      };
    },
    async chain(within, { source, capture: { journal: joined } }, target) {
      assert.ok(joined);
      return { base: source, replay: await replayOf(within, journal, joined, target) };
    },
  };
}
