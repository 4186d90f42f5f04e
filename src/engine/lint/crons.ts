// Cron expressions, computed: the least that has to change so that something is done often enough.

import type { Timetable } from '../slots.ts';
import type { GapOf } from './gaps.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** What people write, longest first. */
const STEPS_MS: readonly number[] = [
  ...[24, 12, 8, 6, 4, 3, 2, 1].map((hours) => hours * HOUR_MS),
  ...[30, 20, 15, 10, 5].map((minutes) => minutes * MINUTE_MS),
];

/**
 * The schedule with the longest steps that leaves less than `belowMs` between two slots, those of `others` included; it
 * keeps minute and hours of `present` where it can. Null when none is dense enough, or has steps over `leastMs`.
 */
export function denser(
  present: Timetable,
  others: readonly Timetable[],
  { belowMs, leastMs, gap }: { readonly belowMs: number; readonly leastMs: number; readonly gap: GapOf },
): string | null {
  for (const stepMs of STEPS_MS) {
    if (stepMs >= belowMs || stepMs <= leastMs) continue;
    const schedule = everyStep(stepMs, present.schedule);
    const worst = gap([{ schedule, timezone: present.timezone }, ...others]);
    if (worst && worst.ms < belowMs) return schedule;
  }
  return null;
}

/** Each month, each week or each day at the time of `present`: the first whose slots are at most so far apart. */
export function oftener(present: Timetable, mostMs: number, gap: GapOf): string | null {
  const { minute, hour } = timeOf(present.schedule);
  const tried = ['1 * *', '* * 0', '* * *'].map((days) => `${minute} ${hour} ${days}`);
  return tried.find((schedule) => (gap([{ ...present, schedule }])?.ms ?? Infinity) <= mostMs) ?? null;
}

/** Minute and hour of a schedule, its first ones where it has several. */
export function timeOf(schedule: string): { readonly minute: number; readonly hour: number } {
  const [minute = '', hour = ''] = schedule.trim().split(/\s+/);
  const first = (field: string): number => Number(/^\d+/.exec(field)?.[0] ?? 0);
  return { minute: first(minute), hour: first(hour) };
}

function everyStep(stepMs: number, present: string): string {
  const { minute, hour } = timeOf(present);
  if (stepMs < HOUR_MS) return `*/${stepMs / MINUTE_MS} * * * *`;
  const step = stepMs / HOUR_MS;
  if (step === 1) return `${minute} * * * *`;
  const hours = Array.from({ length: 24 / step }, (_, at) => (hour % step) + at * step);
  return `${minute} ${hour % step === 0 && step < 24 ? `*/${step}` : hours.join(',')} * * *`;
}
