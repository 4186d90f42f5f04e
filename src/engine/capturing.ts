// The components of a run captured at the same time into its drafts, each between its hooks.

import { interruption } from '../core/context.ts';
import { ERRORS, isFailure, messageOf } from '../core/errors.ts';
import { failedComponent } from '../core/manifest.ts';
import type { Capture, Context, Source } from '../core/model.ts';
import { mapBounded } from '../core/parallel.ts';
import type { CapturedComponent, RecoveryPoint } from '../core/point.ts';
import { type Captured, finishedCaptures, noteCapture } from './captures.ts';
import { alive, componentSink, type Lane, needLane, type StreamGate, streamGate } from './fan-out.ts';
import { type Around, around, type HookFailure, NO_HOOKS } from './hooks.ts';
import { joined } from './joined.ts';
import type { Lanes } from './lanes.ts';
import { PARALLEL_DEFAULT, type StackComponent } from './model.ts';
import { dependencies, waves } from './order.ts';
import { type AfterHooks, oweHooks, runOwedHooks, strikeHooks } from './owed-hooks.ts';
import { type Earlier, earlierBytes, previousSources } from './previous.ts';

/** Stands where a component's name would; no component can have it. */
export function planHooksOf(plan: string | null): string {
  return `(plan ${plan})`;
}

export interface CaptureRequest {
  readonly plan: string | null;
  readonly components: readonly StackComponent[];
  /** Does everything but keep the point. */
  readonly test?: boolean | undefined;
  readonly parallel?: number | undefined;
  /**
   * Components that are captured only when others are, by name: what is pointed to after what points to it, so that
   * nothing in the point dangles. All at the same time when left out.
   */
  readonly after?: ReadonlyMap<string, readonly string[]> | undefined;
  /** Around the captures of all components. */
  readonly hooks?: Around | undefined;
}

/** What is known of a point before its components are. */
export type Header = Omit<RecoveryPoint, 'components'>;

export async function captureAll(
  ctx: Context,
  request: CaptureRequest,
  run: Lanes,
  header: Header,
  earlier: Earlier,
  hookFailed: HookFailed,
): Promise<readonly Captured[]> {
  const finished = run.resumed ? await finishedCaptures(ctx, run.lanes, run.id) : new Map();
  const streams = streamGate();
  const captureEach = async (each: StackComponent): Promise<Captured> => {
    const done: Captured | undefined = finished.get(each.name);
    if (done) return done;
    const captured = await captureHooked(ctx, each, hookFailed, () =>
      captureOne(ctx, run.lanes, streams, earlier, each),
    );
    if (captured.thrown === undefined && !request.test) await noteCapture(ctx, run.lanes, header, captured);
    return captured;
  };
  const all: Captured[] = [];
  for (const group of groupsOf(request)) {
    all.push(...(await mapBounded(group, request.parallel ?? PARALLEL_DEFAULT, captureEach)));
  }
  return all;
}

function groupsOf({ components, after }: CaptureRequest): readonly (readonly StackComponent[])[] {
  if (!after) return [components];
  const ordered = components.map(({ name }) => ({ name, restoreAfter: after.get(name) ?? [] }));
  const names = ordered.map(({ name }) => name);
  const groups = waves(dependencies(ordered, names, 'ordering: references_first: references go'));
  return groups.map((group) => components.filter(({ name }) => group.includes(name)));
}

/** A hook that fails beforehand is a failure of this component alone. */
async function captureHooked(
  ctx: Context,
  each: StackComponent,
  hookFailed: HookFailed,
  work: () => Promise<Captured>,
): Promise<Captured> {
  const startedMs = ctx.monotonicMs();
  try {
    return await around(ctx, each.hooks?.capture ?? NO_HOOKS, hookFailed(each.name), work);
  } catch (error) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    if (!isFailure(error, 'hook-failed')) throw error;
    return failedCapture(ctx, each, error, startedMs);
  }
}

async function captureOne(
  ctx: Context,
  lanes: readonly Lane[],
  streams: StreamGate,
  earlier: Earlier,
  each: StackComponent,
): Promise<Captured> {
  const startedMs = ctx.monotonicMs();
  const previous = await previousSources(ctx, lanes, earlier, each);
  const expectedBytes = earlierBytes(earlier, each);
  try {
    return await capture(ctx, lanes, streams, { previous, expectedBytes }, each);
  } catch (error) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    needLane(lanes);
    if (previous.size === 0 || !isFailure(error) || !ERRORS[error.code].lost) {
      return failedCapture(ctx, each, error, startedMs);
    }
    // The earlier point may be the damaged one, and must not stop every backup from now on.
    ctx.log.warn('capture repeated without the earlier point', { component: each.name, reason: error.message });
  }
  try {
    return await capture(ctx, lanes, streams, { previous: new Map(), expectedBytes }, each);
  } catch (error) {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    needLane(lanes);
    return failedCapture(ctx, each, error, startedMs);
  }
}

async function capture(
  ctx: Context,
  lanes: readonly Lane[],
  streams: StreamGate,
  { previous, expectedBytes }: { previous: ReadonlyMap<Lane, Source>; expectedBytes: number | undefined },
  item: StackComponent,
): Promise<Captured> {
  const { name, kind, component } = item;
  const startedMs = ctx.monotonicMs();
  await using outlet = componentSink(ctx, name, alive(lanes), streams, previous, expectedBytes);
  const [source] = previous.values();
  const made = await joined(ctx, alive(lanes), item, await component.capture(ctx, outlet.sink, source));
  const parts = outlet.totals();
  const receipts = await outlet.finish(ctx);
  return { name, component: described(kind, made, parts, ctx.monotonicMs() - startedMs), receipts };
}

function described(
  kind: string,
  made: Capture,
  parts: { readonly count: number; readonly bytes: number },
  durationMs: number,
): CapturedComponent {
  const { serverVersion, identity, method, cut, inventoryLevel, totals, warnings } = made;
  const elapsed = Math.round(durationMs);
  return {
    kind,
    error: null,
    serverVersion,
    identity,
    method,
    cut,
    inventoryLevel,
    totals,
    parts,
    durationMs: elapsed,
    warnings,
    external: made.external ?? null,
    journal: made.journal ?? null,
  };
}

function failedCapture(ctx: Context, { name, kind }: StackComponent, thrown: unknown, startedMs: number): Captured {
  const code = isFailure(thrown) ? thrown.code : 'internal';
  ctx.log.warn('component not captured', { component: name, code, reason: messageOf(thrown) });
  const component = failedComponent(kind, { code, message: messageOf(thrown) }, ctx.monotonicMs() - startedMs);
  return { name, component, receipts: new Map(), thrown };
}

/** Takes what goes wrong with the hooks of one component, or of the plan. */
export type HookFailed = (of: string) => (failure: HookFailure) => void;

/** The hooks of the plan around the work. Those of its components are run by `captureOne`, and noted here with them. */
export async function withHooks<T>(
  ctx: Context,
  { plan, components, hooks }: CaptureRequest,
  { lanes, id }: Lanes,
  failed: HookFailed,
  work: () => Promise<T>,
): Promise<T> {
  const ofPlan = planHooksOf(plan);
  const all = [
    { name: ofPlan, after: hooks?.after },
    ...components.map((each) => ({ name: each.name, after: each.hooks?.capture.after })),
  ];
  const after: AfterHooks = new Map(all.flatMap((each) => (each.after?.length ? [[each.name, each.after]] : [])));
  await runOwedHooks(ctx, lanes, after, failed);
  await oweHooks(ctx, lanes, id, after);
  try {
    return await around(ctx, hooks ?? NO_HOOKS, failed(ofPlan), work);
  } finally {
    await strikeHooks(ctx, lanes, id, after);
  }
}
