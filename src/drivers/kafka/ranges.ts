// The parts that hold a partition's records: each is a piece of its log, from one offset to another. What they hold is
// listed in ranges.ndjson, so that the next capture keeps them unread.

import { batched, lineBatchesOf } from '../../core/bytes.ts';
import { shapedLine } from '../../core/inventory.ts';
import type { Context, Sink, Source } from '../../core/model.ts';
import type { PartitionName } from './cluster.ts';
import type { Chain } from './hash.ts';
import { chainFrom, hexOf } from './hash.ts';

const RANGES_PART = 'ranges.ndjson';

export interface Range {
  readonly part: string;
  readonly topic: string;
  readonly partition: number;
  /** Of records before it nothing counts, even if the first batch has some. */
  readonly first: number;
  readonly last: number;
  readonly records: number;
  readonly bytes: number;
  /** Of the leader that wrote the last batch. */
  readonly epoch: number;
  readonly largestBatch: number;
  /** The latest of its records. */
  readonly maxTime: number;
  readonly chain: Chain | null;
}

/** '00000000000000000000.log', as the brokers name their segments. */
export function partName(topic: string, partition: number, first: number): string {
  return `topics/${topic}/${partition}/${String(first).padStart(20, '0')}.log`;
}

export async function putRanges(ctx: Context, sink: Sink, ranges: readonly Range[]): Promise<void> {
  async function* lines(): AsyncIterable<string> {
    for (const range of ranges) yield `${JSON.stringify(lineOf(range))}\n`;
  }
  await sink.put(ctx, RANGES_PART, batched(lines()));
}

/** By partition, in order of offset. */
export type RangeIndex = ReadonlyMap<string, readonly Range[]>;

export async function rangesOf(ctx: Context, source: Source): Promise<RangeIndex> {
  const index = new Map<string, Range[]>();
  const what = `${RANGES_PART} of ${source.point}/${source.component}`;
  for await (const texts of lineBatchesOf(source.get(ctx, RANGES_PART))) {
    for (const text of texts) {
      if (text === '') continue;
      const range = shapedLine(text, rangeFrom, what);
      const key = partitionKey(range);
      const there = index.get(key);
      if (there) there.push(range);
      else index.set(key, [range]);
    }
  }
  for (const ranges of index.values()) ranges.sort((a, b) => a.first - b.first);
  return index;
}

export function partitionKey({ topic, partition }: PartitionName): string {
  return `${topic}/${partition}`;
}

function lineOf({ chain, largestBatch, maxTime, ...range }: Range): object {
  const more = { largest_batch: largestBatch, max_time: maxTime };
  return { ...range, ...more, digest: chain && hexOf(chain) };
}

function rangeFrom(value: unknown): Range | null {
  if (typeof value !== 'object' || value === null) return null;
  const { part, topic, digest, ...numbers }: Record<string, unknown> = { ...value };
  if (typeof part !== 'string' || typeof topic !== 'string') return null;
  if (digest !== null && typeof digest !== 'string') return null;
  const of = (name: string): number => (Number.isFinite(numbers[name]) ? Number(numbers[name]) : Number.NaN);
  const range = {
    part,
    topic,
    partition: of('partition'),
    first: of('first'),
    last: of('last'),
    records: of('records'),
    bytes: of('bytes'),
    epoch: of('epoch'),
    largestBatch: of('largest_batch'),
    maxTime: of('max_time'),
  };
  if (Object.values(range).some((each) => Number.isNaN(each))) return null;
  const chain = digest === null ? null : chainFrom(range.records, digest);
  return digest !== null && chain === null ? null : { ...range, chain };
}
