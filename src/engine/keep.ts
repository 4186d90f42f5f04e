// Which points stay, and why. Pure: what is decided here is told before anything is removed.

import { Failure } from '../core/errors.ts';
import { timeOfId } from '../core/manifest.ts';
import type { RecoveryPoint } from '../core/point.ts';
import { heldBy, heldIn, SAFETY_PLAN } from './model.ts';
import { byBeginning, type PointView } from './points.ts';

/** How many of each are kept. A point may be kept by several rules. */
export interface KeepRules {
  readonly last?: number | undefined;
  readonly hourly?: number | undefined;
  readonly daily?: number | undefined;
  readonly weekly?: number | undefined;
  readonly monthly?: number | undefined;
  readonly yearly?: number | undefined;
  /** Milliseconds before the newest point: when backups have stopped, nothing grows too old. */
  readonly within?: number | undefined;
}
/** The rules of the plan that made a point; null where there are none, and everything is kept. */
export type RulesOf = (plan: string | null) => { readonly keep: KeepRules; readonly timezone: string } | null;

export interface Decision {
  readonly point: RecoveryPoint;
  /** Why it is kept; empty when it may go. */
  readonly reasons: readonly string[];
}

/** In order of id. Points of one plan are judged together, so that a point of the cache never stands for one of all. */
export function decide(views: readonly PointView[], rulesOf: RulesOf, now: Date): readonly Decision[] {
  const sorted = views.toSorted(byId);
  const reasons = new Map<string, string[]>(sorted.map(({ point }) => [point.id, []]));
  const keep = (view: PointView | undefined, why: string): void => {
    if (view) reasons.get(view.point.id)?.push(why);
  };
  const begun = views.toSorted((a, b) => byBeginning(a.point, b.point));
  guard(begun, keep);
  for (const [plan, group] of byPlan(begun)) {
    keep(group.at(-1), plan === null ? 'newest without a plan' : `newest of ${plan}`);
    keep(group.findLast(isComplete), 'newest complete');
    keep(group.findLast(isProved), 'newest proved');
    keep(
      group.findLast((view) => isProved(view) && isComplete(view)),
      'newest complete and proved',
    );
    const rules = rulesOf(plan);
    if (!rules) for (const view of group) keep(view, 'no rule');
    else applyRules(group.toSorted(byId), rules.keep, periodNames(rules.timezone), now, keep);
  }
  return sorted.map(({ point }) => ({ point, reasons: reasons.get(point.id) ?? [] }));
}

function byId(a: PointView, b: PointView): number {
  return a.point.id < b.point.id ? -1 : 1;
}

type Keep = (view: PointView | undefined, why: string) => void;

/** What no rule may remove: for each component the newest point that holds it, and the newest that was proved to. */
function guard(begun: readonly PointView[], keep: Keep): void {
  for (const view of begun) if (view.unreadableProofs) keep(view, 'its proofs can not be read');
  const taken = begun.filter(({ point }) => point.plan !== SAFETY_PLAN);
  for (const name of new Set(taken.flatMap(({ point }) => heldBy(point)))) {
    const holding = taken.filter(({ point }) => heldIn(point, name) !== undefined);
    keep(holding.at(-1), `newest with ${name}`);
    const clean = holding.findLast(({ point }) => heldIn(point, name)?.warnings.length === 0);
    if (clean !== holding.at(-1)) keep(clean, `newest with ${name} without a warning`);
    keep(
      holding.findLast(({ proofs }) => proofs.some((each) => each.how !== 'copy' && each.components.includes(name))),
      `newest proved ${name}`,
    );
  }
}

function byPlan(begun: readonly PointView[]): ReadonlyMap<string | null, readonly PointView[]> {
  return Map.groupBy(begun, ({ point }) => point.plan);
}

function isComplete({ point }: PointView): boolean {
  return point.status === 'complete';
}

function isProved(view: PointView): boolean {
  return view.provedAt !== null;
}

const PERIODS = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const;
type Period = (typeof PERIODS)[number];

function applyRules(
  group: readonly PointView[],
  rules: KeepRules,
  periodOf: (period: Period, at: Date) => string,
  now: Date,
  keep: Keep,
): void {
  const newestFirst = group.toReversed();
  if (rules.last !== undefined) {
    keepNewest(newestFirst, rules.last, ({ point }) => point.id, 'last', keep);
  }
  for (const period of PERIODS) {
    const most = rules[period];
    if (most === undefined) continue;
    keepNewest(newestFirst, most, ({ point }) => periodOf(period, timeOfId(point.id)), period, keep);
  }
  const { within } = rules;
  const [newest] = newestFirst;
  if (within === undefined || !newest) return;
  const since = Math.min(now.getTime(), timeOfId(newest.point.id).getTime()) - within;
  for (const view of group) if (timeOfId(view.point.id).getTime() >= since) keep(view, 'within');
}

/**
 * The newest complete point of each of the `most` newest periods that have one. A partial point takes no complete
 * one's place: it is kept besides, where its period has nothing better.
 */
function keepNewest(
  newestFirst: readonly PointView[],
  most: number,
  periodOf: (view: PointView) => string,
  why: string,
  keep: Keep,
): void {
  const complete = new Map<string, PointView>();
  for (const view of newestFirst.filter(isComplete)) {
    const period = periodOf(view);
    if (!complete.has(period) && complete.size < most) complete.set(period, view);
  }
  for (const view of complete.values()) keep(view, why);
  const oldest = complete.size < most ? '' : ([...complete.values()].at(-1)?.point.id ?? '');
  const partial = new Set<string>();
  for (const view of newestFirst) {
    const period = periodOf(view);
    if (isComplete(view) || view.point.id < oldest || complete.has(period) || partial.has(period)) continue;
    partial.add(period);
    keep(view, `${why} (partial)`);
  }
}

/** Names the hour, day, week … that a time lies in, on the clocks of that zone. */
function periodNames(timeZone: string): (period: Period, at: Date) => string {
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      hourCycle: 'h23',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      timeZoneName: 'longOffset',
    });
  } catch (cause) {
    throw new Failure('settings-invalid', `there is no time zone ${timeZone}`, { cause });
  }
  return (period, at) => {
    const parts = new Map(format.formatToParts(at).map(({ type, value }) => [type, value]));
    const [year, month, day] = [parts.get('year'), parts.get('month'), parts.get('day')];
    if (period === 'yearly') return `${year}`;
    if (period === 'monthly') return `${year}-${month}`;
    if (period === 'daily') return `${year}-${month}-${day}`;
    if (period === 'weekly') return isoWeek(Number(year), Number(month), Number(day));
    // The offset tells the two hours apart that daylight saving gives one name.
    return `${year}-${month}-${day} ${parts.get('hour')} ${parts.get('timeZoneName')}`;
  };
}

/** ISO 8601: weeks begin on Monday, and the first one holds the year's first Thursday. */
function isoWeek(year: number, month: number, day: number): string {
  const thursday = new Date(Date.UTC(year, month - 1, day));
  thursday.setUTCDate(thursday.getUTCDate() + 4 - (thursday.getUTCDay() || 7));
  const first = Date.UTC(thursday.getUTCFullYear(), 0, 1);
  return `${thursday.getUTCFullYear()}-W${Math.ceil(((thursday.getTime() - first) / 86_400_000 + 1) / 7)}`;
}
