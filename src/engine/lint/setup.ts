// What the rules of lint read: a configuration with its names resolved, and what stores on this machine tell of runs.

import { isPointId } from '../../core/manifest.ts';
import type { Json } from '../../core/model.ts';
import type { KeepRules } from '../keep.ts';
import type { Timetable } from '../slots.ts';
import type { GapOf } from './gaps.ts';
import type { Parsed } from './promql.ts';

export interface Setup {
  readonly now: Date;
  /** From now on. */
  readonly gap: GapOf;
  readonly components: readonly ComponentSetup[];
  readonly stores: readonly StoreSetup[];
  readonly tiers: readonly TierSetup[];
  readonly plans: readonly PlanSetup[];
  readonly drills: readonly DrillSetup[];
  readonly references: readonly ReferenceSetup[];
  readonly alerts: AlertSetup;
  /** By component; nothing where no store on this machine could be read. */
  readonly measured: ReadonlyMap<string, Measured>;
}

/** As it stands in the file: what is a reference still is one. */
export type Written = Readonly<Record<string, unknown>>;

export interface ComponentSetup {
  readonly name: string;
  readonly kind: string;
  readonly tier: string | null;
  readonly restoreAfter: readonly string[];
  readonly written: Written;
}
export interface StoreSetup {
  readonly name: string;
  readonly format: string;
  readonly url: string;
  readonly written: Written;
}
export interface TierSetup {
  readonly name: string;
  readonly rtoMs: number | null;
  readonly rpoMs: number | null;
}
/** What is done by the clock, where it has a schedule. */
interface Scheduled {
  readonly name: string;
  readonly schedule: string | null;
  readonly timezone: string;
}
export interface PlanSetup extends Scheduled {
  readonly components: readonly string[];
  readonly to: readonly string[];
  /** By store; one that is not in it keeps everything. */
  readonly keep: ReadonlyMap<string, KeepRules>;
  /** Each store has a rule of its own, instead of all having one. */
  readonly keepsApart: boolean;
  /** What references point to is captured after what points to it. */
  readonly inOrder: boolean;
  /** What may hold a secret. */
  readonly written: Written;
}
export interface DrillSetup extends Scheduled {
  readonly point: string;
  /** Instead of the point: how long ago, or when; its log is replayed up to then. */
  readonly at: string | null;
  /** Where else the log is replayed to, on the point or an earlier one. */
  readonly until: string | null;
  /** Null: the first that holds the point. */
  readonly store: string | null;
  readonly components: readonly string[];
  /** They were not named: it is about all there are. */
  readonly ofAll: boolean;
}
export interface ReferenceSetup {
  readonly name: string;
  readonly from: string;
  readonly to: string;
}
/** The rules of Prometheus that tell when something is wrong. */
export interface AlertSetup {
  /** What others emit: names of metrics, or how they begin and '*'. */
  readonly emitted: readonly string[];
  readonly rules: readonly RuleSetup[];
}
export interface RuleSetup extends Parsed {
  /** Of the alert, or of the metric that is recorded. */
  readonly name: string;
  readonly isAlert: boolean;
  readonly file: string;
  readonly line: number;
}

/** How long things took when they were last done. */
export interface Measured {
  /** Of the newest point that holds it. */
  readonly captureMs: number | null;
  /** Its own part of a recovery, for as many bytes as the newest point has; null when no drill has passed. */
  readonly recoverMs: number | null;
}

/** A place in the file, such as plans, nightly, schedule. */
export type Path = readonly string[];
/** One value of the file: `to` at `path`, where undefined means that the key goes. */
export interface Change {
  readonly path: Path;
  readonly to: Json | undefined;
}
/** What a rule has found. */
export interface Found {
  readonly at: Path;
  /** Where that is in another file, which the place names. */
  readonly place?: { readonly file: string; readonly line: number };
  /** What can't be, and why. */
  readonly why: string;
  /** The smallest change that helps, as far as it can be computed. */
  readonly change: readonly Change[];
  /** What else helps, or what to do where the change can't be written down. */
  readonly advice?: string;
}
export type Rule = (setup: Setup) => Iterable<Found>;

export function tierOf({ tiers }: Setup, { tier }: ComponentSetup): TierSetup | null {
  return tiers.find(({ name }) => name === tier) ?? null;
}

/** Those that are run by the clock. */
export function timed<T extends Scheduled>(all: readonly T[]): readonly (T & Timetable)[] {
  return all.filter((each): each is T & Timetable => each.schedule !== null);
}

/** The plans that capture it by the clock. */
export function plansOf({ plans }: Setup, component: string): readonly (PlanSetup & Timetable)[] {
  return timed(plans).filter(({ components }) => components.includes(component));
}

/** The drills that restore new points, again and again. */
export function rehearsals({ drills }: Setup): readonly (DrillSetup & Timetable)[] {
  return timed(drills).filter(({ point }) => !isPointId(point));
}

/** 'a', 'a and b', 'a, b and c'. */
export function listed(names: readonly string[]): string {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}

/** A name that none of these has yet. */
export function freeName(all: readonly { readonly name: string }[], wanted: string): string {
  const taken = all.map(({ name }) => name);
  let name = wanted;
  for (let count = 2; taken.includes(name); count++) name = `${wanted}-${count}`;
  return name;
}
