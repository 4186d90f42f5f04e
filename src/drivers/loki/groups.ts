// Streams that are asked for together, told from the others by the values of one label.

import type { Labels } from './lines.ts';
import { type Chosen, narrowed } from './query.ts';

/** In a query: proxies take some KB of it. */
const MATCHER_CHARS_MAX = 2048;

export interface Group {
  readonly streams: readonly Labels[];
  /** 'app=~"shop|search"' */
  readonly matcher: string;
}

interface Sizes {
  readonly streams: number;
  readonly chars: number;
}

/** By the label that has most values. More streams than asked for are in a group where they share one value. */
export function groupsOf(series: readonly Labels[], most: Sizes): Group[] {
  const [label] = labelsOf(series);
  if (!label) return [];
  return packed(label, most).map(({ streams, values }) => ({
    streams,
    matcher: matcherOf(label, '=~', values),
  }));
}

/**
 * Selectors that share the streams among them, about as many each. A Loki reads whole blocks of a stream for the few
 * lines of a page, so that pages of few streams cost it a fraction. Streams that come meanwhile are the last one's.
 */
export function sharesOf({ selector, series }: Chosen, count: number): string[] {
  if (count < 2) return [selector];
  const streams = Math.ceil(series.length / count);
  const label = labelsOf(series).find(({ chars }) => chars <= MATCHER_CHARS_MAX);
  const groups = label ? packed(label, { streams, chars: MATCHER_CHARS_MAX }) : [];
  if (!label || groups.length < 2) return [selector];
  const named = groups.slice(0, -1).map(({ values }) => values);
  const matchers = named.map((values) => matcherOf(label, '=~', values));
  return [...matchers, matcherOf(label, '!~', named.flat())].map((matcher) => narrowed(selector, [matcher]));
}

interface Label {
  readonly name: string;
  readonly byValue: ReadonlyMap<string, readonly Labels[]>;
  /** Of all values, as they stand in a regular expression. */
  readonly chars: number;
}

/** Those that tell most streams apart first. */
function labelsOf(series: readonly Labels[]): Label[] {
  const names = new Set<string>();
  for (const labels of series) for (const name of Object.keys(labels)) names.add(name);
  const all = Array.from(names, (name): Label => {
    const byValue = Map.groupBy(series, (labels) => labels[name] ?? '');
    const chars = Array.from(byValue.keys(), (value) => literal(value).length + 1).reduce((a, b) => a + b, 0);
    return { name, byValue, chars };
  });
  return all.sort((a, b) => b.byValue.size - a.byValue.size);
}

interface Packed {
  readonly streams: readonly Labels[];
  readonly values: readonly string[];
}

function packed({ byValue }: Label, most: Sizes): Packed[] {
  const groups: Packed[] = [];
  let [streams, values, chars]: [Labels[], string[], number] = [[], [], 0];
  const finish = (): void => {
    if (values.length > 0) groups.push({ streams, values });
    [streams, values, chars] = [[], [], 0];
  };
  for (const [value, those] of byValue) {
    const text = literal(value);
    if (streams.length + those.length > most.streams || chars + text.length > most.chars) finish();
    streams.push(...those);
    values.push(text);
    chars += text.length;
  }
  finish();
  return groups;
}

function matcherOf({ name }: Label, how: '=~' | '!~', values: readonly string[]): string {
  return `${name}${how}${JSON.stringify(values.join('|'))}`;
}

/** In a regular expression. */
function literal(value: string): string {
  return value.replace(/[\\^$.|?*+()[\]{}]/g, '\\$&');
}
