// Looks around at a moment of the past: one component comes back as by a restore, and a service on it stands there
// until it is told to go on, to take writes, or to end.

import type { Answer, Exploring, Replay, ReplayTarget, Stand } from '../core/component.ts';
import { outliving } from '../core/context.ts';
import { Failure } from '../core/errors.ts';
import type { Context, Restored } from '../core/model.ts';
import type { RecoveryPoint } from '../core/point.ts';
import { inTime } from '../core/times.ts';
import { chainOf, watch } from './comeback.ts';
import type { StackComponent } from './model.ts';
import { furthest, momentIn, momentOf, type Origin, originIn, type Wanted } from './moment.ts';
import { replayOf } from './replay.ts';
import {
  type RestorePlan,
  type RestoreRequest,
  type RestoreStep,
  refuseArchived,
  refuseTargets,
} from './restore-plan.ts';
import { edgeOf, type Reach, recoverable } from './windows.ts';

const LEAVE_MS_MAX = 180_000;

/** From where it stands, or to a place in the words of the driver. */
export type Further = { readonly byMs: number } | { readonly at: Date } | Until;
type Until = Pick<Extract<Wanted, { readonly until: unknown }>, 'until' | 'words'>;

export interface Exploration extends AsyncDisposable {
  readonly name: string;
  readonly point: RecoveryPoint;
  readonly restored: Restored;
  /** What it was last brought to: a time by our clock, or words. */
  wanted(): string;
  access(): readonly string[];
  stand(ctx: Context): Promise<Stand>;
  /** The last moment that is stored, by our clock; null where nothing is known. */
  endMs(ctx: Context): Promise<number | null>;
  query(ctx: Context, text: string, database?: string): Promise<Answer>;
  /** To the end of what is stored where that does not reach so far. Never back: then 'missing', and it stays. */
  goOn(ctx: Context, further: Further): Promise<Stand>;
  promote(ctx: Context): Promise<Stand>;
  /** Also done when it is disposed. */
  leave(ctx: Context): Promise<readonly string[]>;
}

/** 'usage' where such a component can't be looked around in, at the place that it would come back to. */
export function needExplorable({ name, kind, component }: Pick<StackComponent, 'name' | 'kind' | 'component'>): void {
  if (component.explore) return;
  throw new Failure('usage', `${name} of kind ${kind} can not be explored where it would come back to`, {
    hint: `only a base backup of PostgreSQL can, in a directory of its own: --to ${name}=/a/new/directory`,
  });
}

/** Throws before anything is touched where the plan is not of one component with a log. */
export async function explore(ctx: Context, request: RestoreRequest, plan: RestorePlan): Promise<Exploration> {
  const step = stepOf(plan);
  const { name, origin } = step;
  const { component } = step.item;
  needExplorable(step.item);
  refuseTargets(plan.steps);
  refuseArchived(plan, request.from);
  if (step.problem !== null) throw step.problem;
  const replay = originIn(request, name)?.replay;
  if (!component.explore || !replay) throw withoutLog(step);
  const open = () => request.from.store.open(ctx, origin.point.id, name);
  const { base } = await chainOf({ watch: watch(ctx, step.bytes), open, replay });
  const options = {
    ...(request.jobs === undefined ? {} : { jobs: request.jobs }),
    ...(request.delta ? { delta: true } : {}),
  };
  const exploring = await component.explore(ctx, { base, replay }, options);
  return explorationOf(ctx, { request, step, replay, exploring });
}

function stepOf({ steps }: RestorePlan): RestoreStep {
  const [step, ...others] = steps;
  if (step && others.length === 0) return step;
  throw new Failure('usage', `one component is explored at a time, and this is ${steps.length}`, {
    hint: `name it with --only: ${steps.map(({ name }) => name).join(', ')}`,
  });
}

function withoutLog({ name, origin }: RestoreStep): Failure {
  const what = `${name} comes from point ${origin.point.id} as it is: there is no log to stand in, or to go on by`;
  return new Failure('missing', what, {
    hint: 'name a moment that its log has (lifeboat list) by --at or --until, or restore the point without --explore',
  });
}

interface Job {
  readonly request: RestoreRequest;
  readonly step: RestoreStep;
  readonly replay: Replay;
  readonly exploring: Exploring;
}

function explorationOf(ctx: Context, job: Job): Exploration {
  const { step, replay, exploring } = job;
  const { name, origin } = step;
  const { target } = replay;
  let words = job.request.moment?.wanted ?? target.kind;
  /** By our clock; null where it is at a place of the log. */
  let atMs = target.kind === 'time' ? momentIn(origin) : null;
  return {
    name,
    point: origin.point,
    restored: exploring.restored,
    wanted: () => words,
    access: () => exploring.access(),
    stand: async (c) => await exploring.stand(c),
    endMs: async (c) => (await lastMoment(c, job))?.reach.to.ms ?? null,
    query: async (c, text, database) => await exploring.query(c, text, database),
    async goOn(c, further) {
      const from = atMs ?? ('byMs' in further ? lastChangeMs(await exploring.stand(c), origin) : null);
      const found = await foundBy(c, job, further, from);
      const { command } = replay;
      const stand = await exploring.advance(c, command ? { ...found.replay, command } : found.replay);
      [words, atMs] = [found.words, found.atMs];
      return { ...stand, notes: [...found.notes, ...stand.notes] };
    },
    promote: async (c) => await exploring.promote(c),
    leave: async (c) => await exploring.leave(c),
    [Symbol.asyncDispose]: async () => void (await exploring.leave(outliving(ctx, LEAVE_MS_MAX))),
  };
}

function lastChangeMs({ lastChange }: Stand, { aim }: Origin): number | null {
  return lastChange === null ? null : edgeOf({ position: '', at: lastChange }, aim?.clock ?? null).ms;
}

interface Found {
  readonly replay: Replay;
  readonly words: string;
  readonly atMs: number | null;
  readonly notes: readonly string[];
}

/** In the log of the same point: what lies on a newer one is reached by it as well. */
async function foundBy(ctx: Context, job: Job, further: Further, fromMs: number | null): Promise<Found> {
  if ('until' in further) {
    const replay = await replayTo(ctx, job, { ...further, base: job.step.origin.point.id });
    return { replay, words: further.words, atMs: null, notes: [] };
  }
  const atMs = 'at' in further ? further.at.getTime() : fromMs === null ? null : fromMs + further.byMs;
  if (atMs === null) {
    throw new Failure('usage', 'when it stands is not known, so no time can be added to that', { hint: 'name a time' });
  }
  if ('at' in further && fromMs !== null && atMs < fromMs) {
    throw new Failure('usage', `${inTime(atMs)} is before where it stands (${inTime(fromMs)}): it never goes back`, {
      hint: 'for an earlier moment restore once more, into another directory',
    });
  }
  const last = await lastMoment(ctx, job);
  if (last && atMs > last.reach.to.ms) return await atTheEnd(ctx, job, last, atMs);
  return { replay: await replayTo(ctx, job, { at: new Date(atMs) }), words: inTime(atMs), atMs, notes: [] };
}

async function replayTo(ctx: Context, { request, step }: Job, wanted: Wanted): Promise<Replay> {
  const { name, origin } = step;
  const asked = { from: request.from, points: [origin.point], components: [name], named: true };
  const found = (await momentOf(ctx, asked, wanted)).origins.get(name);
  if (!found?.replay) throw withoutLog(step);
  return found.replay;
}

interface LastMoment {
  readonly reach: Reach;
  /** More was stored behind it, and something in between is missing. */
  readonly isBroken: boolean;
}

async function lastMoment(ctx: Context, { request, step }: Job): Promise<LastMoment | undefined> {
  const known = await recoverable(ctx, request.from.store, step.name, [step.origin.point]);
  const reach = furthest(known);
  return reach && { reach, isBroken: reach.to.cut.position !== known.end?.edge.cut.position };
}

/** All of the log: the last moment that its end tells of may be before its last change. */
async function atTheEnd(
  ctx: Context,
  { request, step }: Job,
  { reach, isBroken }: LastMoment,
  atMs: number,
): Promise<Found> {
  const { base, to } = reach;
  const { journal, cut } = base.captured;
  if (!journal) throw new Error(`${base.point.id} reaches what it does not join`);
  const target: ReplayTarget = isBroken ? { kind: 'time', at: to.cut.at } : { kind: 'latest' };
  const replay = await replayOf(ctx, request.from.store.journal(step.name), journal, target, cut);
  const note = `nothing is stored of ${inTime(atMs)}: it goes to the end of what is`;
  return { replay, words: inTime(to.ms), atMs: to.ms, notes: [note] };
}
