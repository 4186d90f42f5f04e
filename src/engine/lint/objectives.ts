// Rules about RPO and RTO: what the schedules, and the drills that were, say of what is promised.

import { formatDuration } from '../../core/settings.ts';
import { dependencies } from '../order.ts';
import type { Timetable } from '../slots.ts';
import { denser } from './crons.ts';
import { FOLLOWED_MS, followChange, isFollowed } from './following.ts';
import type { Gap } from './gaps.ts';
import {
  type Change,
  type ComponentSetup,
  type Found,
  listed,
  type PlanSetup,
  plansOf,
  type Setup,
  type TierSetup,
  tierOf,
} from './setup.ts';
import { isLostWith } from './where.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const FOLLOW_BELOW_MS = HOUR_MS;

type Plan = PlanSetup & Timetable;

/** More may be lost than is promised, however well everything goes. */
export function* rpo(setup: Setup): Generator<Found> {
  for (const [component, tier, rpoMs] of promised(setup, 'rpoMs')) {
    if (isFollowed(component) && rpoMs >= FOLLOWED_MS) continue;
    const plans = plansOf(setup, component.name);
    const gap = setup.gap(plans);
    const tookMs = setup.measured.get(component.name)?.captureMs ?? 0;
    if (!gap || gap.ms + tookMs < rpoMs) continue;
    const schedule = moreOften(setup, plans, { belowMs: rpoMs - tookMs, leastMs: tookMs });
    // Captures every few minutes are no way to keep such a promise where the changes themselves can be had.
    const follow = rpoMs < FOLLOW_BELOW_MS && !isFollowed(component) ? followChange(component) : [];
    const others =
      follow.length > 0 ? schedule.map(({ path, to }) => `or ${path.join('.')}: ${JSON.stringify(to)}`) : [];
    yield {
      at: ['components', component.name],
      why:
        `${formatDuration(rpoMs)} may be lost, but ${takenBy(plans, gap)}` +
        `${follow.length > 0 ? ', and it is not followed' : ''}${atWorst(gap, tookMs, rpoMs)}`,
      change: follow.length > 0 ? follow : schedule,
      advice: [...others, `or promise what that can keep: ${tierChange(tier, 'rpo', gap.ms + tookMs)}`].join('; '),
    };
  }
}

/** The same once what takes the component has taken the stores that lie with it. */
export function* rpoElsewhere(setup: Setup): Generator<Found> {
  for (const [component, , rpoMs] of promised(setup, 'rpoMs')) {
    if (isFollowed(component)) continue; // its log goes to all stores
    const plans = plansOf(setup, component.name);
    const lost = setup.stores.filter((store) => isLostWith(component, store)).map(({ name }) => name);
    const left = plans.filter(({ to }) => to.some((store) => !lost.includes(store)));
    const [all, some] = [setup.gap(plans), setup.gap(left)];
    if (!all || !some || all.ms >= rpoMs || some.ms < rpoMs) continue;
    const [safe = ''] = left.flatMap(({ to }) => to.filter((store) => !lost.includes(store)));
    const near = plans.filter((plan) => !left.includes(plan));
    yield {
      at: ['components', component.name],
      why:
        `${formatDuration(rpoMs)} may be lost, but ${listed(lost)} goes with what takes the component, and then ` +
        `${takenBy(left, some)}: ${formatDuration(some.ms)} at worst`,
      change: near.map(({ name, to }) => ({ path: ['plans', name, 'to'], to: [...to, safe] })),
    };
  }
}

/** Recovery takes longer than is promised, as the last drills went. */
export function* rto(setup: Setup): Generator<Found> {
  for (const [component, tier, rtoMs] of promised(setup, 'rtoMs')) {
    const way = slowestWay(setup, component.name);
    if (!way || way.ms <= rtoMs) continue;
    const others = way.names.slice(0, -1);
    const after = others.length === 0 ? '' : `, after ${listed(others)}`;
    yield {
      at: ['components', component.name],
      why:
        `back within ${formatDuration(rtoMs)} is promised, but as the last drills went it takes ` +
        `${formatDuration(roughly(way.ms))}${after}`,
      change: [{ path: ['tiers', tier.name, 'rto'], to: formatDuration(neat(way.ms)) }],
      advice: others.length === 0 ? 'or restore less of it first' : 'or let less come before it in restore_after',
    };
  }
}

/** What must come back first is promised later than what waits for it. */
export function* rtoOrder(setup: Setup): Generator<Found> {
  const before = dependencies(
    setup.components,
    setup.components.map(({ name }) => name),
  );
  for (const [component, tier, rtoMs] of promised(setup, 'rtoMs')) {
    const slower = [...promised(setup, 'rtoMs')]
      .filter(([other, , otherMs]) => before.get(component.name)?.has(other.name) && otherMs > rtoMs)
      .toSorted(([, , a], [, , b]) => b - a);
    const [first] = slower;
    if (!first) continue;
    yield {
      at: ['components', component.name, 'restore_after'],
      why:
        `it is promised back within ${formatDuration(rtoMs)}, but restored after ${first[0].name}, which is promised ` +
        `only within ${formatDuration(first[2])}`,
      change: [{ path: ['tiers', tier.name, 'rto'], to: formatDuration(first[2]) }],
      advice: `or put ${listed(slower.map(([{ name }]) => name))} into a tier with the RTO of ${component.name}`,
    };
  }
}

/** Of every component that has such an objective. */
function* promised(setup: Setup, which: 'rtoMs' | 'rpoMs'): Generator<readonly [ComponentSetup, TierSetup, number]> {
  for (const component of setup.components) {
    const tier = tierOf(setup, component);
    const ms = tier?.[which] ?? null;
    if (tier && ms !== null) yield [component, tier, ms];
  }
}

function takenBy(plans: readonly Plan[], gap: Gap): string {
  const how = plans.length === 1 ? 'plan' : 'plans';
  const verb = plans.length === 1 ? 'captures' : 'capture';
  const [from, until] = [gap.from, new Date(gap.from.getTime() + gap.ms)].map(minuteOf);
  return `${how} ${listed(plans.map(({ name }) => name))} ${verb} nothing of it from ${from} to ${until}`;
}

function atWorst({ ms }: Gap, tookMs: number, rpoMs: number): string {
  if (tookMs > 0) return `, and a capture takes ${formatDuration(roughly(tookMs))} until it counts`;
  if (ms > rpoMs) return `: ${formatDuration(ms)} at worst`;
  return ', and the next point counts only when its capture has ended';
}

/** The plan with the fewest other components, run as often as the promise needs; nothing when no schedule is enough. */
function moreOften(
  setup: Setup,
  plans: readonly Plan[],
  limits: { readonly belowMs: number; readonly leastMs: number },
): readonly Change[] {
  const gapOf = (plan: Plan): number => setup.gap([plan])?.ms ?? Infinity;
  const [plan] = plans.toSorted((a, b) => a.components.length - b.components.length || gapOf(a) - gapOf(b));
  if (!plan) return [];
  const others = plans.filter((each) => each !== plan);
  const schedule = denser(plan, others, { ...limits, gap: setup.gap });
  return schedule === null ? [] : [{ path: ['plans', plan.name, 'schedule'], to: schedule }];
}

function tierChange(tier: TierSetup, key: 'rpo' | 'rto', ms: number): string {
  return `tiers.${tier.name}.${key}: ${formatDuration(neat(ms + 1))}`;
}

/** Its own recovery, after the slowest of what comes before it; null when one of them was never measured. */
function slowestWay(setup: Setup, name: string): { readonly ms: number; readonly names: readonly string[] } | null {
  const own = setup.measured.get(name)?.recoverMs ?? null;
  const component = setup.components.find((each) => each.name === name);
  if (own === null || !component) return null;
  const ways = component.restoreAfter.map((other) => slowestWay(setup, other));
  if (ways.includes(null)) return null;
  const slowest = ways.flatMap((way) => way ?? []).toSorted((a, b) => b.ms - a.ms)[0];
  return { ms: own + (slowest?.ms ?? 0), names: [...(slowest?.names ?? []), name] };
}

/** As people promise it: whole hours, whole days. */
function neat(ms: number): number {
  const step = ms <= HOUR_MS ? 5 * MINUTE_MS : ms <= 2 * DAY_MS ? HOUR_MS : DAY_MS;
  return Math.ceil(ms / step) * step;
}

function roughly(ms: number): number {
  return ms < MINUTE_MS ? Math.ceil(ms / 1000) * 1000 : Math.ceil(ms / MINUTE_MS) * MINUTE_MS;
}

function minuteOf(at: Date): string {
  return at.toISOString().slice(0, 16).concat('Z');
}
