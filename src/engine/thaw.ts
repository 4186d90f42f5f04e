// Objects that S3 has archived: counted before anything is read, asked for, and waited for. Nothing is kept of it here:
// what the bucket says is the truth, so a run that was stopped is gone on with by another.

import { Failure } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import { mapBounded } from '../core/parallel.ts';
import type { Archive, ArchivedObject, ThawTier } from '../core/storage.ts';
import type { NamedStore } from './model.ts';
import { type ClassSum, THAW_DAYS, type ThawOffer, thawOffers } from './thaw-prices.ts';

/** S3 takes a thousand of these requests a second. */
const REQUESTS_AT_ONCE = 16;
const POLL_MS_MIN = 1000;
const POLL_MS_MAX = 5 * 60_000;
/** The times that a tier names are typical ones. */
const PATIENCE = 2;
const HOUR_MS = 3_600_000;

/** What is to be read and may be archived. */
export interface ThawNeed {
  readonly store: string;
  /** For messages: 'point 2026-11-21-020000'. */
  readonly what: string;
  /** As in `Archive`: each archived object that is needed, and ask again when these are back. */
  readonly needed: (ctx: Context) => AsyncIterable<ArchivedObject>;
  readonly thaw: Archive['thaw'];
}

/** Components by the id of the point that they come from. */
export type ByPoint = ReadonlyMap<string, readonly string[]>;

/** Null where nothing is ever archived. */
export function pointNeed({ name, store }: NamedStore, points: ByPoint): ThawNeed | null {
  const { archive } = store;
  if (!archive) return null;
  async function* needed(ctx: Context): AsyncIterable<ArchivedObject> {
    for (const [point, components] of points) if (archive) yield* archive.needed(ctx, point, components);
  }
  const what = `${points.size === 1 ? 'point' : 'points'} ${[...points.keys()].join(', ')}`;
  return { store: name, what, needed, thaw: archive.thaw };
}

/** What can't be read now. */
export interface Archived {
  readonly objects: number;
  readonly bytes: number;
  /** How many of them were asked for already. */
  readonly thawing: number;
  /** More will be found to be needed when these are back. */
  readonly leads: boolean;
  readonly classes: readonly ClassSum[];
  /** What it takes to have those that were not asked for. */
  readonly offers: readonly ThawOffer[];
}

/** Null when all of it can be read. */
export async function archivedIn(ctx: Context, need: ThawNeed | null): Promise<Archived | null> {
  return need && (await eachArchived(ctx, need, async () => {}));
}

/** 'archived', before anything was done, when something that the components need can't be read. */
export async function needThawed(ctx: Context, from: NamedStore, points: ByPoint): Promise<void> {
  const need = pointNeed(from, points);
  const archived = await archivedIn(ctx, need);
  if (need && archived) throw archivedFailure(need, archived);
}

export function archivedFailure({ store, what }: Pick<ThawNeed, 'store' | 'what'>, archived: Archived): Failure {
  const { objects, bytes, thawing } = archived;
  const asked = thawing === 0 ? '' : `, of which ${thawing} were asked for`;
  const found = `${objects} objects of store ${store} with ${bytes} bytes are archived${asked}`;
  return new Failure('archived', `${what} can't be read: ${found}`, {
    hint: 'lifeboat restore --preview says what thawing takes; restore --thaw standard asks for it, and --wait waits',
  });
}

/** Asks for all that is known to be needed and was not asked for. What is not yet back then; null when all is. */
export async function askForThaw(ctx: Context, need: ThawNeed, tier: ThawTier): Promise<Archived | null> {
  return await eachArchived(ctx, need, async ({ key, thawing }) => {
    if (!thawing) await need.thaw(ctx, key, { days: THAW_DAYS, tier });
  });
}

/**
 * Resolves when everything can be read. What becomes known to be needed only on the way is asked for, too, unless
 * `agree` throws.
 */
export async function untilThawed(
  ctx: Context,
  need: ThawNeed,
  tier: ThawTier,
  agree: (unasked: Archived) => Promise<void>,
): Promise<void> {
  const task = need.store;
  let startedMs = ctx.monotonicMs();
  let known = 0;
  for (let pauseMs = POLL_MS_MIN; ; pauseMs = Math.min(2 * pauseMs, POLL_MS_MAX)) {
    const left = await archivedIn(ctx, need);
    const found = left ?? { objects: 0, thawing: 0 };
    known += known === 0 ? found.objects : found.objects - found.thawing;
    ctx.progress({ task, phase: 'thaw', items: known - found.objects, itemsTotal: known });
    if (left === null) return;
    if (left.thawing < left.objects) {
      await agree(left);
      await askForThaw(ctx, need, tier);
      startedMs = ctx.monotonicMs();
    }
    const limitMs = PATIENCE * HOUR_MS * Math.max(1, hoursOf(left, tier));
    if (ctx.monotonicMs() - startedMs > limitMs) {
      throw new Failure('timeout', `${left.objects} archived objects of store ${task} are still not back`, {
        hint: 'run the same command again: what was asked for is not paid for twice',
      });
    }
    await ctx.sleep(pauseMs);
  }
}

/** How long it typically takes at most; 0 when the tier is not to be had for these. */
export function hoursOf({ offers }: Archived, tier: ThawTier): number {
  return offers.find((each) => each.tier === tier)?.hours ?? 0;
}

async function eachArchived(
  ctx: Context,
  need: ThawNeed,
  work: (object: ArchivedObject) => Promise<void>,
): Promise<Archived | null> {
  let leads = false;
  const [all, unasked] = [new Map<string, ClassSum>(), new Map<string, ClassSum>()];
  await mapBounded(need.needed(ctx), REQUESTS_AT_ONCE, async (object) => {
    addTo(all, object);
    leads ||= object.leads ?? false;
    if (!object.thawing) addTo(unasked, object);
    await work(object);
  });
  const classes = [...all.values()];
  if (classes.length === 0) return null;
  const objects = objectsIn(classes);
  return {
    objects,
    bytes: classes.reduce((sum, { bytes }) => sum + bytes, 0),
    thawing: objects - objectsIn(unasked.values()),
    leads,
    classes,
    offers: thawOffers(classes).map(({ tier, hours }) => ({ tier, hours, usd: costOf(unasked, tier) })),
  };
}

function costOf(unasked: ReadonlyMap<string, ClassSum>, tier: ThawTier): number {
  return thawOffers([...unasked.values()]).find((each) => each.tier === tier)?.usd ?? 0;
}

function objectsIn(sums: Iterable<ClassSum>): number {
  let objects = 0;
  for (const sum of sums) objects += sum.objects;
  return objects;
}

function addTo(sums: Map<string, ClassSum>, { storageClass = 'GLACIER', bytes }: ArchivedObject): void {
  const before = sums.get(storageClass);
  sums.set(storageClass, {
    storageClass,
    objects: (before?.objects ?? 0) + 1,
    bytes: (before?.bytes ?? 0) + bytes,
  });
}
