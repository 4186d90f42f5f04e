// When schedules come: cron expressions in their zones.

import { Cron } from 'croner';
import { Failure, messageOf } from '../core/errors.ts';
import type { MissedSlots } from '../core/point.ts';

export interface Timetable {
  readonly schedule: string;
  readonly timezone: string;
}

const COUNTED_MAX = 10_000;

/** The times that a schedule named after the one and before the other; null when there are none. */
export function slotsBetween({ schedule, timezone }: Timetable, after: Date, before: Date): MissedSlots | null {
  const cron = parseSchedule(schedule, timezone);
  let count = 0;
  let [first, last]: (string | undefined)[] = [];
  for (let at = cron.nextRun(after); at && at < before && count < COUNTED_MAX; at = cron.nextRun(at)) {
    last = at.toISOString();
    first ??= last;
    count += 1;
  }
  return first !== undefined && last !== undefined ? { count, first, last } : null;
}

/** A run may take so long until its point is there. */
const RUNNING_MS_MAX = 3_600_000;

/** What came and went since a plan was last run. The newest is not missed before it is an hour old. */
export function missedSince(timetable: Timetable, lastRun: Date, now: Date): MissedSlots | null {
  const gone = slotsBetween(timetable, lastRun, now);
  if (!gone || now.getTime() - Date.parse(gone.last) >= RUNNING_MS_MAX) return gone;
  return slotsBetween(timetable, lastRun, new Date(gone.last));
}

export function missedText({ count, first, last }: MissedSlots): string {
  const times = count === 1 ? `at ${minuteOf(first)}` : `${count} times, from ${minuteOf(first)} to ${minuteOf(last)}`;
  return `was not run ${times}, as its schedule has it`;
}
function minuteOf(at: string): string {
  return at.replace(/:00\.000Z$/, 'Z');
}

/** The last time at or before `now` that a schedule named. */
export function lastSlot(schedule: string, timezone: string, now: Date): Date {
  const last = newestSlot([parseSchedule(schedule, timezone)], now);
  if (last) return last;
  throw new Failure('settings-invalid', `the schedule ${schedule} never names a time`);
}

/** Of all of them at or before `at`; null when there is none. */
export function newestSlot(crons: readonly Cron[], at: Date): Date | null {
  const seconds = Math.floor(at.getTime() / 1000);
  const after = new Date((seconds + 1) * 1000); // croner leaves out what it is given
  const slots = crons.flatMap((cron) => cron.previousRuns(1, after)[0]?.getTime() ?? []);
  return slots.length === 0 ? null : new Date(Math.max(...slots));
}

/** The schedule, or 'settings-invalid' when it or its time zone is none. */
export function parseSchedule(schedule: string, timezone: string): Cron {
  try {
    const cron = new Cron(schedule, { timezone, mode: '5-part', paused: true });
    cron.nextRun(); // an unknown time zone is seen only now
    return cron;
  } catch (cause) {
    throw new Failure('settings-invalid', `the schedule ${schedule} (${timezone}) is none: ${messageOf(cause)}`, {
      cause,
    });
  }
}
