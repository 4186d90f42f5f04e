// What the journal has last is compared with what the server sends first: a copy of a server that went on by itself has
// its name and its timeline, and another log.

import { Failure, isFailure } from '../../../core/errors.ts';
import type { Feed, JournalRange } from '../../../core/journal.ts';
import type { Context, Cut } from '../../../core/model.ts';
import { WHICH } from './joining.ts';
import { lsnAt, placeOf, positionAt, segmentStart } from './positions.ts';

/**
 * Some commits' worth, which have times in them. The rest of a segment that was left early is zeros in every log, and a
 * note of what runs may be the same in two.
 */
const TELLING_BYTES_MIN = 1024;
const BACK_BYTES = 4 * 1024;
const BACK_FACTOR = 8;
const UNREADABLE: ReadonlySet<string> = new Set(['missing', 'checksum', 'malformed', 'different']);

/** 'its segment': what comes before it the server may have removed. */
export type Compared = 'what tells' | 'its segment' | 'nothing';

export interface Known {
  /** Where the stream has to begin. */
  readonly from: string;
  /** What of the next piece the journal has not got. 'different' where it has other bytes. */
  beyond(piece: Buffer): Promise<Buffer>;
  /** Nothing has come that the journal has not got. */
  isComparing(): boolean;
}
type Stored = Pick<Feed, 'lineage' | 'last' | 'read'>;

/** `end`: where the journal does. */
export async function knownLog(
  ctx: Context,
  feed: Stored,
  options: { readonly end: Cut; readonly segmentBytes: number; readonly compared: Compared; readonly where: string },
): Promise<Known> {
  const { compared, where, segmentBytes } = options;
  const end = options.end.position;
  if (compared === 'nothing') {
    const what = 'the server has removed what the journal ends with: nothing tells whether it is the same log';
    ctx.log.warn(what, { end: lsnAt(placeOf(end)) });
  }
  const telling = compared === 'nothing' ? end : await tellingFrom(ctx, feed, end);
  const segment = segmentStart(end, segmentBytes);
  const from = compared === 'its segment' && segment > telling ? segment : telling;
  let place = placeOf(from);
  const endPlace = placeOf(end);
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
      return left;
    },
  };
}

/** From here on there is enough to know the log by, if there is so much; `end` where there is nothing. */
async function tellingFrom(ctx: Context, feed: Stored, end: string): Promise<string> {
  const [lineage, last] = [feed.lineage(), await feed.last(ctx)];
  if (!lineage || !last) return end;
  let from = last.from.position;
  let telling = tellingBytes(last.body);
  for (let back = BACK_BYTES; telling < TELLING_BYTES_MIN && from > lineage.from.position; back *= BACK_FACTOR) {
    const wanted = positionAt(Math.max(placeOf(lineage.from.position), placeOf(end) - back));
    const found = await tellingSince(ctx, feed, wanted);
    if (!found) return from;
    ({ from, telling } = found);
  }
  return from;
}

/** Null where that was pruned, or can't be read: `verify` tells of that. */
async function tellingSince(
  ctx: Context,
  feed: Stored,
  since: string,
): Promise<{ from: string; telling: number } | null> {
  let from: string | null = null;
  let telling = 0;
  try {
    for await (const range of feed.read(ctx, since)) {
      from ??= range.from.position;
      telling += tellingBytes(range.body);
    }
  } catch (error) {
    if (isFailure(error) && UNREADABLE.has(error.code)) return null;
    throw error;
  }
  return from === null ? null : { from, telling };
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
