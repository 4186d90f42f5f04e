// The history of a timeline: which ones it came from, and where it left each.

import { z } from 'zod';
import { Failure } from '../../../core/errors.ts';
import type { Json } from '../../../core/model.ts';
import type { Replication } from '../physical/replication.ts';
import { positionOf } from './positions.ts';

export interface TimelineEnd {
  readonly timeline: number;
  /** Where `next` goes on from it. */
  readonly end: string;
  readonly next: number;
}

const historyRow = z.object({ content: z.union([z.string(), z.instanceof(Buffer).transform(String)]) });

/** The text of the file that the server has of it; null of the first, which has none. */
export async function historyOf({ rows, where }: Replication, timeline: number): Promise<string | null> {
  if (timeline === 1) return null;
  const [row] = await rows(historyRow, `TIMELINE_HISTORY ${timeline}`);
  if (!row) throw new Failure('malformed', `${where}: it has no history of timeline ${timeline}`);
  return row.content;
}

/** Of those that a timeline came from, oldest first. 'malformed' when the text is no history. */
export function endsIn(history: string | null, timeline: number, where: string): readonly TimelineEnd[] {
  const lines = (history ?? '').split('\n').filter((line) => /^\s*[^#\s]/.test(line));
  const ends = lines.map((line) => {
    const [, from = '', lsn = ''] = /^\s*(\d+)\s+([0-9A-F]+\/[0-9A-F]+)(?:\s|$)/.exec(line) ?? [];
    if (from === '') throw new Failure('malformed', `${where}: a history of timelines has the line ${line}`);
    return { timeline: Number(from), end: positionOf(lsn) };
  });
  return ends.map((each, at) => ({ ...each, next: ends[at + 1]?.timeline ?? timeline }));
}

/** What a lineage keeps of it: a restore gives the server its file again. */
export function historyDetail(history: string | null): { detail?: Json } {
  return history === null ? {} : { detail: { history } };
}
export function historyIn(detail: Json | undefined): string | null {
  return z.object({ history: z.string() }).safeParse(detail).data?.history ?? null;
}
