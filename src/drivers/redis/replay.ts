// The log behind a point as it is replayed: the bytes of the stream up to the target, and no half of a command or of a
// transaction.

import type { Replay } from '../../core/component.ts';
import { Failure } from '../../core/errors.ts';
import type { Context, Cut } from '../../core/model.ts';
import { positionOf, replicationIdOf } from './position.ts';
import { recordsOf } from './records.ts';
import { type StreamWalk, streamWalk } from './stream.ts';

/** Of a command or transaction, before it is known whether all of it lies before the target. */
const HELD_BYTES_MAX = 16 * 1024 * 1024;

interface Piece {
  readonly bytes: Buffer;
  readonly at: number;
}
interface Limit {
  /** In milliseconds, by the server's clock. */
  readonly at: number;
  readonly offset: bigint | null;
}
export interface Log {
  /** To be read once. Ends where the last command or transaction does that lies before the target. */
  readonly bytes: AsyncIterable<Buffer>;
  /** What was done last of what was read; undefined when nothing was. */
  reached(): Cut | undefined;
}

/** `from`: where the point joins. What can't be a target is refused before anything is read. */
export function logUpTo(ctx: Context, replay: Replay, from: string): Log {
  const limit = limitOf(replay, from);
  let reached: Cut | undefined;
  async function* bytes(): AsyncIterable<Buffer> {
    const walk = streamWalk();
    let held: Buffer[] = [];
    let heldBytes = 0;
    let offset = BigInt(from);
    let isPassing = false;
    for await (const { bytes: piece, at } of piecesOf(ctx, replay, { from, limit })) {
      const whole = walk.push(piece);
      if (whole > 0) {
        yield* held;
        yield piece.subarray(0, whole);
        if (walk.changed()) reached = { position: positionOf(offset + BigInt(whole)), at: new Date(at).toISOString() };
        [held, heldBytes, isPassing] = [[], 0, false];
      }
      offset += BigInt(piece.length);
      const rest = piece.subarray(whole);
      if (rest.length === 0) continue;
      if (!isPassing && heldBytes + rest.length > HELD_BYTES_MAX) {
        isPassing = await isWhole(ctx, replay, { from: positionOf(offset), limit }, walk.fork());
        if (!isPassing) return;
        yield* held;
        [held, heldBytes] = [[], 0];
      }
      if (isPassing) yield rest;
      else {
        held.push(rest);
        heldBytes += rest.length;
      }
    }
  }
  return { bytes: bytes(), reached: () => reached };
}

/** Does what has begun end before the target? */
async function isWhole(ctx: Context, replay: Replay, reading: Reading, walk: StreamWalk): Promise<boolean> {
  for await (const { bytes } of piecesOf(ctx, replay, reading)) if (walk.push(bytes) > 0) return true;
  return false;
}

interface Reading {
  readonly from: string;
  readonly limit: Limit;
}

async function* piecesOf(ctx: Context, replay: Replay, { from, limit }: Reading): AsyncIterable<Piece> {
  let next = BigInt(from);
  for await (const range of replay.ranges(ctx, from)) {
    const where = `range ${range.from.position} of a journal`;
    const until = BigInt(range.until ?? range.to.position);
    let start = BigInt(range.from.position);
    if (start > next) throw new Failure('missing', `the journal has nothing from ${next} to ${start}`);
    for (const { at, bytes } of recordsOf(where, range.body)) {
      const end = start + BigInt(bytes.length);
      if (range.until !== undefined && start >= until) break; // another lineage goes on from there
      if (at > limit.at) return;
      const last = [end, until, limit.offset ?? end].reduce((least, each) => (each < least ? each : least));
      if (last > next) yield { at, bytes: bytes.subarray(Number(next - start), Number(last - start)) };
      if (last > next) next = last;
      start = end;
      if (next === limit.offset) return;
    }
    if (range.until === undefined ? start !== until : start < until)
      throw new Failure('malformed', `${where} has not the length that it says`);
  }
}

function limitOf({ target, end, lineages }: Replay, from: string): Limit {
  const everything = { at: Number.POSITIVE_INFINITY, offset: null };
  switch (target.kind) {
    case 'latest':
      return everything;
    case 'immediate':
      return { ...everything, offset: BigInt(from) };
    case 'time':
      return { ...everything, at: Date.parse(target.at) };
    case 'position': {
      const [, id, digits = ''] = /^(?:([0-9a-f]{40}):)?(\d{1,19})$/.exec(target.value) ?? [];
      const isKnown = id === undefined || lineages.some(({ source }) => replicationIdOf(source) === id);
      if (digits === '' || !isKnown) {
        throw new Failure('usage', `${target.value} is no position of this log: they are offsets, as INFO tells them`);
      }
      const position = positionOf(BigInt(digits));
      if (position >= from && position <= end.position) return { ...everything, offset: BigInt(digits) };
      throw new Failure('missing', `${digits} does not lie between the point, ${from}, and the end, ${end.position}`);
    }
    default:
      throw new Failure('usage', `the log of a Redis knows no ${target.kind}`, {
        hint: 'choose a time, a position (an offset), or the latest',
      });
  }
}
