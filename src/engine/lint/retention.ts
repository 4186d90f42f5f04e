// Rules about how long points are kept.

import { formatDuration } from '../../core/settings.ts';
import type { KeepRules } from '../keep.ts';
import { oftener } from './crons.ts';
import {
  type Change,
  type Found,
  listed,
  type Path,
  type PlanSetup,
  plansOf,
  rehearsals,
  type Setup,
  timed,
} from './setup.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** What one point of each stands for. */
const PERIODS_MS = { hourly: HOUR_MS, daily: DAY_MS, weekly: 7 * DAY_MS, monthly: 30 * DAY_MS, yearly: 365 * DAY_MS };
const COUNTED = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const;

/** What is kept goes before the next point comes: there is never more than the newest, whatever is wrong with it. */
export function* keepsOne(setup: Setup): Generator<Found> {
  for (const plan of timed(setup.plans)) {
    const gapMs = setup.gap([plan])?.ms ?? null;
    for (const [store, rules] of plan.keep) {
      if (gapMs === null || !plan.to.includes(store) || pointsKept(rules, gapMs) > 1) continue;
      yield {
        at: keepPath(plan, store),
        why:
          `points of ${plan.name} come ${formatDuration(gapMs)} apart, so that ${store} keeps the newest alone: ` +
          'what went wrong before it was taken can not be undone',
        change: [keepTwo(plan, store, rules, gapMs)],
      };
    }
  }
}

/** Rules for a store that gets no points, or none for one that does. */
export function* keepMismatch(setup: Setup): Generator<Found> {
  for (const plan of setup.plans.filter(({ keepsApart }) => keepsApart)) {
    for (const store of plan.keep.keys()) {
      if (plan.to.includes(store)) continue;
      yield {
        at: keepPath(plan, store),
        why:
          `the plan puts nothing into ${store}: this rule is for nothing, and the points that it was meant for are ` +
          'not there',
        change: [{ path: ['plans', plan.name, 'to'], to: [...plan.to, store] }],
        advice: 'or leave the rule out',
      };
    }
    const [pattern] = plan.keep.values();
    for (const store of plan.to.filter((name) => !plan.keep.has(name))) {
      yield {
        at: ['plans', plan.name, 'keep'],
        why: `${store} has no rule, where the other stores of the plan have one: it keeps every point until it is full`,
        change: pattern ? [{ path: keepPath(plan, store), to: asWritten(pattern) }] : [],
      };
    }
  }
}

/** When a drill finds that points are bad, those from before are gone. */
export function* keepBeyondDrills(setup: Setup): Generator<Found> {
  const told = new Set<string>();
  for (const drill of rehearsals(setup)) {
    const short = drill.components.flatMap((name) => {
      const own = rehearsals(setup).filter(({ components }) => components.includes(name));
      const [rareMs, longMs] = [setup.gap(own)?.ms ?? 0, longestKept(setup, name)];
      return rareMs > longMs && !told.has(name) ? [{ name, rareMs, longMs }] : [];
    });
    const [shortest] = short.toSorted((a, b) => a.longMs - b.longMs);
    if (!shortest) continue;
    for (const { name } of short) told.add(name);
    const schedule = oftener(drill, shortest.longMs, setup.gap);
    const kept = short.map(({ name, longMs }) => `of ${name} for ${formatDuration(longMs)}`);
    yield {
      at: ['drills', drill.name, 'schedule'],
      why:
        `points are kept ${listed(kept)}, but drills come ${formatDuration(shortest.rareMs)} apart: when one finds ` +
        'damage, all from before it is gone, but for the point that the drill before had proved',
      change: schedule === null ? [] : [{ path: ['drills', drill.name, 'schedule'], to: schedule }],
      advice: `or keep points for more than ${formatDuration(shortest.rareMs)}`,
    };
  }
}

/** In any store. Nothing is drilled of what no plan has: Infinity. */
function longestKept(setup: Setup, component: string): number {
  const kept = plansOf(setup, component).flatMap((plan) => {
    const gapMs = setup.gap([plan])?.ms ?? 0;
    return plan.to.map((store) => keptMs(plan.keep.get(store), gapMs));
  });
  return kept.length === 0 ? Number.POSITIVE_INFINITY : Math.max(...kept);
}

/** From the newest back to the oldest. */
function keptMs(rules: KeepRules | undefined, gapMs: number): number {
  if (!rules) return Number.POSITIVE_INFINITY;
  const counted = COUNTED.map((period) => (rules[period] ?? 0) * Math.max(PERIODS_MS[period], gapMs));
  return Math.max(rules.within ?? 0, (rules.last ?? 0) * gapMs, ...counted);
}

/** At the least, before the next is taken. */
function pointsKept(rules: KeepRules, gapMs: number): number {
  const within = rules.within === undefined ? 0 : Math.floor(rules.within / gapMs) + 1;
  return Math.max(within, rules.last ?? 0, ...COUNTED.map((period) => rules[period] ?? 0));
}

function keepTwo(plan: PlanSetup, store: string, rules: KeepRules, gapMs: number): Change {
  const path = keepPath(plan, store);
  if (rules.within !== undefined) return { path: [...path, 'within'], to: formatDuration(gapMs) };
  const period = (['last', ...COUNTED] as const).find((each) => rules[each] !== undefined) ?? 'last';
  return { path: [...path, period], to: 2 };
}

function keepPath({ name, keepsApart }: PlanSetup, store: string): Path {
  return ['plans', name, 'keep', ...(keepsApart ? [store] : [])];
}

/** As the file has it. */
function asWritten(rules: KeepRules): Readonly<Record<string, number | string>> {
  const given = Object.entries(rules).filter((entry): entry is [string, number] => entry[1] !== undefined);
  return Object.fromEntries(given.map(([key, value]) => [key, key === 'within' ? formatDuration(value) : value]));
}
