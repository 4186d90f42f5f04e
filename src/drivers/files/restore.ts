// Brings files back in a walk over the entries: directories, files and links, and the modes and times of a directory
// once all in it is there. Hard links, whose first name must be there, take another walk.

import assert from 'node:assert/strict';
import { lstatSync } from 'node:fs';
import { bytesOf } from '../../core/bytes.ts';
import type { Chain } from '../../core/component.ts';
import { Failure } from '../../core/errors.ts';
import { idOf } from '../../core/manifest.ts';
import { getAll } from '../../core/many-parts.ts';
import type { Context, Restored, RestoreOptions, Source } from '../../core/model.ts';
import { type Pace, paceOf } from '../../core/pace.ts';
import { turns } from '../../core/turns.ts';
import { close, type Dir, openRoot, within } from '../beneath.ts';
import { attempt } from '../failures.ts';
import { type Entry, entriesOf, entryBatchesOf } from './entries.ts';
import { type Maker, startMaker } from './maker.ts';
import { baseOf, encode, isBeneath, isDirectoryName, parentOf, partOf } from './names.ts';
import { nothingChosen, wantedBy } from './selection.ts';
import type { FilesSettings } from './settings.ts';
import { type Level, type Steps, stepsFrom } from './steps.ts';
import { checkSpace, holdsData, mark, type Need, setAside, unmark } from './target.ts';
import { type Underway, underway } from './underway.ts';
import { locate } from './walk.ts';
import { othersText } from './warnings.ts';
import { type Bodies, ownersKept, putHardlink, putStreamed, putSymlink, setAttributes } from './write.ts';
import type { FileState, Written } from './written.ts';

const PARALLEL = 16;
/** Files up to this size are fetched whole, many at a time. */
const WHOLE_BYTES_MAX = 1024 * 1024;
/** It takes several calls to make a file. Pauses of a busy machine are no slow disk. */
const SLOW_MS = 2;
const FILES_PER_PROGRESS = 500;
/** Of missing directories that lead to a configured path. */
const PARENT_MODE = 0o755;
/** Closed to others until its own mode is set, when all in it is there. A restore that breaks off leaves it so. */
const UNFINISHED_MODE = 0o700;

interface Job {
  readonly settings: FilesSettings;
  /** Notes what need not be read again. */
  readonly written: Written | null;
  readonly source: Source;
  readonly root: Dir;
  readonly wanted: (name: string) => boolean;
  readonly overwrite: boolean;
  /** Directories that hold a mark until all is there, and get their own attributes after that. */
  readonly marked: readonly Entry[];
}
/** What a look through all entries has told, before anything is changed. */
interface Survey {
  readonly needs: ReadonlyMap<string, Need>;
  readonly bytes: number;
  readonly others: number;
  /** To a first name that comes back too. */
  readonly hardlinks: number;
  readonly foreignOwners: number;
  /** The configured paths that are directories in the point. */
  readonly starts: readonly Entry[];
}

export async function restore(
  ctx: Context,
  settings: FilesSettings,
  written: Written,
  chain: Chain,
  { select, replace = false, jobs = PARALLEL, reread = false }: RestoreOptions = {},
): Promise<Restored> {
  const source = chain.base;
  const wanted = wantedBy(select);
  const seen = await survey(ctx, settings, source, wanted);
  if (select && [...seen.needs.values()].every(({ files }) => files === 0)) throw nothingChosen(select);
  const held = replace ? null : select ? await firstInTheWay(ctx, settings, source, wanted) : holdsData(settings);
  if (held) throw new Failure('target-not-empty', `files are not restored: the target holds ${held}`);
  checkSpace(settings, seen.needs);
  const root = openRoot(settings.root);
  try {
    const job: Job = {
      settings,
      written: reread ? null : written,
      source,
      root,
      wanted,
      overwrite: replace && select !== undefined,
      marked: select ? [] : seen.starts,
    };
    if (replace && !select) setAside(root, settings, idOf(ctx.now()));
    eachMarked(job, ({ dir }) => mark(dir));
    await putContents(ctx, job, seen, jobs);
    if (seen.hardlinks > 0) await finish(ctx, job);
    eachMarked(job, (level) => {
      unmark(level.dir);
      setOwn(level);
    });
  } finally {
    close(root);
  }
  return { bytes: seen.bytes, method: 'files', warnings: warningsOf(seen) };
}

async function survey(
  ctx: Context,
  settings: FilesSettings,
  source: Source,
  wanted: (name: string) => boolean,
): Promise<Survey> {
  const paths = settings.paths.map((path) => encode(Buffer.from(path)));
  const needs = new Map<string, Need>(paths.map((path) => [path, { bytes: 0, files: 0 }]));
  const starts: Entry[] = [];
  let [bytes, others, hardlinks, foreignOwners] = [0, 0, 0, 0];
  for await (const entry of entriesOf(ctx, source)) {
    const path = placeOf(entry.name, paths);
    if (entry.type === 'hardlink') placeOf(entry.target ?? '', paths);
    if (!wanted(entry.name)) continue;
    if (entry.type === 'directory' && (entry.name === '/' || entry.name === `${path}/`)) starts.push(entry);
    if (entry.type === 'other') others += 1;
    if (entry.type === 'hardlink' && wanted(entry.target ?? '')) hardlinks += 1;
    if (!ownersKept && (entry.uid !== process.geteuid?.() || entry.gid !== process.getegid?.())) foreignOwners += 1;
    if (entry.type === 'file') bytes += entry.bytes ?? 0;
    const need = needs.get(path);
    if (need) needs.set(path, { bytes: need.bytes + (entry.bytes ?? 0), files: need.files + 1 });
  }
  return { needs, bytes, others, hardlinks, foreignOwners, starts };
}

/** The store is untrusted: a point must not write where the settings do not say that this component lies. */
function placeOf(name: string, paths: readonly string[]): string {
  const path = paths.find((each) => isBeneath(name, each));
  if (path !== undefined) return path;
  throw new Failure('different', `the point holds ${name}, which is outside of the paths of this component`, {
    hint: 'add its path to the settings, or restore beneath another directory',
  });
}

/** When single files are chosen, their neighbours may stay. */
async function firstInTheWay(
  ctx: Context,
  settings: FilesSettings,
  source: Source,
  wanted: (name: string) => boolean,
): Promise<string | null> {
  for await (const { name } of entriesOf(ctx, source)) {
    if (!wanted(name) || isDirectoryName(name)) continue;
    if (lstatSync(locate(settings, name), { throwIfNoEntry: false })) return name;
  }
  return null;
}

/** The deepest first: its own mode may close a directory even to us. */
function eachMarked({ root, settings, marked }: Job, work: (level: Level) => void): void {
  const steps = stepsFrom(root, { modeOf: modeOf(settings) });
  try {
    for (const entry of marked.toReversed()) {
      const level = steps.to(entry.name);
      if (!level) continue;
      level.entry = entry;
      work(level);
    }
  } finally {
    steps.end();
  }
}

/** Of directories that are missing. */
function modeOf({ paths }: FilesSettings): (name: string) => number {
  const captured = paths.map((path) => encode(Buffer.from(path)));
  return (name) => (captured.some((path) => isBeneath(name, path)) ? UNFINISHED_MODE : PARENT_MODE);
}

async function putContents(ctx: Context, job: Job, seen: Survey, jobs: number): Promise<void> {
  // Where links follow, they change directories once more, and need them as they are now.
  const steps = stepsFrom(job.root, {
    modeOf: modeOf(job.settings),
    ...(seen.hardlinks > 0 ? {} : { leave: leaving(job) }),
  });
  let [items, bytes] = [0, 0];
  const done = (entry: Entry): void => {
    items += 1;
    bytes += entry.bytes ?? 0;
    if (items % FILES_PER_PROGRESS > 0) return;
    ctx.progress({ task: 'files', phase: 'restore', items, bytes, bytesTotal: seen.bytes });
  };
  const made = (entry: Entry, state: FileState): void => {
    if (entry.sha256) job.written?.note(state, entry.sha256);
    done(entry);
  };
  const pace = paceOf(SLOW_MS);
  try {
    await using behind = underway(jobs);
    await using maker = startMaker(ctx, { steps, overwrite: job.overwrite, pace, made });
    await putEach(ctx, job, { steps, behind, maker, pace, made, done });
    await maker.end();
    await behind.end();
    steps.finish();
  } finally {
    steps.end();
  }
}

interface Putting {
  readonly steps: Steps;
  /** Files that are written while the walk goes on. */
  readonly behind: Underway;
  readonly maker: Maker;
  readonly pace: Pace;
  readonly made: (entry: Entry, state: FileState) => void;
  readonly done: (entry: Entry) => void;
}

/** Small files are made one after the other as long as that is quick. */
async function putEach(ctx: Context, job: Job, { steps, behind, maker, pace, made, done }: Putting): Promise<void> {
  const turn = turns(ctx);
  for await (const batch of entryBatchesOf(ctx, job.source)) {
    const entries = batch.filter(({ name, type }) => type !== 'other' && job.wanted(name));
    const parts = entries.map((entry) => contentOf(job, entry));
    const small = parts.filter((part, i) => part !== null && !isLarge(entries[i])) as string[];
    await using bodies = oneByOne(getAll(ctx, job.source, small));
    for (const [i, entry] of entries.entries()) {
      await turn();
      behind.check();
      const isDirectory = entry.type === 'directory';
      const level = steps.to(isDirectory ? entry.name : parentOf(entry.name));
      if (level && isDirectory) level.entry = entry;
      if (!level || isDirectory) continue;
      const place = { dir: level.dir, name: baseOf(entry.name), overwrite: job.overwrite };
      const part = parts[i] ?? null;
      if (part === null) {
        if (entry.type === 'symlink') pace.timed(ctx, () => putSymlink(place, entry));
        done(entry);
        continue;
      }
      const whole = isLarge(entry) ? null : await bodies.next();
      if (whole && !pace.isSlow()) {
        await maker.add(level, entry, whole);
        continue;
      }
      const copy = whole && Uint8Array.from(whole); // bodies are borrowed
      const put = async (): Promise<void> =>
        made(entry, await putStreamed(place, entry, copy ? [() => bytesOf(copy)] : bodiesOf(ctx, job, part)));
      await behind.add(() => steps.hold(level, put));
    }
  }
}

/** What is written is hashed here: only where that differs, it helps that the store hashes what it reads. */
function bodiesOf(ctx: Context, { source }: Job, part: string): Bodies {
  const { getUnhashed } = source;
  return [...(getUnhashed ? [() => getUnhashed(ctx, part)] : []), () => source.get(ctx, part)];
}

/** The part with the bytes of a file, null for what has none; a hard link is none when its first name comes back. */
function contentOf(job: Job, { type, name, target = '' }: Entry): string | null {
  if (type === 'file') return partOf(name);
  return type === 'hardlink' && !job.wanted(target) ? partOf(target) : null;
}

function isLarge(entry: Entry | undefined): boolean {
  return (entry?.bytes ?? 0) > WHOLE_BYTES_MAX;
}

/** Bodies that come some at a time. */
function oneByOne(batches: AsyncIterable<readonly Uint8Array[]>): AsyncDisposable & { next(): Promise<Uint8Array> } {
  const iterator = batches[Symbol.asyncIterator]();
  let bodies: readonly Uint8Array[] = [];
  let at = 0;
  return {
    async next() {
      for (;;) {
        const body = bodies[at++];
        if (body) return body;
        const more = await iterator.next();
        assert(!more.done, 'there is a body for each part that is asked for');
        bodies = more.value;
        at = 0;
      }
    },
    async [Symbol.asyncDispose]() {
      await iterator.return?.();
    },
  };
}

function leaving({ marked }: Job): (level: Level) => void {
  return (level) => {
    if (!marked.some(({ name }) => name === level.name)) setOwn(level);
  };
}

/** The attributes of a directory, once nothing in it changes any more. */
function setOwn({ dir, entry }: Level): void {
  if (entry) attempt(dir.label, () => setAttributes(dir.fd, entry));
}

/** Hard links, and then the attributes of directories. */
async function finish(ctx: Context, job: Job): Promise<void> {
  const steps = stepsFrom(job.root, { leave: leaving(job) });
  const firsts = stepsFrom(job.root, {});
  const turn = turns(ctx);
  try {
    for await (const entry of entriesOf(ctx, job.source)) {
      await turn();
      if (!job.wanted(entry.name)) continue;
      if (entry.type === 'directory') {
        const level = steps.to(entry.name);
        if (level) level.entry = entry;
      }
      if (entry.type !== 'hardlink' || !job.wanted(entry.target ?? '')) continue;
      const level = steps.to(parentOf(entry.name));
      const first = firsts.to(parentOf(entry.target ?? ''));
      if (!level || !first)
        throw new Failure('malformed', `${entry.name} is a link to ${entry.target}, which is not there`);
      const place = { dir: level.dir, name: baseOf(entry.name), overwrite: job.overwrite };
      putHardlink(place, within(first.dir, baseOf(entry.target ?? '')));
    }
    steps.finish();
  } finally {
    firsts.end();
    steps.end();
  }
}

function warningsOf({ others, foreignOwners }: Survey): string[] {
  const warnings: string[] = [];
  if (others > 0) warnings.push(`${othersText(others)} noted in the point and not made`);
  if (foreignOwners > 0) {
    const what = foreignOwners === 1 ? '1 file belongs' : `${foreignOwners} files belong`;
    warnings.push(`${what} to us now: only root can restore owners`);
  }
  return warnings;
}
