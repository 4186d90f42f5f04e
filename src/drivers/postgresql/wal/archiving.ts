// Puts what a server archives where the journal goes on: what came between lies beside it as a rule, and is a gap else.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, isFailure } from '../../../core/errors.ts';
import { type Journal, type JournalWriter, type Lineage, RANGE_BYTES_MAX } from '../../../core/journal.ts';
import type { Context, Cut } from '../../../core/model.ts';
import { goesOnIn } from './archived.ts';
import { historyName, segmentName } from './files.ts';
import { endsIn, historyDetail, historyIn, type TimelineEnd } from './history.ts';
import { startAfter, WHICH } from './joining.ts';
import { lsnAt, placeOf, positionAt, sourceIn, sourceJson, type WalSource } from './positions.ts';
import { openSegment, type Segment } from './segments.ts';
import { historyBeside } from './siblings.ts';

export interface Archiving {
  readonly ctx: Context;
  readonly journal: Journal;
  readonly writer: JournalWriter;
  /** The folder of the server's log. */
  readonly dir: string;
}
/** Where the journal ends. */
export interface Standing {
  readonly lineage: Lineage;
  readonly source: WalSource;
  readonly durable: Cut;
  readonly end: number;
}

export function standingIn(writer: JournalWriter): Standing | null {
  const [lineage, durable] = [writer.lineage(), writer.durable()];
  const source = lineage && sourceIn(lineage.source);
  return source && durable ? { lineage, source, durable, end: placeOf(durable.position) } : null;
}

/** A lineage that begins with this segment. */
export async function beginWith(archiving: Archiving, segment: Segment, why: string): Promise<void> {
  const { ctx, writer, dir } = archiving;
  const { system, timeline, from, at } = segment;
  await writer.begin(ctx, {
    from: { position: positionAt(from), at: at.toISOString() },
    base: null,
    why: `archived: ${why}`,
    source: sourceJson({ system, timeline }),
    parent: null,
    ...historyDetail(await historyBeside(dir, timeline)),
  });
}

/** From where the journal ends up to `to`. 'different' where that does not go on from it. */
export async function putPart(archiving: Archiving, segment: Segment, to: number): Promise<void> {
  const { ctx, writer } = archiving;
  const now = standingIn(writer);
  if (now && (await goesOn(archiving, now, segment, { to: now.end })) === false) throw notGoingOn(segment, now);
  for (let from = writer.durable(); from && placeOf(from.position) < to; from = writer.durable()) {
    const start = placeOf(from.position);
    const end = Math.min(to, start + RANGE_BYTES_MAX);
    const cut = { position: positionAt(end), at: segment.at.toISOString() };
    await writer.append(ctx, { from, to: cut, at: ctx.now().toISOString(), body: await segment.read(start, end) });
  }
}

function notGoingOn({ path }: Segment, { end }: Standing): Failure {
  const what = `${path} does not go on from what the journal has up to ${lsnAt(end)}: two primaries?`;
  return new Failure('different', what, { hint: WHICH });
}

/** What was lost is noted, and with what comes another lineage begins. */
export async function skipTo(archiving: Archiving, now: Standing, to: number, segment: Segment): Promise<void> {
  const { ctx, writer } = archiving;
  const reason = 'the server has not handed over the segments between, and has removed them';
  ctx.log.error('segments of the log are missing: a gap is noted, and a new backup is needed', {
    from: now.durable.position,
    to: positionAt(to),
  });
  const gap = { from: now.durable, to: { position: positionAt(to), at: segment.at.toISOString() } };
  await writer.gap(ctx, { ...gap, at: ctx.now().toISOString(), reason });
  await beginWith(archiving, segment, `after a gap: ${reason}`);
}

/** Puts what lies beside it up to `to`. False where some of that is not there. `next`: a timeline that has it, too. */
export async function fillUp(archiving: Archiving, to: number, next?: number): Promise<boolean> {
  const segmentBytes = await segmentBytesIn(archiving.dir);
  for (let now = standingIn(archiving.writer); now && now.end < to; now = standingIn(archiving.writer)) {
    await using segment = await besideAt(archiving.dir, now, { place: now.end, next, segmentBytes });
    if (!segment) return false;
    await putPart(archiving, segment, Math.min(segment.to, to));
  }
  return true;
}

/** What holds that place. */
async function besideAt(
  dir: string,
  { source: { system, timeline } }: Standing,
  { place, next = timeline, segmentBytes }: { place: number; next?: number | undefined; segmentBytes: number },
): Promise<Segment | null> {
  const [own = '', other = ''] = [timeline, next].map((each) => segmentName(each, place, segmentBytes));
  return await firstOf(dir, system, [own, `${own}.partial`, other]);
}

/** Those of later segments lie there under names that are not theirs yet. */
async function firstOf(dir: string, system: string, names: readonly string[]): Promise<Segment | null> {
  for (const name of names) {
    try {
      await using undo = new AsyncDisposableStack();
      const segment = undo.use(await openSegment(join(dir, name)));
      if (segment.system !== system) continue;
      undo.move();
      return segment;
    } catch (error) {
      if (!isFailure(error, 'missing') && !isFailure(error, 'malformed')) throw error;
    }
  }
  return null;
}

async function segmentBytesIn(dir: string): Promise<number> {
  const names = (await readdir(dir)).filter((name) => /^[0-9A-F]{24}$/.test(name));
  for (const name of names.sort()) {
    await using segment = await openSegment(join(dir, name)).catch(() => null); // one that is made for later
    if (segment) return segment.bytes;
  }
  throw new Failure('missing', `${dir} holds no segment of a log`);
}

/**
 * One step from a timeline to the one that went on from it. Where the journal has not got all of the one before, and it
 * is not there either: up to where it is missing.
 */
export async function leaveTimeline(
  archiving: Archiving,
  now: Standing,
  timeline: number,
): Promise<{ readonly missingTo: number } | 'done' | 'no way' | 'another log'> {
  const { ctx, writer, dir } = archiving;
  const { lineage, source } = now;
  const history = await historyBeside(dir, timeline);
  const where = join(dir, historyName(timeline));
  if (history === null) throw new Failure('missing', `${where} is not there: nobody knows where the timeline begins`);
  const past = endsIn(history, timeline, where).find((each) => each.timeline === source.timeline);
  if (!past) return 'no way';
  if (!(await cameFrom(archiving, now, past))) return 'another log';
  if (!(await fillUp(archiving, placeOf(past.end), past.next))) return { missingTo: placeOf(past.end) };
  const durable = writer.durable();
  if (!durable) throw new Error('the journal has a lineage');
  const text = past.next === timeline ? history : await historyBeside(dir, past.next);
  await writer.begin(ctx, startAfter(past, text, { lineage, durable, system: source.system }));
  return 'done';
}

/** Whether the timeline that was left is the one that is stored: what lies beside tells. */
async function cameFrom(archiving: Archiving, now: Standing, { end, next }: TimelineEnd): Promise<boolean> {
  const { dir } = archiving;
  const place = Math.min(now.end, placeOf(end));
  if (place <= placeOf(now.lineage.from.position)) return place === placeOf(now.lineage.from.position);
  await using segment = await besideAt(dir, now, { place, next, segmentBytes: await segmentBytesIn(dir) });
  // Where that is missing, what comes next is, too.
  if (!segment) return place < placeOf(end);
  return (await goesOn(archiving, now, segment, { to: place, next })) === true;
}

async function goesOn(
  { ctx, journal, dir }: Archiving,
  now: Standing,
  segment: Segment,
  { to, next }: { to: number; next?: number },
): Promise<boolean | null> {
  const { from, bytes: segmentBytes } = segment;
  await using before = await besideAt(dir, now, { place: from - 1, next, segmentBytes });
  return await goesOnIn(ctx, journal, now.lineage, segment, { to, before });
}

/** 'different' where the timeline that was followed had another history. */
export async function assertHistory({ dir }: Archiving, { detail }: Lineage, timeline: number): Promise<void> {
  const [known, beside] = [historyIn(detail), await historyBeside(dir, timeline)];
  if (known === null || beside === null || known === beside) return;
  const what = `${join(dir, historyName(timeline))} is another history than the journal has of this timeline`;
  throw new Failure('different', `${what}: two primaries?`, { hint: WHICH });
}
