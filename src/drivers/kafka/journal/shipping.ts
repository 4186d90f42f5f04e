// Batches of many partitions, put together into ranges of the journal. What is stored is noted in the state at once.

import type { Context } from '../../../core/model.ts';
import type { Rounds } from '../../../core/moments.ts';
import { gate } from '../../../core/parallel.ts';
import type { Batch } from '../batches.ts';
import type { Log } from '../reading.ts';
import { outOfTransaction } from '../sealing.ts';
import { type Changes, type Header, type LoggedPiece, rangeBody } from './format.ts';
import { applyLogs, logKey, type State, wholeOf } from './state.ts';

/** Of batches in a range; the line that tells of them has the rest. */
const RANGE_BYTES = 8 * 1024 * 1024;
/** Then all there is is told anew, so that who goes on need not read much. */
const RANGES_BETWEEN = 500;
const BYTES_BETWEEN = 256 * 1024 * 1024;

/** Where replaying can begin, and what was stored since all was told. */
export interface Told {
  joins: string;
  whole: string;
  ranges: number;
  bytes: number;
}
export function newlyTold(joins: string): Told {
  return { joins, whole: joins, ranges: 0, bytes: 0 };
}
export interface Shipping {
  readonly rounds: Rounds;
  readonly state: State;
  readonly told: Told;
}
/** Of one round. */
export interface Shipper {
  /** The batches come in order, and begin where the state says that the log is gone on with, or reach over that. */
  add(ctx: Context, log: Log, batches: readonly Batch[]): Promise<void>;
  /** All up to before `to` was added: what is left has no records. */
  reached(log: Log, to: number): Promise<void>;
  /** The round is over, up to `toMs`. */
  end(ctx: Context, changes: Changes | null): Promise<void>;
  readonly isEmpty: boolean;
}

interface Waiting extends Omit<LoggedPiece, 'bytes'> {
  to: number;
  readonly batches: Buffer[];
}

export function shipperOf({ rounds, state, told }: Shipping, toMs: number): Shipper {
  const fromMs = rounds.atMs();
  const turns = gate(1);
  const waiting = new Map<string, Waiting>();
  let bytes = 0;
  let stored = 0;
  const placeOf = ({ topic, topicId: id, partition }: Log): Waiting => {
    const key = logKey({ id, partition });
    const found = waiting.get(key);
    if (found) return found;
    const from = state.next.get(key) ?? 0;
    const fresh = { topic, id, partition, from, to: from, batches: [] };
    waiting.set(key, fresh);
    return fresh;
  };
  const headOf = (logs: readonly LoggedPiece[], changes: Changes | null): Header => {
    const { whole, joins } = told;
    return { format: 1, round: [fromMs, toMs], whole, joins, logs: [...logs], changes };
  };
  async function store(ctx: Context, head: Header, batches: readonly Uint8Array[], isLast: boolean): Promise<void> {
    const body = rangeBody(head, batches);
    await (isLast ? rounds.upTo(ctx, toMs, body) : rounds.more(ctx, body));
    applyLogs(state, head);
    told.ranges += 1;
    told.bytes += body.length;
    stored += 1;
  }
  async function flush(ctx: Context, changes: Changes | null, isLast: boolean): Promise<void> {
    const all = [...waiting.values()];
    const logs = all.map(({ batches, ...place }) => ({ ...place, bytes: sizeOf(batches) }));
    await store(
      ctx,
      headOf(logs, changes),
      all.flatMap(({ batches }) => batches),
      isLast,
    );
    waiting.clear();
    bytes = 0;
  }
  /** A batch that alone is too large, in several ranges. */
  async function storePieces(ctx: Context, log: Log, batch: Batch): Promise<void> {
    const { batches: _none, ...place } = placeOf(log);
    waiting.clear();
    const size = batch.bytes.length;
    for (let at = 0; at < size; at += RANGE_BYTES) {
      const piece = at === 0 ? 'first' : at + RANGE_BYTES < size ? 'middle' : 'last';
      const some = batch.bytes.subarray(at, at + RANGE_BYTES);
      const told = { ...place, to: batch.last + 1, bytes: some.length, piece } as const;
      await store(ctx, headOf([told], null), [some], false);
    }
  }
  async function addOne(ctx: Context, log: Log, captured: Batch): Promise<void> {
    const batch = captured.isTransactional ? outOfTransaction(captured) : captured;
    if (waiting.size > 0 && bytes + batch.bytes.length > RANGE_BYTES) await flush(ctx, null, false);
    if (batch.bytes.length > RANGE_BYTES) return await storePieces(ctx, log, batch);
    const place = placeOf(log);
    place.batches.push(batch.bytes);
    place.to = batch.last + 1;
    bytes += batch.bytes.length;
  }
  return {
    get isEmpty() {
      return stored === 0 && waiting.size === 0;
    },
    add: (ctx, log, batches) =>
      turns.run(async () => {
        for (const batch of batches) await addOne(ctx, log, batch);
      }),
    reached: (log, to) =>
      turns.run(async () => {
        const place = placeOf(log);
        place.to = Math.max(place.to, to);
      }),
    end: (ctx, changes) => turns.run(() => flush(ctx, changes, true)),
  };
}

function sizeOf(batches: readonly Uint8Array[]): number {
  return batches.reduce((sum, { length }) => sum + length, 0);
}

/** Tells all there is, when much was stored since it was told last, or nothing before can be read. */
export async function tellAll(ctx: Context, { rounds, state, told }: Shipping, isDue = false): Promise<void> {
  if (!isDue && told.ranges < RANGES_BETWEEN && told.bytes < BYTES_BETWEEN) return;
  const at = rounds.atMs();
  told.whole = rounds.position();
  const { whole, joins } = told;
  const changes = wholeOf(state);
  await rounds.more(ctx, rangeBody({ format: 1, round: [at, at], whole, joins, logs: [], changes }, []));
  told.ranges = 0;
  told.bytes = 0;
}
