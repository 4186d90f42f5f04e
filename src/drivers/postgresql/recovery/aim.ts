// Where a recovery is to end, in the words of the server's settings. What can be told from the log is told before
// anything is touched, and the end of the log is aimed at by its last record: a server that is given less than that
// stops, and never takes an early end for the end.

import type { Replay, ReplayRange } from '../../../core/component.ts';
import { Failure } from '../../../core/errors.ts';
import type { Context, Cut } from '../../../core/model.ts';
import { lsnAt, placeOf, placeOfLsn, positionAt, sourceIn } from '../wal/positions.ts';
import { piecesOf } from './pieces.ts';
import { type LogRecord, recordReader } from './records.ts';

/** How far before the end the last record is looked for; it may be longer. */
const LOOK_BACK_BYTES = 1024 * 1024;
const NAME_BYTES_MAX = 63;
/** As soon as the base is whole. */
export const AT_ONCE = { name: 'recovery_target', value: 'immediate' } as const;

export interface Aim {
  /** One of recovery_target…, and its value. */
  readonly setting: { readonly name: string; readonly value: string };
  readonly timeline: number;
  /** Nothing from here on is needed; null where only the server can tell. */
  readonly upTo: number | null;
  /** Nothing from here on is replayed; null as above. */
  readonly endsAt: number | null;
  /** The last transaction that will be there, where it is known. */
  readonly reached: Cut | null;
  readonly notes: readonly string[];
}
/** Where the base itself begins and ends in the log. */
export interface Extent {
  readonly from: number;
  readonly to: number;
  readonly segmentBytes: number;
}

export async function aimOf(ctx: Context, replay: Replay, base: Extent): Promise<Aim> {
  const { target } = replay;
  const end = placeOf(replay.end.position);
  switch (target.kind) {
    case 'immediate':
      return await unaimed(ctx, replay, base, AT_ONCE, base.to);
    case 'name':
      return await unaimed(ctx, replay, base, { name: 'recovery_target_name', value: nameIn(target.value) }, null);
    case 'transaction':
      return await unaimed(
        ctx,
        replay,
        base,
        { name: 'recovery_target_xid', value: transactionIn(target.value) },
        null,
      );
    case 'latest':
      return await aimBefore(ctx, replay, base, end, []);
    case 'position':
      return await aimBefore(ctx, replay, base, placeIn(target.value, base, end), []);
    case 'time':
      return await aimAtTime(ctx, replay, base, target.at);
  }
}

export interface StandingAim extends Aim {
  /** No transaction ends between where it stands and this. */
  readonly sameTo: number | null;
}

/**
 * For who looks around while the replay is paused: the same transactions have ended, and nothing is replayed behind the
 * last of them. What another had locked by then, such as a table that it was about to drop, nobody could look at.
 */
export async function standingAimOf(ctx: Context, replay: Replay, base: Extent): Promise<StandingAim> {
  const aim = await aimOf(ctx, replay, base);
  const { kind } = replay.target;
  const sameTo = aim.endsAt;
  if (sameTo === null || (kind !== 'time' && kind !== 'latest')) return { ...aim, sameTo };
  const { ended, commit } = await lastEndedBefore(ctx, replay, base, sameTo);
  const known = { ...aim, reached: reachedBy(commit) ?? aim.reached, sameTo };
  if (!ended || ended.at < base.to) return { ...known, setting: AT_ONCE, endsAt: base.to };
  return { ...known, setting: { name: 'recovery_target_lsn', value: lsnAt(ended.at) }, endsAt: ended.end };
}

async function lastEndedBefore(ctx: Context, replay: Replay, base: Extent, place: number): Promise<Seen> {
  for (let back = LOOK_BACK_BYTES; ; back *= 8) {
    const from = Math.max(base.from, place - back);
    const seen = await lookThrough(ctx, replay, base, from, ({ at }) => at >= place);
    if (seen.ended || from === base.from) return seen;
  }
}

/** Of the log that the replay goes through just before that place. */
export async function timelineBefore(ctx: Context, replay: Replay, place: number, base: Extent): Promise<number> {
  return timelineOf(await rangeAt(ctx, replay, place - 1, base));
}

/** What can be told without the log: a target that is none, or that lies elsewhere. */
export function refuseTarget({ target, end }: Replay, base: Pick<Extent, 'to'>): void {
  if (target.kind === 'position') placeIn(target.value, base, placeOf(end.position));
  if (target.kind === 'name') nameIn(target.value);
  if (target.kind === 'transaction') transactionIn(target.value);
}

async function unaimed(
  ctx: Context,
  replay: Replay,
  base: Extent,
  setting: Aim['setting'],
  upTo: number | null,
): Promise<Aim> {
  const last = await rangeAt(ctx, replay, upTo ?? placeOf(replay.end.position), base);
  return { setting, timeline: timelineOf(last), upTo, endsAt: upTo, reached: null, notes: [] };
}

/** After the last record that begins before `place`. */
async function aimBefore(
  ctx: Context,
  replay: Replay,
  base: Extent,
  place: number,
  notes: readonly string[],
): Promise<Aim> {
  for (let back = LOOK_BACK_BYTES; ; back *= 8) {
    const from = Math.max(base.from, place - back);
    const seen = await lookThrough(ctx, replay, base, from, ({ at }) => at >= place);
    if (seen.last) return aimAfter(seen.last, seen, notes);
    if (from > base.from) continue;
    throw new Failure('malformed', `the journal has no record of the log before ${lsnAt(place)}`);
  }
}

function aimAfter({ at, end }: LogRecord, { commit, timeline }: Seen, notes: readonly string[]): Aim {
  const setting = { name: 'recovery_target_lsn', value: lsnAt(at) };
  return { setting, timeline, upTo: end, endsAt: end, reached: reachedBy(commit), notes };
}

/** The server stops before the first transaction that ended later: where none has, the log's end is the moment's. */
async function aimAtTime(ctx: Context, replay: Replay, base: Extent, at: string): Promise<Aim> {
  const wanted = microsecondsOf(at);
  const near = await rangeOf(ctx, replay, base, at);
  const from = Math.max(base.from, Math.min(near, placeOf(replay.end.position) - LOOK_BACK_BYTES) - LOOK_BACK_BYTES);
  const seen = await lookThrough(ctx, replay, base, from, (record) => isLater(record, wanted));
  const { stop, commit, timeline } = seen;
  if (!stop) {
    const last = commit ? `the last one was at ${commit.endedAt}` : 'none was seen near it';
    const what = `no transaction has ended after ${at} in what is stored, so all of it is replayed: ${last}`;
    if (seen.last) return aimAfter(seen.last, seen, [what]);
    return await aimBefore(ctx, replay, base, placeOf(replay.end.position), [what]);
  }
  if (stop.at < base.to) throw tooEarly(at, lsnAt(stop.at), base);
  const value = `${new Date(at).toISOString().slice(0, 19).replace('T', ' ')}.${wanted.slice(-6)}+00`;
  const setting = { name: 'recovery_target_time', value };
  return { setting, timeline, upTo: stop.end, endsAt: stop.at, reached: reachedBy(commit), notes: [] };
}

function isLater({ endedAt }: LogRecord, wanted: string): boolean {
  return endedAt !== null && microsecondsOf(endedAt) > wanted;
}

/** Text that sorts as the moments do: milliseconds are all that a Date keeps. */
function microsecondsOf(at: string): string {
  const [, fraction = ''] = /\.(\d+)/.exec(at) ?? [];
  const seconds = Math.floor(Date.parse(at) / 1000);
  return `${String(seconds).padStart(12, '0')}${fraction.slice(0, 6).padEnd(6, '0')}`;
}

interface Seen {
  /** The last whole record before the one that was looked for, or of all. */
  readonly last: LogRecord | null;
  /** The last of those that committed. */
  readonly commit: LogRecord | null;
  /** The last of those that ended a transaction, whatever came of it. */
  readonly ended: LogRecord | null;
  readonly stop: LogRecord | null;
  readonly timeline: number;
}

async function lookThrough(
  ctx: Context,
  replay: Replay,
  base: Extent,
  from: number,
  isStop: (record: LogRecord) => boolean,
): Promise<Seen> {
  let reader: ReturnType<typeof recordReader> | undefined;
  let [last, commit, ended, stop]: (LogRecord | null)[] = [null, null, null, null];
  let timeline = 0;
  const look = (records: readonly LogRecord[]): boolean => {
    for (const record of records) {
      if (isStop(record)) {
        stop = record;
        return true;
      }
      last = record;
      if (record.isCommit) commit = record;
      if (record.endedAt !== null) ended = record;
    }
    return false;
  };
  const seen = (): Seen => ({
    last: last ?? null,
    commit: commit ?? null,
    ended: ended ?? null,
    stop: stop ?? null,
    timeline,
  });
  for await (const { at, bytes, source } of piecesOf(ctx, replay, from)) {
    reader ??= recordReader(at, { segmentBytes: base.segmentBytes, isRecord: at === base.from });
    timeline = source.timeline;
    if (look(reader.push(bytes))) return seen();
  }
  if (reader) look(reader.end());
  return seen();
}

/** Where the first range begins that reaches the moment: in between they are as sorted as the source's clock. */
async function rangeOf(ctx: Context, replay: Replay, base: Extent, at: string): Promise<number> {
  const wanted = Date.parse(at);
  let [low, high] = [base.from, placeOf(replay.end.position)];
  let found = high;
  while (low < high) {
    const { from, to } = await rangeAt(ctx, replay, Math.floor((low + high) / 2), base);
    if (Date.parse(to.at) >= wanted) found = high = Math.min(high - 1, placeOf(from.position));
    else low = Math.max(low + 1, placeOf(to.position));
  }
  return found;
}

async function rangeAt(ctx: Context, replay: Replay, place: number, base: Extent): Promise<ReplayRange> {
  const inside = Math.max(base.from, Math.min(place, placeOf(replay.end.position) - 1));
  for await (const range of replay.ranges(ctx, positionAt(inside))) return range;
  throw new Failure('missing', `the journal has nothing at ${lsnAt(inside)}`);
}

function timelineOf({ lineage }: ReplayRange): number {
  const source = sourceIn(lineage.source);
  if (source) return source.timeline;
  throw new Failure('malformed', `lineage ${lineage.id} of the journal does not tell its timeline`);
}

function reachedBy(commit: LogRecord | null): Cut | null {
  return commit && commit.endedAt !== null ? { position: positionAt(commit.end), at: commit.endedAt } : null;
}

function placeIn(value: string, base: Pick<Extent, 'to'>, end: number): number {
  const place = placeOfLsn(value) ?? (/^[0-9a-f]{16}$/.test(value) ? placeOf(value) : null);
  const range = `from ${lsnAt(base.to)} to ${lsnAt(end)}`;
  if (place === null) {
    throw new Failure('usage', `${value} is no place in PostgreSQL's log`, { hint: `write it as 0/3000060; ${range}` });
  }
  if (place >= base.to && place <= end) return place;
  const why = place < base.to ? 'before the end of the point' : 'behind the end of what is stored';
  throw new Failure('missing', `${lsnAt(place)} lies ${why}`, { hint: `choose a place ${range}` });
}

function tooEarly(what: string, stopsAt: string, base: Extent): Failure {
  const why = `${what} lies before the end of the point: a transaction at ${stopsAt} ended later`;
  return new Failure('missing', `${why}, and the point is whole at ${lsnAt(base.to)} only`, {
    hint: 'choose an older point, or a later moment',
  });
}

function nameIn(value: string): string {
  if (value !== '' && Buffer.byteLength(value) <= NAME_BYTES_MAX && !/\p{Cc}/u.test(value)) return value;
  throw new Failure('usage', `${JSON.stringify(value)} is no name that pg_create_restore_point gives`);
}

function transactionIn(value: string): string {
  if (/^\d{1,20}$/.test(value)) return value;
  throw new Failure('usage', `${value} is no number of a transaction`, { hint: 'as txid_current() tells it' });
}
