// The longest time without a slot, as it really comes: with months, weekends, and the days on which clocks change.

import { newestSlot, parseSchedule, type Timetable } from '../slots.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Each month, each change of clocks, and then some. */
const HORIZON_DAYS = 400;
const MARK_MS = 6 * HOUR_MS;
/** Every slot of a week is looked at, and every one around a change of clocks. */
const WEEK_DAYS = 8;

export interface Gap {
  readonly ms: number;
  readonly from: Date;
}

/** The longest time between two slots of all these schedules together; null when there are none. */
export type GapOf = (schedules: readonly Timetable[]) => Gap | null;

/** The rules ask for the same ones again and again. */
export function gapsFrom(now: Date): GapOf {
  const known = new Map<string, Gap | null>();
  return (schedules) => {
    const key = JSON.stringify(schedules.map(({ schedule, timezone }) => [schedule, timezone]).sort());
    const found = known.has(key) ? (known.get(key) ?? null) : worstGap(schedules, now);
    known.set(key, found);
    return found;
  };
}

type Slots = ReturnType<typeof parseSchedule>;

function worstGap(schedules: readonly Timetable[], now: Date): Gap | null {
  const crons = schedules.map(({ schedule, timezone }) => parseSchedule(schedule, timezone));
  let worst: Gap | null = null;
  if (nextOf(crons, now) === null) return null;
  for (const from of starts(schedules, crons, midnightBefore(now))) {
    const next = nextOf(crons, from);
    const ms = next === null ? 0 : next.getTime() - from.getTime();
    if (ms > (worst?.ms ?? 0)) worst = { ms, from };
  }
  return worst;
}

/** The newest slot of all at or before `at`; null when there is none. */
export function slotBefore(schedules: readonly Timetable[], at: Date): Date | null {
  const crons = schedules.map(({ schedule, timezone }) => parseSchedule(schedule, timezone));
  return newestSlot(crons, at);
}

/** Whether one of them has a slot at exactly this second. */
export function hasSlot(schedules: readonly Timetable[], at: Date): boolean {
  return slotBefore(schedules, at)?.getTime() === at.getTime();
}

/** The slots of a year and a month from `now` on, at most so many. */
export function* slotsAfter({ schedule, timezone }: Timetable, now: Date, most: number): Generator<Date> {
  const cron = parseSchedule(schedule, timezone);
  const end = now.getTime() + HORIZON_DAYS * DAY_MS;
  let slot = cron.nextRun(now);
  for (let count = 0; slot && slot.getTime() < end && count < most; count++) {
    yield slot;
    slot = cron.nextRun(slot);
  }
}

/**
 * Slots after which the longest gap may begin. One of more than six hours has a mark in it, so that it begins with the
 * last slot before that. Shorter ones come again each week, or with a change of clocks.
 */
function* starts(schedules: readonly Timetable[], crons: readonly Slots[], first: Date): Generator<Date> {
  yield* between(crons, first, WEEK_DAYS);
  let [mark, next] = [first.getTime() + WEEK_DAYS * DAY_MS, 0];
  for (const end = first.getTime() + HORIZON_DAYS * DAY_MS; mark < end; mark += MARK_MS) {
    if (mark <= next) continue; // still the same gap
    const before = new Date(mark - 1000);
    const last = newestSlot(crons, before);
    if (last && last >= first) yield last;
    next = nextOf(crons, before)?.getTime() ?? end;
  }
  for (const change of changesOfClocks(schedules, first)) yield* between(crons, new Date(change - DAY_MS), 3);
}

/** Midnights after which the clocks of a zone show another time than a day before. */
function changesOfClocks(schedules: readonly Timetable[], first: Date): readonly number[] {
  const zones = [...new Set(schedules.map(({ timezone }) => timezone))];
  const days = Array.from({ length: HORIZON_DAYS }, (_, day) => first.getTime() + day * DAY_MS);
  const shown = (zone: string, at: number): string => formatOf(zone).format(at);
  return days.filter((at) => zones.some((zone) => shown(zone, at) !== shown(zone, at + DAY_MS)));
}

function* between(crons: readonly Slots[], from: Date, days: number): Generator<Date> {
  const end = from.getTime() + days * DAY_MS;
  for (let slot = nextOf(crons, from); slot && slot.getTime() < end; slot = nextOf(crons, slot)) yield slot;
}

function nextOf(crons: readonly Slots[], after: Date): Date | null {
  const next = crons.flatMap((cron) => cron.nextRun(after)?.getTime() ?? []);
  return next.length === 0 ? null : new Date(Math.min(...next));
}

function midnightBefore(now: Date): Date {
  return new Date(Math.floor(now.getTime() / DAY_MS) * DAY_MS);
}

const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(timeZone: string): Intl.DateTimeFormat {
  const format =
    formats.get(timeZone) ?? new Intl.DateTimeFormat('en-US', { timeZone, hour: 'numeric', minute: 'numeric' });
  formats.set(timeZone, format);
  return format;
}
