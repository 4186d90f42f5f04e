// What of the journals of a store no point needs any more. A point needs all that follows it, in each lineage that it
// joins.

import { isDeepStrictEqual } from 'node:util';
import { Failure, isFailure } from '../core/errors.ts';
import type { Journal, JournalPlace, Lineage, PrunedJournal } from '../core/journal.ts';
import { pointFrom } from '../core/manifest.ts';
import type { Context, JournalPoint } from '../core/model.ts';
import type { RecoveryPoint } from '../core/point.ts';
import type { Store } from '../core/storage.ts';
import { stateOfRun } from './captures.ts';
import { heldIn } from './model.ts';

const POSITION = /^[0-9a-z]+$/;

export interface PrunedJournals extends PrunedJournal {
  /** Journals that were left as they are, with the reason. */
  readonly left: readonly { readonly component: string; readonly error: Failure }[];
}

/** What is being captured, as the notes of runs say it. */
export interface Underway {
  /** When this was looked at: whatever is captured later lies behind what is there now. */
  readonly seenAt: Date;
  /** Nobody knows yet where they join their journals. */
  readonly unfinished: ReadonlySet<string>;
  readonly finished: readonly { readonly component: string; readonly journal: JournalPoint }[];
}

/** Looked at before the points are listed: a run may become a point meanwhile. */
export async function capturesUnderway(ctx: Context, store: Store): Promise<Underway> {
  const seenAt = ctx.now();
  const unfinished = new Set<string>();
  const finished: { component: string; journal: JournalPoint }[] = [];
  const done = new Set<string>();
  const runs: string[] = [];
  for await (const key of store.records.list(ctx, 'captures')) {
    const [id = key, component] = key.split('/');
    if (component === undefined) runs.push(id);
    else {
      const journal = await finishedAt(ctx, store, key, component);
      if (journal === 'unreadable') unfinished.add(component);
      else done.add(key);
      if (journal && journal !== 'unreadable') finished.push({ component, journal });
    }
  }
  for (const id of runs) {
    const run = await stateOfRun(ctx, { store }, id);
    // Of a run that is dead what is not finished would be captured anew.
    if (!run || run.state === 'dead') continue;
    for (const { name } of run.note.components) if (!done.has(`${id}/${name}`)) unfinished.add(name);
  }
  return { seenAt, unfinished, finished };
}

async function finishedAt(
  ctx: Context,
  { records }: Store,
  key: string,
  component: string,
): Promise<JournalPoint | null | 'unreadable'> {
  try {
    const point = pointFrom(await records.get(ctx, 'captures', key), `draft ${key}`);
    return heldIn(point, component)?.journal ?? null;
  } catch (error) {
    if (isFailure(error, 'missing')) return null; // the run has ended since
    if (isFailure(error, 'checksum') || isFailure(error, 'malformed')) return 'unreadable';
    throw error;
  }
}

export interface PruneJournalsRequest {
  /** All that stay, of whatever stack. */
  readonly points: readonly RecoveryPoint[];
  readonly underway: Underway;
  readonly apply: boolean;
}

export async function pruneJournals(
  ctx: Context,
  store: Store,
  request: PruneJournalsRequest,
): Promise<PrunedJournals> {
  let sum: PrunedJournal = { bytes: 0, objects: 0 };
  const left: { component: string; error: Failure }[] = [];
  for await (const component of store.journals(ctx)) {
    try {
      const { bytes, objects } = await pruneOne(ctx, store, component, request);
      sum = { bytes: sum.bytes + bytes, objects: sum.objects + objects };
    } catch (error) {
      if (ctx.signal.aborted || !(isFailure(error, 'locked') || isFailure(error, 'malformed'))) throw error;
      left.push({ component, error });
    }
  }
  return { ...sum, left };
}

async function pruneOne(
  ctx: Context,
  store: Store,
  component: string,
  { points, underway, apply }: PruneJournalsRequest,
): Promise<PrunedJournal> {
  const holding = points.filter((point) => heldIn(point, component));
  const sinceMs = underway.seenAt.getTime();
  // A capture that began after this looked, and before one that is a point by now, may need what that one does not.
  if (underway.unfinished.has(component) || holding.some(({ startedAt }) => Date.parse(startedAt) >= sinceMs)) {
    throw new Failure('locked', `${component} is being captured: what that needs of its journal is not known yet`);
  }
  const journal = store.journal(component);
  const joins = [
    ...holding.flatMap((point) => heldIn(point, component)?.journal ?? []),
    ...underway.finished.flatMap((each) => (each.component === component ? [each.journal] : [])),
  ];
  const bases = new Set(holding.map(({ id }) => id));
  return await journal.prune(ctx, await placesIn(ctx, journal, joins, bases), { apply });
}

async function placesIn(
  ctx: Context,
  journal: Journal,
  joins: readonly JournalPoint[],
  bases: ReadonlySet<string>,
): Promise<readonly JournalPlace[]> {
  const lineages = await Array.fromAsync(journal.lineages(ctx));
  const ends = new Map<string, string>();
  for await (const { lineage, to } of journal.stretches(ctx)) ends.set(lineage.id, to.position);
  const places: JournalPlace[] = [];
  for (const lineage of lineages) {
    const [lineageId, begin] = [lineage.id, lineage.from.position];
    if (lineage.base !== null && bases.has(lineage.base)) places.push({ lineage: lineageId, position: begin });
    // What follows a point may not have come yet.
    const end = lineage === lineages.at(-1) ? null : (ends.get(lineageId) ?? begin);
    for (const { source, from } of joins) {
      if (!isDeepStrictEqual(source, lineage.source)) continue;
      if (isCovered(lineage, end, from)) places.push({ lineage: lineageId, position: from });
    }
  }
  return places;
}

function isCovered({ id, from }: Lineage, end: string | null, position: string): boolean {
  if (!POSITION.test(position) || position.length !== from.position.length) {
    throw new Failure('malformed', `a point joins lineage ${id} at ${position}, which is no position of it`);
  }
  return position >= from.position && (end === null || position <= end);
}
