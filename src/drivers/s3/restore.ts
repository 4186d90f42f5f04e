// A restore: buckets are made, objects written as the point lists them, and the settings of the buckets set last.

import { z } from 'zod';
import type { Chain } from '../../core/component.ts';
import { outliving } from '../../core/context.ts';
import { Failure, isFailure, messageOf } from '../../core/errors.ts';
import type { Context, InventoryReader, Restored, RestoreOptions, Source } from '../../core/model.ts';
import { gate, mapBounded } from '../../core/parallel.ts';
import { ageingRules, type BucketSetting, bucketExists, dropSetting, putSetting, readBuckets } from './buckets.ts';
import { type Client, openClient } from './client.ts';
import { historyLeft, type There, thereIn } from './delta.ts';
import { type Entry, entryBatches } from './entries.ts';
import type { Placed } from './journal/overlay.ts';
import { type Replaying, replayingOf, replayObjects, wantedEntries } from './journal/replay.ts';
import { limitedTo, liveInventory } from './live.ts';
import { type Missing, missingList } from './missing.ts';
import type { Listed } from './pages.ts';
import { runsOf } from './runs.ts';
import { type Choice, chosenOf, selectedOf, type Wanted } from './selection.ts';
import type { Scope, Settings } from './settings.ts';
import {
  allVersions,
  deleteAll,
  enableVersions,
  isLockable,
  lifecycleOf,
  makeBucket,
  refuseData,
  restoreSetting,
  restoreSettings,
} from './target.ts';
import { type Job, type Run, writeRuns } from './write-runs.ts';
import type { Place } from './writing.ts';
import type { Written } from './written.ts';

/** Groups of objects that are read from the store at a time. */
const GROUPS_PARALLEL = 4;
const LARGE_PARALLEL = 2;
const RESUME_MS = 30_000;
const BEFORE: readonly BucketSetting[] = ['encryption'];
const AFTER: readonly BucketSetting[] = ['versioning', 'tagging', 'cors', 'policy', 'object-lock'];

interface Target extends Wanted {
  readonly place: Place;
  /** Versions are written one after the other; else only the one that is wanted. */
  readonly history: boolean;
  /** Null where nothing need be known of what is there. */
  readonly there: There | null;
  /** What the point does not have goes. */
  readonly purge: boolean;
  /** The bucket gets back what it had, too. */
  readonly withSettings: boolean;
  /** To be set back last. */
  readonly lifecycle: string | null;
}

/** What a component remembers of its restores. */
export interface Past {
  readonly written: Written;
  /** Buckets that were empty, or not there, before it restored into them. */
  readonly filled: Set<string>;
}

export async function restore(
  ctx: Context,
  settings: Settings,
  { written, filled }: Past,
  chain: Chain,
  options: RestoreOptions = {},
): Promise<Restored> {
  const { base: source } = chain;
  await using replaying = await replayingOf(ctx, chain, options);
  const buckets = replaying?.buckets ?? (await readBuckets(ctx, source)).buckets;
  const chosen = chosenOf(buckets, options, settings.scopes);
  await using client = openClient(ctx, { ...settings, connections: options.jobs ?? settings.connections });
  if (!options.replace && !options.delta) {
    await refuseData(ctx, client, chosen.wanted);
    for (const { target } of chosen.wanted) filled.add(target);
  }
  const suspended = new Map<string, string>();
  try {
    return await restoreInto(ctx, client, { source, replaying, ...chosen, suspended, written, options });
  } catch (error) {
    await resume(ctx, settings, suspended);
    throw error;
  }
}

interface Plan extends Choice {
  readonly source: Source;
  readonly replaying: Replaying | null;
  /** Lifecycles that the buckets themselves had, and have no more. */
  readonly suspended: Map<string, string>;
  readonly written: Written;
  readonly options: RestoreOptions;
}

async function restoreInto(
  ctx: Context,
  client: Client,
  { source, replaying, wanted, leftOut, suspended, written, options }: Plan,
): Promise<Restored> {
  const missing = missingList();
  await using opened = new AsyncDisposableStack();
  const targets = new Map<string, Target>();
  for (const each of wanted) {
    const target = await prepare(ctx, client, each, { options, missing, suspended });
    if (target.there) opened.use(target.there);
    targets.set(each.captured.name, target);
  }
  let [bytes, items] = [0, 0];
  const job: Job = {
    client,
    source,
    missing,
    writes: gate(client.settings.connections),
    large: gate(LARGE_PARALLEL),
    written: options.reread ? null : written,
    done(more) {
      bytes += more;
      items += 1;
      if (items % 100 === 0) ctx.progress({ task: 's3', phase: 'restore', bytes, items });
    },
  };
  await restoreObjects(ctx, job, targets, { delta: options.delta ?? false, replaying });
  for (const { there } of targets.values()) await there?.end();
  if (items === 0) missing.throwFirst();
  for (const target of targets.values()) {
    const names = AFTER.filter((name) => !isSet(target, name));
    if (target.withSettings) missing.add(await restoreSettings(ctx, client, target, names));
  }
  return {
    bytes,
    method: 'objects',
    warnings: warningsOf([...targets.values()], leftOut),
    missing: missing.list(),
    ...(options.select ? { selected: selectedOf(wanted) } : {}),
    ...(replaying?.reached && { reached: replaying.reached }),
    inventory: async () => inventoryAfter(client.settings, { source, wanted, leftOut, written, options }),
    settle: async (within) => await settle(within, client.settings, [...targets.values()]),
  };
}

/** Of the buckets that were meant, whatever the settings name, and under their names in the point. */
function inventoryAfter(
  settings: Settings,
  { source, wanted, leftOut, written, options }: Omit<Plan, 'suspended' | 'replaying'>,
): InventoryReader {
  const scopes = wanted.map(({ captured: { name, versions, exclude }, target, prefix, key }): Scope => {
    const scope = { bucket: target, prefix, versions, exclude, ...(key ? { only: key } : {}) };
    return name === target ? scope : { ...scope, calledAs: name };
  });
  const inventory = liveInventory(settings, { written, scopes, leftOut });
  // Beside the live data, what else is there is none of the point's.
  return options.delta && !options.replace ? limitedTo(source, inventory) : inventory;
}

/** After a restore that failed, what was in the buckets before must not live for ever. */
async function resume(ctx: Context, settings: Settings, suspended: ReadonlyMap<string, string>): Promise<void> {
  const alive = outliving(ctx, RESUME_MS); // also after the user stopped us
  await using client = openClient(alive, settings);
  for (const [bucket, lifecycle] of suspended) {
    try {
      await putSetting(alive, client, bucket, 'lifecycle', lifecycle);
    } catch (error) {
      // What broke the restore matters more.
      ctx.log.warn('the lifecycle of a bucket was dropped and could not be set back', {
        bucket,
        lifecycle,
        reason: messageOf(error),
      });
    }
  }
}

const suspendedSchema = z.object({ bucket: z.string(), lifecycle: z.string() });

/**
 * After a restore that was killed, or could not set it back itself. A lifecycle that the bucket has stays, whoever has
 * set it, so that this may be done any number of times.
 */
export async function resumeLifecycle(ctx: Context, settings: Settings, what: unknown): Promise<void> {
  const { bucket, lifecycle } = suspendedSchema.parse(what);
  await using client = openClient(ctx, settings);
  const there = await lifecycleOf(ctx, client, bucket).catch(unlessMissing);
  if (there === null && (await bucketExists(ctx, client, bucket))) {
    await putSetting(ctx, client, bucket, 'lifecycle', lifecycle);
  }
}

/** What goes by age: rules of the point, and of the buckets that it goes into. */
export async function ageing(
  ctx: Context,
  settings: Settings,
  { base: source }: Chain,
  options: RestoreOptions = {},
): Promise<readonly string[]> {
  const { buckets } = await readBuckets(ctx, source);
  await using client = openClient(ctx, settings);
  const rules = new Set<string>();
  for (const { captured, target, key } of chosenOf(buckets, options, settings.scopes).wanted) {
    const own = key ? [] : ageingRules(target, captured.settings.lifecycle);
    const there = ageingRules(target, await lifecycleOf(ctx, client, target).catch(unlessMissing));
    for (const rule of [...own, ...there]) rules.add(rule);
  }
  return [...rules];
}

/** What a restore in place leaves alone. */
export async function cautions(
  ctx: Context,
  { scopes }: Settings,
  { base: source }: Chain,
  options: RestoreOptions = {},
): Promise<readonly string[]> {
  const { buckets } = await readBuckets(ctx, source);
  return leftTexts(chosenOf(buckets, options, scopes).leftOut);
}

function leftTexts(leftOut: readonly string[]): string[] {
  return leftOut.map(
    (name) => `bucket ${name} is left as it is: the settings do not name all that the point has of it`,
  );
}

function unlessMissing(error: unknown): null {
  if (isFailure(error, 'missing')) return null; // the bucket is yet to be made
  throw error;
}

interface Preparing extends Pick<Plan, 'options' | 'suspended'> {
  readonly missing: Missing;
}

async function prepare(
  ctx: Context,
  client: Client,
  wanted: Wanted,
  { options: { replace = false, delta = false, suspending }, missing, suspended }: Preparing,
): Promise<Target> {
  const { captured, target: bucket, key, prefix, asOf } = wanted;
  const { exclude } = captured;
  const made = await makeBucket(ctx, client, wanted);
  const lifecycle = await suspendLifecycle(ctx, client, bucket, { suspended, suspending });
  // Of a bucket that others have things in, too, only what was captured is touched.
  const withSettings = !key && (made || (captured.prefix === '' && exclude.length === 0));
  if (withSettings) missing.add(await restoreSettings(ctx, client, wanted, BEFORE));
  // A bucket that never kept versions has one of each object, and once told to keep them could not be set back.
  const kept = captured.settings.versioning !== undefined || captured.unknown.versioning !== undefined;
  let history = captured.versions && kept && asOf === null;
  if (history) {
    const refusal = await enableVersions(ctx, client, wanted);
    if (refusal !== null) missing.add([`older versions of objects of bucket ${bucket}: ${refusal}`]);
    history = refusal === null;
  }
  const left = (reasons: readonly string[]): void => missing.add(reasons);
  if (replace && !delta && !key && history) await wipe(ctx, client, { bucket, prefix, exclude }, left);
  const purge = replace && !key && !(history && !delta);
  const there =
    delta || purge ? thereIn(ctx, client, { bucket, prefix, exclude, versions: history, purge, left }) : null;
  const place = { bucket, versioned: history, lockable: await isLockable(ctx, client, bucket) };
  return {
    ...wanted,
    place,
    history,
    there,
    purge,
    withSettings,
    lifecycle: withSettings ? (captured.settings.lifecycle ?? lifecycle) : lifecycle,
  };
}

/** From here on nothing in the bucket goes by age. Resolves to the rules that it had. */
async function suspendLifecycle(
  ctx: Context,
  client: Client,
  bucket: string,
  { suspended, suspending }: { suspended: Map<string, string>; suspending: RestoreOptions['suspending'] },
): Promise<string | null> {
  const lifecycle = await lifecycleOf(ctx, client, bucket);
  if (lifecycle === null) return null;
  await suspending?.({ bucket, lifecycle });
  suspended.set(bucket, lifecycle);
  await dropSetting(ctx, client, bucket, 'lifecycle');
  return lifecycle;
}

async function wipe(
  ctx: Context,
  client: Client,
  scope: Omit<Scope, 'versions'>,
  left: (reasons: readonly string[]) => void,
): Promise<void> {
  for await (const page of allVersions(ctx, client, scope)) left(await deleteAll(ctx, client, scope.bucket, page));
}

/** The versions of one key are written in order; different keys at the same time. */
async function restoreObjects(
  ctx: Context,
  job: Job,
  targets: ReadonlyMap<string, Target>,
  { delta, replaying }: { delta: boolean; replaying: Replaying | null },
): Promise<void> {
  const ofJournal = wantedEntries();
  async function* groups(): AsyncIterable<Run[]> {
    for await (const runs of replaying?.entries(ctx) ?? placed(runsOf(entryBatches(ctx, job.source)))) {
      const chosen: Run[] = [];
      for (const all of runs) {
        const run = all.map(({ entry }) => entry);
        const [first] = run;
        const target = first && targets.get(first.bucket);
        if (!target || (target.key && !target.key(first.key))) continue;
        const found = (await target.there?.of(first.key)) ?? [];
        const wanted = await toWrite(ctx, job, target, run, found);
        const entries = wanted.filter((entry) => {
          const at = all.find((each) => each.entry === entry)?.at ?? null;
          if (at !== null) ofJournal.add(at);
          return at === null;
        });
        const there = delta && !target.history ? found.at(-1) : undefined;
        if (entries.length > 0) chosen.push({ place: target.place, entries, there, isThere: found.length > 0 });
      }
      if (chosen.length > 0) yield chosen;
    }
  }
  await mapBounded(groups(), GROUPS_PARALLEL, (runs) => writeRuns(ctx, job, runs));
  const placeOf = (bucket: string): Place | undefined => targets.get(bucket)?.place;
  if (replaying) await replayObjects(ctx, job, replaying, { wanted: ofJournal, placeOf });
}

async function* placed(groups: AsyncIterable<Entry[][]>): AsyncIterable<Placed[][]> {
  for await (const runs of groups) yield runs.map((run) => run.map((entry) => ({ entry, at: null })));
}

async function toWrite(
  ctx: Context,
  { client, missing }: Job,
  target: Target,
  run: readonly Entry[],
  found: readonly Listed[],
): Promise<readonly Entry[]> {
  const { asOf, purge, history, place } = target;
  if (history) {
    const left = historyLeft(run, found);
    if (left) return left;
    missing.add([`${place.bucket}/${run[0]?.key}: it has other versions there; restore it in place`]);
    return [];
  }
  const entry = run.filter(({ modified }) => asOf === null || Date.parse(modified) <= asOf).at(-1);
  if (entry && !entry.marker) return [entry];
  if (purge) missing.add(await deleteAll(ctx, client, place.bucket, found));
  return [];
}

/** Sets the lifecycles back: those of the point where the whole bucket came from it, else the buckets' own. */
async function settle(ctx: Context, settings: Settings, targets: readonly Target[]): Promise<void> {
  await using client = openClient(ctx, settings);
  const refused: string[] = [];
  for (const { lifecycle, place } of targets) {
    if (lifecycle === null) continue;
    const reason = await restoreSetting(ctx, client, place.bucket, 'lifecycle', lifecycle);
    if (reason !== null) refused.push(`the lifecycle of bucket ${place.bucket}: ${reason}`);
  }
  if (refused.length > 0) throw new Failure('query-failed', refused.join('; '));
}

/** Settings that were needed for the objects and are right as they are. */
function isSet(target: Target, name: BucketSetting): boolean {
  // A server that keeps no versions has said so already.
  return name === 'versioning' && target.captured.versions && target.asOf === null && !target.history;
}

function warningsOf(targets: readonly Target[], leftOut: readonly string[]): string[] {
  const history = targets.filter((target) => target.history).map(({ place }) => place.bucket);
  const left = leftTexts(leftOut);
  if (history.length === 0) return left;
  return [
    ...left,
    `versions in ${history.join(', ')} have new ids and the time of this restore: S3 lets nobody choose them`,
  ];
}
