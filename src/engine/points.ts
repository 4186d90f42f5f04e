// Recovery points with what is known of them, and the words by which people name one.

import { Failure } from '../core/errors.ts';
import { timeOfId } from '../core/manifest.ts';
import type { Context } from '../core/model.ts';
import type { RecoveryPoint } from '../core/point.ts';
import { nearest } from '../core/settings.ts';
import { heldBy, type NamedStore, SAFETY_PLAN } from './model.ts';
import { isCopyOfProved, NO_PROOFS, type Proof, proofsOf, provedAt } from './proofs.ts';

/** How many candidates a failure names. */
const CANDIDATES_MAX = 5;
/** What a point can be named by besides its id. */
const WORDS = ['latest', 'latest-proved'] as const;

export interface PointView {
  readonly point: RecoveryPoint;
  /** In this store. */
  readonly proofs: readonly Proof[];
  /** It has others that can't be read. */
  readonly unreadableProofs: boolean;
  /** When all that it holds was last proved from this store. */
  readonly provedAt: string | null;
  /** Its bytes equal those of a proved point of another store. */
  readonly copyOfProved: boolean;
}

/** All points of one store, of whatever stack, oldest first. */
export async function listPoints(ctx: Context, { store }: NamedStore): Promise<readonly PointView[]> {
  const [points, proofs] = await Promise.all([Array.fromAsync(store.list(ctx)), proofsOf(ctx, store)]);
  return points.map((point) => {
    const own = proofs.get(point.id) ?? NO_PROOFS;
    return {
      point,
      proofs: own.read,
      unreadableProofs: own.unreadable,
      provedAt: provedAt(point, own.read),
      copyOfProved: isCopyOfProved(own.read),
    };
  });
}

export interface Wanted {
  /** 'latest', 'latest-proved', an id or a unique prefix of one. */
  readonly word?: string | undefined;
  /** The newest point whose every cut lies at or before this time. */
  readonly at?: Date | undefined;
  /** The components it is wanted for: words and times choose among the points that hold the most of them. */
  readonly components?: readonly string[] | undefined;
}
export type Chosen<V extends PointView = PointView> = V & {
  /** Ids of newer points that fit, but lack some of the wanted components. */
  readonly passedOver: readonly string[];
};

/**
 * 'missing' when none fits, 'ambiguous' with the candidates when several do, 'not-this-stack' for another's point. The
 * views are in order of id; of those of one point in several stores the first that fits is chosen.
 */
export function choosePoint<V extends PointView>(views: readonly V[], stack: string, wanted: Wanted): Chosen<V> {
  const own = views.filter(({ point }) => point.stack === stack);
  const word = wanted.word ?? 'latest';
  // What was taken as a way back from a restore holds the very data that somebody wanted to be rid of.
  const taken = own.filter(({ point }) => point.plan !== SAFETY_PLAN);
  if (wanted.at) return chooseAt(taken, stack, wanted.at, wanted.components);
  if (word === 'latest') return newest(taken, wanted.components, () => none(stack, views));
  if (word === 'latest-proved') {
    const proved = taken.filter((view) => view.provedAt !== null);
    return newest(proved, wanted.components, () => noneProved(stack, taken));
  }
  return { ...chooseById(views, own, stack, word), passedOver: [] };
}

function chooseById<V extends PointView>(views: readonly V[], own: readonly V[], stack: string, word: string): V {
  const exact = [...own, ...views].find(({ point }) => point.id === word);
  if (exact) {
    if (exact.point.stack === stack) return exact;
    throw new Failure('not-this-stack', `point ${word} belongs to stack ${exact.point.stack}, not to ${stack}`);
  }
  const found = word === '' ? [] : own.filter(({ point }) => point.id.startsWith(word));
  const [first] = found;
  const count = idsOf(found).length;
  if (first && count === 1) return first;
  if (count > 1) throw new Failure('ambiguous', `${count} points begin with ${word}`, { hint: candidates(found) });
  const near = nearest(word, WORDS);
  const meant = near ? `did you mean ${near}? ` : '';
  throw new Failure('missing', `there is no point ${word}`, {
    hint: own.length === 0 ? none(stack, views).message : `${meant}${candidates(own)}`,
  });
}

function chooseAt<V extends PointView>(
  own: readonly V[],
  stack: string,
  at: Date,
  components: readonly string[] | undefined,
): Chosen<V> {
  const before = own.filter(({ point }) => lastCut(point) <= at.getTime());
  return newest(before, components, () => {
    const [earliest] = own;
    const when = at.toISOString();
    if (!earliest) return none(stack, own);
    return new Failure('missing', `${when} lies before the first point of stack ${stack}`, {
      hint: `the earliest moment is ${new Date(lastCut(earliest.point)).toISOString()} (${earliest.point.id})`,
    });
  });
}

/** The newest of those that hold the most of `components`: a point of the cache alone is not the stack's latest. */
function newest<V extends PointView>(
  views: readonly V[],
  components: readonly string[] | undefined,
  otherwise: () => Failure,
): Chosen<V> {
  let best: V | undefined;
  let most = -1;
  for (const view of views) {
    const held = heldBy(view.point);
    const holds = components === undefined ? 0 : components.filter((name) => held.includes(name)).length;
    if (holds < most || (best && holds === most && byBeginning(view.point, best.point) <= 0)) continue;
    [best, most] = [view, holds];
  }
  if (!best || (most === 0 && components !== undefined && components.length > 0))
    throw lacking(views, components, otherwise);
  const { point: chosen } = best;
  return { ...best, passedOver: idsOf(views.filter(({ point }) => byBeginning(point, chosen) > 0)) };
}

/** Oldest first. Ids do not tell: a scheduled run that came late is named after its slot. */
export function byBeginning(a: RecoveryPoint, b: RecoveryPoint): number {
  const apartMs = Date.parse(a.startedAt) - Date.parse(b.startedAt);
  return apartMs || (a.id === b.id ? 0 : a.id < b.id ? -1 : 1);
}

function lacking(
  views: readonly PointView[],
  components: readonly string[] | undefined,
  otherwise: () => Failure,
): Failure {
  if (views.length === 0 || components === undefined) return otherwise();
  return new Failure('missing', `no point holds ${components.join(', ')}`, { hint: candidates(views) });
}

/** The moment from which on the point stands for the stack: its last cut. */
function lastCut(point: RecoveryPoint): number {
  const cuts = Object.values(point.components).flatMap(({ cut }) => (cut ? [Date.parse(cut.at)] : []));
  return cuts.length === 0 ? timeOfId(point.id).getTime() : Math.max(...cuts);
}

/** The moment up to which nothing is lost when the point is restored: its first cut. */
export function firstCut(point: RecoveryPoint): number {
  const cuts = Object.values(point.components).flatMap(({ cut }) => (cut ? [Date.parse(cut.at)] : []));
  return cuts.length === 0 ? timeOfId(point.id).getTime() : Math.min(...cuts);
}

function none(stack: string, views: readonly PointView[]): Failure {
  const others = [...new Set(views.map(({ point }) => point.stack))].filter((each) => each !== stack);
  const hint = others.length === 0 ? 'run lifeboat backup' : `it holds points of ${others.join(', ')}`;
  return new Failure('missing', `the store holds no point of stack ${stack}`, { hint });
}

function noneProved(stack: string, own: readonly PointView[]): Failure {
  if (own.length === 0) return none(stack, own);
  return new Failure('missing', `no point of stack ${stack} has been proved`, {
    hint: 'run lifeboat drill, or name a point',
  });
}

function candidates(views: readonly PointView[]): string {
  const ids = idsOf(views).toReversed();
  const shown = ids.slice(0, CANDIDATES_MAX).join(', ');
  return ids.length > CANDIDATES_MAX ? `points: ${shown} and ${ids.length - CANDIDATES_MAX} more` : `points: ${shown}`;
}

/** Each once: a point may lie in several stores. */
function idsOf(views: readonly PointView[]): readonly string[] {
  return [...new Set(views.map(({ point }) => point.id))];
}
