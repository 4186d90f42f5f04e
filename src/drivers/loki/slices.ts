// A time range in days (UTC): what a day held is a part of its own, so that a finished one need not be read again.

export const MS_NS = 1_000_000n;
const DAY_MS = 86_400_000;
const HOUR_NS = 3_600_000n * MS_NS;
export const DAY_NS = 24n * HOUR_NS;

/** From the first nanosecond to before the last. */
export interface Span {
  readonly from: bigint;
  readonly to: bigint;
}
export interface Slice extends Span {
  readonly day: string; // '2026-11-21'
  /** It is over. */
  readonly whole: boolean;
}

/** From the beginning of the day that lies so far back. */
export function spanBack(nowMs: number, sinceMs: number): Span {
  const from = Math.floor((nowMs - sinceMs) / DAY_MS) * DAY_MS;
  return { from: nsOf(Math.max(0, from)), to: nsOf(nowMs) };
}

export function nsOf(ms: number): bigint {
  return BigInt(Math.floor(ms)) * MS_NS;
}
export function msOf(ns: bigint): number {
  return Number(ns / MS_NS);
}

/** Numbers of this size are none for Math.min. */
export function earlier(a: bigint, b: bigint): bigint {
  if (a < b) return a;
  return b;
}
export function later(a: bigint, b: bigint): bigint {
  if (a > b) return a;
  return b;
}

export function daysOf({ from, to }: Span): Slice[] {
  const days: Slice[] = [];
  for (let at = from - (from % DAY_NS); at < to; at += DAY_NS) {
    const end = at + DAY_NS;
    const whole = from <= at && end <= to;
    days.push({ day: dayOf(at), from: later(at, from), to: earlier(end, to), whole });
  }
  return days;
}

function dayOf(ns: bigint): string {
  return new Date(msOf(ns)).toISOString().slice(0, 10);
}

/** Null for what is no day. */
export function spanOfDay(day: string): Span | null {
  const ms = /^\d{4}-\d{2}-\d{2}$/.test(day) ? Date.parse(`${day}T00:00:00Z`) : Number.NaN;
  return Number.isNaN(ms) ? null : { from: nsOf(ms), to: nsOf(ms) + DAY_NS };
}

export function hoursOf({ from, to }: Span): Span[] {
  const hours: Span[] = [];
  for (let at = from; at < to; ) {
    const end = at - (at % HOUR_NS) + HOUR_NS;
    hours.push({ from: at, to: earlier(end, to) });
    at = end;
  }
  return hours;
}

/** Into so many of about the same length, each of whole milliseconds. */
export function divided({ from, to }: Span, pieces: number): Span[] {
  const length = later(MS_NS, (to - from) / BigInt(pieces));
  const step = length - (length % MS_NS);
  const spans: Span[] = [];
  for (let at = from; at < to; at += step) spans.push({ from: at, to: earlier(at + step, to) });
  return spans;
}
