// Times as people read them: with what their own clocks show, to be copied from there.

/** '2026-11-21T15:03:27+01:00', of the zone that this machine is in. */
export function localTime(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  const here = new Date(date.getTime() + minutes * 60_000).toISOString().replace(/(?:\.000)?Z$/, '');
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  const digits = (count: number): string => String(count).padStart(2, '0');
  return `${here}${minutes < 0 ? '-' : '+'}${digits(hours)}:${digits(rest)}`;
}

/** In UTC, and in local time where that is another. */
export function inTime(at: string | number): string {
  const date = new Date(at);
  return date.getTimezoneOffset() === 0 ? date.toISOString() : `${date.toISOString()} (${localTime(date)})`;
}
