// The points of several stores as one list: a point that lies in two stores is one point. A store that can't be read
// hides what it holds, and nothing else.

import { Failure, isFailure, messageOf } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import type { RecoveryPoint } from '../core/point.ts';
import type { NamedStore } from '../engine/model.ts';
import { type Chosen, choosePoint, listPoints, type PointView, type Wanted } from '../engine/points.ts';
import { errorJson, type Session } from './session.ts';
import type { OpenStack } from './stack.ts';

export interface Everywhere {
  readonly point: RecoveryPoint;
  /** The stores that hold it, in the order of the configuration. */
  readonly in: readonly { readonly store: string; readonly view: PointView }[];
}

export interface Listing {
  /** Of every store that could be read; never none. */
  readonly stores: readonly { readonly store: NamedStore; readonly views: readonly PointView[] }[];
  /** What could not be opened or listed. */
  readonly unreadable: OpenStack['failed'];
}

/** Throws when no store can be read. */
export async function listEverywhere(ctx: Context, stack: Pick<OpenStack, 'stores' | 'failed'>): Promise<Listing> {
  const settled = await Promise.allSettled(stack.stores.map((store) => listPoints(ctx, store)));
  const stores: { store: NamedStore; views: readonly PointView[] }[] = [];
  const unreadable = [...stack.failed];
  for (const [at, store] of stack.stores.entries()) {
    const result = settled[at];
    if (result?.status === 'fulfilled') stores.push({ store, views: result.value });
    else unreadable.push({ name: store.name, error: result?.reason });
  }
  const [first] = unreadable;
  if (first && (stores.length === 0 || ctx.signal.aborted)) throw first.error;
  return { stores, unreadable };
}

/** Every point once, oldest first. */
export function pointsOf({ stores }: Listing): readonly Everywhere[] {
  const byId = new Map<string, { point: RecoveryPoint; in: { store: string; view: PointView }[] }>();
  for (const { store, views } of stores) {
    for (const view of views) {
      const known = byId.get(view.point.id) ?? { point: view.point, in: [] };
      known.in.push({ store: store.name, view });
      byId.set(view.point.id, known);
    }
  }
  return [...byId.values()].sort((a, b) => (a.point.id < b.point.id ? -1 : 1));
}

export interface ChosenIn {
  readonly store: NamedStore;
  readonly chosen: Chosen;
  /** Stores that might have led to another choice, had they been readable. */
  readonly unreadable: Listing['unreadable'];
}

/** The point that `wanted` means among those of all stores, and the first store in order that holds it. */
export function chooseEverywhere({ stores, unreadable }: Listing, stack: string, wanted: Wanted): ChosenIn {
  const everywhere = stores
    .flatMap(({ store, views }) => views.map((view) => ({ ...view, store })))
    .toSorted((a, b) => (a.point.id === b.point.id ? 0 : a.point.id < b.point.id ? -1 : 1));
  try {
    const chosen = choosePoint(everywhere, stack, wanted);
    const exact = wanted.at === undefined && wanted.word === chosen.point.id;
    return { store: chosen.store, chosen, unreadable: exact ? [] : unreadable };
  } catch (error) {
    throw notFound(error, unreadable);
  }
}

/** What is missing in the stores that can be read may lie in one that can't. */
export function notFound(error: unknown, [unread]: Listing['unreadable']): unknown {
  if (!unread || !isFailure(error, 'missing')) return error;
  const message = `${error.message}, and store ${unread.name} could not be read: ${messageOf(unread.error)}`;
  if (!isFailure(unread.error)) return new Error(message, { cause: unread.error });
  return new Failure(unread.error.code, message, { cause: unread.error, hint: unread.error.hint });
}

/** For the result of a command: every store that is hidden, and why. */
export function unreadableJson(unreadable: Listing['unreadable']): { unreadable_stores: readonly object[] } {
  return { unreadable_stores: unreadable.map(({ name, error }) => ({ name, ...errorJson(error) })) };
}

export function noteUnreadable(session: Session, unreadable: Listing['unreadable']): void {
  for (const { name, error } of unreadable) {
    session.note(`store ${name} could not be read, so what it holds is not seen here: ${messageOf(error)}`);
  }
}

export function provedText(each: Everywhere): string {
  const proofs = each.in.map(({ view }) => view.provedAt).filter((at) => at !== null);
  const newest = proofs.sort().at(-1);
  if (newest !== undefined) return newest.slice(0, 16).replace('T', ' ');
  return each.in.some(({ view }) => view.copyOfProved) ? 'its copy' : 'no';
}
