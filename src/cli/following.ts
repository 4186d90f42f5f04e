// What `lifeboat follow` shows while it goes on: a line for each component, kept up to date on a terminal, and told now
// and then where there is none.

import { isFailure, messageOf } from '../core/errors.ts';
import type { Context, Progress } from '../core/model.ts';
import type { Followed } from '../engine/follow.ts';
import type { FollowView } from '../engine/follow-views.ts';
import { errorJson, type Session } from './session.ts';
import { bytesText, durationText, plural } from './terminal.ts';

/** How old is what is shown grows by itself. */
const SHOW_MS = 1_000;
const TELL_MS = 60_000;
/** What comes fast is not shown faster than this. */
const LEAST_MS = 250;

export interface Following extends Disposable {
  told(view: FollowView): void;
}

export function showFollowing({ ctx, globals, note }: Session): Following {
  const views = new Map<string, { view: FollowView; shownMs: number; toldMs: number; state: string }>();
  const show = (name: string, leastMs: number): void => {
    const shown = views.get(name);
    const nowMs = ctx.monotonicMs();
    if (!shown || nowMs - shown.shownMs < leastMs) return;
    shown.shownMs = nowMs;
    ctx.progress(progressOf(ctx, shown.view));
    const state = stateOf(shown.view);
    if (state === shown.state && nowMs - shown.toldMs < TELL_MS) return;
    [shown.toldMs, shown.state] = [nowMs, state];
    if (globals.progress === undefined) note(`${name}: ${followText(ctx, shown.view)}`);
  };
  const timer = setInterval(() => {
    for (const name of views.keys()) show(name, SHOW_MS);
  }, SHOW_MS).unref();
  return {
    told(view) {
      const before = views.get(view.component);
      const since = Number.NEGATIVE_INFINITY;
      views.set(view.component, before ? { ...before, view } : { view, shownMs: since, toldMs: since, state: '' });
      show(view.component, before?.state === stateOf(view) ? LEAST_MS : 0);
    },
    [Symbol.dispose]: () => clearInterval(timer),
  };
}

/** What is told at once when it changes. */
function stateOf({ state, error, takesPoint, copies }: FollowView): string {
  const away = copies.map((each) => (each.error === null ? '' : messageOf(each.error)));
  return JSON.stringify([state, error === null ? '' : messageOf(error), takesPoint, away]);
}

function progressOf(ctx: Context, view: FollowView): Progress {
  const { component, state, durable, bytes, ranges } = view;
  const phase = state === 'following' ? 'follow' : state;
  return { task: component, phase, bytes, items: ranges, ...(durable && { upTo: durable }), note: noteOf(ctx, view) };
}

function followText(ctx: Context, view: FollowView): string {
  return `${bytesText(view.bytes)} in ${plural(view.ranges, 'range')}, ${noteOf(ctx, view)}`;
}

function noteOf(ctx: Context, view: FollowView): string {
  const words = [upToText(ctx, view)];
  if (view.takesPoint) words.push('takes a point');
  if (view.error !== null) words.push(`${view.state === 'ended' ? 'ENDED' : 'waits'}: ${messageOf(view.error)}`);
  for (const { store, behind, error } of view.copies) {
    if (error !== null) words.push(`store ${store} is behind: ${messageOf(error)}`);
    else if (behind) words.push(`store ${store} catches up`);
  }
  return words.join(', ');
}

function upToText(ctx: Context, { durable, cameAt }: FollowView): string {
  if (!durable) return 'nothing stored yet';
  const at = durable.at.replace('T', ' ').replace(/\.\d+/, '');
  if (cameAt === null) return `stored up to ${at}`;
  return `stored up to ${at}, ${durationText(Math.max(0, ctx.now().getTime() - Date.parse(cameAt)))} ago`;
}

export function followedJson(followed: readonly Followed[]): object {
  const components = followed.map(({ component, error, view: { durable, cameAt, bytes, ranges, copies } }) => ({
    ...{ name: component, durable, came_at: cameAt, bytes, ranges },
    stores_behind: copies.filter(({ behind }) => behind).map(({ store }) => store),
    ...(error === null ? {} : errorJson(error)),
  }));
  return { components };
}

export function followedText(ctx: Context, followed: readonly Followed[]): string {
  const lines = followed.map(({ component, error, view }) => {
    const hint = isFailure(error) && error.hint ? `\n  ${error.hint}` : '';
    return `${component}: ${followText(ctx, { ...view, error })}${hint}`;
  });
  return lines.join('\n');
}
