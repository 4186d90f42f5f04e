// What of an earlier capture still holds, so that only what came since is read.

import { isFailure } from '../../core/errors.ts';
import type { Context, InventoryLevel, Source } from '../../core/model.ts';
import type { Cluster } from './cluster.ts';
import type { DescribedTopic } from './describe.ts';
import { factsOf, isCompacted } from './facts.ts';
import { partitionKey, type Range, type RangeIndex, rangesOf } from './ranges.ts';
import { type Ends, stillHas } from './topics.ts';

/** A last range that is smaller is read again with what came since, so that there are never many small ones. */
const TAIL_BYTES_MIN = 4 * 1024 * 1024;

export interface Earlier {
  readonly source: Source;
  readonly ranges: RangeIndex;
  /** Those whose records only come and go at the ends, by name. */
  readonly topicIds: ReadonlyMap<string, string>;
}

/** Null when there is none that can be used: all is read then. */
export async function earlierOf(ctx: Context, source: Source | undefined): Promise<Earlier | null> {
  if (!source) return null;
  try {
    const { topics } = await factsOf(ctx, source);
    const plain = topics.filter(({ configs }) => !isCompacted(configs));
    return { source, ranges: await rangesOf(ctx, source), topicIds: new Map(plain.map(({ name, id }) => [name, id])) };
  } catch (error) {
    if (!isFailure(error, 'missing') && !isFailure(error, 'malformed')) throw error;
    ctx.log.info('the earlier point is of no use to this capture', { point: source.point, reason: error.message });
    return null;
  }
}

/** The ranges that hold as they are, with no gap between them. */
export async function keptRanges(
  ctx: Context,
  cluster: Cluster,
  earlier: Earlier | null,
  topic: DescribedTopic,
  { partition, ends, level }: { partition: number; ends: Ends; level: InventoryLevel },
): Promise<readonly Range[]> {
  const at = { topic: topic.name, partition };
  if (!earlier || topic.isCompacted || earlier.topicIds.get(topic.name) !== topic.id) return [];
  const all = earlier.ranges.get(partitionKey(at)) ?? [];
  const newest = all.at(-1);
  if (!newest || newest.last >= ends.stable || (level === 'full' && all.some(({ chain }) => chain === null))) return [];
  if (!(await stillHas(ctx, cluster, at, { epoch: newest.epoch, end: newest.last + 1 }))) return [];
  const whole = all.filter(({ first }) => first >= ends.start);
  const grows = ends.stable > newest.last + 1;
  return grows && newest.bytes < TAIL_BYTES_MIN ? whole.slice(0, -1) : whole;
}
