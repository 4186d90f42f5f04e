// Places in the log as plain numbers, which is how files and records are found in it, and how its files are called.

import { Failure } from '../../../core/errors.ts';

const POSITION_DIGITS = 16;
const TIMELINE_DIGITS = 8;
const LOG_BYTES = 2 ** 32;

export function positionOf(at: number): string {
  return at.toString(16).padStart(POSITION_DIGITS, '0');
}
export function placeOf(position: string): number {
  const at = /^[0-9a-f]{16}$/.test(position) ? Number.parseInt(position, 16) : Number.NaN;
  if (Number.isSafeInteger(at)) return at;
  throw new Failure('malformed', `the journal has a position ${position}, which is none in PostgreSQL's log`);
}

/** As PostgreSQL writes it: '0/3000060'. */
export function lsnText(at: number): string {
  return `${Math.floor(at / LOG_BYTES).toString(16)}/${(at % LOG_BYTES).toString(16)}`.toUpperCase();
}
/** Null where it is none. */
export function lsnIn(text: string): number | null {
  const [, high = '', low = ''] = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text) ?? [];
  const at = high === '' ? Number.NaN : Number.parseInt(high, 16) * LOG_BYTES + Number.parseInt(low, 16);
  return Number.isSafeInteger(at) ? at : null;
}

export interface LogFile {
  readonly timeline: number;
  /** Counted from the log's beginning. */
  readonly number: number;
}
export function logFileName({ timeline, number }: LogFile, segmentBytes: number): string {
  const perLog = LOG_BYTES / segmentBytes;
  const digits = (value: number): string => value.toString(16).toUpperCase().padStart(TIMELINE_DIGITS, '0');
  return `${digits(timeline)}${digits(Math.floor(number / perLog))}${digits(number % perLog)}`;
}
/** Null where it is not the name of a segment. */
export function logFileIn(name: string, segmentBytes: number): LogFile | null {
  if (!/^[0-9A-F]{24}$/.test(name)) return null;
  const [timeline = 0, log = 0, rest = 0] = [0, 8, 16].map((at) => Number.parseInt(name.slice(at, at + 8), 16));
  const perLog = LOG_BYTES / segmentBytes;
  return rest < perLog && timeline > 0 ? { timeline, number: log * perLog + rest } : null;
}

export function historyName(timeline: number): string {
  return `${timeline.toString(16).toUpperCase().padStart(TIMELINE_DIGITS, '0')}.history`;
}
export function historyIn(name: string): number | null {
  return /^[0-9A-F]{8}\.history$/.test(name) ? Number.parseInt(name.slice(0, TIMELINE_DIGITS), 16) : null;
}

/** What PostgreSQL makes of no other size. */
export function isSegmentSize(bytes: number): boolean {
  return bytes >= 2 ** 20 && bytes <= 2 ** 30 && Number.isInteger(Math.log2(bytes));
}
