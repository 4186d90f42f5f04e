// When schedules come: cron expressions in their zones.

import { Cron } from 'croner';
import { Failure, messageOf } from '../core/errors.ts';

export interface Timetable {
  readonly schedule: string;
  readonly timezone: string;
}

/** The last time at or before `now` that a schedule named. */
export function lastSlot(schedule: string, timezone: string, now: Date): Date {
  const cron = parseSchedule(schedule, timezone);
  // Croner looks ahead only: walk up from further and further back until there is a slot on the way.
  for (let backMs = 60_000; backMs <= 5 * 366 * 86_400_000; backMs *= 4) {
    let slot = cron.nextRun(new Date(now.getTime() - backMs));
    let last: Date | null = null;
    while (slot && slot <= now) {
      last = slot;
      slot = cron.nextRun(slot);
    }
    if (last) return last;
  }
  throw new Failure('settings-invalid', `the schedule ${schedule} names no time in the last years`);
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
