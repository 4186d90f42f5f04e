// What a journal has of the log of the server that asks for it, and the way through its lineages to one segment.

import { closeSync, existsSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Replay } from '../../../core/component.ts';
import { Failure } from '../../../core/errors.ts';
import type { Journal, JournalStretch, Lineage } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';
import { CONTROL_FILE } from '../physical/names.ts';
import type { LogFile } from '../wal/files.ts';
import { placeOf, positionAt, sourceIn } from '../wal/positions.ts';

const SEGMENT_BYTES = 16 * 1024 * 1024;
const SYSTEM_BYTES = 8;
export const HINT = 'restore from a point that was taken later, or to a moment before';

export interface OwnLineages {
  readonly system: string;
  readonly lineages: readonly Lineage[];
}
export interface StoredLog extends OwnLineages {
  readonly journal: Journal;
  readonly stretches: readonly JournalStretch[];
  readonly segmentBytes: number;
}
/** A lineage, and what is read of it. */
export interface Leg {
  readonly lineage: Lineage;
  readonly from: number;
  readonly to: number;
}
export interface Asked {
  readonly name: string;
  /** The server has it from its base backup. */
  readonly hasOwn: boolean;
}

/** `own`: where the server keeps its log. */
export async function ownLineages(ctx: Context, journal: Journal, own: string): Promise<OwnLineages> {
  const all = await Array.fromAsync(journal.lineages(ctx));
  const system = systemOf(own, all);
  const lineages = all.filter(({ source }) => sourceIn(source)?.system === system);
  if (lineages.length > 0) return { system, lineages };
  const why = `the journal has no log of system ${system}`;
  throw new Failure('missing', why, { hint: 'name the component and the store that the server was followed to' });
}

export async function storedLog(ctx: Context, journal: Journal, own: string, of: OwnLineages): Promise<StoredLog> {
  const stretches = await Array.fromAsync(journal.stretches(ctx));
  return { ...of, journal, stretches, segmentBytes: segmentBytesIn(own) };
}

/**
 * What holds the segment, through the lineages that its timeline goes on from where that began within it. Null where
 * the server finds it by itself, or the timeline ends before it.
 */
export function wayTo(log: StoredLog, { timeline, number }: LogFile, { name, hasOwn }: Asked): readonly Leg[] | null {
  const [begin, end] = [number * log.segmentBytes, (number + 1) * log.segmentBytes];
  const same = log.lineages.filter(({ source }) => sourceIn(source)?.timeline === timeline);
  let why: string | null = null;
  for (const lineage of same.toReversed()) {
    const from = Math.max(begin, placeOf(lineage.from.position));
    const at = from < end ? stretchAt(log, lineage, from) : null;
    if (!at) continue;
    const to = placeOf(at.to.position);
    const broken = at.gap ?? (to < end ? stretchAt(log, lineage, to)?.gap : null) ?? null;
    if (broken === null) return [...legsBefore(log, lineage, begin, from), { lineage, from, to }];
    why ??= broken;
  }
  if (hasOwn) return null;
  if (why !== null) throw new Failure('missing', `the journal has a gap in ${name}: ${why}`, { hint: HINT });
  const known = same.length > 0 ? same : log.lineages;
  if (known.every((lineage) => endOf(log, lineage) <= begin)) return null;
  throw new Failure('missing', `the journal has no ${name}, although it has what lies behind it`, { hint: HINT });
}

function stretchAt({ stretches }: StoredLog, { id }: Lineage, place: number): JournalStretch | null {
  const holds = ({ lineage, from, to }: JournalStretch): boolean =>
    lineage.id === id && placeOf(from.position) <= place && place < placeOf(to.position);
  return stretches.find(holds) ?? null;
}

function endOf({ stretches }: StoredLog, { id, from }: Lineage): number {
  const last = stretches.findLast(({ lineage }) => lineage.id === id);
  return placeOf((last?.to ?? from).position);
}

/** Up to where it begins itself, as far as there is anything. */
function legsBefore(log: StoredLog, { parent }: Lineage, begin: number, end: number): readonly Leg[] {
  const lineage = log.lineages.find(({ id }) => id === parent?.lineage);
  if (begin >= end || !lineage) return [];
  const from = Math.max(begin, placeOf(lineage.from.position));
  const stretch = from < end ? stretchAt(log, lineage, from) : null;
  if (!stretch || stretch.gap !== null || placeOf(stretch.to.position) < end) return [];
  return [...legsBefore(log, lineage, begin, from), { lineage, from, to: end }];
}

/** The number of the first segment that is not whole there. */
export function wholeUpTo(legs: readonly Leg[], segmentBytes: number): number {
  return Math.floor((legs.at(-1)?.to ?? 0) / segmentBytes);
}

/** Of the last leg no more than what lies before a place. */
export function legsUpTo(legs: readonly Leg[], place: number): readonly Leg[] {
  return legs.map((leg, at) => (at === legs.length - 1 ? { ...leg, to: Math.min(leg.to, place) } : leg));
}

export function replayOfLegs({ journal, lineages }: StoredLog, legs: readonly Leg[]): Replay {
  const end = { position: positionAt(legs.at(-1)?.to ?? 0), at: '' };
  async function* ranges(ctx: Context, since = ''): ReturnType<Replay['ranges']> {
    for (const { lineage, from, to } of legs) {
      const [begin, until] = [positionAt(from), positionAt(to)];
      if (since >= until) continue;
      const place = { lineage: lineage.id, position: since > begin ? since : begin };
      for await (const range of journal.read(ctx, place, until)) yield { ...range, lineage, until };
    }
  }
  return { target: { kind: 'latest' }, end, lineages, ranges };
}

/** Its own data directory tells, else the journal, where that has one only. */
function systemOf(own: string, lineages: readonly Lineage[]): string {
  const control = join(own, '..', CONTROL_FILE);
  if (existsSync(control)) return String(firstBytes(control, SYSTEM_BYTES).readBigUInt64LE(0));
  const systems = new Set(lineages.flatMap(({ source }) => sourceIn(source)?.system ?? []));
  const [only, ...others] = systems;
  if (only !== undefined && others.length === 0) return only;
  const there = only === undefined ? 'there is none' : `there are ${[...systems].join(', ')}`;
  throw new Failure('ambiguous', `the log of which system is wanted? ${there}`, {
    hint: 'run it as restore_command: it looks into the data directory that it is started in',
  });
}

function firstBytes(path: string, bytes: number): Buffer {
  const head = Buffer.alloc(bytes);
  const fd = openSync(path, 'r');
  try {
    readSync(fd, head, 0, bytes, 0);
  } finally {
    closeSync(fd);
  }
  return head;
}

function segmentBytesIn(own: string): number {
  const names = existsSync(own) ? readdirSync(own) : [];
  const name = names.find((each) => /^[0-9A-F]{24}$/.test(each));
  return name === undefined ? SEGMENT_BYTES : statSync(join(own, name)).size;
}
