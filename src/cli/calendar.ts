// Five cron fields as systemd calendar expressions (man 7 systemd.time).

import { Failure } from '../core/errors.ts';

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'] as const;
const MONTHS: readonly string[] = ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC'];

/** One expression, or two where cron means "this day of the month or that day of the week". */
export function calendarOf(cron: string): readonly string[] {
  const fields = cron.trim().split(/\s+/);
  const [minute, hour, day, month, weekday] = fields;
  if (fields.length !== 5 || !minute || !hour || !day || !month || !weekday) {
    throw new Failure('settings-invalid', `${cron} has not the five fields of a schedule`);
  }
  const months = expand(month.toUpperCase(), 1, 12, (word) => MONTHS.indexOf(word) + 1);
  const time = `${expand(hour, 0, 23)}:${expand(minute, 0, 59)}:00`;
  const onDay = `*-${months}-${expand(day, 1, 31)} ${time}`;
  if (weekday === '*') return [onDay];
  const onWeekday = `${daysOf(weekday)} *-${months}-* ${time}`;
  return day === '*' ? [onWeekday] : [onDay, onWeekday];
}

/** '*', or every value that the field means: systemd's own steps and ranges differ from cron's. */
function expand(field: string, min: number, max: number, named: (word: string) => number = () => Number.NaN): string {
  if (field === '*') return '*';
  return valuesOf(field, min, max, named)
    .map((value) => String(value).padStart(2, '0'))
    .join(',');
}

function daysOf(field: string): string {
  const named = (word: string): number => DAYS.findIndex((day) => day.toUpperCase() === word);
  const values = valuesOf(field.toUpperCase(), 0, 7, named).map((value) => value % 7);
  return [...new Set(values)]
    .sort()
    .map((value) => DAYS[value])
    .join(',');
}

function valuesOf(field: string, min: number, max: number, named: (word: string) => number): number[] {
  const values = new Set<number>();
  for (const item of field.split(',')) {
    const [range = '', stepText] = item.split('/');
    const [fromText = '', toText] = range === '*' ? [String(min), String(max)] : range.split('-');
    const numberOf = (word: string): number => (/^\d+$/.test(word) ? Number(word) : named(word));
    const from = numberOf(fromText);
    const to = toText !== undefined ? numberOf(toText) : stepText === undefined ? from : max;
    const step = stepText === undefined ? 1 : Number(stepText);
    if (!(from >= min && to <= max && from <= to && step >= 1)) {
      throw new Failure('settings-invalid', `${field} is no field of a schedule between ${min} and ${max}`);
    }
    for (let value = from; value <= to; value += step) values.add(value);
  }
  return [...values].sort((a, b) => a - b);
}
