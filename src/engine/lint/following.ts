// Rules about what is followed: every change of it is in the stores within seconds, whatever the schedules are.

import type { Change, ComponentSetup, Found, Setup } from './setup.ts';

/** What is lost of what is followed, at worst, as long as that goes on. */
export const FOLLOWED_MS = 10_000;
/** Kinds whose log `lifeboat follow` ships. */
const FOLLOWED_KINDS: readonly string[] = ['postgresql', 'redis', 'kafka', 's3', 'loki'];

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
