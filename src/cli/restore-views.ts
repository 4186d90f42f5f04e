// What a restore would do, and what one has done, for people and as JSON.

import { isFailure, messageOf } from '../core/errors.ts';
import { inTime } from '../core/times.ts';
import { lossJson } from '../engine/markers.ts';
import type { RestoredPoint, RestoreOutcome } from '../engine/restore.ts';
import type { RestorePlan } from '../engine/restore-plan.ts';
import { type ChosenIn, unreadableJson } from './across.ts';
import { originJson, originLines, reachedLines } from './moment-views.ts';
import { errorJson } from './session.ts';
import { withoutPassword } from './targets.ts';
import { bytesText, durationText, table } from './terminal.ts';
import { archivedJson, archivedText } from './thaw.ts';
import { findingLines, setIn } from './views.ts';

type From = Pick<ChosenIn, 'store' | 'unreadable'>;

const WAYS = {
  empty: 'into an empty target',
  beside: 'beside, compared, swapped in',
  replace: 'over the data there',
  renamed: 'under other names',
  delta: 'what differs, over the data there',
};

const UNMEASURED = 'time unknown until a drill has measured it';
const BASIS = {
  drill: 'as drills have measured',
  capture: 'which is what the capture took: a drill measures what the way back takes',
};

export function planText(plan: RestorePlan, store: string): string {
  const rows = plan.steps.map((step) => [
    step.name,
    step.target === null ? 'as configured' : withoutPassword(step.target),
    step.targetHolds ?? (step.targetVersion === null ? 'not known: it does not answer' : 'nothing'),
    WAYS[step.way],
    bytesText(step.bytes),
    step.estimate === null ? 'unknown' : durationText(step.estimate.ms),
  ]);
  const titles = ['component', 'target', 'which holds', 'how', 'size', 'estimated'];
  const problems = plan.steps.flatMap(({ name, problem }) =>
    problem === null
      ? []
      : [`PROBLEM: ${name}: ${messageOf(problem)}${isFailure(problem) && problem.hint ? `\n  ${problem.hint}` : ''}`],
  );
  return [
    `${whatText(plan)} from store ${store}: ${bytesText(plan.bytes)}, ${
      plan.estimate === null ? UNMEASURED : `about ${durationText(plan.estimate.ms)}, ${BASIS[plan.estimate.from]}`
    }`,
    `order: ${plan.order.map((group) => group.join(' and ')).join(', then ')}`,
    '',
    table(
      titles.map((title) => ({ title })),
      rows,
    ),
    ...originLines(plan.moment, plan.steps),
    ...plan.steps.flatMap(({ name, ageing }) => ageing.map((rule) => `suspended meanwhile: ${name}: ${setIn(rule)}`)),
    ...problems,
    ...(plan.archived ? [archivedText(plan.archived)] : []),
    ...plan.warnings.map((text) => `warning: ${setIn(text)}`),
  ].join('\n');
}

/** A point, or the moment that everything is brought to. */
function whatText({ point, moment }: Pick<RestorePlan, 'point' | 'moment'>): string {
  return moment === null ? `point ${point.id}` : `as of ${moment.wanted}`;
}

export function planJson(plan: RestorePlan, { store, unreadable }: From): object {
  return {
    point: plan.point.id,
    moment: plan.moment?.wanted ?? null,
    store: store.name,
    ...unreadableJson(unreadable),
    bytes: plan.bytes,
    archived: plan.archived && archivedJson(plan.archived),
    ...estimateJson(plan),
    order: plan.order,
    components: plan.steps.map((step) => ({
      name: step.name,
      kind: step.kind,
      way: step.way,
      origin: originJson(step.origin),
      target: step.target === null ? null : withoutPassword(step.target),
      target_version: step.targetVersion,
      target_holds: step.targetHolds,
      bytes: step.bytes,
      suspended: step.ageing,
      ...estimateJson(step),
      ...(step.problem === null ? {} : errorJson(step.problem)),
    })),
    not_in_point: plan.lacking,
    warnings: plan.warnings,
  };
}

function estimateJson({ estimate }: Pick<RestorePlan, 'estimate'>): object {
  return { estimated_ms: estimate?.ms ?? null, estimated_from: estimate?.from ?? null };
}

export function restoredJson(restored: RestoredPoint, { store, unreadable }: From): object {
  return {
    point: restored.point.id,
    moment: restored.moment?.wanted ?? null,
    store: store.name,
    ...unreadableJson(unreadable),
    verdict: restored.verdict,
    selected: restored.selected,
    complete: restored.complete,
    proved: restored.proved,
    rto_ms: Math.round(restored.rtoMs),
    critical_path: restored.waitedFor,
    phases: phasesJson(restored.phases),
    safety: restored.safety && {
      point: restored.safety.point,
      ...(restored.safety.error === null ? {} : errorJson(restored.safety.error)),
    },
    components: restored.outcomes.map((each) => ({
      name: each.name,
      verdict: each.verdict,
      origin: originJson(each.step.origin),
      reached: each.reached,
      marker: lossJson(each.loss),
      bytes: each.bytes,
      method: each.method,
      phases: phasesJson(each.phases),
      kept_as: each.keptAs,
      findings: each.findings,
      warnings: each.warnings,
      ...(each.error === null ? {} : errorJson(each.error)),
    })),
    not_in_point: restored.lacking,
    references: restored.references,
    warnings: restored.warnings,
  };
}

function phasesJson(phases: RestoredPoint['phases']): object {
  return Object.fromEntries(Object.entries(phases).map(([name, ms]) => [name, Math.round(ms)]));
}

function stateText({ error, verdict, findings, step }: RestoredPoint['outcomes'][number]): string {
  const { tally, uncompared } = findings;
  const { replay } = step.origin;
  if (error !== null) return 'NOT BACK';
  if (verdict === 'unknown' && replay !== null && tally.unknown === uncompared) return 'back, log replayed';
  if (verdict !== 'pass') return `back, ${verdict}`;
  return findings.unread ? 'back, equal as written' : 'back, proved equal';
}

export function restoredText(
  restored: RestoredPoint,
  targets: Readonly<Record<string, string>>,
  hint: string | undefined,
): string {
  const rows = restored.outcomes.map((each) => [
    each.name,
    stateText(each),
    each.method ?? '',
    bytesText(each.bytes),
    durationText(each.endedMs - each.startedMs),
  ]);
  const lacking = restored.lacking.map((name) => [name, 'NOT IN THE POINT', '', '', '']);
  return [
    `${whatText(restored)}: ${restored.verdict}${restored.selected ? ' for what was selected' : ''}, in ${durationText(restored.rtoMs)}`,
    '',
    table(
      ['component', 'result', 'method', 'read', 'took'].map((title) => ({ title })),
      [...rows, ...lacking],
    ),
    ...reachedLines(restored.moment, restored.outcomes),
    ...restored.outcomes.flatMap((each) => outcomeLines(each, Object.hasOwn(targets, each.name))),
    ...(restored.outcomes.length < 2 ? [] : [`critical path: ${restored.waitedFor.join(', then ')}`]),
    ...restored.references.kept.map(({ check, verdict, detail }) => `${verdict}: ${setIn(`${check}: ${detail}`)}`),
    ...safetyLines(restored),
    ...restored.warnings.map((text) => `warning: ${setIn(text)}`),
    ...(hint === undefined ? [] : [hint]),
  ].join('\n');
}

function outcomeLines(each: RestoreOutcome, elsewhere: boolean): string[] {
  const how = `lifeboat restore --drop-old${elsewhere ? ' with the same --to' : ''}`;
  const kept = each.keptAs.map((name) => `${each.name}: the old data is kept as ${name} until ${how}`);
  const warnings = each.warnings.map((text) => `warning: ${each.name}: ${setIn(text)}`);
  return [...lossLines(each), ...findingLines(each.findings), ...kept, ...warnings];
}

/** Below nothing where clocks differ. */
function lossLines({ name, loss }: RestoreOutcome): string[] {
  if (loss === null) return [];
  const { number, at } = loss.marker;
  const lost = durationText(Math.max(0, loss.lostMs));
  return [`${name}: lost ${lost}, by marker ${number} of ${inTime(Date.parse(at))}, the newest that came back`];
}

function safetyLines({ safety }: RestoredPoint): string[] {
  if (safety === null) return [];
  const kept = safety.point === null ? [] : [`what was replaced is point ${safety.point}`];
  if (safety.error === null) return kept;
  return [...kept, `warning: what was replaced could not be captured whole first: ${messageOf(safety.error)}`];
}
