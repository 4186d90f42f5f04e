// Which lines of a point are meant: a selector of streams, and times.

import { Failure } from '../../core/errors.ts';
import type { RestoreOptions, Selected } from '../../core/model.ts';
import { dayOfLine } from './capture.ts';
import { ADDED_LABEL, type Labels, type Line, labelsIn } from './lines.ts';
import { DAY_NS, earlier, later, nsOf, type Span, spanOfDay } from './slices.ts';

type Matcher = (labels: Labels) => boolean;

export interface Wanted {
  /** As it was given; null for all streams. */
  readonly selector: string | null;
  readonly from: bigint;
  /** The first that is not meant. */
  readonly to: bigint;
  stream(labels: Labels): boolean;
  line(line: Line): boolean;
}

export function wantedOf({ select = {}, rename }: RestoreOptions): Wanted {
  if (rename && Object.keys(rename).length > 0) {
    throw new Failure('usage', 'streams of loki have no other names', {
      hint: 'restore into another Loki or tenant: --to',
    });
  }
  const { streams, since, until, ...others } = select;
  for (const [field, value] of Object.entries(others)) {
    if (value === undefined) continue;
    const hint = `choose by --select streams='{app="shop"}', since= or until=`;
    throw new Failure('usage', `loki has no ${field} to choose by`, { hint });
  }
  const matchers = streams === undefined ? [] : matchersOf(streams);
  const from = since === undefined ? 0n : timeOf(since);
  const to = until === undefined ? 2n ** 63n : timeOf(until);
  const stream: Wanted['stream'] = (labels) => matchers.every((matches) => matches(labels));
  return {
    selector: streams ?? null,
    from,
    to,
    stream,
    line: ({ ts, labels }) => isBetween(BigInt(ts), from, to) && stream(labels),
  };
}

/** Streams of whole days: that is what a point counts. */
export function selectedOf(wanted: Wanted, span: Span): Selected {
  const { selector, from, to } = wanted;
  const reasons: string[] = [];
  // It is no part of the names of streams where a server has added it.
  const isTold = !selector?.includes(ADDED_LABEL);
  if (!isTold) reasons.push(`streams chosen by ${ADDED_LABEL}, which servers add themselves`);
  const cut = [from, to].some((at) => span.from < at && at < span.to && at % DAY_NS !== 0n);
  if (cut) reasons.push('lines of days of which a part was chosen: the point counts whole days');
  const has: Selected['has'] = (line) => {
    const day = dayOfLine(line);
    const whole = day === null ? null : spanOfDay(day);
    if (day === null || !whole) return line.kind === 'facts';
    if (from > later(whole.from, span.from) || to < earlier(whole.to, span.to)) return false;
    return isTold && wanted.stream(labelsIn(line.name.slice(day.length + 1)));
  };
  return { has, uncompared: reasons.length === 0 ? null : reasons.join('; ') };
}

function isBetween(at: bigint, from: bigint, to: bigint): boolean {
  return from <= at && at < to;
}

function timeOf(text: string): bigint {
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) throw new Failure('usage', `${text} is no time`, { hint: 'as in 2026-11-21T02:00:00Z' });
  return nsOf(ms);
}

/** '{app="shop", env!~"dev|test"}' */
export function matchersOf(text: string): Matcher[] {
  const inner = /^\s*\{(.*)\}\s*$/s.exec(text)?.[1];
  const wrong = (): Failure =>
    new Failure('usage', `${text} is no selector of streams`, { hint: `as in '{app="shop", env!~"dev|test"}'` });
  if (inner === undefined) throw wrong();
  const one = /\s*([A-Za-z_][\w.]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|`[^`]*`)\s*(,|$)/sy;
  const matchers: Matcher[] = [];
  while (one.lastIndex < inner.trimEnd().length) {
    const [, name, operator = '', quoted] = one.exec(inner) ?? [];
    if (name === undefined || quoted === undefined) throw wrong();
    matchers.push(matcherOf(name, operator, quoted.startsWith('`') ? quoted.slice(1, -1) : textOf(quoted, wrong)));
  }
  if (matchers.length === 0) throw wrong();
  return matchers;
}

function textOf(quoted: string, wrong: () => Failure): string {
  try {
    return String(JSON.parse(quoted));
  } catch {
    throw wrong();
  }
}

function matcherOf(name: string, operator: string, value: string): Matcher {
  if (operator === '=') return (labels) => (labels[name] ?? '') === value;
  if (operator === '!=') return (labels) => (labels[name] ?? '') !== value;
  let pattern: RegExp;
  try {
    pattern = new RegExp(`^(?:${value})$`, 's');
  } catch (cause) {
    throw new Failure('usage', `${value} is no regular expression`, { cause });
  }
  return (labels) => pattern.test(labels[name] ?? '') === (operator === '=~');
}
