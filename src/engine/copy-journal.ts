// Brings what the journal of one store has into that of another, in the same lineages. It goes on where the copy ends,
// so it may be interrupted and repeated; what can't be read, or was pruned before it was copied, becomes a gap.

import { isDeepStrictEqual } from 'node:util';
import { interruption } from '../core/context.ts';
import type { Journal, JournalEntry, JournalPlace, JournalWriter, Lineage } from '../core/journal.ts';
import type { Context, Cut } from '../core/model.ts';
import type { Store } from '../core/storage.ts';

const PRUNED = 'it was pruned in the store that it was to be copied from';

export interface JournalCopy {
  readonly from: Journal;
  readonly to: Journal;
  readonly writer: JournalWriter;
  /** Called with each that was stored. */
  readonly copied?: (entry: JournalEntry) => void;
}

export interface CopiedJournal {
  readonly component: string;
  /** What was copied now. */
  readonly ranges: number;
  readonly bytes: number;
  /** The journal that it was to go into has a newer log, and was left as it is: who follows goes on with the newest. */
  readonly ahead: boolean;
  /** Null when all is there. */
  readonly error: unknown;
}

/** One that fails stops no other. */
export async function copyJournals(
  ctx: Context,
  request: { readonly from: Store; readonly to: Store; readonly components: readonly string[] },
): Promise<readonly CopiedJournal[]> {
  const results: CopiedJournal[] = [];
  for (const component of request.components) {
    let [ranges, bytes] = [0, 0];
    const copied = (entry: JournalEntry): void => {
      if (!('body' in entry)) return;
      [ranges, bytes] = [ranges + 1, bytes + entry.body.length];
      ctx.progress({ task: component, phase: 'copy log', bytes, items: ranges });
    };
    try {
      const [from, to] = [request.from.journal(component), request.to.journal(component)];
      await using writer = await to.write(ctx);
      const ahead = await isAhead(ctx, from, writer.lineage());
      if (!ahead) await copyJournal(ctx, { from, to, writer, copied });
      results.push({ component, ranges, bytes, ahead, error: null });
    } catch (error) {
      if (ctx.signal.aborted) throw interruption(ctx.signal);
      results.push({ component, ranges, bytes, ahead: false, error });
    }
  }
  return results;
}

/** Whether `newest` was begun after all that the journal has, and is none of those. */
async function isAhead(ctx: Context, journal: Journal, newest: Lineage | null): Promise<boolean> {
  if (!newest) return false;
  const originals = await Array.fromAsync(journal.lineages(ctx));
  return originals.every((each) => each.begunAt < newest.begunAt);
}

/** To the newest lineage of `from` when the writer is in a copy of it; null when there was nothing to begin it with. */
export async function copyJournal(ctx: Context, copy: JournalCopy): Promise<Lineage | null> {
  const { writer } = copy;
  const originals = await Array.fromAsync(copy.from.lineages(ctx));
  const copies = await Array.fromAsync(copy.to.lineages(ctx));
  // Nothing can be added to one before the newest: what the copy lacks of those was not there to be copied.
  const last = originals.findLastIndex((each) => copies.some((other) => isSame(other, each)));
  for (const original of originals.slice(Math.max(0, last))) await copyLineage(ctx, copy, originals, copies, original);
  const [newest, open] = [originals.at(-1), writer.lineage()];
  return newest && open && isSame(open, newest) ? newest : null;
}

/** Begun at one time: ids may differ, and where something was lost there may be several pieces of it. */
export function isSame(a: Lineage, b: Lineage): boolean {
  return a.begunAt === b.begunAt && isDeepStrictEqual(a.source, b.source);
}

async function copyLineage(
  ctx: Context,
  { from, to, writer, copied }: JournalCopy,
  originals: readonly Lineage[],
  copies: Lineage[],
  original: Lineage,
): Promise<void> {
  let piece = copies.findLast((each) => isSame(each, original));
  let isOpen = piece !== undefined && writer.lineage()?.id === piece.id;
  let reached = isOpen ? writer.durable() : piece ? await endOf(ctx, to, piece) : null;
  const begin = async (at: Cut): Promise<void> => {
    const goesOn = piece && reached && at.position <= reached.position;
    const parent =
      goesOn && piece ? { lineage: piece.id, position: at.position } : parentIn(originals, copies, original);
    piece = await writer.begin(ctx, { ...original, from: at, parent });
    copies.push(piece);
    [isOpen, reached] = [true, at];
  };
  const place = { lineage: original.id, position: reached?.position ?? original.from.position };
  for await (const entry of from.entries(ctx, place)) {
    const overlaps = reached !== null && entry.from.position < reached.position;
    if (!isOpen || reached === null || (overlaps && 'body' in entry)) await begin(entry.from);
    else if (reached.position < entry.from.position) {
      await writer.gap(ctx, { from: reached, to: entry.from, at: ctx.now().toISOString(), reason: PRUNED });
    }
    if ('body' in entry) await writer.append(ctx, entry);
    else await writer.gap(ctx, { ...entry, from: writer.durable() ?? entry.from });
    reached = entry.to;
    copied?.(entry);
  }
  if (!piece) await begin(original.from);
}

/** Where the last of it that can be read ends. */
export async function endOf(ctx: Context, journal: Journal, { id, from }: Lineage): Promise<Cut> {
  let end = from;
  for await (const { lineage, to, gap } of journal.stretches(ctx)) if (lineage.id === id && gap === null) end = to;
  return end;
}

/** Null where what it goes on from is not in the copy. */
function parentIn(originals: readonly Lineage[], copies: readonly Lineage[], { parent }: Lineage): JournalPlace | null {
  const original = parent && originals.find(({ id }) => id === parent.lineage);
  if (!original) return null;
  const piece = copies.findLast((each) => isSame(each, original) && each.from.position <= parent.position);
  return piece ? { lineage: piece.id, position: parent.position } : null;
}
