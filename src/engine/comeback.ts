// One component coming back from a store: read, restored, timed, and compared with what it was at the cut.

import type { Chain, Component, Replay } from '../core/component.ts';
import { outliving } from '../core/context.ts';
import type { Driver } from '../core/driver.ts';
import { ERRORS, isFailure, messageOf } from '../core/errors.ts';
import { inventoryOf, inventoryWith } from '../core/inventory.ts';
import { getAll } from '../core/many-parts.ts';
import type { Context, Finding, InventoryReader, Restored, RestoreOptions, Source } from '../core/model.ts';
import type { CapturedComponent } from '../core/point.ts';
import type { FindingsBook } from './findings.ts';
import type { Check, NamedStore } from './model.ts';
import type { Origin } from './moment.ts';

const SETTLE_MS_MAX = 60_000;

/** Where the time of a recovery goes, in milliseconds. They follow one another, so their sum is the whole. */
export interface Phases {
  /** Until there is a server to restore into, known to be empty. */
  readonly provision: number;
  /** The part of the restore in which nothing was to be done but wait for the store. */
  readonly fetch: number;
  readonly restore: number;
  /** Until the restored service answered. */
  readonly start: number;
  readonly verify: number;
}
export const PHASES = ['provision', 'fetch', 'restore', 'start', 'verify'] as const satisfies (keyof Phases)[];

export function phasesFrom(known: Partial<Phases>): Phases {
  return { provision: 0, fetch: 0, restore: 0, start: 0, verify: 0, ...known };
}

export function sumOf(phases: Phases): number {
  return PHASES.reduce((sum, each) => sum + phases[each], 0);
}

/** Watches what is read of a point: how long it was waited for, and whether it broke. */
export interface Watch {
  /** The source that is watched; opening it counts. */
  open(source: () => Promise<Source>): Promise<Source>;
  fetchMs(): number;
  bytes(): number;
  /** Reading threw: the point or the way to it is bad, not the target. */
  broke(): boolean;
}

export function watch(ctx: Context, bytesTotal: number): Watch {
  let [waiting, sinceMs, waitedMs, bytes, broken] = [0, 0, 0, 0, false];
  async function timed<T>(work: () => Promise<T>): Promise<T> {
    if (waiting++ === 0) sinceMs = ctx.monotonicMs();
    try {
      return await work();
    } catch (error) {
      broken = true;
      throw error;
    } finally {
      if (--waiting === 0) waitedMs += ctx.monotonicMs() - sinceMs;
    }
  }
  async function* read<T>(task: string, items: AsyncIterable<T>, bytesIn: (item: T) => number): AsyncIterable<T> {
    const iterator = items[Symbol.asyncIterator]();
    try {
      for (;;) {
        const item = await timed(() => iterator.next());
        if (item.done) return;
        bytes += bytesIn(item.value);
        ctx.progress({ task, phase: 'restore', bytes: Math.min(bytes, bytesTotal), bytesTotal });
        yield item.value;
      }
    } finally {
      await iterator.return?.();
    }
  }
  return {
    async open(source) {
      const inner = await timed(source);
      const { component, getUnhashed } = inner;
      const lengthOf = ({ length }: Uint8Array): number => length;
      return {
        point: inner.point,
        component,
        parts: (partsCtx, prefix) => inner.parts(partsCtx, prefix),
        part: (partCtx, name) => timed(() => inner.part(partCtx, name)),
        get: (getCtx, name, range) => read(component, inner.get(getCtx, name, range), lengthOf),
        ...(getUnhashed ? { getUnhashed: (getCtx, name) => read(component, getUnhashed(getCtx, name), lengthOf) } : {}),
        getAll: (getCtx, names) => read(component, getAll(getCtx, inner, names), lengthOfAll),
      };
    },
    fetchMs: () => waitedMs,
    bytes: () => bytes,
    broke: () => broken,
  };
}

function lengthOfAll(bodies: readonly Uint8Array[]): number {
  return bodies.reduce((sum, { length }) => sum + length, 0);
}

/** What comes back: a point, and the log that is replayed on it. */
export interface Coming {
  readonly watch: Watch;
  readonly open: () => Promise<Source>;
  readonly replay: Replay | null;
}
export async function chainOf({ watch: watching, open, replay }: Coming): Promise<Chain> {
  const base = await watching.open(open);
  return replay ? { base, replay } : { base };
}

/** Restores into `target`; the time splits into waiting for the store and the rest. */
export async function bringBack(
  ctx: Context,
  target: Component,
  from: Coming,
  options: RestoreOptions,
): Promise<{ readonly source: Source; readonly restored: Restored; readonly phases: Phases }> {
  const startedMs = ctx.monotonicMs();
  const chain = await chainOf(from);
  const restored = await target.restore(ctx, chain, options);
  const doneMs = ctx.monotonicMs();
  const fetch = from.watch.fetchMs();
  try {
    await target.probe(ctx); // it answers
  } catch (error) {
    await settle(ctx, restored);
    throw error;
  }
  const start = ctx.monotonicMs() - doneMs;
  return {
    source: chain.base,
    restored,
    phases: phasesFrom({ fetch, restore: Math.max(0, doneMs - startedMs - fetch), start }),
  };
}

/**
 * Does `work`, then sets back what deletes or rewrites by age, whatever came of it. That this failed is a finding: the
 * data is there, but a rule of its owner no longer holds.
 */
export async function thenSettle<T>(
  ctx: Context,
  { name, restored }: { readonly name: string; readonly restored: Restored },
  book: FindingsBook,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } finally {
    try {
      await settle(ctx, restored);
    } catch (error) {
      const check = `${name}: what deletes or rewrites by age is set back`;
      book.add({ check, verdict: 'fail', detail: messageOf(error), ...hintOf(error) });
    }
  }
}

/** Also for a user who has broken off: what they see afterwards must not be a half-changed service. */
async function settle(ctx: Context, restored: Restored): Promise<void> {
  await restored.settle?.(outliving(ctx, SETTLE_MS_MAX));
}

/** The point that counted what was there where a replay ends. */
export interface Against {
  readonly point: string;
  readonly captured: CapturedComponent;
  open(): Promise<Source>;
}
export function againstOf(ctx: Context, { store }: NamedStore, name: string, { against }: Origin): Against | null {
  if (!against) return null;
  const { point, captured } = against;
  return { point: point.id, captured, open: () => store.open(ctx, point.id, name) };
}

/** Compares what came back with the point, and asks the owner's own questions. Whatever goes wrong is a finding. */
export async function prove(
  ctx: Context,
  what: {
    readonly name: string;
    readonly driver: Driver;
    readonly captured: CapturedComponent;
    readonly source: Source;
    readonly watch: Watch;
    readonly target: Component;
    readonly restored?: Restored | undefined;
    /** A log was replayed on it: what the point counted no longer holds. */
    readonly replay?: Replay | null;
    readonly against?: Against | null;
    readonly checks: readonly Check[];
    /** Starts what is asked, where that is not what was restored into. */
    readonly serve?: () => Promise<Component>;
  },
  book: FindingsBook,
): Promise<void> {
  noteMissing(what, book);
  await compareAll(ctx, what, book);
  const asked = what.serve ? await served(ctx, what.name, what.serve, book) : what.target;
  for (const check of what.checks) book.add(await ask(ctx, what.name, asked, check));
}

/** Null when it does not start, which need not be the fault of the point. */
async function served(
  ctx: Context,
  name: string,
  serve: () => Promise<Component>,
  book: FindingsBook,
): Promise<Component | null> {
  const check = `${name}: a server starts on it`;
  try {
    const component = await serve();
    book.add({ check, verdict: 'pass', detail: 'it answers' });
    return component;
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    book.add({ check, verdict: 'unknown', detail: messageOf(error), ...hintOf(error) });
    return null;
  }
}

/** What could not be brought back, item by item. */
export function noteMissing(
  { name, restored }: { readonly name: string; readonly restored?: Restored | undefined },
  book: FindingsBook,
): void {
  for (const detail of restored?.missing ?? []) {
    book.add({ check: `${name}: all of it comes back`, verdict: 'fail', detail });
  }
}

/** A damaged point is a failure; what else went wrong has shown nothing about it. No watch: nothing was read yet. */
export function verdictOf(error: unknown, watch: Watch | null): 'fail' | 'unknown' {
  if (!watch || !isFailure(error) || !ERRORS[error.code].lost) return 'unknown';
  // Something may be missing at the target as well.
  return error.code === 'missing' && !watch.broke() ? 'unknown' : 'fail';
}

async function compareAll(
  ctx: Context,
  { name, driver, captured, source, watch, target, restored, replay, against = null }: Parameters<typeof prove>[1],
  book: FindingsBook,
): Promise<void> {
  if (replay && !against) {
    const detail = `point ${source.point} counted what was there at its cut, and the log was replayed beyond that`;
    book.add({ check: `${name} is what it was then`, verdict: 'unknown', detail, uncompared: true });
    return;
  }
  const selected = restored?.selected;
  const whole = against ? `${name} is what point ${against.point} counted` : `${name} is what it was at the cut`;
  const check = selected ? whatWasSelected(name) : whole;
  if ((against ?? { captured }).captured.inventoryLevel === null) {
    const detail = 'the point has no inventory, so nothing can be compared';
    book.add({ check, verdict: 'unknown', detail, uncompared: true });
    return;
  }
  let compared = 0;
  try {
    const counted = against ? await watch.open(against.open) : source;
    const actual = restored?.inventory ? await restored.inventory(ctx) : await target.inventory(ctx);
    const meant = (all: InventoryReader): InventoryReader => (selected ? inventoryWith(all, selected.has) : all);
    for await (const finding of driver.compare(ctx, meant(inventoryOf(counted)), meant(actual))) {
      compared += 1;
      book.add({ ...finding, check: `${name}: ${finding.check}` });
      ctx.progress({ task: name, phase: 'verify', items: compared });
    }
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    book.add({ check, verdict: verdictOf(error, watch), detail: messageOf(error), ...hintOf(error) });
    return;
  }
  if (selected && selected.uncompared !== null) {
    book.add({ check, verdict: 'unknown', detail: selected.uncompared, uncompared: true });
  } else if (compared === 0) {
    book.add({ check, verdict: 'unknown', ...(selected ? NONE_SELECTED : NONE_THERE) });
  }
  if (against && compared > 0) {
    const detail = `point ${source.point} and its log up to there were compared with it`;
    book.add({ check, verdict: 'pass', detail });
  }
}

export function whatWasSelected(name: string): string {
  return `what was selected of ${name} is what it was at the cut`;
}
const NONE_THERE = { detail: 'nothing was compared: the inventory is empty', uncompared: true } as const;
/** Not for want of something to compare with: whoever selects wants something back. */
const NONE_SELECTED = { detail: 'nothing was compared: the point has nothing of the selection' } as const;

async function ask(ctx: Context, name: string, target: Component | null, check: Check): Promise<Finding> {
  const title = `${name}: ${check.name}`;
  const query = check.sql ?? check.command;
  if (!target) return { check: title, verdict: 'unknown', detail: 'nobody is there to be asked' };
  if (!target.measure || query === undefined) {
    return { check: title, verdict: 'unknown', detail: 'this kind of component can not be asked' };
  }
  try {
    const value = await target.measure(ctx, query, check.database);
    const wrong = unmet(check, value);
    return { check: title, verdict: wrong === null ? 'pass' : 'fail', detail: wrong ?? String(value) };
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    return { check: title, verdict: 'unknown', detail: messageOf(error) };
  }
}

/** What `value` should have been, or null when it is right. A number that is none is never right. */
function unmet({ min, max, equals }: Check, value: number): string | null {
  if (!Number.isFinite(value)) return `${value} is no number`;
  if (equals !== undefined && value !== equals) return `${value}, expected ${equals}`;
  if (min !== undefined && value < min) return `${value}, expected at least ${min}`;
  if (max !== undefined && value > max) return `${value}, expected at most ${max}`;
  return null;
}

function hintOf(error: unknown): { hint?: string } {
  return isFailure(error) && error.hint !== undefined ? { hint: error.hint } : {};
}
