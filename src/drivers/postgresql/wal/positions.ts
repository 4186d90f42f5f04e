// Where something is in the log: LSNs, as the server writes them; positions of a journal; and places, which are plain
// numbers. They reach 9 PB far into it.

import { z } from 'zod';
import { Failure } from '../../../core/errors.ts';
import type { Json } from '../../../core/model.ts';

const DIGITS = 16;
const LOG_BYTES = 2 ** 32;
const LSN = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/;

export function positionAt(place: number): string {
  return place.toString(16).padStart(DIGITS, '0');
}
export function placeOf(position: string): number {
  const place = /^[0-9a-f]{16}$/.test(position) ? Number.parseInt(position, 16) : Number.NaN;
  if (Number.isSafeInteger(place)) return place;
  throw new Failure('malformed', `the journal has a position ${position}, which is none in PostgreSQL's log`);
}

/** Null where it is none. */
export function placeOfLsn(lsn: string): number | null {
  const [, high = '', low = ''] = LSN.exec(lsn) ?? [];
  const place = high === '' ? Number.NaN : Number.parseInt(high, 16) * LOG_BYTES + Number.parseInt(low, 16);
  return Number.isSafeInteger(place) ? place : null;
}
/** As PostgreSQL writes it: '0/3000060'. */
export function lsnAt(place: number): string {
  return `${Math.floor(place / LOG_BYTES).toString(16)}/${(place % LOG_BYTES).toString(16)}`.toUpperCase();
}

/** '0/3000028' as 16 hexadecimal digits. */
export function positionOf(lsn: string): string {
  const place = placeOfLsn(lsn);
  if (place === null) throw new Error(`${lsn} is no LSN`);
  return positionAt(place);
}
export function lsnOf(position: string): string {
  return lsnAt(placeOf(position));
}

/** Where the segment begins that a position lies in. */
export function segmentStart(position: string, segmentBytes: number): string {
  const place = placeOf(position);
  return positionAt(place - (place % segmentBytes));
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
