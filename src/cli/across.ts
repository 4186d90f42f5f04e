// The points of several stores as one list: a point that lies in two stores is one point.

import { isFailure, messageOf } from '../core/errors.ts';
import type { Context, RecoveryPoint } from '../core/model.ts';
import type { NamedStore } from '../engine/model.ts';
import { type Chosen, choosePoint, listPoints, type PointView, type Wanted } from '../engine/points.ts';

export interface Everywhere {
  readonly point: RecoveryPoint;
  /** The stores that hold it, in the order of the configuration. */
  readonly in: readonly { readonly store: string; readonly view: PointView }[];
}

export async function listEverywhere(ctx: Context, stores: readonly NamedStore[]): Promise<readonly Everywhere[]> {
  const lists = await Promise.all(stores.map(async (store) => ({ store, views: await listPoints(ctx, store) })));
  const byId = new Map<string, { point: RecoveryPoint; in: { store: string; view: PointView }[] }>();
  for (const { store, views } of lists) {
    for (const view of views) {
      const known = byId.get(view.point.id) ?? { point: view.point, in: [] };
      known.in.push({ store: store.name, view });
      byId.set(view.point.id, known);
    }
  }
  return [...byId.values()].sort((a, b) => (a.point.id < b.point.id ? -1 : 1));
}

/** The point that `wanted` means, and the first store in order that holds it and can be read. */
export async function chooseEverywhere(
  ctx: Context,
  stores: readonly NamedStore[],
  stack: string,
  wanted: Wanted,
): Promise<{ readonly store: NamedStore; readonly chosen: Chosen }> {
  const found: { store: NamedStore; chosen: Chosen }[] = [];
  let failed: { error: unknown } | undefined;
  for (const store of stores) {
    try {
      found.push({ store, chosen: choosePoint(await listPoints(ctx, store), stack, wanted) });
    } catch (error) {
      failed ??= { error };
      const level = isFailure(error, 'missing') ? 'debug' : 'warn';
      ctx.log[level]('store not chosen from', { store: store.name, reason: messageOf(error) });
    }
  }
  // 'latest' may be newer in another store: one that failed in the last backup lacks it.
  const [first, ...others] = found;
  if (first) return others.reduce((best, each) => (each.chosen.point.id > best.chosen.point.id ? each : best), first);
  throw failed?.error ?? new Error('no store was given');
}

export function provedText(each: Everywhere): string {
  const proofs = each.in.map(({ view }) => view.provedAt).filter((at) => at !== null);
  const newest = proofs.sort().at(-1);
  if (newest !== undefined) return newest.slice(0, 16).replace('T', ' ');
  return each.in.some(({ view }) => view.copyOfProved) ? 'its copy' : 'no';
}
