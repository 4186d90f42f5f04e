// The journal on top of a point: what a cluster is to have at the moment that is wanted, and the records up to it.

import type { Replay, ReplayTarget } from '../../../core/component.ts';
import { Failure } from '../../../core/errors.ts';
import type { JournalRange } from '../../../core/journal.ts';
import type { Context, Cut } from '../../../core/model.ts';
import { cutAt, isMoment, noSuchTarget } from '../../../core/moments.ts';
import { mapBounded } from '../../../core/parallel.ts';
import { type Batch, batchesIn, eachRecord, isWhole, recordsOf } from '../batches.ts';
import type { ClusterFacts, TopicFacts } from '../facts.ts';
import { type Loaded, type LoadWork, malformed, sendPieces } from '../load.ts';
import { partitionKey } from '../ranges.ts';
import { type Header, type LoggedPiece, readRange } from './format.ts';
import { applyChanges, emptyState, logKey, type State } from './state.ts';

/**
 * How much of a range counts: a round that was over counts as a whole. Of the round that the moment lies in, each
 * partition gets its records in order up to the first whose own time is later, and what else changed is left out.
 */
type Reach = 'all' | 'nothing' | { readonly untilMs: number };

function reachOf(target: ReplayTarget): (head: Header, range: JournalRange) => Reach {
  if (target.kind === 'latest') return () => 'all';
  if (target.kind === 'position' && isMoment(target.value)) {
    return (_head, { to }) => (to.position <= target.value ? 'all' : 'nothing');
  }
  if (target.kind !== 'time') throw noSuchTarget(target, 'kafka');
  const ms = Date.parse(target.at);
  return ({ round: [from, to] }) => (to <= ms ? 'all' : from >= ms ? 'nothing' : { untilMs: ms });
}

/** Up to which offset of each log all records are known. */
interface Coverage {
  readonly of: (log: { readonly id: string; readonly partition: number }) => number | undefined;
  /** 'missing' where records lie between what is known and what comes. */
  take(head: Header): void;
}

function coverageOf({ topics }: ClusterFacts): Coverage {
  const known = new Map<string, number>();
  for (const { id, partitions } of topics) {
    for (const { partition, end } of partitions) known.set(logKey({ id, partition }), end);
  }
  const reach = (name: string, log: { id: string; partition: number }, from: number, to: number): void => {
    const before = known.get(logKey(log));
    if (before !== undefined && before < from) {
      const what = `the records of ${name}/${log.partition} from offset ${before} to ${from - 1}`;
      throw new Failure('missing', `${what} are neither in the point nor in the journal`, {
        hint: 'choose a point that was taken later',
      });
    }
    known.set(logKey(log), Math.max(before ?? 0, to));
  };
  return {
    of: (log) => known.get(logKey(log)),
    take({ logs, changes }) {
      for (const each of logs)
        if (each.piece !== 'first' && each.piece !== 'middle') reach(each.topic, each, each.from, each.to);
      if (!changes?.all) return;
      for (const { name, id, partitions } of changes.topics) {
        for (const { partition, start, end } of partitions) {
          const log = { id, partition };
          if (!known.has(logKey(log))) known.set(logKey(log), start);
          reach(name, log, end, end);
        }
      }
    },
  };
}

/** What is there at the target. Where groups stand among the records is counted while these are sent. */
export async function foretold(
  ctx: Context,
  point: ClusterFacts,
  replay: Replay,
): Promise<{ facts: ClusterFacts; reached: Cut | undefined }> {
  const reach = reachOf(replay.target);
  const state = stateOf(point);
  const coverage = coverageOf(point);
  const cutMs = Date.parse(point.at ?? '');
  let end: Cut | undefined;
  for await (const range of replay.ranges(ctx)) {
    const { head } = readRange(range);
    const reached = reach(head, range);
    if (reached === 'nothing') break;
    coverage.take(head);
    end = reached === 'all' ? range.to : cutAt(reached.untilMs);
    if (reached !== 'all' || !head.changes) continue;
    // The point knows better than what was told of all before it was taken.
    if (!head.changes.all || head.round[1] > cutMs) applyChanges(state, head.changes);
  }
  const { version, authorizer, acls } = state;
  const groups = [...state.groups.values()].map(({ offsets, ...group }) => ({
    ...group,
    offsets: offsets.map((each) => ({ ...each, position: 0 })),
  }));
  const topics = [...state.topics.values()];
  return { facts: { ...point, version, authorizer, acls: [...acls], topics, groups }, reached: end };
}

function stateOf({ version, authorizer, acls, topics, groups }: ClusterFacts): State {
  const state: State = { ...emptyState(), version, authorizer, acls };
  for (const topic of topics) state.topics.set(topic.name, topic);
  for (const { group, state: now, offsets } of groups) {
    const own = offsets.map(({ position: _position, ...each }) => each);
    state.groups.set(group, { group, state: now, offsets: own });
  }
  return state;
}

export interface Replaying {
  readonly replay: Replay;
  readonly point: ClusterFacts;
  /** As they are to come back. */
  readonly topics: readonly TopicFacts[];
  /** By topic and partition in the source. */
  readonly loaded: ReadonlyMap<string, Loaded>;
  readonly loading: LoadWork;
  readonly jobs: number;
}

/** Sends the records that the point does not have. */
export async function replayRecords(
  ctx: Context,
  { replay, point, topics, loaded, loading, jobs }: Replaying,
): Promise<void> {
  const reach = reachOf(replay.target);
  const coverage = coverageOf(point);
  const names = new Map(topics.map(({ id, name }) => [id, name]));
  const assembled = assembler();
  /** Partitions that have come to a record that is later than what is wanted. */
  const closed = new Set<string>();
  for await (const range of replay.ranges(ctx)) {
    const { head, data } = readRange(range);
    const reached = reach(head, range);
    if (reached === 'nothing') break;
    const part = `the journal at ${range.from.position}`;
    const wanted = assembled(head, data).flatMap(({ log, bytes }) => {
      const to = loaded.get(partitionKey({ topic: names.get(log.id) ?? '', partition: log.partition }));
      const first = Math.max(log.from, coverage.of(log) ?? 0);
      return to && first < log.to && !closed.has(logKey(log)) ? [{ log, bytes, to, first }] : [];
    });
    coverage.take(head);
    await mapBounded(wanted, jobs, async ({ log, bytes, to, first }) => {
      const batches = batchesOf(bytes, part);
      const end = reached === 'all' ? Number.POSITIVE_INFINITY : firstAfter(batches, first, reached.untilMs, part);
      if (end !== Number.POSITIVE_INFINITY) closed.add(logKey(log));
      loading.onBytes(bytes.length);
      await sendPieces(ctx, loading, [{ part, batches, first, end }], to);
    });
  }
}

/** Gives the logs of a range with their bytes, those in pieces with the last one. */
function assembler(): (head: Header, data: Buffer) => { log: LoggedPiece; bytes: Buffer }[] {
  let pieces: Buffer[] = [];
  return ({ logs }, data) => {
    let at = 0;
    return logs.flatMap((log) => {
      const bytes = data.subarray(at, at + log.bytes);
      at += log.bytes;
      if (log.piece === undefined) return [{ log, bytes }];
      if (log.piece === 'first') pieces = []; // what was begun before it was broken off
      pieces.push(Buffer.from(bytes)); // the range is borrowed
      return log.piece === 'last' ? [{ log, bytes: Buffer.concat(pieces) }] : [];
    });
  };
}

function batchesOf(bytes: Buffer, what: string): Batch[] {
  const batches = [...malformed(what, batchesIn(bytes, what))];
  const read = batches.reduce((sum, batch) => sum + batch.bytes.length, 0);
  if (read !== bytes.length || !batches.every(isWhole)) throw new Failure('checksum', `${what} is damaged`);
  return batches;
}

function firstAfter(batches: readonly Batch[], first: number, untilMs: number, what: string): number {
  let found = Number.POSITIVE_INFINITY;
  for (const batch of batches) {
    eachRecord(batch, recordsOf(batch, what), what, ({ offset, time }) => {
      if (offset >= first && time > untilMs) found = Math.min(found, offset);
    });
  }
  return found;
}
