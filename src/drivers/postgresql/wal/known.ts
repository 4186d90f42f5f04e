// What the journal has last is compared with what the server sends first: a copy of a server that went on by itself has
// its name and its timeline, and another log.

import { ERRORS, Failure, isFailure } from '../../../core/errors.ts';
import type { Feed, JournalRange } from '../../../core/journal.ts';
import type { Context, Cut } from '../../../core/model.ts';
import { WHICH } from './joining.ts';
import { lsnAt, placeOf, positionAt, segmentStart } from './positions.ts';
import type { HeldSlot } from './slot.ts';

/**
 * Some commits' worth, which have times in them. The rest of a segment that was left early is zeros in every log, and a
 * note of what runs may be the same in two.
 */
const TELLING_BYTES_MIN = 1024;
const BACK_BYTES = 4 * 1024;
const BACK_FACTOR = 8;
/** From where its slot stands a copy may differ: so far back it is looked at. */
const HELD_BYTES_MAX = 64 * 1024 * 1024;

/** 'what is held': what comes before it the server may have removed. */
export type Compared = (typeof WAYS)[number];
/** Each for when the server has removed what the one before asks for. */
export const WAYS = ['what tells', 'what is held', 'nothing'] as const;
export function wayAfter(way: Compared): Compared {
  return WAYS[WAYS.indexOf(way) + 1] ?? 'nothing';
}

export interface Known {
  /** Where the stream has to begin. */
  readonly from: string;
  /** What of the next piece the journal has not got. 'different' where it has other bytes; `NothingTells`. */
  beyond(piece: Buffer): Promise<Buffer>;
  /** Nothing has come that the journal has not got. */
  isComparing(): boolean;
  /** What is the same up to where the journal ends is one log. */
  readonly tells: boolean;
}
/** There is more log, and what was compared could be the same in another one. */
export class NothingTells extends Error {}

type Stored = Pick<Feed, 'lineage' | 'last' | 'read'>;
export interface KnownOptions {
  /** Where the journal does. */
  readonly end: Cut;
  readonly slot: HeldSlot;
  readonly segmentBytes: number;
  readonly compared: Compared;
  /** What comes next goes on from what the journal has. */
  readonly isLinked?: boolean;
  readonly where: string;
}
interface Comparison {
  readonly from: string;
  /** What is the same from there on is one log. */
  readonly tells: boolean;
}

export async function knownLog(ctx: Context, feed: Stored, options: KnownOptions): Promise<Known> {
  const { where } = options;
  const { from, tells: isKnown } = await comparisonOf(ctx, feed, options);
  const tells = isKnown || options.isLinked === true;
  let place = placeOf(from);
  const endPlace = placeOf(options.end.position);
  let ranges: AsyncIterator<JournalRange> | null = null;
  let range: JournalRange | null = null;

  /** What the journal has from `place` on, of one range. */
  async function stored(): Promise<Uint8Array> {
    ranges ??= feed.read(ctx, from)[Symbol.asyncIterator]();
    while (!range || placeOf(range.to.position) <= place) {
      const next = await ranges.next();
      if (next.done) throw new Failure('missing', `the journal ends before ${lsnAt(endPlace)}`);
      range = next.value;
    }
    return range.body.subarray(place - placeOf(range.from.position));
  }
  return {
    from,
    tells,
    isComparing: () => place < endPlace,
    async beyond(piece) {
      let left = piece;
      while (left.length > 0 && place < endPlace) {
        const same = await stored();
        const bytes = Math.min(left.length, same.length);
        if (left.compare(same, 0, bytes, 0, bytes) !== 0) throw otherBytes(where, place, place + bytes);
        place += bytes;
        left = left.subarray(bytes);
        if (place === endPlace) await ranges?.return?.();
      }
      if (left.length > 0 && !tells) throw new NothingTells(`${where}: its log from ${lsnAt(endPlace)} on`);
      return left;
    },
  };
}

/** Only we tell a slot exactly where the journal ends: what a copy has was told before it went on. */
async function comparisonOf(ctx: Context, feed: Stored, options: KnownOptions): Promise<Comparison> {
  const { slot, segmentBytes, compared } = options;
  const end = options.end.position;
  const begin = feed.lineage()?.from.position ?? end;
  const held = slot.was === 'there' && slot.restart <= end ? slot.restart : null;
  let known: Telling = { from: end, telling: 0 };
  if (compared !== 'nothing') known = await tellingFrom(ctx, feed, { begin, end, held });
  const kept = segmentStart(held !== null && held < end ? held : positionAt(placeOf(end) - 1), segmentBytes);
  if (compared === 'what is held' && known.from < kept) {
    known = (await tellingSince(ctx, feed, kept)) ?? { from: kept, telling: 0 };
  }
  const { from, telling } = known;
  return { from, tells: from === begin || held === end || telling >= TELLING_BYTES_MIN };
}

interface Telling {
  readonly from: string;
  /** How many bytes from there on. */
  readonly telling: number;
}

/** From here on there is enough to know the log by, if there is so much that can be read; `end` where nothing can. */
async function tellingFrom(
  ctx: Context,
  feed: Stored,
  { begin, end, held }: { begin: string; end: string; held: string | null },
): Promise<Telling> {
  const last = await feed.last(ctx);
  if (!last) return { from: end, telling: 0 };
  let known: Telling = { from: last.from.position, telling: tellingBytes(last.body) };
  const wider = async (wanted: string): Promise<boolean> => {
    if (wanted >= known.from) return true;
    const found = await tellingSince(ctx, feed, wanted < begin ? begin : wanted);
    known = found ?? known;
    return found !== null;
  };
  if (held !== null && placeOf(end) - placeOf(held) <= HELD_BYTES_MAX) await wider(held);
  for (let back = BACK_BYTES; known.telling < TELLING_BYTES_MIN && known.from > begin; back *= BACK_FACTOR) {
    if (!(await wider(positionAt(Math.max(placeOf(begin), placeOf(end) - back))))) break;
  }
  return known;
}

/** Null where that was pruned, or can't be read: `verify` tells of that. */
async function tellingSince(ctx: Context, feed: Stored, from: string): Promise<Telling | null> {
  let telling = 0;
  try {
    for await (const range of feed.read(ctx, from)) {
      telling += tellingBytes(range.body.subarray(Math.max(0, placeOf(from) - placeOf(range.from.position))));
    }
  } catch (error) {
    if (isUnreadable(error)) return null;
    throw error;
  }
  return { from, telling };
}

/** What was stored can't be compared with. */
export function isUnreadable(error: unknown): boolean {
  return isFailure(error) && (ERRORS[error.code].lost || error.code === 'different');
}

function tellingBytes(body: Uint8Array): number {
  let bytes = 0;
  for (let at = 0; at < body.length && bytes < TELLING_BYTES_MIN; at += 1) bytes += body[at] === 0 ? 0 : 1;
  return bytes;
}

function otherBytes(where: string, from: number, to: number): Failure {
  const which = `its log from ${lsnAt(from)} to ${lsnAt(to)}`;
  const what = `${which} has other bytes than the journal: two primaries, or a copy that went on?`;
  return new Failure('different', `${where}: ${what}`, { hint: WHICH });
}
