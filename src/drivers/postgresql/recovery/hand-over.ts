// Hands the log over to a server that recovers: files are put into its spool ahead of it, a bounded number of them, in
// order and each whole. What goes wrong is told there, so that the server stops and takes no early end for the end.

import { renameSync } from 'node:fs';
import type { Replay } from '../../../core/component.ts';
import { withSignal } from '../../../core/context.ts';
import { Failure, messageOf } from '../../../core/errors.ts';
import type { Context } from '../../../core/model.ts';
import { close, type Dir, openDir, within } from '../../beneath.ts';
import type { Owner } from '../physical/target.ts';
import { logFileIn, logFileName } from '../wal/files.ts';
import { placeOf } from '../wal/positions.ts';
import type { Aim, Extent } from './aim.ts';
import { ABSENT, BEAT, COMING, ENDED, FAILED, FIRST, SPOOL, WANTED } from './names.ts';
import { BEAT_MS, FILES_MAX, isRemoved, isSegmentName, namesIn, put } from './notes.ts';
import { patiently } from './pieces.ts';
import { joined } from './segments.ts';

const LOOK_MS = 20;

export interface Job {
  readonly replay: Replay;
  readonly aim: Aim;
  readonly base: Extent;
  /** The data directory. */
  readonly root: Dir;
  readonly owner: Owner | null;
  /** Of progress. */
  readonly task: string;
}
export interface HandOver {
  /** No more is handed over: a server that wants more fails. */
  stop(): Promise<void>;
}

/** Ends by `stop`. */
export function handOver(ctx: Context, job: Job): HandOver {
  const folders = openFolders(job.root);
  const stopping = new AbortController();
  const inner = withSignal(ctx, stopping.signal);
  const state = stateOf(job);
  let isStopped = false;
  let beats = 0;
  const beat = (): void => put(folders.spool, BEAT, String(++beats), job.owner);
  beat();
  const timer = setInterval(() => {
    try {
      beat();
      answer(folders.spool, job, state);
    } catch (error) {
      clearInterval(timer);
      stopping.abort(error);
    }
  }, BEAT_MS);
  const work = (async (): Promise<void> => {
    try {
      for await (const _ of filled(inner, job, folders, state)) await untilWanted(inner, job, folders, state);
      put(folders.spool, ENDED, '', job.owner);
    } catch (error) {
      if (isRemoved(folders.spool)) return; // by the server: it has recovered
      const reason = messageOf(stopping.signal.aborted ? stopping.signal.reason : error);
      put(folders.spool, FAILED, `lifeboat: ${reason}\n`, job.owner);
      if (!isStopped) ctx.log.warn('the log is not handed over', { task: job.task, reason });
    }
  })().catch((error: unknown) => ctx.log.warn('nothing can be told to the server', { reason: messageOf(error) }));
  return {
    async stop() {
      isStopped = true;
      stopping.abort(new Failure('interrupted', 'the log is handed over no more'));
      await work;
      clearInterval(timer);
      folders[Symbol.dispose]();
    },
  };
}

/**
 * As much as may wait. The rest is fetched by who wants it: with the first one the script that gives it begins to fill
 * up with what comes behind the last.
 */
export async function fillSpool(ctx: Context, job: Job): Promise<void> {
  using folders = openFolders(job.root);
  const { spool } = folders;
  const state = stateOf(job);
  const names: string[] = [];
  for await (const name of filled(ctx, job, folders, state)) {
    names.push(name);
    if (names.length >= FILES_MAX) break;
  }
  const [first = '', last = ''] = [names[0], names.at(-1)];
  const next = nextWhole(job, last);
  if (next === null) return;
  put(spool, next + COMING, '', job.owner);
  renameSync(within(spool, Buffer.from(first)), within(spool, Buffer.from(first + FIRST)));
}

/** Null where nothing that is needed is left behind `last`, or only a part of a segment. */
function nextWhole({ replay, aim, base: { segmentBytes } }: Job, last: string): string | null {
  const file = logFileIn(last, segmentBytes);
  if (!file) return null;
  const number = file.number + 1;
  const isNeeded = aim.upTo === null || number * segmentBytes < aim.upTo;
  const isWhole = (number + 1) * segmentBytes <= placeOf(replay.end.position);
  return isNeeded && isWhole ? logFileName({ ...file, number }, segmentBytes) : null;
}

interface Folders extends Disposable {
  readonly spool: Dir;
  readonly own: Dir;
}

function openFolders(root: Dir): Folders {
  const own = opened(root, 'pg_wal');
  const spool = opened(own, SPOOL.slice('pg_wal/'.length));
  let isOpen = true;
  return {
    own,
    spool,
    [Symbol.dispose]() {
      if (isOpen) [spool, own].forEach(close);
      isOpen = false;
    },
  };
}

function opened(dir: Dir, name: string): Dir {
  const below = openDir(dir, Buffer.from(name));
  if (below) return below;
  throw new Failure('missing', `${dir.label} has no folder ${name}`);
}

/** What comes next, and what was handed over. */
interface State {
  next: number;
  bytes: number;
}

function stateOf({ base }: Job): State {
  return { next: Math.floor(base.to / base.segmentBytes), bytes: 0 };
}

async function* filled(ctx: Context, job: Job, { spool, own }: Folders, state: State): AsyncIterable<string> {
  const { replay, aim, base, owner, task } = job;
  const pieces = patiently(ctx, replay, state.next * base.segmentBytes, aim.upTo);
  for await (const name of joined(pieces, { dir: spool, own, owner, segmentBytes: base.segmentBytes })) {
    state.next = (logFileIn(name, base.segmentBytes)?.number ?? state.next) + 1;
    state.bytes += base.segmentBytes;
    ctx.progress({ task, phase: 'replay', bytes: state.bytes });
    yield name;
  }
}

/** Whoever wants one that lies further ahead is not kept waiting for room. */
async function untilWanted(ctx: Context, job: Job, { spool }: Folders, state: State): Promise<void> {
  const { segmentBytes } = job.base;
  for (;;) {
    const names = namesIn(spool);
    const waiting = names.filter(isSegmentName).length;
    if (waiting < FILES_MAX || wantedIn(names, segmentBytes).some(({ number }) => number >= state.next)) return;
    await ctx.sleep(LOOK_MS);
  }
}

/** What the base backup has brought itself, and what it has been given already, the server finds where it keeps it. */
function answer(spool: Dir, { base, owner }: Job, { next }: State): void {
  const names = namesIn(spool);
  for (const { name, number } of wantedIn(names, base.segmentBytes)) {
    if (number < next && !names.includes(name) && !names.includes(name + ABSENT)) put(spool, name + ABSENT, '', owner);
  }
}

function wantedIn(names: readonly string[], segmentBytes: number): { name: string; number: number }[] {
  return names.flatMap((each) => {
    const name = each.endsWith(WANTED) ? each.slice(0, -WANTED.length) : '';
    const file = logFileIn(name, segmentBytes);
    return file ? [{ name, number: file.number }] : [];
  });
}
