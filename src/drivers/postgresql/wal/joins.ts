// Whether a base backup joins the log that is stored: a copy of the server that went on by itself has its name and its
// timeline.

import { isDeepStrictEqual } from 'node:util';
import type { Journal, Lineage } from '../../../core/journal.ts';
import type { Context, JournalPoint } from '../../../core/model.ts';
import { connectSomewhere } from '../databases.ts';
import type { Server } from '../settings.ts';
import { comparedWithJournal } from './forks.ts';
import { isUnreadable } from './known.ts';
import { placeOf, positionAt, sourceIn } from './positions.ts';
import { walFacts } from './standing.ts';

/** Null where nothing tells, or nothing is stored. */
export async function joinsLog(
  ctx: Context,
  server: Server,
  { source, from, to }: JournalPoint,
  journal: Journal,
): Promise<boolean | null> {
  const all = await Array.fromAsync(journal.lineages(ctx));
  const lineage = all.findLast((each) => isDeepStrictEqual(each.source, source) && each.from.position <= from);
  const timeline = lineage && sourceIn(lineage.source)?.timeline;
  if (!lineage || timeline === undefined) return null;
  const end = await storedUpTo(ctx, journal, lineage, to);
  if (end <= lineage.from.position) return null;
  const { segmentBytes } = await factsOf(ctx, server);
  const stored = {
    lineage: () => lineage,
    read: (within: Context, position: string) => journal.read(within, { lineage: lineage.id, position }, null),
  };
  const past = { timeline, end, next: timeline };
  const likeness = await comparedWithJournal(ctx, stored, { server, past, segmentBytes });
  return likeness === 'nothing tells' ? null : likeness === 'the same';
}

async function factsOf(ctx: Context, server: Server): Promise<{ readonly segmentBytes: number }> {
  await using session = await connectSomewhere(ctx, server);
  return await walFacts(ctx, session, server);
}

/** `to`, or where the lineage ends before it. */
async function storedUpTo(ctx: Context, journal: Journal, { id: lineage, from }: Lineage, to: string): Promise<string> {
  try {
    for await (const _ of journal.read(ctx, { lineage, position: positionAt(placeOf(to) - 1) }, to));
    return to;
  } catch (error) {
    if (!isUnreadable(error)) throw error;
  }
  let end = from.position;
  for await (const stretch of journal.stretches(ctx)) {
    if (stretch.lineage.id === lineage && stretch.gap === null && stretch.to.position <= to) end = stretch.to.position;
  }
  return end;
}
