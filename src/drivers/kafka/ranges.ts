// The parts that hold a partition's records: each is a piece of its log, from one offset to another. What they hold is
// listed in ranges.ndjson, so that the next capture keeps them unread.

import { batched, lineBatchesOf } from '../../core/bytes.ts';
import { shapedLine } from '../../core/inventory.ts';
import type { Bytes, Context, Sink, Source } from '../../core/model.ts';
import { type Place, spool } from '../../core/spool.ts';
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

/** They wait in a scratch file: a large cluster has a million, and only those of some partitions are needed at once. */
export interface RangeList extends AsyncDisposable {
  add(at: PartitionName, ranges: readonly Range[]): Promise<void>;
  /** In order of offset. Nothing is added any more. */
  of(at: PartitionName): Promise<readonly Range[]>;
  /** As they are stored. Nothing is added any more. */
  body(partitions: readonly PartitionName[]): Bytes;
}

export function rangeList({ scratch }: Pick<Context, 'scratch'>): RangeList {
  const texts = spool(scratch, 'the list of pieces');
  const places = new Map<string, Place[]>();
  async function* bodyOf(at: PartitionName): Bytes {
    for (const place of places.get(partitionKey(at)) ?? []) yield* texts.body(place);
  }
  return {
    async add(at, ranges) {
      const key = partitionKey(at);
      const there = places.get(key) ?? [];
      places.set(key, there);
      for (const range of ranges) {
        const { at: from, bytes } = await texts.add(`${JSON.stringify(lineOf(range))}\n`);
        const last = there.at(-1);
        if (last && last.at + last.bytes === from) there.splice(-1, 1, { at: last.at, bytes: last.bytes + bytes });
        else there.push({ at: from, bytes });
      }
    },
    async of(at) {
      const ranges: Range[] = [];
      for await (const lines of lineBatchesOf(bodyOf(at))) {
        for (const line of lines) if (line !== '') ranges.push(shapedLine(line, rangeFrom, 'the list of pieces'));
      }
      return ranges.sort((a, b) => a.first - b.first);
    },
    async *body(partitions) {
      for (const at of partitions) yield* bodyOf(at);
    },
    [Symbol.asyncDispose]: () => texts[Symbol.asyncDispose](),
  };
}

export async function putRanges(
  ctx: Context,
  sink: Sink,
  list: RangeList,
  partitions: readonly PartitionName[],
): Promise<void> {
  await sink.put(ctx, RANGES_PART, batched(list.body(partitions)));
}

export async function rangesOf(ctx: Context, source: Source): Promise<RangeList> {
  await using undo = new AsyncDisposableStack();
  const list = undo.use(rangeList(ctx));
  const what = `${RANGES_PART} of ${source.point}/${source.component}`;
  for await (const texts of lineBatchesOf(source.get(ctx, RANGES_PART))) {
    for (const text of texts) {
      if (text === '') continue;
      const range = shapedLine(text, rangeFrom, what);
      await list.add(range, [range]);
    }
  }
  undo.move();
  return list;
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
