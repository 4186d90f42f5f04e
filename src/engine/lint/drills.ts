// Rules about drills: what nobody rehearses, and rehearsals that can't succeed.

import { idOf, isPointId, timeOfId } from '../../core/manifest.ts';
import { formatDuration } from '../../core/settings.ts';
import type { Timetable } from '../slots.ts';
import { timeOf } from './crons.ts';
import { hasSlot, slotBefore, slotsAfter } from './gaps.ts';
import {
  type Change,
  type DrillSetup,
  type Found,
  freeName,
  listed,
  type PlanSetup,
  plansOf,
  rehearsals,
  type Setup,
  tierOf,
  timed,
} from './setup.ts';
import { isLocal, storesOf } from './where.ts';

/** Runs of a drill that are looked at. */
const RUNS_LOOKED_AT = 60;
const MINUTE_MS = 60_000;
/** How long after the slot of a backup its drill is proposed, as far as the objectives allow it. */
const AFTER_MINUTES: readonly number[] = [60, 30, 20, 15, 10, 5];

/** What is captured by the clock and never restored to see whether it comes back. */
export function* noDrill(setup: Setup): Generator<Found> {
  const told = new Set(rehearsals(setup).flatMap(({ components }) => components));
  for (const plan of timed(setup.plans).toSorted((a, b) => b.components.length - a.components.length)) {
    const missed = plan.components.filter((name) => !told.has(name));
    for (const name of missed) told.add(name);
    if (missed.length === 0) continue;
    yield {
      at: ['plans', plan.name],
      why:
        `no drill with a schedule restores ${listed(missed)}: whether its points are good is found out in the ` +
        'disaster',
      change: [rehearsing(setup, plan, missed)],
    };
  }
}

/** A drill of something that no plan puts into the store that it restores from. */
export function* drillWithoutPoints(setup: Setup): Generator<Found> {
  for (const drill of setup.drills) {
    // What is in no plan at all is told as such; a drill that names it is wrong besides.
    const about = drill.components.filter((name) => !drill.ofAll || isPlanned(setup, name));
    const absent = about.filter((name) => !setup.plans.some((plan) => holds(plan, name, drill.store)));
    if (absent.length === 0) continue;
    const left = drill.components.filter((name) => !absent.includes(name));
    const where = drill.store === null ? 'any store' : `store ${drill.store}`;
    yield {
      at: ['drills', drill.name],
      why: `no plan puts ${listed(absent)} into ${where}, so there is never a point that it could be restored from`,
      change: [
        {
          path: ['drills', drill.name, ...(left.length > 0 ? ['components'] : [])],
          to: left.length > 0 ? left : undefined,
        },
      ],
      advice: 'or add it to a plan, to that store',
    };
  }
}

/** A drill of components that are never in one point. */
export function* drillApart(setup: Setup): Generator<Found> {
  for (const drill of setup.drills.filter(({ point }) => !isPointId(point))) {
    const about = pointful(setup, drill);
    const most = setup.plans
      .map((plan) => about.filter((name) => holds(plan, name, drill.store)))
      .toSorted((a, b) => b.length - a.length)[0];
    if (!most || most.length === 0 || most.length === about.length) continue;
    const others = about.filter((name) => !most.includes(name));
    yield {
      at: ['drills', drill.name],
      why:
        `no plan captures all of it into one point: it restores ${listed(most)}, and is unknown because of ` +
        listed(others),
      change: [
        { path: ['drills', drill.name, 'components'], to: most },
        ...others.map((name) => separately(setup, drill, name)),
      ],
    };
  }
}

/** The id of a point that no schedule makes. */
export function* offGrid(setup: Setup): Generator<Found> {
  for (const drill of setup.drills.filter(({ point }) => isPointId(point))) {
    const plans = timed(setup.plans).filter(({ components }) =>
      drill.components.some((name) => components.includes(name)),
    );
    const about = plans.filter((plan) => drill.components.every((name) => plan.components.includes(name)));
    const makers = about.length > 0 ? about : plans;
    const at = timeOfId(drill.point);
    if (makers.length === 0 || hasSlot(makers, at)) continue;
    const slot = slotBefore(makers, at);
    const names = listed(makers.map(({ name, schedule, timezone }) => `${name} ("${schedule}" ${timezone})`));
    yield {
      at: ['drills', drill.name, 'point'],
      why: `${drill.point} is no slot of ${names}: no scheduled point has this id`,
      change: slot ? [{ path: ['drills', drill.name, 'point'], to: idOf(slot) }] : [],
      advice: 'or latest, so that the drill is about the data of its day',
    };
  }
}

/** A drill at a time when the point is old: each of its records says that an objective was missed that was not. */
export function* drillAge(setup: Setup): Generator<Found> {
  for (const drill of timed(setup.drills).filter(
    ({ point, at, until }) => point === 'latest' && at === null && until === null,
  )) {
    const about = pointful(setup, drill);
    const makers = timed(setup.plans).filter((plan) => about.every((name) => holds(plan, name, drill.store)));
    const oldMs = Math.max(
      0,
      ...runsOf(drill, setup.now).map((at) => at.getTime() - (slotBefore(makers, at) ?? at).getTime()),
    );
    const missed = about.filter((name) => {
      const rpoMs = rpoOf(setup, name);
      return oldMs > rpoMs && (setup.gap(plansOf(setup, name))?.ms ?? Infinity) < rpoMs;
    });
    const [maker] = makers;
    if (missed.length === 0 || !maker) continue;
    const leastMs = Math.min(...missed.map((name) => rpoOf(setup, name)));
    const minutes = AFTER_MINUTES.find((each) => each * MINUTE_MS < leastMs);
    const days = drill.schedule.trim().split(/\s+/).slice(2).join(' ');
    yield {
      at: ['drills', drill.name, 'schedule'],
      why:
        `its point is ${formatDuration(oldMs)} old by then, the last one with all of it (of ` +
        `${listed(makers.map(({ name }) => name))}), so that each drill reports the RPO of ${listed(missed)} as missed`,
      change:
        minutes === undefined
          ? []
          : [
              { path: ['drills', drill.name, 'schedule'], to: `${afterSlot(maker, minutes)} ${days}` },
              ...(maker.timezone === drill.timezone
                ? []
                : [{ path: ['drills', drill.name, 'timezone'], to: maker.timezone }]),
            ],
      advice: `or give ${listed(missed)} a drill of its own`,
    };
  }
}

/** All drills restore from this machine; the store that is left without it is never tried. */
export function* drillOnlyHere(setup: Setup): Generator<Found> {
  const told = new Set<string>();
  for (const drill of rehearsals(setup)) {
    const away = (name: string) => storesOf(setup, name).filter((store) => !isLocal(store));
    const own = drill.components.filter(
      (name) => !told.has(name) && away(name).length > 0 && !isTriedAway(setup, name),
    );
    const [store] = own.flatMap(away);
    if (!store) continue;
    for (const name of own) told.add(name);
    yield {
      at: ['drills', drill.name],
      why:
        `drills restore ${listed(own)} from stores of this machine alone: whether ${store.name}, which is left ` +
        'without it, gives it back is never tried',
      change: [{ path: ['drills', drill.name, 'store'], to: store.name }],
    };
  }
}

function isTriedAway(setup: Setup, component: string): boolean {
  return rehearsals(setup).some((drill) => {
    const store = setup.stores.find(({ name }) => name === tried(setup, drill));
    return drill.components.includes(component) && store !== undefined && !isLocal(store);
  });
}

/** The store that a drill restores from: the first that holds the point. */
function tried(setup: Setup, drill: DrillSetup): string | undefined {
  if (drill.store !== null) return drill.store;
  const makers = setup.plans.filter((plan) => pointful(setup, drill).every((name) => plan.components.includes(name)));
  return setup.stores.find(({ name }) => makers.some(({ to }) => to.includes(name)))?.name;
}

/** What of it can be in a point at all; the rest has a rule of its own. */
function pointful(setup: Setup, { components, store }: Pick<DrillSetup, 'components' | 'store'>): readonly string[] {
  return components.filter((name) => setup.plans.some((plan) => holds(plan, name, store)));
}

function holds({ components, to }: PlanSetup, component: string, store: string | null): boolean {
  return components.includes(component) && (store === null || to.includes(store));
}

function isPlanned({ plans }: Setup, component: string): boolean {
  return plans.some(({ components }) => components.includes(component));
}

function rpoOf(setup: Setup, name: string): number {
  const component = setup.components.find((each) => each.name === name);
  return (component && tierOf(setup, component)?.rpoMs) ?? Infinity;
}

function runsOf(drill: Timetable, now: Date): readonly Date[] {
  return [...slotsAfter(drill, now, RUNS_LOOKED_AT)];
}

/** Minute and hour, so long after the first slot of a day. */
function afterSlot({ schedule }: Timetable, minutes: number): string {
  const { minute, hour } = timeOf(schedule);
  const at = (hour * 60 + minute + minutes) % (24 * 60);
  return `${at % 60} ${Math.floor(at / 60)}`;
}

/** By a drill that is there and only lacks a schedule, else by a new one. */
function rehearsing(setup: Setup, plan: PlanSetup & Timetable, missed: readonly string[]): Change {
  const schedule = `${afterSlot(plan, 60)} * * 0`;
  const idle = setup.drills.find((each) => {
    return each.schedule === null && !isPointId(each.point) && missed.every((name) => each.components.includes(name));
  });
  if (idle) return { path: ['drills', idle.name, 'schedule'], to: schedule };
  const drill = { schedule, timezone: plan.timezone, components: missed };
  return { path: ['drills', freeName(setup.drills, plan.name)], to: drill };
}

function separately(setup: Setup, drill: DrillSetup, name: string): Change {
  const { schedule, timezone, store } = drill;
  const own = { ...(schedule === null ? {} : { schedule, timezone }), ...(store === null ? {} : { store }) };
  return { path: ['drills', freeName(setup.drills, name)], to: { ...own, components: [name] } };
}
