// The journal on top of a point: lines that were seen by the moment that is wanted, and are no later than that.

import type { Replay } from '../../../core/component.ts';
import type { Context, Cut } from '../../../core/model.ts';
import { cutAt, untilOf } from '../../../core/moments.ts';
import type { Line } from '../lines.ts';
import { type Job, pusherOf, type Stream, streamOf } from '../pushing.ts';
import { later, msOf, nsOf, type Span } from '../slices.ts';
import { readRange } from './format.ts';
import { type Known, knownLines, LATE_MS } from './known.ts';

export interface Replaying {
  readonly replay: Replay;
  /** Of the point and the journal. */
  readonly span: Span;
  readonly known: Known;
  /** The point has it: the journal may have it, too. */
  captured(line: Line): void;
}

export function replayingOf(ctx: Context, replay: Replay, captured: Span): Replaying {
  const nowMs = ctx.now().getTime();
  const to = later(captured.to, nsOf(Math.min(untilOf(replay.target, 'loki'), nowMs) + 1));
  const since = captured.to - nsOf(2 * LATE_MS);
  const known = knownLines();
  return {
    ...{ replay, known, span: { from: captured.from, to } },
    captured(line) {
      if (BigInt(line.ts) >= since) known.add(line);
    },
  };
}

/** How far it came. */
export async function replayLines(ctx: Context, job: Job, { replay, known }: Replaying): Promise<Cut | undefined> {
  let reached: Cut | undefined;
  const untilMs = untilOf(replay.target, 'loki');
  const streams = new Map<string, Stream>();
  const pusher = pusherOf(ctx, job);
  for await (const range of replay.ranges(ctx)) {
    const { head, lines } = readRange(range);
    if (head.round[0] >= untilMs) break;
    reached = head.round[1] > untilMs ? cutAt(untilMs) : range.to;
    for (const line of lines) {
      const ms = msOf(BigInt(line.ts));
      if (ms > untilMs || !known.add(line)) continue;
      const day = new Date(ms).toISOString().slice(0, 10);
      await pusher.add(line, streamOf(streams, line), day, JSON.stringify(line.line));
    }
    known.keepFrom(head.round[0] - 2 * LATE_MS);
  }
  await pusher.end();
  return reached;
}
