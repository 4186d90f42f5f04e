// Whether another store has a log that the one to be fed lacks, as when the order of the stores was changed: following
// would begin anew there, with a gap that nobody has asked for.

import { withDeadline } from '../core/context.ts';
import { Failure, messageOf } from '../core/errors.ts';
import type { Journal, Lineage } from '../core/journal.ts';
import type { Context, Cut } from '../core/model.ts';
import { inTime } from '../core/times.ts';
import { endOf, isSame } from './copy-journal.ts';
import type { OtherStore } from './follow-stores.ts';
import type { NamedStore } from './model.ts';

/** For a store that may be away: following does not wait for it. */
const LOOK_MS_MAX = 15_000;

/** 'blocked' where one of the others has more of it: what was not lost yet is not to be given up silently. */
export async function needNewest(
  ctx: Context,
  component: string,
  first: NamedStore,
  others: readonly OtherStore[],
): Promise<void> {
  const mine = first.store.journal(component);
  for (const other of others) {
    const lead = await withDeadline(ctx, LOOK_MS_MAX, `looking at the log in store ${other.name}`, async (within) => {
      const { store } = await other.get(within);
      return await leadOf(within, mine, store.journal(component));
    }).catch((error: unknown) => {
      if (ctx.signal.aborted) throw error;
      const fields = { component, store: other.name, reason: messageOf(error) };
      ctx.log.warn('whether another store has more of a log could not be told: it is fed to the first one', fields);
      return null;
    });
    if (lead) throw behind(component, first.name, other.name, lead);
  }
}

interface Lead {
  /** Up to where the other one has it. */
  readonly to: Cut;
  /** Up to where the first one has it; null where that has nothing of this log. */
  readonly from: Cut | null;
}

/** Null where `theirs` has nothing that `mine` lacks at its end. */
async function leadOf(ctx: Context, mine: Journal, theirs: Journal): Promise<Lead | null> {
  const newest = lastBegun(await Array.fromAsync(theirs.lineages(ctx)));
  if (!newest) return null;
  const own = await Array.fromAsync(mine.lineages(ctx));
  if (own.some(({ begunAt }) => begunAt > newest.begunAt)) return null;
  const to = await endOf(ctx, theirs, newest);
  const copy = own.findLast((each) => isSame(each, newest));
  if (copy) {
    const end = await storedTo(ctx, mine, copy);
    return end.position < to.position ? { from: end, to } : null;
  }
  const last = lastBegun(own);
  return { from: last ? await endOf(ctx, mine, last) : null, to };
}

/** Also what is damaged by now was stored: who follows begins behind it by himself. */
async function storedTo(ctx: Context, journal: Journal, { id, from }: Lineage): Promise<Cut> {
  let end = from;
  for await (const { lineage, to } of journal.stretches(ctx)) if (lineage.id === id) end = to;
  return end;
}

function lastBegun(lineages: readonly Lineage[]): Lineage | undefined {
  return lineages.toSorted((a, b) => (a.begunAt < b.begunAt ? -1 : 1)).at(-1);
}

function behind(component: string, first: string, other: string, { from, to }: Lead): Failure {
  const has = from ? `has the log of ${component} up to ${inTime(from.at)}` : `has no log of ${component}`;
  const lost = 'followed from here it begins anew, and no moment from then to the next base could be restored';
  return new Failure('blocked', `store ${first} ${has}, and store ${other} up to ${inTime(to.at)}: ${lost}`, {
    hint:
      `run lifeboat copy --from ${other} --to ${first}: following then goes on by itself; or begin anew by ` +
      'lifeboat follow --anew',
  });
}
