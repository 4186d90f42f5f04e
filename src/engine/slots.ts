// When schedules come: cron expressions in their zones.

import { Cron } from 'croner';
import { Failure, messageOf } from '../core/errors.ts';

export interface Timetable {
  readonly schedule: string;
  readonly timezone: string;
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
