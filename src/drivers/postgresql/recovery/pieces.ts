// The ranges of a replay as one log: each byte once, where lineages overlap that of the later one.

import type { Replay } from '../../../core/component.ts';
import { Failure, isFailure } from '../../../core/errors.ts';
import type { Context } from '../../../core/model.ts';
import { lsnAt, placeOf, positionAt, sourceIn, type WalSource } from '../wal/positions.ts';

/** A store that is away for longer fails the recovery. */
const AWAY_MS_MAX = 15 * 60_000;
const PAUSE_MS = 2_000;

export interface Piece {
  readonly at: number;
  /** Borrowed until the next one. */
  readonly bytes: Uint8Array;
  readonly source: WalSource;
}

/** From that very byte on, or from the first that is there. */
export async function* piecesOf(ctx: Context, replay: Replay, from: number): AsyncIterable<Piece> {
  let reached: number | null = null;
  for await (const range of replay.ranges(ctx, positionAt(from))) {
    const [begin, end] = [placeOf(range.from.position), placeOf(range.to.position)];
    const source = sourceIn(range.lineage.source);
    if (!source || range.body.length !== end - begin) {
      throw new Failure('malformed', `the journal from ${lsnAt(begin)} on is no piece of PostgreSQL's log`);
    }
    const at: number = Math.max(begin, reached ?? from);
    if (reached !== null && at > reached) {
      throw new Failure('missing', `the journal lacks what lies from ${lsnAt(reached)} to ${lsnAt(at)}`);
    }
    const until = range.until === undefined ? end : Math.min(end, placeOf(range.until));
    if (at < until) yield { at, bytes: range.body.subarray(at - begin, until - begin), source };
    reached = Math.max(until, at);
  }
}

/** As `piecesOf`, up to the one that reaches `upTo`. Waits for a store that is away, and goes on where it was. */
export async function* patiently(
  ctx: Context,
  replay: Replay,
  from: number,
  upTo: number | null,
): AsyncIterable<Piece> {
  let next = from;
  let awaySinceMs: number | null = null;
  for (;;) {
    try {
      for await (const piece of piecesOf(ctx, replay, next)) {
        if (upTo !== null && piece.at >= upTo) return;
        yield piece;
        next = piece.at + piece.bytes.length;
        awaySinceMs = null;
      }
      return;
    } catch (error) {
      const isAway = isFailure(error, 'unreachable') || isFailure(error, 'timeout');
      awaySinceMs ??= ctx.monotonicMs();
      if (!isAway || ctx.signal.aborted || ctx.monotonicMs() - awaySinceMs > AWAY_MS_MAX) throw error;
      ctx.log.warn('the log can not be read at present', { from: lsnAt(next), reason: error.message });
      await ctx.sleep(PAUSE_MS);
    }
  }
}
