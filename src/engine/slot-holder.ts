// A scheduled time of a plan is run once, whoever starts it: two machines with the same crontab, a cron that fires
// twice when the clocks are set back, a timer that catches up.

import { messageOf } from '../core/errors.ts';
import { idOf, timeOfId } from '../core/manifest.ts';
import type { Context } from '../core/model.ts';
import { stateOfRun } from './captures.ts';
import type { NamedStore } from './model.ts';

/** Who claims an id notes what it runs right after that. */
const NOTED_MS_MAX = 10_000;
const LOOK_EVERY_MS = 500;

/** What has come of a slot: its point, or the run that is taking it. */
export interface SlotHolder {
  readonly id: string;
  readonly state: 'done' | 'running';
}
export interface Slot {
  readonly at: Date;
  readonly stack: string;
  readonly plan: string;
  /** Names of what the run is to hold. */
  readonly components: readonly string[];
}

/**
 * Null when nobody else has the slot. `own`, the id under which the caller has begun and noted its run, gives way to
 * smaller ones: of two that begin at the same time, one goes on.
 */
export async function holderOf(
  ctx: Context,
  stores: readonly NamedStore[],
  slot: Slot,
  own?: string,
): Promise<SlotHolder | null> {
  for (let waited = 0; ; waited += LOOK_EVERY_MS) {
    const found = await look(ctx, stores, slot, own);
    if (found.holder) return found.holder;
    const isClear = own === undefined || idsBetween(slot.at, own).every((id) => found.ids.has(id));
    if (isClear || waited >= NOTED_MS_MAX) return null;
    await ctx.sleep(LOOK_EVERY_MS);
  }
}

interface Found {
  readonly holder: SlotHolder | null;
  /** Of which it is known what they are, those of other plans too. */
  readonly ids: ReadonlySet<string>;
}

async function look(
  ctx: Context,
  stores: readonly NamedStore[],
  { at, stack, plan, components }: Slot,
  own: string | undefined,
): Promise<Found> {
  const minute = idOf(at).slice(0, -2); // cron has no seconds: what is named after it is another try of the same slot
  const ids = new Set<string>();
  const holders: SlotHolder[] = [];
  const isOurs = (its: { readonly stack: string; readonly plan: string | null }, names: readonly string[]): boolean =>
    its.stack === stack && its.plan === plan && components.every((name) => names.includes(name));
  for (const { name, store } of stores) {
    try {
      for await (const point of store.list(ctx)) {
        if (!point.id.startsWith(minute)) continue;
        ids.add(point.id);
        if (isOurs(point, Object.keys(point.components))) holders.push({ id: point.id, state: 'done' });
      }
      for await (const id of store.records.list(ctx, 'captures', minute)) {
        const run = id === own || id.includes('/') ? null : await stateOfRun(ctx, { store }, id);
        if (!run) continue;
        ids.add(id);
        const noted = run.note.components.map((each) => each.name);
        const comesFirst = own === undefined || id < own;
        if (run.state !== 'dead' && comesFirst && isOurs(run.note, noted)) holders.push({ id, state: 'running' });
      }
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      ctx.log.debug('a store does not say who has the slot', { store: name, reason: messageOf(error) });
    }
  }
  return { holder: holders.find(({ state }) => state === 'done') ?? holders[0] ?? null, ids };
}

function idsBetween(at: Date, own: string): string[] {
  const seconds = Math.round((timeOfId(own).getTime() - at.getTime()) / 1000);
  return Array.from({ length: seconds }, (_, n) => idOf(new Date(at.getTime() + n * 1000)));
}
