// One coordinated recovery point of the stack, in all its stores from one read.

import { interruption, outliving } from '../core/context.ts';
import { Failure, messageOf } from '../core/errors.ts';
import { idOf, timeOfId } from '../core/manifest.ts';
import type { Context } from '../core/model.ts';
import type { MissedSlots, RecoveryPoint } from '../core/point.ts';
import {
  abandonedRuns,
  type Captured,
  forgetCaptures,
  noteRun,
  type RunNote,
  stateOfRun,
  takeOver,
} from './captures.ts';
import { type CaptureRequest, captureAll, type Header, withHooks } from './capturing.ts';
import { alive, needLane, onEach } from './fan-out.ts';
import type { HookFailure } from './hooks.ts';
import { beginLanes, type Lanes, resumeLanes, type StoreError } from './lanes.ts';
import { type NamedStore, SAFETY_PLAN } from './model.ts';
import { copyOwed, type OwedCopy, oweCommits, settleOwed } from './owed.ts';
import { type Earlier, earlierPoints } from './previous.ts';
import { holderOf, type SlotHolder } from './slot-holder.ts';
import { missedText, slotsBetween, type Timetable } from './slots.ts';
import { resumeSuspended } from './suspended.ts';

/** Points further ahead than this mean that a clock is wrong. */
export const AHEAD_MS_MAX = 5 * 60_000;
const CLEANUP_MS_MAX = 10_000;

export interface BackUpRequest extends CaptureRequest {
  readonly stack: string;
  /** The application's version. */
  readonly version?: string | null | undefined;
  readonly stores: readonly NamedStore[];
  /** Stores of the plan that could not even be opened: they are owed the point. */
  readonly unopened?: readonly StoreError[] | undefined;
  /** Other stores that a restore may have been from, and have noted in what it had suspended. */
  readonly others?: readonly NamedStore[] | undefined;
  /** The scheduled time, whose id the point gets. With a plan, it is run once. */
  readonly slot?: Date | undefined;
  /** Of the plan: what was missed before the slot is told and noted. */
  readonly timetable?: Timetable | undefined;
  /** Goes on with the draft of an interrupted run; 'locked' while its process is alive. */
  readonly resume?: string | undefined;
}

export interface BackedUp {
  /** Null when every component failed: then no store holds anything of the run. */
  readonly point: RecoveryPoint | null;
  /** False for a test, and when there is no point. */
  readonly kept: boolean;
  readonly failures: readonly { readonly component: string; readonly error: unknown }[];
  /** Every store of the run; `error` is null for those that hold the point. */
  readonly stores: readonly StoreError[];
  /** Points of earlier runs that a store lacked. */
  readonly copied: readonly OwedCopy[];
  /** Hooks that failed once the work was done, by component; those of the plan under `planHooksOf`. */
  readonly hooks: readonly (HookFailure & { readonly of: string })[];
  readonly warnings: readonly string[];
  /** Set when somebody else runs the slot, or has run it: then nothing was done. */
  readonly holder: SlotHolder | null;
  /** Everything that was asked for was done. */
  readonly complete: boolean;
}

/**
 * Captures all components at the same time into one point. A component that fails makes it partial, a store that fails
 * gets it from the others at the next run. Throws when no store is left.
 */
export async function backUp(ctx: Context, request: BackUpRequest): Promise<BackedUp> {
  if (request.components.length === 0) throw new Error('a backup of no component');
  const startedAt = ctx.now();
  const startedMs = ctx.monotonicMs();
  const holder = await slotHolder(ctx, request);
  if (holder) return leftTo(holder);
  await using run = await openRun(ctx, request, startedAt);
  try {
    const first = await slotHolder(ctx, request, run.id);
    if (first) {
      await forgetCaptures(ctx, run.lanes, run.id);
      return leftTo(first);
    }
    return await takePoint(ctx, request, run, { startedAt, startedMs });
  } catch (error) {
    // Its drafts go with it: only a run that was killed is gone on with.
    await forgetCaptures(outliving(ctx, CLEANUP_MS_MAX), run.lanes, run.id);
    throw error;
  }
}

async function slotHolder(ctx: Context, request: BackUpRequest, own?: string): Promise<SlotHolder | null> {
  const { slot, stack, plan, components, stores } = request;
  if (!slot || plan === null || request.test || request.resume !== undefined) return null;
  return await holderOf(ctx, stores, { at: slot, stack, plan, components: components.map(({ name }) => name) }, own);
}

function leftTo(holder: SlotHolder): BackedUp {
  const none = { failures: [], stores: [], copied: [], hooks: [], warnings: [] } as const;
  return { ...none, point: null, kept: false, holder, complete: true };
}

async function takePoint(
  ctx: Context,
  request: BackUpRequest,
  run: Lanes,
  { startedAt, startedMs }: { readonly startedAt: Date; readonly startedMs: number },
): Promise<BackedUp> {
  const earlier = await earlierPoints(ctx, run.lanes, request.stack);
  const missed = missedSlots(request, earlier, run.id);
  const header = headerOf(request, run.id, { startedAt: run.resumed ? await begunAt(ctx, run) : startedAt, missed });
  const warnings = [...clockWarnings(earlier, startedAt), ...(await abandonedWarnings(ctx, run))];
  if (missed) warnings.push(`plan ${request.plan} ${missedText(missed)}`);
  const noting = [...alive(run.lanes), ...(request.others ?? [])];
  const resumed = await resumeSuspended(ctx, noting, request.components);
  warnings.push(...resumed.warnings);
  const hooks: (HookFailure & { readonly of: string })[] = [];
  const hookFailed = (of: string) => (failure: HookFailure) => void hooks.push({ ...failure, of });
  const captured = await withHooks(ctx, request, run, hookFailed, () =>
    captureAll(ctx, request, run, header, earlier, hookFailed),
  );
  if (ctx.signal.aborted) throw interruption(ctx.signal);
  needLane(run.lanes);

  const failures = captured.flatMap(({ name, thrown }) =>
    thrown === undefined ? [] : [{ component: name, error: thrown }],
  );
  if (failures.length === captured.length) {
    await forgetCaptures(ctx, run.lanes, run.id);
    const none = { point: null, kept: false, copied: [], complete: false } as const;
    return { ...outcomeOf(request, run), ...none, holder: null, failures, hooks, warnings };
  }
  const point = pointOf(header, captured, new Date(startedAt.getTime() + ctx.monotonicMs() - startedMs));
  if (!request.test) await commitAll(ctx, request, run, point, captured);
  await forgetCaptures(ctx, run.lanes, run.id);
  const stores = request.stores.filter(({ name }) => alive(run.lanes).some((lane) => lane.name === name));
  const drivers = new Map(request.components.map(({ kind, driver }) => [kind, driver]));
  const copied = request.test ? [] : await copyOwed(ctx, stores, drivers);
  const outcome = outcomeOf(request, run);
  const complete =
    failures.length === 0 &&
    resumed.complete &&
    hooks.length === 0 &&
    outcome.stores.every(({ error }) => error === null) &&
    copied.every(({ error }) => error === null);
  return { ...outcome, point, kept: !request.test, failures, copied, hooks, warnings, holder: null, complete };
}

async function openRun(ctx: Context, request: BackUpRequest, startedAt: Date): Promise<Lanes> {
  const { stores, slot, resume } = request;
  if (resume !== undefined) {
    for (const store of stores) refuseResume(resume, request, await stateOfRun(ctx, store, resume));
    const run = await resumeLanes(ctx, stores, resume);
    if (await takeOver(ctx, run.lanes, resume)) return run;
    await run[Symbol.asyncDispose]();
    throw goingOn(resume);
  }
  const abandoned = slot ? await resumeSlot(ctx, request, idOf(slot)) : null;
  if (abandoned) return abandoned;
  const components = request.components.map(({ name, kind }) => ({ name, kind }));
  const plan = { stack: request.stack, components, aside: request.plan === SAFETY_PLAN };
  const run = await beginLanes(ctx, stores, slot ?? startedAt, plan);
  try {
    if (!request.test) await noteRun(ctx, run.lanes, run.id, { ...plan, plan: request.plan });
    return run;
  } catch (error) {
    await run[Symbol.asyncDispose]();
    throw error;
  }
}

function refuseResume(id: string, request: BackUpRequest, run: Awaited<ReturnType<typeof stateOfRun>>): void {
  if (run?.state === 'alive') {
    throw goingOn(id);
  }
  if (!run || isSameRun(request, run.note)) return;
  const names = run.note.components.map(({ name }) => name).join(', ');
  throw new Failure('usage', `the run of point ${id} was to hold other components: ${names}`);
}

function goingOn(id: string): Failure {
  return new Failure('locked', `the run of point ${id} is still going on`, { hint: 'wait for it, or stop it' });
}

/** The draft that a process which is provably gone left for this very slot, if it was to hold the same. */
async function resumeSlot(ctx: Context, request: BackUpRequest, id: string): Promise<Lanes | null> {
  try {
    for (const store of request.stores) {
      const run = await stateOfRun(ctx, store, id);
      if (run?.state !== 'dead' || run.note.plan !== request.plan || !isSameRun(request, run.note)) return null;
    }
    const run = await resumeLanes(ctx, request.stores, id);
    if (await takeOver(ctx, run.lanes, id)) return run;
    await run[Symbol.asyncDispose]();
    return null;
  } catch (error) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    // What can't be resumed is begun anew; a store that is down shows itself there.
    ctx.log.info('draft not resumed', { point: id, reason: messageOf(error) });
    return null;
  }
}

function isSameRun(request: BackUpRequest, note: RunNote): boolean {
  const textOf = (all: readonly { readonly name: string; readonly kind: string }[]): string =>
    all
      .map(({ name, kind }) => `${name} ${kind}`)
      .toSorted()
      .join();
  return note.stack === request.stack && textOf(note.components) === textOf(request.components);
}

/** When the process began that was killed: a run that came late has the id of its slot. */
async function begunAt(ctx: Context, { id, lanes: [first] }: Lanes): Promise<Date> {
  const run = first && (await stateOfRun(ctx, first, id));
  return run ? new Date(run.note.begun_at ?? run.note.noted_at) : timeOfId(id);
}

function missedSlots({ plan, slot, timetable }: BackUpRequest, earlier: Earlier, id: string): MissedSlots | null {
  if (!slot || !timetable) return null;
  const runs = earlier.points.filter((each) => each.plan === plan && each.id < id).map((each) => each.id);
  const before = runs.toSorted().at(-1);
  return before === undefined ? null : slotsBetween(timetable, timeOfId(before), slot);
}

function headerOf(
  request: BackUpRequest,
  id: string,
  { startedAt, missed }: { readonly startedAt: Date; readonly missed: MissedSlots | null },
): Header {
  const since = startedAt.toISOString();
  return {
    format: 1,
    id,
    stack: request.stack,
    plan: request.plan,
    startedAt: since,
    finishedAt: since,
    skewMs: 0,
    status: 'partial',
    version: request.version ?? null,
    missed,
  };
}

function pointOf(header: Header, captured: readonly Captured[], finishedAt: Date): RecoveryPoint {
  const cuts = captured.flatMap(({ component }) => (component.cut ? [Date.parse(component.cut.at)] : []));
  return {
    ...header,
    finishedAt: finishedAt.toISOString(),
    skewMs: cuts.length === 0 ? 0 : Math.max(...cuts) - Math.min(...cuts),
    status: captured.every(({ component }) => component.error === null) ? 'complete' : 'partial',
    components: Object.fromEntries(captured.map(({ name, component }) => [name, component])),
  };
}

/** Each store is owed the point by the others before the first commit, so that dying in between is no loss. */
async function commitAll(
  ctx: Context,
  request: BackUpRequest,
  run: Lanes,
  point: RecoveryPoint,
  captured: readonly Captured[],
): Promise<void> {
  const names = [...request.stores, ...(request.unopened ?? [])].map(({ name }) => name);
  await oweCommits(ctx, run.lanes, point.id, names);
  await onEach(ctx, run.lanes, async (lane) => {
    const receipts = captured.flatMap((each) => each.receipts.get(lane) ?? []);
    await lane.store.commit(ctx, lane.draft, point, receipts);
  });
  await settleOwed(ctx, run.lanes, point.id);
}

function clockWarnings(earlier: Earlier, now: Date): readonly string[] {
  const [newest] = earlier.points;
  if (!newest || Date.parse(newest.startedAt) <= now.getTime() + AHEAD_MS_MAX) return [];
  return [
    `point ${newest.id} lies ahead of this machine's clock: 'latest' means that one until the clock has passed it`,
  ];
}

async function abandonedWarnings(ctx: Context, run: Lanes): Promise<readonly string[]> {
  const [runs] = (await onEach(ctx, run.lanes, (lane) => abandonedRuns(ctx, lane))).values();
  return (runs ?? [])
    .filter(({ id }) => id !== run.id)
    .map(({ id, finished }) => {
      const what = finished === 1 ? 'one finished component' : `${finished} finished components`;
      return `a run that was killed left ${what}: the same command with --resume ${id} goes on with it`;
    });
}

function outcomeOf(request: BackUpRequest, run: Lanes): { readonly stores: readonly StoreError[] } {
  const left = [...run.failed, ...(request.unopened ?? [])];
  const lanes = run.lanes.map(({ name, failed }) => ({ name, error: failed ? failed.error : null }));
  return { stores: [...lanes, ...left] };
}
