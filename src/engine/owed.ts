// What a store of a run still lacks is written down in the stores that have it, before anything is committed; the next
// run copies it. So neither a store that was away nor a crash between two commits leaves a lasting hole.

import { interruption } from '../core/context.ts';
import { messageOf } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import type { RecoveryPoint } from '../core/point.ts';
import type { Store } from '../core/storage.ts';
import { copyPoint, type Drivers } from './copy.ts';
import { alive, type Lane, onEach } from './fan-out.ts';
import type { NamedStore } from './model.ts';

export interface OwedCopy {
  readonly point: string;
  readonly from: string;
  readonly to: string;
  /** Null when it is there now. */
  readonly error: unknown;
}

/** Each store that is about to commit notes that every other store of the run lacks the point. */
export async function oweCommits(
  ctx: Context,
  lanes: readonly Lane[],
  point: string,
  names: readonly string[],
): Promise<void> {
  await onEach(ctx, lanes, async (lane) => {
    for (const name of names) {
      if (name !== lane.name) await lane.store.records.put(ctx, 'owed', `${point}/${name}`, { point, store: name });
    }
  });
}

/** Strikes the notes about the stores that hold the point now. */
export async function settleOwed(ctx: Context, lanes: readonly Lane[], point: string): Promise<void> {
  const done = alive(lanes);
  for (const { name, store } of done) {
    for (const other of done) if (other.name !== name) await strike(ctx, store, `${point}/${other.name}`);
  }
}

/** Copies what any of `stores` notes that another of them lacks; only points that are `wanted`. */
export async function copyOwed(
  ctx: Context,
  stores: readonly NamedStore[],
  drivers: Drivers,
  wanted: (point: RecoveryPoint) => boolean = () => true,
): Promise<readonly OwedCopy[]> {
  const copies: OwedCopy[] = [];
  for (const from of stores) {
    for (const { key, point, to } of await notesOf(ctx, from, stores)) {
      const copy = await settle(ctx, { from, to, point, key, drivers, wanted });
      if (copy) copies.push(copy);
    }
  }
  return copies;
}

async function notesOf(
  ctx: Context,
  from: NamedStore,
  stores: readonly NamedStore[],
): Promise<readonly { key: string; point: string; to: NamedStore }[]> {
  const found: { key: string; point: string; to: NamedStore }[] = [];
  try {
    for await (const key of from.store.records.list(ctx, 'owed')) {
      const [point = '', name] = key.split('/');
      const to = stores.find((each) => each.name === name && each !== from);
      if (to) found.push({ key, point, to });
    }
  } catch (error) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    // The point of this run is kept by now.
    ctx.log.warn('a store does not tell what others lack', { store: from.name, reason: messageOf(error) });
  }
  return found;
}

/** Null when there was nothing to copy: the point is gone here, or it is there already. */
async function settle(
  ctx: Context,
  note: {
    readonly from: NamedStore;
    readonly to: NamedStore;
    readonly point: string;
    readonly key: string;
    readonly drivers: Drivers;
    readonly wanted: (point: RecoveryPoint) => boolean;
  },
): Promise<OwedCopy | null> {
  const { from, to, key, drivers } = note;
  const copy = { point: note.point, from: from.name, to: to.name };
  try {
    const point = await find(ctx, from.store, note.point);
    if (point && !note.wanted(point)) return null;
    const there = point && (await find(ctx, to.store, note.point));
    const moved = point ? await copyPoint(ctx, { from, to, point, there, drivers }) : false;
    await strike(ctx, from.store, key);
    return moved ? { ...copy, error: null } : null;
  } catch (error) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    return { ...copy, error };
  }
}

async function find(ctx: Context, store: Store, id: string): Promise<RecoveryPoint | undefined> {
  for await (const point of store.list(ctx)) if (point.id === id) return point;
  return undefined;
}

async function strike(ctx: Context, store: Store, key: string): Promise<void> {
  try {
    await store.records.delete(ctx, 'owed', key);
  } catch (error) {
    // A note that stays, in a store that forbids deletion, is looked at again by the next run and changes nothing.
    ctx.log.debug('note of an owed point left behind', { note: key, reason: messageOf(error) });
  }
}
