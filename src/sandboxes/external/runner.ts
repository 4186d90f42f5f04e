// Sandboxes on services that stay: a staging service that the configuration names. A drill restores into it only when
// it is certainly not the captured one and holds nothing, and leaves it as empty as it was. What a killed drill left is
// cleared away by the next, unless somebody else has put something there since.

import { sharedPlace } from '../../core/addresses.ts';
import type { Component } from '../../core/component.ts';
import { outliving, withDeadline } from '../../core/context.ts';
import type { Driver, Guest, Sandbox, SandboxRunner } from '../../core/driver.ts';
import { Failure, isFailure, messageOf as textOf } from '../../core/errors.ts';
import { inventoryOf, paired } from '../../core/inventory.ts';
import type { Context, Finding, InventoryLine, Probe, Restored } from '../../core/model.ts';
import type { Records } from '../../core/storage.ts';
import { type KnownLine, type StagingNote, type StagingNotes, stagingNotes } from './notes.ts';

/** More than this in a service that holds no data is beyond what a note can tell. */
const LINES_MAX = 10_000;
const CLEAR_MS_MAX = 10 * 60_000;

export interface ExternalOptions {
  /** Of the staging service. */
  readonly staging: unknown;
  /** Its owner says that nothing which is written there has an effect elsewhere. */
  readonly isolated?: boolean | undefined;
  readonly guest: Guest;
  /** Of the store that is restored from. */
  readonly records: Records;
  /** How long it may take until it answers. */
  readonly readyMs?: number | undefined;
}

export function externalSandbox(options: ExternalOptions): SandboxRunner {
  return { name: 'external', start: (ctx, driver) => occupy(ctx, driver, options) };
}

interface Place {
  readonly component: Component;
  readonly driver: Driver;
  readonly options: ExternalOptions;
  readonly notes: StagingNotes;
}

async function occupy(ctx: Context, driver: Driver, options: ExternalOptions): Promise<Sandbox> {
  const { staging, guest, readyMs = 60_000 } = options;
  const shared = sharedPlace(staging, guest.settings);
  if (shared !== null) throw isCaptured(guest, `both lead to ${shared}`);
  const component = driver.open(staging);
  const what = `the staging service of ${guest.component}`;
  const look = (): Promise<Probe> => withDeadline(ctx, readyMs, what, (within) => component.probe(within));
  const { identity } = await look();
  await refuseCaptured(ctx, guest, identity);
  const place = { component, driver, options, notes: stagingNotes(ctx, options.records, guest.component, identity) };
  const taken = await place.notes.take(guest.point);
  let { note } = taken;
  try {
    for (const each of taken.left) await clearLeftover(ctx, place, each);
    refuseData(guest, await look());
    note = await place.notes.seenEmpty(note, await linesBefore(ctx, component));
    const findings = await isolationOf(ctx, component, options);
    return sandboxOn(ctx, place, note, findings);
  } catch (error) {
    await place.notes.strike(note);
    throw error;
  }
}

/** A server that was started again since may call itself another name: the live one is asked as well. */
async function refuseCaptured(ctx: Context, guest: Guest, identity: string): Promise<void> {
  if (identity === guest.identity) throw isCaptured(guest, `it is the server that was captured (${identity})`);
  const live = await guest.captured.probe(ctx).catch((error: unknown) => {
    if (ctx.signal.aborted || !(isFailure(error, 'unreachable') || isFailure(error, 'timeout'))) throw error;
    return null; // it is down, so it is not the one that has just answered
  });
  if (live?.identity === identity) throw isCaptured(guest, `it is the live server (${identity})`);
}

function isCaptured({ component }: Guest, why: string): Failure {
  return new Failure('denied', `the staging service of ${component} is the service that is protected: ${why}`, {
    hint: 'name another server under sandbox: external; nothing was touched',
  });
}

function refuseData({ component }: Guest, { holdsData }: Probe): void {
  if (holdsData === null) return;
  throw new Failure('target-not-empty', `the staging service of ${component} holds data: ${holdsData}`, {
    hint: 'a drill only restores into an empty one: see whose data it is, and remove it; nothing was touched',
  });
}

/** Roles, empty buckets and the like, so that they are not taken for somebody's data later. */
async function linesBefore(ctx: Context, component: Component): Promise<readonly InventoryLine[]> {
  const lines: InventoryLine[] = [];
  try {
    for await (const line of (await component.inventory(ctx)).lines(ctx)) {
      if (lines.push(line) > LINES_MAX) return [];
    }
  } catch (error) {
    if (ctx.signal.aborted || !isFailure(error)) throw error;
    return []; // what it is to cover is not there yet
  }
  return lines;
}

async function isolationOf(
  ctx: Context,
  component: Component,
  { guest, isolated = false }: ExternalOptions,
): Promise<readonly Finding[]> {
  const check = `${guest.component}: what is done in the staging service stays there`;
  if (isolated) return [{ check, verdict: 'pass', detail: 'as the configuration says (isolated)' }];
  const hint = 'see to it, then say isolated: true under sandbox';
  if (!component.isolation) return [{ check, verdict: 'unknown', detail: 'this kind can not be asked', hint }];
  const findings = await component.isolation(ctx);
  return findings.map((each) => ({
    ...(each.verdict === 'pass' ? {} : { hint }),
    ...each,
    check: `${guest.component}: ${each.check}`,
  }));
}

function sandboxOn(ctx: Context, place: Place, seen: StagingNote, findings: readonly Finding[]): Sandbox {
  const { component, options } = place;
  let note = seen;
  let [dirty, gone] = [false, false];
  const watched: Component = {
    ...component,
    async restore(within, chain, how): Promise<Restored> {
      note = await place.notes.begin(note);
      dirty = true;
      try {
        return await component.restore(within, chain, how);
      } catch (error) {
        if (isFailure(error, 'target-not-empty')) dirty = false; // somebody was faster, and what is there is theirs
        throw error;
      }
    },
  };
  const vacate = async (within: Context): Promise<readonly Finding[]> => {
    if (gone) return [];
    const found = dirty ? await clear(within, place, options.guest.point) : [];
    gone = true;
    await place.notes.strike(note);
    return found;
  };
  return {
    component: watched,
    dir: '',
    findings,
    vacate,
    async [Symbol.asyncDispose]() {
      try {
        await vacate(outliving(ctx, CLEAR_MS_MAX));
      } catch (error) {
        await place.notes.leave(note);
        ctx.log.warn('staging service not cleared', { component: options.guest.component, reason: textOf(error) });
      }
    },
  };
}

/** Throws when it could not be cleared for now; what can never be is a finding. */
async function clear(ctx: Context, { component, options }: Place, point: string): Promise<readonly Finding[]> {
  const { guest } = options;
  const check = `${guest.component}: the staging service is empty again`;
  const hint = 'empty it before the next drill, which is refused until then';
  if (!component.clear) {
    return [{ check, verdict: 'unknown', detail: 'this kind can not be cleared: what came back stays', hint }];
  }
  const left = await component.clear(ctx, { base: await guest.open(ctx, point) });
  const { holdsData } = await component.probe(ctx);
  const why = [...left, ...(holdsData === null ? [] : [`it holds ${holdsData}`])].join('; ');
  if (holdsData !== null) return [{ check, verdict: 'unknown', detail: why, hint }];
  return [{ check, verdict: 'pass', detail: why === '' ? 'what came back was removed' : `but for ${why}` }];
}

/** What a drill left that was killed: only what it can have brought, and nothing that was put there since. */
async function clearLeftover(ctx: Context, place: Place, note: StagingNote): Promise<void> {
  const { component, options, notes } = place;
  const { guest } = options;
  const before = note.begun ? note.before : null; // where nothing was begun, nothing is its
  if (before !== null) await component.detach?.(ctx);
  const { holdsData } = await component.probe(ctx);
  if (holdsData !== null && before !== null && component.clear) {
    const source = await guest.open(ctx, note.point).catch((error: unknown) => {
      if (isFailure(error, 'missing')) return null; // the point is gone: nobody can tell what was its
      throw error;
    });
    const foreign = source && (await foreignIn(ctx, place, inventoryOf(source), before));
    if (source && foreign === null) {
      await component.clear(ctx, { base: source });
      ctx.log.info('staging service cleared of what a killed drill left', { component: guest.component });
    } else {
      ctx.log.warn('staging service holds what no drill has brought', { component: guest.component, foreign });
    }
  }
  await notes.strike(note);
}

/** The first thing that neither the point has nor was there before; null when there is none. */
async function foreignIn(
  ctx: Context,
  { component, driver }: Place,
  expected: ReturnType<typeof inventoryOf>,
  before: readonly KnownLine[],
): Promise<string | null> {
  const known = new Map(before.map((line) => [`${line.kind}\0${line.name}`, line.count]));
  for await (const { expected: captured, actual } of paired(ctx, expected, await component.inventory(ctx))) {
    if (!actual) continue;
    const { kind, name, count } = actual;
    const key = `${kind}\0${name}`;
    const asBefore = known.has(key) && known.get(key) === count;
    const asRestored = captured && (isSame(captured, actual) || driver.isHalfOf?.(captured, actual));
    if (!asBefore && !asRestored) return `${kind} ${name}`;
  }
  return null;
}

/** As far as both know. */
function isSame(one: InventoryLine, other: InventoryLine): boolean {
  const agree = <T>(a: T | null, b: T | null): boolean => a === null || b === null || a === b;
  return agree(one.count, other.count) && agree(one.digest, other.digest);
}
