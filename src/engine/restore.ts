// Brings components of a point back: into empty targets, beside live data, or over it.

import type { Component } from '../core/component.ts';
import { interruption } from '../core/context.ts';
import { Failure, isFailure, messageOf } from '../core/errors.ts';
import type { Context, Cut, Restored, RestoreOptions, Source, Verdict } from '../core/model.ts';
import { type Gate, gate } from '../core/parallel.ts';
import type { RecoveryPoint } from '../core/point.ts';
import type { Store } from '../core/storage.ts';
import { worst } from '../core/verdict.ts';
import {
  againstOf,
  bringBack,
  type Coming,
  chainOf,
  noteMissing,
  type Phases,
  phasesFrom,
  prove,
  thenSettle,
  verdictOf,
  type Watch,
  watch,
  whatWasSelected,
} from './comeback.ts';
import { criticalPath, type Timed } from './critical-path.ts';
import { type Findings, type FindingsBook, findingsBook } from './findings.ts';
import { around, type HookFailure, NO_HOOKS } from './hooks.ts';
import { type Loss, lossOf } from './markers.ts';
import { PARALLEL_DEFAULT } from './model.ts';
import type { Moment } from './moment.ts';
import { inOrder } from './order.ts';
import { putProof } from './proofs.ts';
import { among, checkReferences } from './references.ts';
import {
  byPoint,
  type Ended,
  planRestore,
  type RestorePlan,
  type RestoreRequest,
  type RestoreStep,
  refuseArchived,
  refuseTargets,
} from './restore-plan.ts';
import { type Safety, takeSafety, withSafety } from './safety.ts';
import { noting, resumeSuspended } from './suspended.ts';

export interface RestoreOutcome extends Timed, Ended {
  readonly step: RestoreStep;
  readonly findings: Findings;
  readonly bytes: number;
  readonly method: string | null;
  readonly warnings: readonly string[];
  /** Names under which the old data was kept. */
  readonly keptAs: readonly string[];
  /** The last change of the log that came with it, by the source's clock; null where nobody tells. */
  readonly reached: Cut | null;
  readonly loss: Loss | null;
}

export interface RestoredPoint {
  readonly point: RecoveryPoint;
  readonly moment: Moment | null;
  readonly outcomes: readonly RestoreOutcome[];
  /** Whether the components fit together. */
  readonly references: Findings;
  /** Over all that was asked for; what did not come back counts as a failure. */
  readonly verdict: Verdict;
  /** The point of the data that was replaced, when there was any. */
  readonly safety: Safety | null;
  /** The point counts as proved by this restore, for the components that came back equal and were read again. */
  readonly proved: readonly string[];
  readonly rtoMs: number;
  /** The components that the others waited for, one after the other. */
  readonly waitedFor: readonly string[];
  /** Of those. */
  readonly phases: Phases;
  readonly warnings: readonly string[];
  /** Configured components that were asked for and that the point does not hold. */
  readonly lacking: readonly string[];
  /** Only a selection was asked for: the verdict and the findings are of that alone. */
  readonly selected: boolean;
  /** Everything came back and was shown to be equal; a selection came back, and nothing else is open. */
  readonly complete: boolean;
}

/**
 * Does what `plan` says, or a plan made now where nobody was shown one. 'target-not-empty' before anything is touched
 * when a target holds data and this is not in place, 'archived' when the data must be thawed. A component that fails
 * does not stop those that need it not; throws only when none came back.
 */
export async function restorePoint(ctx: Context, request: RestoreRequest, shown?: RestorePlan): Promise<RestoredPoint> {
  const began = { ms: ctx.monotonicMs(), at: ctx.now() };
  const plan = shown ?? (await planRestore(ctx, request));
  refuseTargets(plan.steps);
  refuseArchived(plan, request.from);
  const safety = await takeSafety(ctx, request, plan);
  const steps = new Map(plan.steps.map((step) => [step.name, step]));
  const turns = turnsOf(plan.steps);
  const outcomes = await inOrder<RestoreOutcome>(plan.before, request.parallel ?? PARALLEL_DEFAULT, (name, earlier) => {
    const step = steps.get(name);
    if (!step) throw new Error(`no step for ${name}`);
    const restore = (): Promise<RestoreOutcome> => restoreStep(ctx, request, step, earlier, began);
    return turns.get(name)?.run(restore) ?? restore();
  });
  if (ctx.signal.aborted) throw withSafety(interruption(ctx.signal), safety);
  const all = [...outcomes.values()];
  const failed = all.filter(({ error }) => error !== null);
  if (failed.length === all.length) throw withSafety(firstCause(failed), safety);
  const proofs = request.select ? [] : all.filter(isProof);
  const warnings = [...plan.warnings, ...(safety?.warnings ?? []), ...(await recordProofs(ctx, request, proofs))];
  const references = await referencesOf(ctx, request, outcomes);
  const critical = criticalPath(outcomes);
  const verdict = worst([
    ...all.map((each) => (each.error === null ? each.verdict : 'fail')),
    ...references.kept.map((each) => each.verdict),
    ...plan.lacking.map(() => 'unknown' as const),
  ]);
  return {
    point: request.point,
    moment: request.moment ?? null,
    outcomes: all,
    references,
    verdict,
    safety,
    proved: proofs.map(({ name }) => name),
    rtoMs: ctx.monotonicMs() - began.ms,
    waitedFor: critical.names,
    phases: critical.phases,
    warnings,
    lacking: plan.lacking,
    selected: request.select !== undefined,
    complete: plan.lacking.length === 0 && all.every((each) => isAsAsked(request, each)) && isFitting(references),
  };
}

/**
 * Those that would suspend the same rule of the same service go one after the other: who ends first would set it back
 * while the other is still at work.
 */
function turnsOf(steps: readonly RestoreStep[]): ReadonlyMap<string, Gate> {
  const turns = new Map<string, Gate>();
  for (const [at, step] of steps.entries()) {
    const other = steps.slice(0, at).find((each) => isShared(each, step));
    if (!other) continue;
    const turn = turns.get(other.name) ?? gate(1);
    turns.set(other.name, turn).set(step.name, turn);
  }
  return turns;
}

function isShared(a: RestoreStep, b: RestoreStep): boolean {
  const same = a.kind === b.kind && a.targetIdentity !== null && a.targetIdentity === b.targetIdentity;
  return same && a.ageing.some((rule) => b.ageing.includes(rule));
}

/** Of what came back; a selection has no rows or names to expect. */
async function referencesOf(
  ctx: Context,
  { references = [], only, select, rename }: RestoreRequest,
  outcomes: ReadonlyMap<string, RestoreOutcome>,
): Promise<Findings> {
  const book = findingsBook();
  if (select || rename) return book.sum();
  const componentOf = (name: string): Component | null => {
    const outcome = outcomes.get(name);
    return outcome?.error === null ? outcome.step.item.component : null;
  };
  await checkReferences(ctx, among(references, only), componentOf, book);
  return book.sum();
}

async function restoreStep(
  ctx: Context,
  request: RestoreRequest,
  step: RestoreStep,
  earlier: ReadonlyMap<string, RestoreOutcome>,
  began: { readonly ms: number; readonly at: Date },
): Promise<RestoreOutcome> {
  const startMs = ctx.monotonicMs();
  const book = findingsBook();
  const attempt: Attempt = { ctx, request, step, book, watch: null };
  let done: Done | { readonly error: unknown };
  try {
    needEarlier(step, earlier);
    if (step.problem !== null) throw step.problem;
    const failed = ({ hook, error }: HookFailure): void =>
      book.add({ check: `${step.name}: ${hook} is run`, verdict: 'unknown', detail: messageOf(error) });
    done = await around(ctx, step.item.hooks?.restore ?? NO_HOOKS, failed, () => attemptStep(attempt));
  } catch (error) {
    const verdict = verdictOf(error, attempt.watch);
    book.add({ check: `${step.name} comes back`, verdict, detail: messageOf(error) });
    done = { error };
  }
  const findings = book.sum();
  const endedMs = ctx.monotonicMs() - began.ms;
  const isBack = !('error' in done) && request.select === undefined;
  const { loss, warnings } = isBack
    ? await lossOf(ctx, step.item, step.item.component, step.origin, began.at)
    : NOT_MEASURED;
  const outcome = {
    name: step.name,
    step,
    verdict: findings.verdict,
    findings,
    bytes: attempt.watch?.bytes() ?? 0,
    method: null,
    keptAs: [],
    reached: null,
    loss,
    error: null,
    ...done,
    warnings: [...('warnings' in done ? done.warnings : []), ...warnings],
    phases: 'phases' in done ? done.phases : phasesFrom({ restore: ctx.monotonicMs() - startMs }),
    startedMs: startMs - began.ms,
    endedMs,
    after: [...earlier.keys()],
  };
  request.onEnd?.(outcome);
  return outcome;
}

const NOT_MEASURED = { loss: null, warnings: [] };

interface Attempt {
  readonly ctx: Context;
  readonly request: RestoreRequest;
  readonly step: RestoreStep;
  readonly book: FindingsBook;
  watch: Watch | null;
}
interface Done {
  readonly method: string;
  readonly warnings: readonly string[];
  readonly keptAs: readonly string[];
  readonly reached: Cut | null;
  readonly phases: Phases;
}

async function attemptStep(attempt: Attempt): Promise<Done> {
  const { ctx, request, step } = attempt;
  if (ctx.signal.aborted) throw interruption(ctx.signal);
  const watching = watch(ctx, step.bytes);
  attempt.watch = watching;
  const { point, replay } = step.origin;
  const from = { watch: watching, open: () => request.from.store.open(ctx, point.id, step.name), replay };
  const options: RestoreOptions = {
    ...(request.select ? { select: request.select } : {}),
    // Only what was seen is replaced: where nothing was, the driver refuses what came there since.
    ...(step.way === 'replace' && step.targetHolds !== null ? { replace: true } : {}),
    ...(request.terminateConnections ? { terminateConnections: true } : {}),
    ...(request.jobs === undefined ? {} : { jobs: request.jobs }),
    ...(request.rename ? { rename: request.rename } : {}),
    ...(request.delta ? { delta: true } : {}),
  };
  if (step.way === 'beside') return await restoreBeside(attempt, from, options);
  await resumeFirst(attempt);
  const target = noting(keeperOf(request), step.item, step.targetIdentity);
  const { source, restored, phases } = await bringBack(ctx, target, from, options);
  const verify = await thenSettle(ctx, { name: step.name, restored }, attempt.book, () =>
    compareWith(attempt, source, watching, step.item.component, restored),
  );
  const { method, warnings, reached = null } = restored;
  return { method, warnings, keptAs: [], reached, phases: { ...phases, verify } };
}

/** Where notes outlive this process: a point may be restored from a store that does not. */
function keeperOf({ from, safety = [from] }: RestoreRequest): Store {
  return (safety.find(({ name }) => name === from.name) ?? safety[0] ?? from).store;
}

/** What an earlier restore has left suspended, wherever that was noted: this one would take it for the owner's wish. */
async function resumeFirst({ ctx, request, step, book }: Attempt): Promise<void> {
  const resumed = await resumeSuspended(ctx, [request.from, ...(request.others ?? [])], [step.item]);
  for (const text of resumed.warnings) ctx.log.warn(text);
  if (resumed.complete) return;
  const check = `${step.name}: what an earlier restore had suspended is set back`;
  book.add({ check, verdict: 'fail', detail: resumed.warnings.join('; ') });
}

/** The live data is touched only after what came back was found not to differ. */
async function restoreBeside(attempt: Attempt, from: Coming, options: RestoreOptions): Promise<Done> {
  const { ctx, request, step, book } = attempt;
  const { component } = step.item;
  if (!component.stage) throw new Error(`${step.name} was planned beside and can't be staged`);
  const startedMs = ctx.monotonicMs();
  const chain = await chainOf(from);
  await using staged = await component.stage(ctx, chain, step.origin.point.id, options);
  const fetch = from.watch.fetchMs();
  const restore = Math.max(0, ctx.monotonicMs() - startedMs - fetch);
  const verify = await compareWith(attempt, chain.base, from.watch, staged.component);
  const { verdict, tally } = book.sum();
  if (verdict === 'fail') {
    const what = `${step.name}: what came back is not what was captured, or fails a check`;
    throw new Failure('different', `${what}; the live data was not touched`, {
      hint: 'run lifeboat verify with --read-data, and restore another point',
    });
  }
  // Not refused: counts alone, a role that was there before and the like are unknown in good points too.
  const unsure = verdict === 'unknown';
  if (unsure)
    ctx.log.warn('swapping in what was not shown to be equal', { component: step.name, unknown: tally.unknown });
  const swapMs = ctx.monotonicMs();
  const { keptAs } = await staged.publish(ctx, { terminateConnections: request.terminateConnections ?? false });
  const start = ctx.monotonicMs() - swapMs;
  const findings = tally.unknown === 1 ? 'finding' : 'findings';
  const warnings = unsure ? [`it was swapped in with ${tally.unknown} ${findings} unknown, and none that differs`] : [];
  return { method: 'beside', warnings, keptAs, reached: null, phases: phasesFrom({ fetch, restore, start, verify }) };
}

/** Milliseconds that it took. Of a selection only what the driver can tell from the rest is compared. */
async function compareWith(
  attempt: Attempt,
  source: Source,
  watching: Watch,
  target: Component,
  restored?: Restored,
): Promise<number> {
  const { ctx, request, step, book } = attempt;
  const startedMs = ctx.monotonicMs();
  if (request.select && !restored?.selected) {
    const detail = 'this kind of component can not tell a selection from the rest, so it was not compared';
    book.add({ check: whatWasSelected(step.name), verdict: 'unknown', detail, uncompared: true });
    noteMissing({ name: step.name, restored }, book);
    return 0;
  }
  const { name, driver } = step.item;
  const checks = request.select ? [] : step.item.checks; // their owner asks about the whole
  const { captured, replay } = step.origin;
  const against = againstOf(ctx, request.from, name, step.origin);
  const what = { name, driver, captured, replay, against, source, watch: watching, target, checks, restored };
  await prove(ctx, what, book);
  return ctx.monotonicMs() - startedMs;
}

function needEarlier({ name }: RestoreStep, earlier: ReadonlyMap<string, RestoreOutcome>): void {
  for (const [other, { error }] of earlier) {
    if (error === null) continue;
    throw new Failure('blocked', `${name} is restored after ${other}, which did not come back`, {
      cause: error,
      hint: `restore ${other} first, then this one with --only ${name}`,
    });
  }
}

/** Of all that failed, the one that says why: not one that only waited for another. */
function firstCause(failed: readonly RestoreOutcome[]): unknown {
  return (failed.find(({ error }) => !isFailure(error, 'blocked')) ?? failed[0])?.error;
}

function isFitting({ tally }: Findings): boolean {
  return tally.fail + tally.unknown === 0;
}

/** Of a selection, and beyond a cut, that it can't be compared may be all that is not known of what came back. */
function isAsAsked({ select }: RestoreRequest, { error, verdict, step, findings }: RestoreOutcome): boolean {
  const { tally, uncompared } = findings;
  const isOpen = select !== undefined || step.origin.replay !== null;
  return error === null && (verdict === 'pass' || (isOpen && tally.fail === 0 && tally.unknown === uncompared));
}

/** What nobody has read since it was written may pass, and proves nothing to retention. */
function isProof({ verdict, findings, step }: RestoreOutcome): boolean {
  return verdict === 'pass' && !findings.unread && step.origin.replay === null;
}

/** The points that something came back equal from. */
async function recordProofs(
  ctx: Context,
  { from }: RestoreRequest,
  proved: readonly RestoreOutcome[],
): Promise<readonly string[]> {
  const warnings: string[] = [];
  for (const [point, components] of byPoint(proved.map(({ step }) => step))) {
    try {
      await putProof(ctx, from.store, { point, how: 'restore', components: [...components], source: null });
    } catch (error) {
      if (ctx.signal.aborted) throw interruption(ctx.signal);
      warnings.push(`store ${from.name} could not record that point ${point} was proved: ${messageOf(error)}`);
    }
  }
  return warnings;
}
