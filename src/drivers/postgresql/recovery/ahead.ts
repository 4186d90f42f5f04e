// Keeps the spool of a server that recovers filled, ahead of what that takes. All of it is a help and no more: what
// does not lie there the server fetches by itself. Who comes later takes away the folder that who was there before
// works in, and who has none any more ends.

import {
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { withSignal } from '../../../core/context.ts';
import type { AheadRequest } from '../../../core/driver.ts';
import { Failure, messageOf } from '../../../core/errors.ts';
import type { Journal } from '../../../core/journal.ts';
import type { Context } from '../../../core/model.ts';
import { close, type Dir, dirOf, openRoot, within } from '../../beneath.ts';
import { attempt, unlessGone } from '../../failures.ts';
import { syncFile } from '../physical/put-file.ts';
import { type LogFile, logFileIn, logFileName } from '../wal/files.ts';
import { ABSENT, COMING, FETCH, KEPT, SERVING, WANTED } from './names.ts';
import { BEAT_MS, FILES_MAX, isRemoved, isSegmentName, namesIn, put } from './notes.ts';
import { patiently } from './pieces.ts';
import { joined } from './segments.ts';
import { legsUpTo, ownLineages, replayOfLegs, storedLog, wayTo, wholeUpTo } from './stored-log.ts';

const WORK = 'ahead-';
const LOOK_MS = 50;
/** A server that has taken nothing for so long has stopped, or waits for somebody. */
const IDLE_MS_MAX = 60_000;
/** What is left to the server of a disk that fills up, in segments. */
const SPARE_SEGMENTS = 8;

/**
 * After `given`: of what lies in the spool that stays which comes next without a break, and what comes behind that is
 * announced where all of it is stored.
 */
export function announce(
  ctx: Context,
  folder: string,
  { timeline, number }: LogFile,
  wholeBefore: number,
  { segmentBytes }: { readonly segmentBytes: number },
): void {
  const nameOf = (at: number): string => logFileName({ timeline, number: at }, segmentBytes);
  try {
    const spool = openSpool(folder);
    if (!spool) return;
    try {
      const kept = new Set([FETCH]);
      let next = number + 1;
      for (const names = new Set(namesIn(spool)); names.has(nameOf(next)); next++) kept.add(nameOf(next));
      clear(spool, (name) => kept.has(name) || name.endsWith(KEPT));
      if (next < wholeBefore) put(spool, nameOf(next) + COMING, '', null);
    } finally {
      close(spool);
    }
  } catch (error) {
    ctx.log.warn('nothing is fetched ahead', { reason: messageOf(error) });
  }
}

function openSpool(folder: string): Dir | null {
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
  const fd = unlessGone(Buffer.from(folder), () => openSync(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return fd === null ? null : dirOf(fd, folder);
}

function clear(spool: Dir, isKept: (name: string) => boolean): void {
  for (const name of namesIn(spool)) {
    if (!isKept(name)) rmSync(within(spool, Buffer.from(name)), { recursive: true, force: true, maxRetries: 3 });
  }
}

/**
 * Puts that file and those behind it into the spool, as far as they are whole in the journal and as the server takes
 * them, and answers what else it wants. False where the journal has not got the first.
 */
export async function fetchAhead(
  ctx: Context,
  journal: Journal,
  { file, path, spool, ask }: AheadRequest,
): Promise<boolean> {
  const own = dirname(path);
  const log = await storedLog(ctx, journal, own, await ownLineages(ctx, journal, own));
  const { segmentBytes } = log;
  const first = logFileIn(file, segmentBytes);
  const legs = first && wayTo(log, first, { name: file, hasOwn: false });
  const wholeBefore = wholeUpTo(legs ?? [], segmentBytes);
  if (!first || !legs || first.number >= wholeBefore) return false;
  using filling = begin(spool, file);
  if (!filling) return true;
  const inner = withSignal(ctx, filling.signal);
  const nameOf = (number: number): string => logFileName({ ...first, number }, segmentBytes);
  const replay = replayOfLegs(log, legsUpTo(legs, wholeBefore * segmentBytes));
  const pieces = patiently(inner, replay, first.number * segmentBytes, null);
  const place = { dir: filling.work, own: null, owner: null, segmentBytes };
  /**
   * What has no number, what lies behind the last whole one, and what it has just taken: at its end a server looks at
   * the last record again. For all else another one is to begin.
   */
  const isOurs = (name: string): boolean => {
    const wanted = logFileIn(name, segmentBytes);
    if (wanted?.timeline !== first.timeline) return !wanted;
    const lowest = namesIn(filling.spool).filter(isSegmentName).sort()[0];
    const taken = ((lowest && logFileIn(lowest, segmentBytes)?.number) || next) - 1;
    return wanted.number === taken || (next >= wholeBefore && wanted.number >= next);
  };
  const answer = (): Promise<boolean> =>
    answerWanted(inner, filling, isOurs, (name, to) => ask(inner, { file: name, path: to, within: own }));
  let next = first.number;
  try {
    if (!hasSpare(spool, segmentBytes)) return true;
    for await (const name of joined(pieces, place)) {
      if (name !== nameOf(next)) return true; // it begins in what is not stored
      await syncFile(filling.work, name); // as the server would, while it waits
      if (!(await untilRoom(inner, filling.spool, answer))) return true;
      next += 1;
      filling.publish(next < wholeBefore ? nameOf(next) : null);
      if (!hasSpare(spool, segmentBytes)) return true;
    }
    await untilRoom(inner, filling.spool, answer, 0);
  } catch (error) {
    if (!filling.isOver()) throw error;
  }
  return true;
}

/** False when it wants a segment that is not for us to give: who has a new place in the log has another one begin. */
async function answerWanted(
  ctx: Context,
  { spool, work, workPath }: Filling,
  isOurs: (name: string) => boolean,
  ask: (name: string, path: string) => Promise<boolean>,
): Promise<boolean> {
  const at = (name: string): Buffer => within(spool, Buffer.from(name));
  for (const wanted of namesIn(spool).filter((name) => name.endsWith(WANTED))) {
    const name = wanted.slice(0, -WANTED.length);
    if (!isOurs(name)) return false;
    const isGiven = await ask(name, join(workPath, name));
    if (ctx.signal.aborted) return false;
    if (isGiven) attempt(name, () => renameSync(within(work, Buffer.from(name)), at(name)));
    else put(spool, name + ABSENT, '', null);
    rmSync(at(wanted), { force: true });
  }
  return true;
}

interface Filling extends Disposable {
  readonly spool: Dir;
  readonly work: Dir;
  readonly workPath: string;
  /** Aborted when somebody else has come, or the server has recovered. */
  readonly signal: AbortSignal;
  isOver(): boolean;
  /** The one that was announced. The next one is announced before, so that the server always sees one of the two. */
  publish(next: string | null): void;
}

/** Null where there is no spool any more. */
function begin(folder: string, first: string): Filling | null {
  const spool = openSpool(folder);
  if (!spool) return null;
  clear(spool, (name) => !name.startsWith(WORK));
  const workPath = mkdtempSync(join(folder, WORK));
  const work = openRoot(workPath);
  const stopping = new AbortController();
  const at = (name: string): Buffer => within(spool, Buffer.from(name));
  const isOver = (): boolean => isRemoved(work) || isRemoved(spool);
  let coming: string | null = first;
  let beats = 0;
  const timer = setInterval(() => {
    try {
      if (isOver()) stopping.abort(new Failure('interrupted', 'the spool is not filled any more'));
      else
        for (const name of coming === null ? [SERVING] : [SERVING, coming + COMING]) rewrite(at(name), String(++beats));
    } catch (error) {
      stopping.abort(error);
    }
  }, BEAT_MS);
  for (const name of [first + COMING, SERVING]) put(spool, name, String(beats), null);
  return {
    spool,
    work,
    workPath,
    signal: stopping.signal,
    isOver,
    publish(next) {
      const name = coming;
      if (name === null || isOver()) return;
      if (next !== null) put(spool, next + COMING, String(++beats), null);
      coming = next;
      if (!existsSync(at(name))) attempt(name, () => renameSync(within(work, Buffer.from(name)), at(name)));
      rmSync(at(name + COMING), { force: true });
    },
    [Symbol.dispose]() {
      clearInterval(timer);
      if (!isOver()) {
        for (const name of coming === null ? [SERVING] : [SERVING, coming + COMING]) rmSync(at(name), { force: true });
        rmSync(at(basename(workPath)), { recursive: true, force: true });
      }
      [work, spool].forEach(close);
    },
  };
}

/** Of a file that is there: who has taken it away wants none. */
function rewrite(path: Buffer, text: string): void {
  const { O_WRONLY, O_TRUNC, O_NOFOLLOW } = constants;
  const fd = unlessGone(path, () => openSync(path, O_WRONLY | O_TRUNC | O_NOFOLLOW));
  if (fd === null) return;
  try {
    writeSync(fd, text);
  } finally {
    closeSync(fd);
  }
}

/** Until fewer lie there. False when nobody has taken anything for long, or asks for what another one is to give. */
async function untilRoom(
  ctx: Context,
  spool: Dir,
  answer: () => Promise<boolean>,
  filesMax = FILES_MAX,
): Promise<boolean> {
  let [seen, sinceMs] = ['', ctx.monotonicMs()];
  for (;;) {
    if (!(await answer())) return false;
    const waiting = namesIn(spool).filter(isSegmentName).sort();
    if (waiting.length < filesMax) return true;
    const now = waiting.join();
    if (now !== seen) [seen, sinceMs] = [now, ctx.monotonicMs()];
    if (ctx.monotonicMs() - sinceMs > IDLE_MS_MAX) return false;
    await ctx.sleep(LOOK_MS);
  }
}

function hasSpare(folder: string, segmentBytes: number): boolean {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize >= SPARE_SEGMENTS * segmentBytes;
}
