// What a run knows of its finished components, kept in the stores until the point is committed, so that another
// process can go on after a crash.

import { messageOf } from '../core/errors.ts';
import { manifestJson, parseManifest } from '../core/manifest.ts';
import type { CapturedComponent, Context, Receipt, RecoveryPoint } from '../core/model.ts';
import { alive, type Lane, onEach } from './fan-out.ts';

/** One component of a run: what goes into the manifest, and the receipts of the stores that took its parts. */
export interface Captured {
  readonly name: string;
  readonly component: CapturedComponent;
  readonly receipts: ReadonlyMap<Lane, Receipt>;
  /** What was thrown when `component.error` is set. */
  readonly thrown?: unknown;
}

/** A point of one component stands for it: the manifest's schema then serves for both. */
export async function noteCapture(
  ctx: Context,
  lanes: readonly Lane[],
  point: Omit<RecoveryPoint, 'components'>,
  { name, component }: Captured,
): Promise<void> {
  const json = manifestJson({ ...point, components: { [name]: component } });
  await onEach(ctx, lanes, ({ store }) => store.records.put(ctx, 'captures', `${point.id}/${name}`, json));
}

/** The components of an interrupted run that every store of it had finished. */
export async function finishedCaptures(
  ctx: Context,
  lanes: readonly Lane[],
  id: string,
): Promise<ReadonlyMap<string, Captured>> {
  const kept = await onEach(ctx, lanes, async ({ store }) => {
    const receipts = new Map((await store.receipts(ctx, id)).map((receipt) => [receipt.component, receipt]));
    const components = new Map<string, CapturedComponent>();
    for await (const key of store.records.list(ctx, 'captures', `${id}/`)) {
      const text = JSON.stringify(await store.records.get(ctx, 'captures', key));
      for (const [name, each] of Object.entries(parseManifest(text, `draft ${id}`).components)) {
        if (receipts.has(name)) components.set(name, each);
      }
    }
    return { receipts, components };
  });
  const [first] = kept.values();
  const found = new Map<string, Captured>();
  for (const [name, component] of first?.components ?? []) {
    if (![...kept.values()].every(({ components }) => components.has(name))) continue;
    const receipts = [...kept].flatMap(([lane, { receipts: own }]) => {
      const receipt = own.get(name);
      return receipt ? [[lane, receipt] as const] : [];
    });
    found.set(name, { name, component, receipts: new Map(receipts) });
  }
  return found;
}

/** The run has ended, well or not: nothing of it is to be resumed. */
export async function forgetCaptures(ctx: Context, lanes: readonly Lane[], id: string): Promise<void> {
  for (const { name, store } of alive(lanes)) {
    try {
      const keys = await Array.fromAsync(store.records.list(ctx, 'captures', `${id}/`));
      for (const key of keys) await store.records.delete(ctx, 'captures', key);
    } catch (error) {
      // A note of a point that exists is never read again; a store that forbids deletion keeps it.
      ctx.log.debug('capture notes left behind', { store: name, point: id, reason: messageOf(error) });
    }
  }
}

/** Ids of runs that were interrupted with at least one component finished. */
export async function interruptedRuns(ctx: Context, lane: Pick<Lane, 'store'>): Promise<readonly string[]> {
  const ids = new Set<string>();
  for await (const key of lane.store.records.list(ctx, 'captures')) ids.add(key.split('/')[0] ?? key);
  return [...ids].toSorted();
}
