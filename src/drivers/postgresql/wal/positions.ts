// Where something is in the log: LSNs, as the server writes them, as numbers, and as positions of a journal.

import { z } from 'zod';
import type { Json } from '../../../core/model.ts';

const DIGITS = 16;
const LSN = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/;

/** '0/3000028' as 16 hexadecimal digits. */
export function positionOf(lsn: string): string {
  const [, high = '', low = ''] = LSN.exec(lsn) ?? [];
  if (high === '') throw new Error(`${lsn} is no LSN`);
  return (high.padStart(8, '0') + low.padStart(8, '0')).toLowerCase();
}
export function positionAt(place: bigint): string {
  return place.toString(16).padStart(DIGITS, '0');
}
export function placeOf(position: string): bigint {
  return BigInt(`0x${position}`);
}
export function lsnOf(position: string): string {
  const [high, low] = [position.slice(0, 8), position.slice(8)].map((half) => half.replace(/^0+(?=.)/, ''));
  return `${high}/${low}`.toUpperCase();
}
/** The library has none for numbers of any size. */
export function earlier(one: bigint, other: bigint): bigint {
  if (one < other) return one;
  return other;
}
export function later(one: bigint, other: bigint): bigint {
  if (one > other) return one;
  return other;
}

/** Where the segment begins that a position lies in. */
export function segmentStart(position: string, segmentBytes: number): string {
  const place = placeOf(position);
  return positionAt(place - (place % BigInt(segmentBytes)));
}

/** Which log it is: as in lineages and captures. */
export interface WalSource {
  /** The server's identifier: its copies have the same. */
  readonly system: string;
  readonly timeline: number;
}
export function sourceJson({ system, timeline }: WalSource): Json {
  return { system, timeline };
}

const sourceSchema = z.object({ system: z.string(), timeline: z.number() });

/** Null for what is none of PostgreSQL's. */
export function sourceIn(json: Json): WalSource | null {
  return sourceSchema.safeParse(json).data ?? null;
}
