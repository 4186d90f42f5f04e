// A file of the log that the server hands over as archive_command: what the journal has not got yet of it is put there.

import { basename, dirname } from 'node:path';
import type { PushedLog } from '../../../core/driver.ts';
import { Failure, isFailure } from '../../../core/errors.ts';
import type { Journal, JournalWriter } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';
import { assertSame, awaitFollowed, isArchived } from './archived.ts';
import {
  type Archiving,
  assertHistory,
  beginWith,
  fillUp,
  leaveTimeline,
  putPart,
  type Standing,
  skipTo,
  standingIn,
} from './archiving.ts';
import { logFileNamed } from './files.ts';
import { placeOf } from './positions.ts';
import { openSegment, type Segment } from './segments.ts';
import { partialEnd } from './siblings.ts';

const STORED: PushedLog = { outcome: 'stored', why: null };
const GAP = 'the journal has a gap there, or was pruned';
const WAS_THERE: PushedLog = { outcome: 'was there', why: null };

export async function pushLogFile(ctx: Context, journal: Journal, path: string): Promise<PushedLog> {
  const file = logFileNamed(basename(path));
  if (!file) {
    throw new Failure('usage', `${path} is no file of PostgreSQL's log`, { hint: 'give it %p of archive_command' });
  }
  if (file.kind === 'label') return passedOver('the journal has no use for where a backup began');
  const dir = dirname(path);
  await using writer = await writerOf(ctx, journal);
  if (file.kind === 'history') {
    if (!writer) return passedOver('another one writes this journal, and keeps the histories of timelines');
    return await pushHistory({ ctx, journal, writer, dir }, file.timeline);
  }
  await using segment = await openSegment(path);
  const end = file.isPartial ? await partialEnd(dir, segment) : segment.to;
  if (writer) return await pushSegment({ ctx, journal, writer, dir }, segment, end);
  await awaitFollowed(ctx, journal, segment, end);
  return WAS_THERE;
}

/** Null while another one writes it. */
async function writerOf(ctx: Context, journal: Journal): Promise<JournalWriter | null> {
  try {
    return await journal.write(ctx);
  } catch (error) {
    if (isFailure(error, 'locked')) return null;
    throw error;
  }
}

async function pushSegment(archiving: Archiving, segment: Segment, end: number): Promise<PushedLog> {
  const { ctx, journal, writer } = archiving;
  for (;;) {
    const now = standingIn(writer);
    if (now?.source.system !== segment.system) {
      await beginWith(archiving, segment, now ? 'another server' : 'the first');
    } else if (now.source.timeline > segment.timeline) {
      if (await isArchived(ctx, journal, segment, end)) return WAS_THERE;
      const { timeline } = now.source;
      ctx.log.warn('a segment came when a later timeline was stored already', { path: segment.path, timeline });
      return passedOver(`the journal has gone on with timeline ${timeline}`);
    } else if (now.source.timeline < segment.timeline) {
      const left = await leaveTimeline(archiving, now, segment.timeline);
      if (left === 'no way') await beginWith(archiving, segment, 'a timeline that does not come from the one before');
      else if (left === 'another log') await beginWith(archiving, segment, notFrom(segment, now));
      else if (left !== 'done') await skipTo(archiving, standingIn(writer) ?? now, left.missingTo, segment);
    } else if (now.end < segment.from) {
      if (!(await fillUp(archiving, segment.from))) {
        await skipTo(archiving, standingIn(writer) ?? now, segment.from, segment);
      }
    } else if (end <= placeOf(now.lineage.from.position)) {
      // Of an earlier lineage, which has a gap behind it.
      return (await isArchived(ctx, journal, segment, end)) ? WAS_THERE : passedOver(GAP);
    } else {
      await assertHistory(archiving, now.lineage, segment.timeline);
      const isKnown = await isSame(archiving, now, segment, end);
      if (now.end >= end) return isKnown ? WAS_THERE : passedOver(GAP);
      await putPart(archiving, segment, end);
      return STORED;
    }
  }
}

function notFrom({ timeline }: Segment, { source }: Standing): string {
  return `timeline ${timeline}, which does not come from the log of ${source.timeline} that is stored`;
}

/** False where the journal can't tell any more; 'different' when it has other bytes. */
async function isSame({ ctx, journal }: Archiving, now: Standing, segment: Segment, end: number): Promise<boolean> {
  try {
    await assertSame(ctx, journal, now.lineage, segment, Math.min(now.end, end));
    return true;
  } catch (error) {
    if (isFailure(error, 'missing')) return false;
    throw error;
  }
}

/** It is stored with the lineage that it begins, as soon as the timeline before is there up to its end. */
async function pushHistory(archiving: Archiving, timeline: number): Promise<PushedLog> {
  const later = passedOver('it is stored with the first segment of its timeline');
  for (let now = standingIn(archiving.writer); now; now = standingIn(archiving.writer)) {
    if (now.source.timeline > timeline) return passedOver(`the journal has timeline ${now.source.timeline} already`);
    if (now.source.timeline === timeline) {
      await assertHistory(archiving, now.lineage, timeline);
      return STORED;
    }
    if ((await leaveTimeline(archiving, now, timeline)) !== 'done') return later;
  }
  return later;
}

function passedOver(why: string): PushedLog {
  return { outcome: 'passed over', why };
}
