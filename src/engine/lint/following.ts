// Rules about what is followed: every change of it is in the stores within seconds, whatever the schedules are. And
// about the markers that losses are measured by.

import { duration, formatDuration } from '../../core/settings.ts';
import {
  type Change,
  type ComponentSetup,
  type DrillSetup,
  type Found,
  freeName,
  rehearsals,
  type Setup,
  tierOf,
} from './setup.ts';

/** What is lost of what is followed, at worst, as long as that goes on. */
export const FOLLOWED_MS = 10_000;
/** Kinds whose log `lifeboat follow` ships. */
const FOLLOWED_KINDS: readonly string[] = ['postgresql', 'redis', 'kafka', 's3', 'loki'];
/** Kinds that take `follow: true`: of these one has no log, and gets points at an interval. */
const FOLLOWABLE_KINDS: readonly string[] = [...FOLLOWED_KINDS, 'elasticsearch'];
/** Kinds that a marker can be written into. */
const MARKED_KINDS: readonly string[] = ['postgresql', 'redis', 's3', 'kafka', 'elasticsearch'];
/** How often markers are proposed: the rarest that tells of a loss when it is half of what is allowed. */
const MARKERS_MS: readonly number[] = [3_600_000, 600_000, 60_000, 30_000, 10_000, 5_000, 1_000];
/** How long before now a proposed drill stops: the log up to then is stored. */
const DRILLED_AT = '5m ago';

/** A log can't be replayed on a dump: who follows needs points that it can be replayed on. */
export function* followWithoutBase({ components }: Setup): Generator<Found> {
  for (const component of components.filter(({ written }) => written.follow === true)) {
    const change = baseChange(component);
    if (change.length === 0) continue;
    yield {
      at: ['components', component.name, 'follow'],
      why: 'its log can not be replayed on a dump, and captures are logical alone: it is not followed at all',
      change,
      advice: 'or leave follow out',
    };
  }
}

/** No command opens a component that is to be followed and can't be. */
export function* cannotFollow({ components }: Setup): Generator<Found> {
  for (const { name, kind, written } of components) {
    if (written.follow !== true || FOLLOWABLE_KINDS.includes(kind)) continue;
    const path = ['components', name, 'follow'];
    const why = `${kind} can not be followed, and every command that opens it is refused for that`;
    yield { at: path, why, change: [{ path, to: undefined }], advice: 'its plans say how much of it may be lost' };
  }
}

/** No command opens a component that is to be marked and can't be. */
export function* cannotMark({ components }: Setup): Generator<Found> {
  for (const { name, kind, written } of components) {
    if (written.markers === undefined || MARKED_KINDS.includes(kind)) continue;
    const path = ['components', name, 'markers'];
    const why = `no marker can be written into ${kind}, and every command that opens it is refused for that`;
    yield { at: path, why, change: [{ path, to: undefined }] };
  }
}

/** Markers are written by who follows. */
export function* markersUnfollowed({ components }: Setup): Generator<Found> {
  for (const component of marked(components).filter(({ written }) => written.follow !== true)) {
    const path = ['components', component.name, 'follow'];
    yield {
      at: ['components', component.name, 'markers'],
      why: 'markers are written while it is followed, and it is not: there is never one',
      change: isFollowable(component) ? followChange(component) : [{ path, to: true }],
      advice: 'or leave markers out',
    };
  }
}

/** A measure that is coarser than what it is to measure. */
export function* markersCoarse(setup: Setup): Generator<Found> {
  for (const component of marked(setup.components)) {
    const rpoMs = tierOf(setup, component)?.rpoMs ?? null;
    const { data: everyMs } = duration.safeParse(component.written.markers);
    if (rpoMs === null || everyMs === undefined || everyMs < rpoMs) continue;
    const path = ['components', component.name, 'markers'];
    const better = MARKERS_MS.find((each) => each <= rpoMs / 2);
    yield {
      at: path,
      why:
        `${formatDuration(rpoMs)} may be lost, and a marker each ${formatDuration(everyMs)} can not tell whether it ` +
        'was less',
      change: better === undefined ? [] : [{ path, to: formatDuration(better) }],
      advice: 'or leave markers out, and judge by the log that is stored',
    };
  }
}

/** What comes back from a point has the marker of its capture: whether the log was there, only a replay shows. */
export function* markersUnread(setup: Setup): Generator<Found> {
  for (const component of marked(setup.components).filter(isFollowed)) {
    const drills = rehearsals(setup).filter(({ components }) => components.includes(component.name));
    const [drill] = drills;
    if (!drill || drills.some(({ at, until }) => at !== null || until !== null)) continue; // what has no drill at all is told as such
    yield {
      at: ['components', component.name, 'markers'],
      why:
        `drill ${drill.name} restores points: the newest marker in one is as old as it is, and what follow has stored ` +
        'since is never measured',
      change: [{ path: ['drills', freeName(setup.drills, `${component.name}-at`)], to: drillAt(drill, component) }],
      advice: 'or leave markers out',
    };
  }
}

function drillAt({ schedule, timezone, store }: DrillSetup, { name }: ComponentSetup): Change['to'] {
  return { schedule, timezone, ...(store === null ? {} : { store }), at: DRILLED_AT, components: [name] };
}

function marked(components: readonly ComponentSetup[]): readonly ComponentSetup[] {
  return components.filter(({ kind, written }) => written.markers !== undefined && MARKED_KINDS.includes(kind));
}

export function isFollowed(component: ComponentSetup): boolean {
  return component.written.follow === true && isFollowable(component) && baseChange(component).length === 0;
}

/** Nothing where the kind has no log that could be followed. */
export function followChange(component: ComponentSetup): readonly Change[] {
  if (!isFollowable(component)) return [];
  return [...baseChange(component), { path: ['components', component.name, 'follow'], to: true }];
}

function isFollowable({ kind }: ComponentSetup): boolean {
  return FOLLOWED_KINDS.includes(kind);
}

/** What is needed for points that a log can be replayed on. */
function baseChange({ name, kind, written: { capture } }: ComponentSetup): readonly Change[] {
  const methods = Array.isArray(capture) ? capture.map(String) : [];
  if (kind !== 'postgresql' || methods.includes('physical')) return [];
  return [{ path: ['components', name, 'capture'], to: [...methods, 'physical'] }];
}
