// How files of the log are called.

const TIMELINE_DIGITS = 8;
const LOG_BYTES = 2 ** 32;

export type LogFileName =
  | { readonly kind: 'segment'; readonly timeline: number; readonly isPartial: boolean }
  | { readonly kind: 'history'; readonly timeline: number }
  /** Where a base backup began: the journal has no use for it. */
  | { readonly kind: 'label' };

/** Null for what is no file of the log. */
export function logFileNamed(name: string): LogFileName | null {
  const timeline = Number.parseInt(name.slice(0, TIMELINE_DIGITS), 16);
  if (/^[0-9A-F]{8}\.history$/.test(name)) return { kind: 'history', timeline };
  if (/^[0-9A-F]{24}\.[0-9A-F]{8}\.backup$/.test(name)) return { kind: 'label' };
  if (!/^[0-9A-F]{24}(\.partial)?$/.test(name)) return null;
  return { kind: 'segment', timeline, isPartial: name.endsWith('.partial') };
}

/** A segment. */
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
/** Of the segment that has this place. */
export function segmentName(timeline: number, place: number, segmentBytes: number): string {
  return logFileName({ timeline, number: Math.floor(place / segmentBytes) }, segmentBytes);
}

export function historyName(timeline: number): string {
  return `${timeline.toString(16).toUpperCase().padStart(TIMELINE_DIGITS, '0')}.history`;
}

/** What PostgreSQL makes of no other size. */
export function isSegmentSize(bytes: number): boolean {
  return bytes >= 2 ** 20 && bytes <= 2 ** 30 && Number.isInteger(Math.log2(bytes));
}
