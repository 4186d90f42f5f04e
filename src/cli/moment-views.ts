// How near each component comes to a moment, for people and as JSON.

import type { Clock, Json } from '../core/model.ts';
import { inTime } from '../core/times.ts';
import { clockJson } from '../engine/evidence.ts';
import type { Moment, Origin } from '../engine/moment.ts';
import type { RestoreOutcome } from '../engine/restore.ts';
import { edgeOf } from '../engine/windows.ts';
import { durationText } from './terminal.ts';

type From = Pick<RestoreOutcome, 'name'> & { readonly origin: Origin };

/** A line for each component; nothing where all of it is one point. */
export function originLines(moment: Moment | null, steps: readonly From[]): string[] {
  return moment === null ? [] : steps.map(({ name, origin }) => `${name}: ${originText(origin)}`);
}

/** The same of what has come back: how far it really came. */
export function reachedLines(moment: Moment | null, outcomes: readonly RestoreOutcome[]): string[] {
  if (moment === null) return [];
  return outcomes.flatMap(({ name, error, step: { origin }, reached }) => {
    if (error !== null) return [];
    const { aim, replay } = origin;
    if (!replay || !reached) return [`${name}: ${originText(origin)}`];
    const { ms } = edgeOf(reached, aim?.clock ?? null);
    const before = aim?.at == null ? '' : `, ${durationText(Math.max(0, Date.parse(aim.at) - ms))} before`;
    return [`${name}: ${isExact(origin) ? 'exact, ' : ''}last change ${inTime(ms)}${errorText(aim?.clock)}${before}`];
  });
}

function isExact({ replay }: Origin): boolean {
  return replay !== null && replay.target.kind !== 'latest' && replay.target.kind !== 'immediate';
}

function originText(origin: Origin): string {
  const { point, replay, aim, against } = origin;
  const from = `point ${point.id}`;
  if (!replay) return aim?.beforeMs == null ? from : `${from}, ${durationText(aim.beforeMs)} before`;
  if (against) return `${from} and its log up to where point ${against.point.id} was taken, to be compared with that`;
  const { target, end } = replay;
  const [error, clock] = [errorText(aim?.clock), aim?.clock ?? null];
  if (target.kind === 'time') return `exact${error}: ${from} and its log up to then${forkText(aim)}`;
  if (target.kind === 'latest') return `${from} and all of its log, to ${inTime(edgeOf(end, clock).ms)}${error}`;
  return target.kind === 'immediate' ? `${from}, once it is whole` : `exact: ${from} and its log up to ${target.value}`;
}

function forkText(aim: Origin['aim']): string {
  return aim?.forkMs == null ? '' : `; another log that goes on from it at ${inTime(aim.forkMs)} is left out`;
}

function errorText(clock: Clock | null | undefined): string {
  return clock ? ` ± ${Math.ceil(clock.errorMs)} ms` : ' by a clock that nobody has measured';
}

export function originJson({ point, replay, aim, against }: Origin): Record<string, Json> {
  return {
    point: point.id,
    target: replay && { ...replay.target },
    against: against?.point.id ?? null,
    log_end: replay && { ...replay.end },
    before_ms: aim?.beforeMs ?? null,
    fork_at: aim?.forkMs == null ? null : new Date(aim.forkMs).toISOString(),
    clock: clockJson(aim?.clock ?? null),
  };
}
