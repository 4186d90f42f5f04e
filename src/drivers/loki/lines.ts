// Log lines: how they are stored, told apart and summed.

import { hash } from 'node:crypto';

export type Labels = Readonly<Record<string, string>>;
export interface Line {
  /** Nanoseconds since 1970, as text: more than a number holds. */
  readonly ts: string;
  readonly labels: Labels;
  readonly line: string;
  /** Structured metadata. */
  readonly metadata: Labels;
}

/** What a server adds by itself when a line comes in, unless it is there. */
const ADDED_METADATA = 'detected_level';
export const ADDED_LABEL = 'service_name';
const UNKNOWN_SERVICE = 'unknown_service';
/** It divides a stream that grows fast, now so and now otherwise. */
const SHARD_LABEL = '__stream_shard__';
const HALF = 2 ** 32;

/** What is told of a stream again and again. */
export interface StreamWords {
  /** '{app="shop", env="prod"}' in the order of names, without what the server has added itself. */
  readonly name: string;
  readonly json: string;
}
/** Once for all lines of an answer that share their labels. */
export function streamWords(): (labels: Labels) => StreamWords {
  const known = new WeakMap<Labels, StreamWords>();
  return (labels) => {
    const found = known.get(labels);
    if (found) return found;
    const words = { name: streamName(labels), json: JSON.stringify(labels) };
    known.set(labels, words);
    return words;
  };
}

/** As JSON.stringify would write the four, of which two are there already. */
export function lineText({ ts, metadata }: Line, labelsJson: string, lineJson: string): string {
  return `{"timestamp":"${ts}","labels":${labelsJson},"line":${lineJson},"metadata":${JSON.stringify(metadata)}}\n`;
}

/** Earlier first; numbers of this size would be bigints. */
export function byTime({ ts: a }: Line, { ts: b }: Line): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}

/** By hand: there may be millions. Null for what is none. */
export function lineFrom(value: unknown): Line | null {
  if (typeof value !== 'object' || value === null) return null;
  const { timestamp, labels, line, metadata }: Record<string, unknown> = { ...value };
  if (typeof timestamp !== 'string' || !/^\d{1,19}$/.test(timestamp) || typeof line !== 'string') return null;
  return isLabels(labels) && isLabels(metadata) ? { ts: timestamp, labels, line, metadata } : null;
}

export function isLabels(value: unknown): value is Labels {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((each) => typeof each === 'string')
  );
}

/** Without the server's division of it. */
export function undivided(labels: Labels): Labels {
  if (!(SHARD_LABEL in labels)) return labels;
  const { [SHARD_LABEL]: _shard, ...rest } = labels;
  return rest;
}

export function streamName(given: Labels): string {
  const labels = undivided(given);
  const own = Object.entries(labels).filter(([name, value]) => !(name === ADDED_LABEL && isAdded(value, labels)));
  return selectorOf(own.length === 0 ? Object.entries(labels) : own);
}

function selectorOf(labels: readonly (readonly [string, string])[]): string {
  const sorted = labels.toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${sorted.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(', ')}}`;
}

/** The other way round: of the name of a stream. */
export function labelsIn(name: string): Labels {
  const pairs = name.matchAll(/([A-Za-z_][\w.]*)=("(?:[^"\\]|\\.)*")/g);
  return Object.fromEntries(Array.from(pairs, ([, label = '', value = '""']) => [label, String(JSON.parse(value))]));
}

/** It takes the service's name from another label, or says that it knows none. */
function isAdded(service: string, labels: Labels): boolean {
  if (service === UNKNOWN_SERVICE) return true;
  return Object.entries(labels).some(([name, value]) => name !== ADDED_LABEL && value === service);
}

/** How many lines a stream has, and a sum over them that does not depend on their order. */
export interface Sum {
  count: number;
  bytes: number;
  /** Two numbers of 64 bits, in halves: bigints would take as long as all the rest. */
  readonly halves: [number, number, number, number];
}
export function emptySum(): Sum {
  return { count: 0, bytes: 0, halves: [0, 0, 0, 0] };
}

export function addLine(sum: Sum, { ts, line, metadata }: Line, lineJson: string): void {
  const own = Object.entries(metadata).filter(([name]) => name !== ADDED_METADATA);
  const more = own.length === 0 ? '[]' : JSON.stringify(own.sort(([a], [b]) => (a < b ? -1 : 1)));
  const digest = hash('sha256', `["${ts}",${lineJson},${more}]`, 'buffer');
  const { halves } = sum;
  sum.count += 1;
  sum.bytes += line.length;
  addTo(halves, 0, 1, digest);
  addTo(halves, 2, 3, digest);
}

/** Of what two parts of the same have; the second stays as it is. */
export function added(sum: Sum = emptySum(), { count, bytes, halves }: Sum): Sum {
  const digest = Buffer.alloc(16);
  for (const [at, half] of halves.entries()) digest.writeUInt32BE(half, 4 * at);
  addTo(sum.halves, 0, 1, digest);
  addTo(sum.halves, 2, 3, digest);
  sum.count += count;
  sum.bytes += bytes;
  return sum;
}

function addTo(halves: Sum['halves'], high: 0 | 2, low: 1 | 3, digest: Buffer): void {
  const sum = halves[low] + digest.readUInt32BE(4 * low);
  halves[low] = sum % HALF;
  halves[high] = (halves[high] + digest.readUInt32BE(4 * high) + (sum >= HALF ? 1 : 0)) % HALF;
}

export function digestOf({ halves }: Sum): string {
  return `sum:${halves.map((each) => each.toString(16).padStart(8, '0')).join('')}`;
}
