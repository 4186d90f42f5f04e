// What a service has written, compared with what the store has of it: counters of our own may be green all the same.

import { isDeepStrictEqual } from 'node:util';
import type { Component } from '../core/component.ts';
import { withDeadline } from '../core/context.ts';
import { messageOf } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import { inTime } from '../core/times.ts';
import type { Edge, Recoverable } from './windows.ts';

const ASK_MS_MAX = 5_000;

/**
 * stored: all that the service has written. behind: it has written more. set-back: the store has log of it that it has
 * lost itself. other: it writes another log by now, of which nothing is stored. unknown: it could not be asked.
 */
export interface Stored {
  readonly state: 'stored' | 'behind' | 'set-back' | 'other' | 'unknown';
  /** By its own clock; null where that is not known. */
  readonly behindMs: number | null;
  readonly detail: string;
}

/** Null for what has no log in the store, or can't be asked at all. Changes nothing. */
export async function storedOf(
  ctx: Context,
  { standing }: Pick<Component, 'standing'>,
  { component, end }: Recoverable,
): Promise<Stored | null> {
  if (!standing || !end) return null;
  const { lineage, edge } = end;
  try {
    const now = await withDeadline(ctx, ASK_MS_MAX, `asking ${component} where its log is`, standing);
    if (!isDeepStrictEqual(now.source, lineage.source)) {
      const detail = `it writes another log by now, of which the store has nothing after ${inTime(edge.ms)}`;
      return { state: 'other', behindMs: null, detail };
    }
    const { position } = edge.cut;
    const behindMs = Math.max(0, Date.parse(now.end.at) - Date.parse(edge.cut.at));
    const isComparable = now.end.position.length === position.length;
    // Where positions are moments, a clock that is behind the follower's says nothing of what was lost.
    if (isComparable && now.end.position < position && behindMs > 0) {
      return { state: 'set-back', behindMs: null, detail: setBack(now.end.position, edge) };
    }
    if (isComparable && now.end.position <= position) {
      return { state: 'stored', behindMs: 0, detail: `the store has all of its log, up to ${position}` };
    }
    return { state: 'behind', behindMs, detail: `it has written up to ${now.end.position}, the store has ${position}` };
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    return { state: 'unknown', behindMs: null, detail: messageOf(error) };
  }
}

function setBack(position: string, { ms, cut }: Edge): string {
  return (
    `it stands at ${position}, and the store has its log up to ${cut.position}, of ${inTime(ms)}: it was set back, as ` +
    'from a snapshot, or a standby answers that is behind; what lies between is in the store alone, what it writes now ' +
    'is not stored, and following ends with different'
  );
}

/** How much would be lost if it were gone now; null where nothing can be recovered. */
export function lossMs(known: Recoverable, stored: Stored | null, now: Date): number | null {
  const { windows, points, end } = known;
  const last = windows.at(-1);
  const isWhole = last !== undefined && last.to.cut.position === end?.edge.cut.position;
  if (isWhole && stored?.state === 'stored') return 0;
  const newest = Math.max(last?.to.ms ?? -Infinity, points.at(-1)?.ms ?? -Infinity);
  return newest === -Infinity ? null : Math.max(0, now.getTime() - newest);
}
