// Removes the points that no rule keeps, then frees their space. A preview unless told to apply.

import { Failure, isFailure } from '../core/errors.ts';
import { isPointId, timeOfId } from '../core/manifest.ts';
import type { Context } from '../core/model.ts';
import type { Reclaimed, ReclaimOptions, Store } from '../core/storage.ts';
import { AHEAD_MS_MAX } from './backup.ts';
import { stateOfRun } from './captures.ts';
import { type ComponentOf, noteReleases, releaseNoted, type Unreleased } from './external.ts';
import { type Decision, decide, type RulesOf } from './keep.ts';
import type { NamedStore } from './model.ts';
import { listPoints } from './points.ts';
import { capturesUnderway, type PrunedJournals, pruneJournals } from './prune-journals.ts';

/** What was found unreferenced may go after this long: a backup that runs meanwhile may still need it. */
const GRACE_MS = 24 * 3_600_000;
/** Who waits for a store that is in use looks again after this long. */
const LOOK_AGAIN_MS = 15_000;
/** A run may go on, and stores keep what it left, for so long: until then its note says whose the draft is. */
const NOTES_KEPT_MS = 7 * 24 * 3_600_000;

export interface PruneRequest {
  readonly in: NamedStore;
  readonly stack: string;
  readonly rulesOf: RulesOf;
  readonly apply: boolean;
  /** Goes on where a clock or a rule looks wrong: the user has said so. */
  readonly allowMany?: boolean | undefined;
  readonly graceMs?: number | undefined;
  /** All stores that may hold the same points; only `in` when left out. */
  readonly stores?: readonly NamedStore[] | undefined;
  /** Where data outside the stores is released; nothing is when left out. */
  readonly componentOf?: ComponentOf | undefined;
  /** How long to wait for somebody who uses the store before its space can be freed; not at all when left out. */
  readonly waitMs?: number | undefined;
}

export interface Pruned {
  /** Every point of the stack, oldest first, with why it is kept. */
  readonly decisions: readonly Decision[];
  /** Ids that no rule keeps; gone when applied. */
  readonly removed: readonly string[];
  readonly applied: boolean;
  /** Why it would not be applied; null when nothing stands in the way. */
  readonly refusal: Failure | null;
  readonly reclaimed: Reclaimed;
  /** What went of journals, or would. */
  readonly journals: PrunedJournals;
  /** Data outside the store that no point needs, and that could not be released yet. */
  readonly unreleased: readonly Unreleased[];
}

/** With `apply`: 'clock-skew' when the newest point lies ahead, 'not-confirmed' when over half of all would go. */
export async function prunePoints(asked: Context, request: PruneRequest): Promise<Pruned> {
  const { store, name } = request.in;
  const ctx: Context = { ...asked, progress: (event) => asked.progress({ ...event, task: name }) };
  ctx.progress({ task: name, phase: 'list' });
  const underway = await capturesUnderway(ctx, store);
  const all = await listPoints(ctx, request.in);
  const views = all.filter(({ point }) => point.stack === request.stack);
  const now = ctx.now();
  const decisions = decide(views, request.rulesOf, now);
  const removed = decisions.filter(({ reasons }) => reasons.length === 0).map(({ point }) => point.id);
  const refusal = request.allowMany ? null : refusalOf(decisions, removed, now);
  if (request.apply && refusal) throw refusal;
  let freed = 0;
  if (request.apply && removed.length > 0) {
    ctx.progress({ task: name, phase: 'remove', itemsTotal: removed.length });
    const going = views.filter(({ point }) => removed.includes(point.id)).map(({ point }) => point);
    await noteReleases(ctx, request.in, going);
    freed = await store.remove(ctx, removed);
    await forgetProofs(ctx, store, removed);
  }
  const { componentOf } = request;
  const stores = request.stores ?? [request.in];
  const unreleased = request.apply && componentOf ? await releaseNoted(ctx, request.in, stores, componentOf) : [];
  // Points go first: a prune that dies leaves more of a journal than is needed, and never less.
  const points = all
    .map(({ point }) => point)
    .filter(({ id, stack }) => stack !== request.stack || !removed.includes(id));
  const journals = await pruneJournals(ctx, store, { points, underway, apply: request.apply });
  const graceMs = request.graceMs ?? GRACE_MS;
  if (request.apply) await forgetInterrupted(ctx, store, now, graceMs);
  const found = await reclaimed(ctx, request, { apply: request.apply, graceMs });
  return {
    decisions,
    removed,
    applied: request.apply,
    refusal,
    reclaimed: { ...found, bytes: found.bytes + freed },
    journals,
    unreleased,
  };
}

/** 'locked' when the store is still in use after the wait. */
async function reclaimed(ctx: Context, request: PruneRequest, options: ReclaimOptions): Promise<Reclaimed> {
  const { store, name } = request.in;
  const { waitMs = 0 } = request;
  for (let waitedMs = 0; ; waitedMs += LOOK_AGAIN_MS) {
    try {
      return await store.reclaim(ctx, options);
    } catch (error) {
      if (!isFailure(error, 'locked') || waitedMs >= waitMs) throw error;
      const fields = { store: name, reason: error.message, seconds_max: Math.round(waitMs / 1000) };
      if (waitedMs === 0) ctx.log.warn('waiting until space can be freed', fields);
      await ctx.sleep(LOOK_AGAIN_MS);
    }
  }
}

function refusalOf(decisions: readonly Decision[], removed: readonly string[], now: Date): Failure | null {
  if (removed.length === 0) return null;
  const hint = 'look at the list, then say --allow-many';
  const latestMs = now.getTime() + AHEAD_MS_MAX;
  // By either time, as a point that came late is named after its slot.
  const ahead = decisions.findLast(({ point: { id, startedAt } }) => {
    return timeOfId(id).getTime() > latestMs || Date.parse(startedAt) > latestMs;
  });
  if (ahead) {
    const what = `point ${ahead.point.id} lies ahead of the clock (${now.toISOString()})`;
    return new Failure('clock-skew', `nothing is removed: ${what}`, {
      hint: `set the clock right; if it is, ${hint}`,
    });
  }
  if (removed.length * 2 <= decisions.length) return null;
  const what = `${removed.length} of ${decisions.length} points would go, which is over half`;
  return new Failure('not-confirmed', `nothing is removed: ${what}`, { hint });
}

/** A proof without its point would speak for the next one of that id. */
async function forgetProofs(ctx: Context, store: Store, points: readonly string[]): Promise<void> {
  for (const point of points) {
    const ids = await Array.fromAsync(store.records.list(ctx, 'proofs', `${point}/`));
    for (const id of ids) await store.records.delete(ctx, 'proofs', id);
  }
}

/** Notes of runs that nobody went on with. */
async function forgetInterrupted(ctx: Context, store: Store, now: Date, graceMs: number): Promise<void> {
  const notes = await Array.fromAsync(store.records.list(ctx, 'captures'));
  for (const note of notes) {
    const id = note.split('/')[0] ?? note;
    if (isPointId(id) && now.getTime() - timeOfId(id).getTime() < graceMs) continue;
    const run = await stateOfRun(ctx, { store }, id);
    // A copy has the id of an old point: it is as old as its note.
    if (run && (run.state === 'alive' || now.getTime() - Date.parse(run.note.noted_at) < NOTES_KEPT_MS)) continue;
    await store.records.delete(ctx, 'captures', note).catch((error: unknown) => {
      if (!isFailure(error, 'denied')) throw error; // it is never read again
    });
  }
}
