// Rules about how schedules are written.

import { type Found, type Setup, timed } from './setup.ts';

/** Digits, names of months and days, and what cron puts between them. */
const FIELD = /^(?:\*|\d+|[a-z]{3})(?:-(?:\d+|[a-z]{3}))?(?:\/\d+)?$/i;

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

/** 'On the first Monday' that is each day from the first to the seventh, and each Monday. */
export function* eitherDay(setup: Setup): Generator<Found> {
  for (const { path, fields } of schedulesOf(setup)) {
    const [minute, hour, day = '*', month, weekday = '*'] = fields;
    if (/^[*?]/.test(day) || /^[*?]/.test(weekday)) continue;
    const [first] = day.split(/[-,/]/);
    yield {
      at: path,
      why:
        `cron takes a day of the month and a day of the week as either: it comes on days ${day} and on each ` +
        dayName(weekday),
      change: [{ path, to: `${minute} ${hour} ${first} ${month} *` }],
      advice: `or "${minute} ${hour} * ${month} ${weekday}": five fields have no first Monday`,
    };
  }
}

/** What we understand and cron does not: it refuses the whole file, and nothing is ever run. */
export function* notCron(setup: Setup): Generator<Found> {
  for (const { path, fields } of schedulesOf(setup)) {
    const [minute, hour, day = '*', month, weekday = '*'] = fields;
    const strange = fields.filter((field) => field.split(',').some((each) => !FIELD.test(each)));
    if (strange.length === 0) continue;
    // The first of its kind, in a month: once as often as was meant.
    const days = FIELD.test(weekday) && FIELD.test(day) ? [day, weekday] : ['1', '*'];
    const plain = [minute, hour, days[0], month, days[1]].map((field) => (field === '?' ? '*' : field));
    yield {
      at: path,
      why:
        `cron and systemd do not know ${strange.join(' ')}: schedule print fails, and cron would run nothing of its ` +
        'file',
      change: plain.every((field) => FIELD.test(field ?? '')) ? [{ path, to: plain.join(' ') }] : [],
      advice: "or other fields of digits, names, '*', ',', '-' and '/'",
    };
  }
}

type Named = Setup['plans'][number] | Setup['drills'][number];
function dayName(field: string): string {
  return DAYS[Number(field) % 7] ?? `weekday ${field}`;
}

interface Written {
  readonly path: readonly string[];
  readonly fields: readonly string[];
}

function* schedulesOf({ plans, drills }: Setup): Generator<Written> {
  for (const [part, all] of Object.entries({ plans, drills })) {
    for (const { name, schedule } of timed<Named>(all)) {
      yield { path: [part, name, 'schedule'], fields: schedule.trim().split(/\s+/) };
    }
  }
}
