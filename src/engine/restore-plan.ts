// What a restore would do, told before anything is touched.

import { Failure, isFailure, messageOf } from '../core/errors.ts';
import type { Context, Probe, Selection, Verdict } from '../core/model.ts';
import { mapBounded } from '../core/parallel.ts';
import type { CapturedComponent, RecoveryPoint } from '../core/point.ts';
import { nearest } from '../core/settings.ts';
import { type Estimate, type Estimator, estimator } from './estimate.ts';
import { heldBy, heldIn, type NamedStore, PARALLEL_DEFAULT, type Reference, type StackComponent } from './model.ts';
import { type Moment, type Origin, originIn } from './moment.ts';
import { dependencies, waves } from './order.ts';
import { type Archived, archivedFailure, archivedIn, type ByPoint, pointNeed } from './thaw.ts';

export interface RestoreRequest {
  readonly from: NamedStore;
  readonly point: RecoveryPoint;
  /** Where each component comes from, and how far its log is replayed; nothing: all of it from the point, as it is. */
  readonly moment?: Moment | undefined;
  /** All that is configured: the order of the chosen ones may go through others. */
  readonly components: readonly StackComponent[];
  /** All that the point holds when left out. */
  readonly only?: readonly string[] | undefined;
  /** Other targets by component. */
  readonly to?: Readonly<Record<string, string>> | undefined;
  readonly select?: Selection | undefined;
  /** The targets' data is to be replaced. The caller has had this confirmed. */
  readonly inPlace?: boolean | undefined;
  readonly terminateConnections?: boolean | undefined;
  /** Other names within one component, by those in the point. What has none of them is left alone. */
  readonly rename?: Readonly<Record<string, string>> | undefined;
  /** Only what differs from the data that is there. */
  readonly delta?: boolean | undefined;
  /** Checked when all is back, as far as both ends of one are. */
  readonly references?: readonly Reference[] | undefined;
  /** Where the safety point of data that is replaced goes; the store that is restored from when left out. */
  readonly safety?: readonly NamedStore[] | undefined;
  /** Other stores that an earlier restore may have been from, and have noted in what it had suspended. */
  readonly others?: readonly NamedStore[] | undefined;
  readonly jobs?: number | undefined;
  readonly parallel?: number | undefined;
  /** Told of each component as soon as it is back, or has failed. */
  readonly onEnd?: ((ended: Ended) => void) | undefined;
}

export interface Ended {
  readonly name: string;
  /** What was shown about the data that came back. */
  readonly verdict: Verdict;
  /** Why it did not come back; null when it did. */
  readonly error: unknown;
}

/**
 * empty: into a target without data. beside: beside the live data, compared, then swapped in; the old data stays.
 * replace: over the live data, after a safety point of it. renamed: under names that are free, in a service that may
 * hold data. delta: what differs alone, over data that is there.
 */
export type RestoreWay = 'empty' | 'beside' | 'replace' | 'renamed' | 'delta';

export interface RestoreStep {
  readonly name: string;
  readonly kind: string;
  readonly way: RestoreWay;
  /** Null for the configured place. */
  readonly target: string | null;
  readonly origin: Origin;
  readonly captured: CapturedComponent;
  /** Null when the target can't be probed; `problem` says why. */
  readonly targetVersion: string | null;
  /** As its probe says; null as above. */
  readonly targetIdentity: string | null;
  /** What the target holds now, null when nothing. */
  readonly targetHolds: string | null;
  readonly bytes: number;
  readonly estimate: Estimate | null;
  /** Rules that would delete or rewrite by age what comes back: suspended meanwhile. */
  readonly ageing: readonly string[];
  /** What the target would refuse or delete all the same. */
  readonly cautions: readonly string[];
  /** Why this component can't be restored as things are. */
  readonly problem: unknown;
  /** Nothing of it can come back as it was asked for, whatever the target holds. */
  readonly isUnfit: boolean;
  readonly item: StackComponent;
}

export interface RestorePlan {
  /** The newest of those that something comes from. */
  readonly point: RecoveryPoint;
  readonly moment: Moment | null;
  readonly steps: readonly RestoreStep[];
  /** Names in groups, each restored after the ones before it. */
  readonly order: readonly (readonly string[])[];
  readonly before: ReadonlyMap<string, ReadonlySet<string>>;
  readonly bytes: number;
  /** What the store can't read before it is thawed; null when there is nothing of that kind. */
  readonly archived: Archived | null;
  /** Null where neither a drill nor a capture has measured what some component takes. */
  readonly estimate: Estimate | null;
  /** Configured components that were not left out by choice, and that the point does not hold. */
  readonly lacking: readonly string[];
  readonly warnings: readonly string[];
}

/** Probes every target and changes nothing. A target that can't be restored into is a `problem` of its step. */
export async function planRestore(ctx: Context, request: RestoreRequest): Promise<RestorePlan> {
  if (request.inPlace && request.select) {
    throw new Failure('usage', 'a selection is not restored in place: it would put the rest at risk', {
      hint: 'restore it into another target with --to, or bring rows back with lifeboat extract',
    });
  }
  const { chosen, lacking, warnings } = choose(request);
  refuseMixed(request, chosen);
  const names = chosen.map(({ name }) => name);
  const before = dependencies(request.components, names);
  const origins = chosen.map(({ name }) => ({ name, origin: originOf(request, name) }));
  const archived = await archivedIn(ctx, pointNeed(request.from, byPoint(origins)));
  const estimate = await estimator(ctx, request.from.store);
  const steps = await mapBounded(chosen, request.parallel ?? PARALLEL_DEFAULT, (item) =>
    planStep(ctx, request, estimate, item),
  );
  const order = waves(before);
  return {
    point: request.point,
    moment: request.moment ?? null,
    steps,
    order,
    before,
    bytes: steps.reduce((sum, { bytes }) => sum + bytes, 0),
    archived,
    estimate: totalOf(order, steps),
    lacking,
    warnings: [...warnings, ...steps.flatMap(({ name, cautions }) => cautions.map((text) => `${name}: ${text}`))],
  };
}

/** Ways that contradict each other, or that mean one component when several are chosen. */
function refuseMixed({ inPlace, rename, delta }: RestoreRequest, chosen: readonly StackComponent[]): void {
  const ways = [inPlace && 'in place', rename && 'under other names', delta && 'of what differs'].filter(Boolean);
  if (ways.length > 1) throw new Failure('usage', `a restore is either ${ways.join(' or ')}`);
  if (rename && chosen.length > 1) {
    const names = chosen.map(({ name }) => name).join(', ');
    throw new Failure('usage', `other names are for one component, but these were chosen: ${names}`, {
      hint: 'name it with --only',
    });
  }
}

/** The chosen components, opened at the place they go to. */
function choose(request: RestoreRequest): LeftOut & { readonly chosen: readonly StackComponent[] } {
  const { point, components, only, to = {}, moment } = request;
  const held = moment ? [...moment.origins.keys()] : heldBy(point);
  const names = only ?? held.filter((name) => components.some((each) => each.name === name));
  needChosen(Object.keys(to), names);
  const chosen = names.map((name) => {
    const item = components.find((each) => each.name === name);
    if (!item) throw new Failure('missing', `there is no component ${name} in the configuration`);
    needHeld(request, item);
    const target = Object.hasOwn(to, name) ? to[name] : undefined;
    return target === undefined ? item : retargeted(item, target);
  });
  if (chosen.length === 0) {
    throw new Failure('missing', `point ${point.id} holds nothing that is configured`, {
      hint: `it holds ${held.join(', ') || 'nothing'}`,
    });
  }
  if (only) return { chosen, ...NOTHING_LEFT_OUT };
  return { chosen, ...(moment ? lackedAt(moment) : leftOut(point, components)) };
}

/** A target of what is not chosen is a slip. */
export function needChosen(targeted: readonly string[], names: readonly string[]): void {
  for (const name of targeted) {
    if (names.includes(name)) continue;
    const near = nearest(name, names);
    const hint = near ? `did you mean ${near}?` : `restored are: ${names.join(', ')}`;
    throw new Failure('usage', `${name} has a target but is not restored`, { hint });
  }
}

function needHeld(request: RestoreRequest, { name, kind }: StackComponent): void {
  const { point, captured } = originIn(request, name) ?? { point: request.point, captured: null };
  if (!captured) {
    const error = Object.hasOwn(point.components, name) ? point.components[name]?.error : undefined;
    const why = error ? `: its capture failed (${error.message})` : '';
    const held = heldBy(point).join(', ');
    throw new Failure('missing', `point ${point.id} does not hold ${name}${why}`, { hint: `it holds ${held}` });
  }
  if (captured.kind === kind) return;
  throw new Failure('settings-invalid', `${name} is of kind ${kind}, but ${captured.kind} in point ${point.id}`);
}

function originOf(request: RestoreRequest, name: string): Origin {
  const origin = originIn(request, name);
  if (!origin) throw new Error(`${name} was chosen and is not held`);
  return origin;
}

/** What comes from which point. */
export function byPoint(steps: readonly Pick<RestoreStep, 'name' | 'origin'>[]): ByPoint {
  const groups = Map.groupBy(steps, ({ origin }) => origin.point.id);
  return new Map([...groups].map(([point, each]) => [point, each.map(({ name }) => name)]));
}

/** The component at that place instead of the configured one. */
export function retargeted(item: StackComponent, target: string): StackComponent {
  if (!item.driver.retarget) {
    throw new Failure('usage', `${item.name}: a component of kind ${item.kind} can't be restored to another target`);
  }
  const settings = item.driver.retarget(item.settings, target);
  return { ...item, settings, component: item.driver.open(settings) };
}

type LeftOut = Pick<RestorePlan, 'lacking' | 'warnings'>;
const NOTHING_LEFT_OUT: LeftOut = { lacking: [], warnings: [] };

function lackedAt({ lacking }: Moment): LeftOut {
  return { lacking: [...lacking.keys()], warnings: [...lacking.values()] };
}

function leftOut(point: RecoveryPoint, components: readonly StackComponent[]): LeftOut {
  const lacking = components.map(({ name }) => name).filter((name) => !heldIn(point, name));
  const notConfigured = Object.keys(point.components).filter((name) => !components.some((each) => each.name === name));
  return {
    lacking,
    warnings: [
      ...lacking.map((name) => {
        const error = Object.hasOwn(point.components, name) ? point.components[name]?.error : null;
        const why = error ? `its capture failed (${error.message}); ` : '';
        return `${name} is not in the point: ${why}find the newest that holds it with restore latest --only ${name}`;
      }),
      ...notConfigured.map((name) => `${name} is no longer in the configuration`),
    ],
  };
}

async function planStep(
  ctx: Context,
  request: RestoreRequest,
  estimate: Estimator,
  item: StackComponent,
): Promise<RestoreStep> {
  const { to = {} } = request;
  const origin = originOf(request, item.name);
  const { captured } = origin;
  const probed = await probe(ctx, item);
  const way = wayOf(request, item);
  const holds = probed.probe?.holdsData ?? null;
  const unfit = await unfitness(ctx, request, origin, item);
  const rules = probed.probe && unfit === null ? await ageingOf(ctx, request, origin, item) : NO_RULES;
  const problemOf = (): unknown => {
    if (way === 'beside') return null;
    if (way !== 'empty' || holds === null) return probed.error ?? rules.error;
    // The driver knows better what else can be done.
    return isRefusal(rules.error) ? rules.error : notEmpty(item.name, holds);
  };
  return {
    name: item.name,
    kind: item.kind,
    way,
    target: Object.hasOwn(to, item.name) ? (to[item.name] ?? null) : null,
    origin,
    captured,
    targetVersion: probed.probe?.version ?? null,
    targetIdentity: probed.probe?.identity ?? null,
    targetHolds: holds,
    bytes: captured.parts.bytes,
    estimate: estimate(item.name, captured),
    ageing: rules.ageing,
    cautions: rules.cautions,
    problem: unfit ?? problemOf(),
    isUnfit: UNFIT.some((code) => isFailure(unfit, code)), // else the point could not be read
    item,
  };
}

const UNFIT = ['missing', 'usage', 'different'] as const;

async function unfitness(
  ctx: Context,
  { from }: RestoreRequest,
  { point, replay }: Origin,
  { name, component }: StackComponent,
): Promise<unknown> {
  if (!component.suits) return null;
  try {
    const base = await from.store.open(ctx, point.id, name);
    await component.suits(ctx, { base, ...(replay ? { replay } : {}) });
    return null;
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    return error;
  }
}

function wayOf({ inPlace, rename, delta }: RestoreRequest, { component }: StackComponent): RestoreWay {
  if (rename) return 'renamed';
  if (delta) return 'delta';
  return !inPlace ? 'empty' : component.stage ? 'beside' : 'replace';
}

interface Rules {
  readonly ageing: readonly string[];
  readonly cautions: readonly string[];
  readonly error: unknown;
}
const NO_RULES: Rules = { ageing: [], cautions: [], error: null };

/** Who can't be asked what it would delete can't be stopped from deleting it either. */
async function ageingOf(
  ctx: Context,
  { from, select, rename, inPlace, delta }: RestoreRequest,
  { point, replay }: Origin,
  { name, component }: StackComponent,
): Promise<Rules> {
  if (!component.ageing && !component.cautions) return NO_RULES;
  try {
    const chain = { base: await from.store.open(ctx, point.id, name), ...(replay ? { replay } : {}) };
    const options = {
      ...(select ? { select } : {}),
      ...(rename ? { rename } : {}),
      ...(inPlace ? { replace: true } : {}),
      ...(delta ? { delta } : {}),
    };
    const ageing = (await component.ageing?.(ctx, chain, options)) ?? [];
    const cautions = (await component.cautions?.(ctx, chain, options)) ?? [];
    return { ageing, cautions, error: null };
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    return { ...NO_RULES, error };
  }
}

async function probe(ctx: Context, { component }: StackComponent): Promise<{ probe: Probe | null; error: unknown }> {
  try {
    return { probe: await component.probe(ctx), error: null };
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    return { probe: null, error };
  }
}

function isRefusal(problem: unknown): problem is Failure {
  return isFailure(problem, 'target-not-empty') || isFailure(problem, 'blocked');
}

function notEmpty(name: string, holds: string): Failure {
  return new Failure('target-not-empty', `the target of ${name} holds data: ${holds}`, {
    hint: 'name another target with --to, or replace it with --in-place',
  });
}

/** Groups follow one another, and a group takes as long as its slowest. */
function totalOf(order: RestorePlan['order'], steps: readonly RestoreStep[]): Estimate | null {
  let [sum, from]: [number, Estimate['from']] = [0, 'drill'];
  for (const group of order) {
    let slowest = 0;
    for (const { estimate } of steps.filter(({ name }) => group.includes(name))) {
      if (estimate === null) return null;
      slowest = Math.max(slowest, estimate.ms);
      if (estimate.from === 'capture') from = 'capture';
    }
    sum += slowest;
  }
  return { ms: sum, from };
}

/** Throws before anything is touched when what is to be restored can't be read yet. */
export function refuseArchived({ steps, archived }: RestorePlan, from: NamedStore): void {
  const points = [...byPoint(steps).keys()];
  const what = `${points.length === 1 ? 'point' : 'points'} ${points.join(', ')}`;
  if (archived) throw archivedFailure({ store: from.name, what }, archived);
}

/** Throws before anything is touched when a target can't take it, or holds data that nobody asked to replace. */
export function refuseTargets(steps: readonly RestoreStep[]): void {
  const unfit = steps.find(({ isUnfit }) => isUnfit);
  if (unfit) throw unfit.problem;
  // A service that can't be asked for now may answer when its turn comes.
  const sure = steps.filter(({ problem, targetHolds }) => targetHolds !== null || !isFailure(problem, 'blocked'));
  const full = sure.map(({ problem }) => problem).filter(isRefusal);
  const [first, second] = full;
  if (!first) return;
  if (!second) throw first;
  throw new Failure('target-not-empty', full.map(messageOf).join('; '), {
    hint: 'name other targets with --to, or replace them with --in-place; nothing was touched',
  });
}
