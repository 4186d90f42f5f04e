// The records of one partition, from one offset to another, as committed: what transactions gave up is left out, and
// so are the marks of their ends.

import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { type Batch, batchesIn, isAbort, isWhole } from './batches.ts';
import type { Cluster } from './cluster.ts';
import { type Aborted, type Fetched, fetchBatches } from './protocol.ts';
import { nameOf, refuse } from './refusals.ts';
import { startOf } from './topics.ts';

/** A batch that is larger comes alone. */
const FETCH_BYTES = 4 * 1024 * 1024;
const OFFSET_OUT_OF_RANGE = 1;

export interface Log {
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
}

/** Some batches that came together. Their bytes stay as they are. */
export type Batches = readonly Batch[];

/**
 * Up to the offset before `to`, which must be stable. The topic's end while it is read is 'missing'; records that are
 * gone already are 'source-damaged' unless `onGone` wants to know where the log now begins.
 */
export async function* readLog(
  ctx: Context,
  cluster: Cluster,
  log: Log,
  { from, to, onGone }: { from: number; to: number; onGone?: (start: number) => void },
): AsyncIterable<Batches> {
  if (from >= to) return;
  const what = `${log.topic}/${log.partition}`;
  let largest = FETCH_BYTES;
  let taken = 0;
  let isOver = false;
  const ask = async (offset: number): Promise<Fetched> => {
    const reserved = largest;
    await cluster.memory.take(reserved);
    taken += reserved;
    if (isOver) done(reserved);
    const fetched = await fetchFrom(ctx, cluster, log, offset);
    const { length } = fetched.records;
    if (isOver) return fetched; // nobody looks at it
    largest = Math.max(largest, length);
    cluster.memory.add(length - reserved);
    taken += length - reserved;
    return fetched;
  };
  const done = (bytes: number): void => {
    cluster.memory.give(bytes);
    taken -= bytes;
  };
  try {
    yield* readAnswers(ctx, cluster, { what, log, from, to, onGone, ask, done });
  } finally {
    isOver = true;
    done(taken);
  }
}

interface Reading {
  readonly what: string;
  readonly log: Log;
  readonly from: number;
  readonly to: number;
  readonly onGone: ((start: number) => void) | undefined;
  readonly ask: (offset: number) => Promise<Fetched>;
  /** So many bytes are not held any more. */
  readonly done: (bytes: number) => void;
}

async function* readAnswers(
  ctx: Context,
  cluster: Cluster,
  { what, log, from, to, onGone, ask, done }: Reading,
): AsyncIterable<Batches> {
  let next = ask(from);
  next.catch(() => undefined);
  let emptySince: number | null = null;
  for (let at = from; at < to; ) {
    const fetched = await next;
    const { length } = fetched.records;
    if (fetched.errorCode === OFFSET_OUT_OF_RANGE) {
      const start = await startOf(ctx, cluster, log);
      if (start <= at || !onGone) throw gone(cluster, what, at);
      onGone(start);
      at = start;
      if (at >= to) return;
      done(length);
      next = ask(at);
      continue;
    }
    const all = [...batchesIn(fetched.records, what)].filter(({ last }) => last >= at);
    const wanted = all.filter(({ first }) => first < to);
    const end = wanted.at(-1)?.last;
    if (end === undefined) {
      if (all.length > 0) return; // compaction has taken what was there before `to`
      emptySince ??= ctx.monotonicMs();
      if (ctx.monotonicMs() - emptySince > cluster.timeoutMs) {
        throw new Failure('source-damaged', `${cluster.where}: ${what} gives no records from offset ${at} up to ${to}`);
      }
      done(length);
      next = ask(at);
      continue;
    }
    emptySince = null;
    at = end + 1;
    if (at < to) {
      next = ask(at); // on its way while these are looked at
      next.catch(() => undefined);
    }
    // Brokers give what lies on their disks without a look at it.
    for (const batch of wanted) if (!isWhole(batch)) throw damaged(cluster, what, batch.first);
    yield committed(wanted, fetched.aborted);
    done(length);
  }
}

async function fetchFrom(ctx: Context, cluster: Cluster, log: Log, offset: number): Promise<Fetched> {
  const { topic, topicId, partition } = log;
  return await cluster.onLeader(ctx, log, `read topic ${topic}`, async (connection, { leaderEpoch }) => {
    if (cluster.layout().topics.get(topic)?.id !== topicId) {
      throw new Failure('missing', `${cluster.where}: topic ${topic} was deleted while it was read`);
    }
    const from = { topicId, partition, offset, leaderEpoch, bytesMax: FETCH_BYTES };
    const fetched = await fetchBatches(connection, from);
    if (fetched.errorCode !== OFFSET_OUT_OF_RANGE) refuse(fetched.errorCode);
    return fetched;
  });
}

/** As a consumer does it: a transaction that was given up lasts from its first record to the mark of its end. */
function committed(batches: Batches, aborted: readonly Aborted[]): Batches {
  const coming = aborted.toSorted((a, b) => a.first - b.first);
  const inAborted = new Set<bigint>();
  let at = 0;
  return batches.filter((batch) => {
    for (let each = coming[at]; each && each.first <= batch.last; each = coming[++at]) inAborted.add(each.producerId);
    if (batch.isControl) {
      if (isAbort(batch)) inAborted.delete(batch.producerId);
      return false;
    }
    return batch.count > 0 && !(batch.isTransactional && inAborted.has(batch.producerId));
  });
}

function gone(cluster: Cluster, what: string, at: number): Failure {
  const reason = nameOf(OFFSET_OUT_OF_RANGE);
  return new Failure('source-damaged', `${cluster.where}: ${what} has no offset ${at} any more: ${reason}`);
}

function damaged(cluster: Cluster, what: string, at: number): Failure {
  const why = `the batch at offset ${at} does not match its check sum`;
  return new Failure('source-damaged', `${cluster.where}: ${what}: ${why}`, {
    hint: 'look into the log of the broker; a replica of the partition may be whole',
  });
}
