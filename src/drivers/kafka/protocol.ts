// Reading and writing record batches as they are: the library's own calls take them apart.

import { type Connection, createAPI, fetchV13, type Reader, Writer } from '@platformatic/kafka';
import type { PartitionName } from './cluster.ts';

const READ_COMMITTED = 1;
const NO_SESSION = 0;
const SESSION_EPOCH_NONE = -1;
const WAIT_MS = 500;
const UNKNOWN_EPOCH = -1;
const ACKS_ALL = -1;
const FETCH = 1;
const PRODUCE = 0;

export interface Aborted {
  readonly producerId: bigint;
  readonly first: number;
}
export interface Fetched {
  readonly errorCode: number;
  readonly lastStable: number;
  readonly logStart: number;
  readonly aborted: readonly Aborted[];
  /** Batches one after another, the last one perhaps cut off. */
  readonly records: Buffer;
}

const fetchApi = createAPI<Parameters<typeof fetchV13.createRequest>, Fetched>(
  FETCH,
  13,
  fetchV13.createRequest,
  (_correlation, _key, _version, reader) => parseFetched(reader),
);

export interface FetchFrom {
  readonly topicId: string;
  readonly partition: number;
  readonly offset: number;
  readonly leaderEpoch: number;
  readonly bytesMax: number;
}

/** Records of one partition, of committed transactions and of aborted ones, up to the last stable offset. */
export async function fetchBatches(connection: Connection, from: FetchFrom): Promise<Fetched> {
  const partition = {
    partition: from.partition,
    currentLeaderEpoch: from.leaderEpoch,
    fetchOffset: BigInt(from.offset),
    lastFetchedEpoch: UNKNOWN_EPOCH,
    partitionMaxBytes: from.bytesMax,
  };
  const topics = [{ topicId: from.topicId, partitions: [partition] }];
  const session = [NO_SESSION, SESSION_EPOCH_NONE] as const;
  return await fetchApi.async(connection, WAIT_MS, 1, from.bytesMax, READ_COMMITTED, ...session, topics, [], '');
}

function parseFetched(reader: Reader): Fetched {
  reader.readInt32(); // throttled for so long
  const errorCode = reader.readInt16();
  reader.readInt32(); // session
  let found: Fetched = { errorCode, lastStable: -1, logStart: -1, aborted: [], records: Buffer.alloc(0) };
  reader.readArray((topic) => {
    topic.readUUID();
    topic.readArray((partition) => {
      found = parsePartition(partition, errorCode);
    });
  });
  return found;
}

function parsePartition(reader: Reader, outer: number): Fetched {
  reader.readInt32(); // partition
  const own = reader.readInt16();
  const errorCode = outer === 0 ? own : outer;
  reader.readInt64(); // high watermark
  const lastStable = Number(reader.readInt64());
  const logStart = Number(reader.readInt64());
  const aborted = reader.readNullableArray((each) => {
    return { producerId: each.readInt64(), first: Number(each.readInt64()) };
  });
  reader.readInt32(); // preferred replica
  const length = reader.readUnsignedVarInt() - 1; // as compact lengths are
  const records =
    length > 0 ? reader.buffer.subarray(reader.position, reader.position + length).buffer : Buffer.alloc(0);
  if (length > 0) reader.skip(length);
  return { errorCode, lastStable, logStart, aborted: aborted ?? [], records };
}

export interface Produced {
  readonly errorCode: number;
  readonly message: string | null;
  readonly baseOffset: number;
}

const produceApi = createAPI<[topic: string, partition: number, batch: Buffer, timeoutMs: number], Produced>(
  PRODUCE,
  9,
  (topic: string, partition: number, batch: Buffer, timeoutMs: number) =>
    Writer.create()
      .appendString(null) // no transaction
      .appendInt16(ACKS_ALL)
      .appendInt32(timeoutMs)
      .appendArray([partition], (writer) => {
        writer.appendString(topic).appendArray([partition], (inner) => {
          inner
            .appendInt32(partition)
            .appendUnsignedVarInt(batch.length + 1)
            .append(batch);
        });
      })
      .appendTaggedFields(),
  (_correlation, _key, _version, reader) => parseProduced(reader),
);

/** One batch, taken by all replicas that are in step. */
export async function produceBatch(
  connection: Connection,
  { topic, partition }: PartitionName,
  batch: Buffer,
  timeoutMs: number,
): Promise<Produced> {
  return await produceApi.async(connection, topic, partition, batch, timeoutMs);
}

function parseProduced(reader: Reader): Produced {
  let produced: Produced = { errorCode: -1, message: null, baseOffset: -1 };
  reader.readArray((topic) => {
    topic.readString();
    topic.readArray((partition) => {
      partition.readInt32();
      const errorCode = partition.readInt16();
      const baseOffset = Number(partition.readInt64());
      partition.readInt64(); // time of appending
      partition.readInt64(); // start of the log
      const reasons = partition.readArray((record) => {
        record.readInt32();
        return record.readNullableString();
      });
      const message = partition.readNullableString() ?? reasons.find((reason) => reason !== null) ?? null;
      produced = { errorCode, message, baseOffset };
    });
  });
  return produced;
}
