// What the target has already, and is the same: it is left as it is.

import type { Context } from '../../core/model.ts';
import { digestOf } from './canonical.ts';
import { documentSum } from './documents.ts';
import type { IndexEntry, IndexPlan, StreamPlan } from './entries.ts';
import { drained } from './inventory.ts';
import type { ListedStream } from './listing.ts';
import { type Session, survey } from './survey.ts';

export interface Differing {
  readonly indices: readonly IndexPlan[];
  readonly streams: readonly StreamPlan[];
}

/** Those whose documents, settings, mapping or aliases are not there as the point has them. Reads the target. */
export async function differing(ctx: Context, session: Session, { indices, streams }: Differing): Promise<Differing> {
  const [first, ...more] = [...indices, ...streams].map(({ into }) => into);
  if (first === undefined) return { indices, streams };
  const settings = { ...session.settings, indices: [first, ...more] as [string, ...string[]] };
  const there = await survey(ctx, { ...session, settings }, { documents: drained });
  const now = new Map(there.entries.map((entry) => [entry.name, entry]));
  return {
    indices: indices.filter(({ entry, into }) => !isSame(entry, now.get(into))),
    streams: streams.filter(({ backing, into }) => {
      const found = there.streams.find(({ name }) => name === into);
      const entries = backing.map(({ entry }) => entry);
      return !found || sumOf(entries) === null || sumOf(entries) !== sumOf(backingOf(found, there.entries));
    }),
  };
}

function isSame(was: IndexEntry, is: IndexEntry | undefined): boolean {
  if (!is || was.state !== 'open' || is.state !== 'open' || was.digest === null) return false;
  const parts = (entry: IndexEntry): string[] => [
    `${entry.documents} ${entry.digest} ${entry.settings} ${entry.mapping}`,
    digestOf(entry.aliases),
  ];
  return parts(was).join() === parts(is).join();
}

function backingOf({ name }: ListedStream, entries: readonly IndexEntry[]): IndexEntry[] {
  return entries.filter(({ stream }) => stream === name);
}

/** Null when one of them can't be compared. */
function sumOf(entries: readonly IndexEntry[]): string | null {
  const sum = documentSum();
  let count = 0;
  for (const { digest, documents } of entries) {
    if (digest === null || documents === null) return null;
    sum.addSum(digest);
    count += documents;
  }
  return `${count} ${sum.text()}`;
}
