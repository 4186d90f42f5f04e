import type { ReplayTarget } from '../core/component.ts';
import { Failure } from '../core/errors.ts';
import { parseDuration } from '../core/settings.ts';
import { localTime } from '../core/times.ts';

const HOUR_MS = 3_600_000;

/** '2026-11-21T14:03:27Z', '15m ago' or 'now'. A time without a zone is refused: it would mean two things. */
export function parseTime(text: string, now: Date): Date {
  if (text.trim() === 'now') return now;
  const [, ago] = /^(\S+) ago$/.exec(text.trim()) ?? [];
  if (ago !== undefined) {
    const ms = parseDuration(ago);
    if (ms !== null) return new Date(now.getTime() - ms);
  }
  const rfc3339 = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?([Zz]|[+-]\d{2}:\d{2})$/;
  if (rfc3339.test(text) && !Number.isNaN(Date.parse(text))) return new Date(text);
  throw new Failure('usage', `${text} is no time that can be told`, { hint: meant(text) });
}

export function isTime(text: string): boolean {
  return isParsed(() => parseTime(text, new Date(0)));
}

function isParsed(parse: () => unknown): boolean {
  try {
    parse();
    return true;
  } catch {
    return false;
  }
}

/** What it may have meant: an hour that clocks show twice in autumn is told apart by its offset alone. */
function meant(text: string): string {
  const how = "write it as 2026-11-21T14:03:27Z, with Z or an offset such as +01:00, as '15m ago' or as now";
  const naive = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?$/.test(text);
  const at = naive ? Date.parse(text.replace(/[t ]/, 'T')) : Number.NaN;
  if (Number.isNaN(at)) return how;
  const wall = (date: Date): string => localTime(date).slice(0, -6);
  const shown = wall(new Date(at));
  const here = [-HOUR_MS, 0, HOUR_MS].map((ms) => new Date(at + ms)).filter((date) => wall(date) === shown);
  const utc = `${shown}Z`;
  const local = here.map(localTime);
  const twice = local.length > 1 ? ', which clocks here show twice' : '';
  return `${how}; ${utc} is that time in UTC, ${local.join(' or ')} here${twice}`;
}

/** Where a replay ends besides a time: 'latest', 'immediate', or in the words of a driver. */
export type Until = Exclude<ReplayTarget, { readonly kind: 'time' }>;

const KINDS: Readonly<Record<string, 'position' | 'transaction' | 'name'>> = {
  lsn: 'position',
  offset: 'position',
  position: 'position',
  xid: 'transaction',
  name: 'name',
};
/** In place of where a log is: where a point was taken. */
export const CUT = /^cut=(.+)$/;
export const UNTIL = "'latest', 'immediate', lsn=…, offset=…, xid=…, name=… or cut=POINT";

/** It means something in the words of a single driver alone. */
export function isOfOne({ kind }: Until): boolean {
  return kind !== 'latest' && kind !== 'immediate';
}

/** As `drills:` of the configuration have it. */
export function isUntil(text: string): boolean {
  return CUT.test(text) || isParsed(() => parseUntil(text));
}

export function parseUntil(text: string): Until {
  if (text === 'latest' || text === 'immediate') return { kind: text };
  const [, word = '', value = ''] = /^([a-z]+)=(.+)$/.exec(text) ?? [];
  const kind = Object.hasOwn(KINDS, word) ? KINDS[word] : undefined;
  if (kind) return { kind, value };
  throw new Failure('usage', `a log is not replayed until ${text}`, { hint: `--until is ${UNTIL}; a time is --at` });
}
