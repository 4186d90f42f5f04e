// Which lines of the last minutes are known: they may be given again, and others may come late among them.

import { hash } from 'node:crypto';
import { type Line, streamName } from '../lines.ts';
import { msOf, nsOf, type Span } from '../slices.ts';

/** Lines that come later than this are in the next point, not in the journal. */
export const LATE_MS = 300_000;
const SLICE_MS = 10_000;

export interface Known {
  /** False when it is known already. */
  add(line: Line): boolean;
  /** In whole slices of the span. */
  count(span: Span): number;
  /** Forgets what is older. */
  keepFrom(ms: number): void;
}

export function knownLines(): Known {
  const slices = new Map<number, Set<string>>();
  return {
    add({ ts, labels, line, metadata }) {
      const at = sliceOf(msOf(BigInt(ts)));
      const more = Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1));
      const digest = hash('sha256', JSON.stringify([ts, streamName(labels), line, more]), 'base64').slice(0, 20);
      const known = slices.get(at) ?? new Set();
      if (known.has(digest)) return false;
      slices.set(at, known.add(digest));
      return true;
    },
    count({ from, to }) {
      let sum = 0;
      for (let at = sliceOf(msOf(from)); at < sliceOf(msOf(to)); at++) sum += slices.get(at)?.size ?? 0;
      return sum;
    },
    keepFrom(ms) {
      for (const at of slices.keys()) if (at < sliceOf(ms)) slices.delete(at);
    },
  };
}

function sliceOf(ms: number): number {
  return Math.floor(ms / SLICE_MS);
}

/** Whole slices between two moments. */
export function slicesIn(fromMs: number, toMs: number): Span {
  return { from: nsOf(Math.ceil(fromMs / SLICE_MS) * SLICE_MS), to: nsOf(sliceOf(toMs) * SLICE_MS) };
}

/** Two halves of whole slices; null of one alone. */
export function halvesOf({ from, to }: Span): readonly [Span, Span] | null {
  const slices = (msOf(to) - msOf(from)) / SLICE_MS;
  if (slices < 2) return null;
  const middle = from + nsOf(Math.floor(slices / 2) * SLICE_MS);
  return [
    { from, to: middle },
    { from: middle, to },
  ];
}
