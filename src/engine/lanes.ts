// Opens the drafts of one recovery point: the same id in every store of the run.

import { Failure, isFailure, messageOf } from '../core/errors.ts';
import { idOf } from '../core/manifest.ts';
import type { Context } from '../core/model.ts';
import type { Draft, DraftPlan } from '../core/storage.ts';
import type { Lane } from './fan-out.ts';
import type { NamedStore } from './model.ts';

/** Ids are seconds; this many taken ones in a row mean that something else is wrong. */
const IDS_TRIED_MAX = 600;

export interface StoreError {
  readonly name: string;
  readonly error: unknown;
}

export interface Lanes extends AsyncDisposable {
  readonly id: string;
  /** Another process began it. */
  readonly resumed: boolean;
  readonly lanes: readonly Lane[];
  /** Stores that took no draft. */
  readonly failed: readonly StoreError[];
}

/** Drafts under the id of `at`, or of the next second that is free in all stores that answer. */
export async function beginLanes(
  ctx: Context,
  stores: readonly NamedStore[],
  at: Date,
  plan: DraftPlan,
): Promise<Lanes> {
  for (let tried = 0; tried < IDS_TRIED_MAX; tried++) {
    const id = idOf(new Date(at.getTime() + tried * 1000));
    const found = await openLanes(ctx, id, stores, false, ({ store }) => store.begin(ctx, id, plan));
    if (!found.failed.some(({ error }) => isFailure(error, 'exists'))) return answered(found);
    await found[Symbol.asyncDispose]();
  }
  throw new Failure('exists', `no free id within ${IDS_TRIED_MAX} seconds of ${idOf(at)}`);
}

/** The drafts that an interrupted run left. A store without one is left out. */
export async function resumeLanes(ctx: Context, stores: readonly NamedStore[], id: string): Promise<Lanes> {
  return answered(await openLanes(ctx, id, stores, true, ({ store }) => store.resume(ctx, id)));
}

async function openLanes(
  ctx: Context,
  id: string,
  stores: readonly NamedStore[],
  resumed: boolean,
  open: (store: NamedStore) => Promise<Draft>,
): Promise<Lanes> {
  const settled = await Promise.allSettled(stores.map(open));
  const lanes: Lane[] = [];
  const failed: StoreError[] = [];
  for (const [at, { name, store }] of stores.entries()) {
    const result = settled[at];
    if (result?.status === 'fulfilled') lanes.push({ name, store, draft: result.value, failed: undefined });
    else failed.push({ name, error: result?.reason });
  }
  return {
    id,
    resumed,
    lanes,
    failed,
    async [Symbol.asyncDispose]() {
      for (const [at, result] of (await Promise.allSettled(lanes.map(disposeDraft))).entries()) {
        // A draft that can't be cleared away is rubbish that `prune` finds; the run's own outcome is what matters.
        if (result.status === 'rejected') {
          ctx.log.debug('draft left behind', { store: lanes[at]?.name, reason: messageOf(result.reason) });
        }
      }
    },
  };
}

async function disposeDraft({ draft }: Lane): Promise<void> {
  await draft[Symbol.asyncDispose]();
}

function answered(found: Lanes): Lanes {
  if (found.lanes.length > 0) return found;
  throw found.failed[0]?.error ?? new Failure('missing', 'a recovery point needs a store');
}
