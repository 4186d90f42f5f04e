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
const ADDED_LABEL = 'service_name';
const UNKNOWN_SERVICE = 'unknown_service';
const MASK_BITS = 64;

export function lineText({ ts, labels, line, metadata }: Line): string {
  return `${JSON.stringify({ timestamp: ts, labels, line, metadata })}\n`;
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

/** '{app="shop", env="prod"}' in the order of names, without what the server has added itself. */
export function streamName(labels: Labels): string {
  const own = Object.entries(labels).filter(([name, value]) => !(name === ADDED_LABEL && isAdded(value, labels)));
  return selectorOf(own.length === 0 ? Object.entries(labels) : own);
}

function selectorOf(labels: readonly (readonly [string, string])[]): string {
  const sorted = labels.toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${sorted.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(', ')}}`;
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
  high: bigint;
  low: bigint;
}
export function emptySum(): Sum {
  return { count: 0, bytes: 0, high: 0n, low: 0n };
}

export function addLine(sum: Sum, { ts, line, metadata }: Line): void {
  const own = Object.entries(metadata).filter(([name]) => name !== ADDED_METADATA);
  const text = JSON.stringify([ts, line, own.sort(([a], [b]) => (a < b ? -1 : 1))]);
  const digest = hash('sha256', text, 'buffer');
  sum.count += 1;
  sum.bytes += line.length;
  sum.high = BigInt.asUintN(MASK_BITS, sum.high + digest.readBigUInt64BE(0));
  sum.low = BigInt.asUintN(MASK_BITS, sum.low + digest.readBigUInt64BE(8));
}

export function digestOf({ high, low }: Sum): string {
  return `sum:${high.toString(16).padStart(16, '0')}${low.toString(16).padStart(16, '0')}`;
}
