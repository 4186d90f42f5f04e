// What of an earlier capture still holds, so that only what came since is read.

import { isFailure } from '../../core/errors.ts';
import type { Context, InventoryLevel, Source } from '../../core/model.ts';
import type { Cluster } from './cluster.ts';
import type { DescribedTopic } from './describe.ts';
import { factsOf, isCompacted } from './facts.ts';
import { type Range, type RangeList, rangesOf } from './ranges.ts';
import { type Ends, stillHas } from './topics.ts';

/** A last range that is smaller is read again with what came since, so that there are never many small ones. */
const TAIL_BYTES_MIN = 4 * 1024 * 1024;

export interface Earlier extends AsyncDisposable {
  readonly source: Source;
  readonly ranges: RangeList;
  /** Those whose records only come and go at the ends, by name. */
  readonly topicIds: ReadonlyMap<string, string>;
}

/** Null when there is none that can be used: all is read then. */
export async function earlierOf(ctx: Context, source: Source | undefined): Promise<Earlier | null> {
  if (!source) return null;
  try {
    const { topics } = await factsOf(ctx, source);
    const plain = topics.filter(({ configs }) => !isCompacted(configs));
    const topicIds = new Map(plain.map(({ name, id }) => [name, id]));
    const ranges = await rangesOf(ctx, source);
    return { source, ranges, topicIds, [Symbol.asyncDispose]: () => ranges[Symbol.asyncDispose]() };
  } catch (error) {
    if (!isFailure(error, 'missing') && !isFailure(error, 'malformed')) throw error;
    ctx.log.info('the earlier point is of no use to this capture', { point: source.point, reason: error.message });
    return null;
  }
}

/** Some of the ranges of a partition, by their places among all of it. */
export interface Kept {
  readonly from: number;
  readonly to: number;
}
export const NOTHING_KEPT: Kept = { from: 0, to: 0 };

/** The ranges that hold as they are, with no gap between them, and where they stand. */
export async function keptRanges(
  ctx: Context,
  cluster: Cluster,
  earlier: Earlier | null,
  topic: DescribedTopic,
  { partition, ends, level }: { partition: number; ends: Ends; level: InventoryLevel },
): Promise<{ kept: Kept; ranges: readonly Range[] }> {
  const at = { topic: topic.name, partition };
  const none = { kept: NOTHING_KEPT, ranges: [] };
  if (!earlier || topic.isCompacted || earlier.topicIds.get(topic.name) !== topic.id) return none;
  const all = await earlier.ranges.of(at);
  const newest = all.at(-1);
  if (!newest || newest.last >= ends.stable) return none;
  if (level === 'full' && all.some(({ chain }) => chain === null)) return none;
  if (!(await stillHas(ctx, cluster, at, { epoch: newest.epoch, end: newest.last + 1 }))) return none;
  const from = all.filter(({ first }) => first < ends.start).length;
  const grows = ends.stable > newest.last + 1;
  const to = Math.max(from, grows && newest.bytes < TAIL_BYTES_MIN ? all.length - 1 : all.length);
  return { kept: { from, to }, ranges: all.slice(from, to) };
}
