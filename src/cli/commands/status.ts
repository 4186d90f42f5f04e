import type { Command } from 'commander';
import type { Component } from '../../core/component.ts';
import { messageOf } from '../../core/errors.ts';
import { timeOfId } from '../../core/manifest.ts';
import type { Context, Verdict } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import type { MissedSlots } from '../../core/point.ts';
import { kitFinding } from '../../engine/kit.ts';
import { heldBy, PARALLEL_DEFAULT, SAFETY_PLAN } from '../../engine/model.ts';
import { byBeginning } from '../../engine/points.ts';
import { missedSince, missedText } from '../../engine/slots.ts';
import { lossMs, type Stored, storedOf } from '../../engine/standing.ts';
import type { Recoverable } from '../../engine/windows.ts';
import { type Everywhere, type Listing, listEverywhere, noteUnreadable, pointsOf, unreadableJson } from '../across.ts';
import type { Config } from '../config/model.ts';
import type { Bind } from '../session.ts';
import { componentsOnDemand, openStack } from '../stack.ts';
import { bytesText, durationText, table } from '../terminal.ts';
import { setIn } from '../views.ts';
import { type MomentsIn, momentsJson, momentsOf, momentsText } from '../windows.ts';

interface ComponentStatus {
  readonly name: string;
  /** The newest point that holds it, but for those that a restore took of what it replaced. */
  readonly point: string | null;
  /** What would be lost if it were gone now. */
  readonly lossMs: number | null;
  /** Since its newest point; null without one. */
  readonly ageMs: number | null;
  /** How its log in the store compares with itself; null where there is none, or it can't be asked. */
  readonly log: Stored | null;
  readonly rpoMs: number | null;
  readonly provedAt: string | null;
  readonly stores: readonly string[];
  /** 'late' when its objective is broken now, 'unprotected' when no point holds it. */
  readonly state: 'protected' | 'late' | 'unprotected';
}

export function define(command: Command, bind: Bind): void {
  command.addHelpText(
    'after',
    '\nExample: lifeboat status || notify-someone    (exit code 3: late, unprotected, or not run)',
  );
  bind(command, async (session) => {
    const { ctx } = session;
    const config = await session.config();
    await using stack = await openStack(ctx, config, { components: [] });
    const listing = await listEverywhere(ctx, stack);
    const points = pointsOf(listing);
    const names = config.components.map(({ name }) => name);
    const { moments, unreadable: unread } = await momentsOf(ctx, listing, config.stack, names);
    const componentOf = componentsOnDemand(ctx, config);
    const components = await mapBounded(config.components, PARALLEL_DEFAULT, async ({ name, common: { kind } }) => {
      const newest = newestOf(moments, name);
      const log = newest?.followed ? await logOf(ctx, newest, () => componentOf(name, kind)) : null;
      return statusOf(ctx, config, points, { name, newest, log });
    });
    const plans = plansOf(ctx, config, points);
    const { stores, unreadable } = await storesOf(ctx, { ...listing, unreadable: unread });
    const kitsOpen = stores.every(({ kit }) => kit === null || kit === 'pass');
    const isProtected = components.every(({ state }) => state === 'protected') && plans.every(({ missed }) => !missed);
    const well = isProtected && unreadable.length === 0 && kitsOpen;
    session.print(
      {
        stack: config.stack,
        well,
        components: components.map(toJson),
        plans: plans.map(({ name, point, missed }) => ({ name, point, missed })),
        stores,
        ...momentsJson(moments),
        ...unreadableJson(unreadable),
      },
      () =>
        [
          [
            componentText(components),
            ...momentsText(moments, ctx.now()),
            ...logLines(components),
            ...plans.flatMap(({ name, missed }) => (missed ? ['', `PLAN ${name} ${missedText(missed)}`] : [])),
          ].join('\n'),
          table(
            [
              { title: 'store' },
              { title: 'place' },
              { title: 'points', right: true },
              { title: 'stored', right: true },
              { title: 'recovery kit' },
            ],
            stores.map((each) => [
              each.name,
              each.url,
              String(each.points),
              bytesText(each.bytes),
              each.kit === null ? '' : KITS[each.kit],
            ]),
          ),
        ].join('\n\n'),
    );
    noteUnreadable(session, unreadable);
    return well ? 0 : 3;
  });
}

interface PlanStatus {
  readonly name: string;
  /** The newest of it. */
  readonly point: string | null;
  /** Of its times since then; null without a point, as it may be new. */
  readonly missed: MissedSlots | null;
}

function plansOf(ctx: Context, config: Config, points: readonly Everywhere[]): readonly PlanStatus[] {
  return Object.entries(config.plans).flatMap(([name, { schedule, timezone }]) => {
    if (schedule === undefined) return [];
    const own = points.filter(({ point }) => point.stack === config.stack && point.plan === name);
    const newest = own.toSorted((a, b) => byBeginning(a.point, b.point)).at(-1)?.point;
    // One that came late is named after its slot.
    const lastRun = newest && new Date(Math.max(timeOfId(newest.id).getTime(), Date.parse(newest.startedAt)));
    const missed = lastRun ? missedSince({ schedule, timezone }, lastRun, ctx.now()) : null;
    return [{ name, point: newest?.id ?? null, missed }];
  });
}

interface StoreStatus {
  readonly name: string;
  readonly url: string;
  readonly points: number;
  readonly bytes: number;
  /** Whether the recovery kit would open it; null where it needs none. */
  readonly kit: Verdict | null;
}

/** Of those that can be measured too; the others count as unreadable. */
async function storesOf(
  ctx: Context,
  listing: Listing,
): Promise<{ readonly stores: readonly StoreStatus[]; readonly unreadable: Listing['unreadable'] }> {
  const stores: StoreStatus[] = [];
  const unreadable = [...listing.unreadable];
  for (const { store: each, views } of listing.stores) {
    const { name, store } = each;
    try {
      const kit = (await kitFinding(ctx, store))?.verdict ?? null;
      stores.push({ name, url: store.url, points: views.length, bytes: await store.bytes(ctx), kit });
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      unreadable.push({ name, error });
    }
  }
  return { stores, unreadable };
}

const KITS = { pass: 'opens it', unknown: 'not known to open it', fail: 'DOES NOT OPEN IT: lifeboat keys kit' };

/** In the store that has the newest moment. */
function newestOf(moments: readonly MomentsIn[], name: string): Recoverable | undefined {
  const all = moments.flatMap(({ all: each }) => each.filter(({ component }) => component === name));
  return all.toSorted((a, b) => newestMs(a) - newestMs(b)).at(-1);
}
function newestMs({ windows, points }: Recoverable): number {
  return Math.max(windows.at(-1)?.to.ms ?? -Infinity, points.at(-1)?.ms ?? -Infinity);
}

/** The service is asked only where there is something to compare; that it can't be opened is told as well. */
async function logOf(ctx: Context, known: Recoverable, open: () => Promise<Component | null>): Promise<Stored | null> {
  try {
    const component = await open();
    return component && (await storedOf(ctx, component, known));
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    return { state: 'unknown', behindMs: null, detail: messageOf(error) };
  }
}

function statusOf(
  ctx: Context,
  config: Config,
  points: readonly Everywhere[],
  { name, newest: known, log }: { name: string; newest: Recoverable | undefined; log: Stored | null },
): ComponentStatus {
  const holding = points
    .filter(({ point }) => point.stack === config.stack && heldBy(point).includes(name) && point.plan !== SAFETY_PLAN)
    .toSorted((a, b) => byBeginning(a.point, b.point));
  const newest = holding.at(-1);
  const cut = newest?.point.components[name]?.cut;
  const ageMs = cut ? ctx.now().getTime() - Date.parse(cut.at) : null;
  const loss = (known && lossMs(known, log, ctx.now())) ?? ageMs;
  const tier = config.components.find((each) => each.name === name)?.common.tier;
  const rpoMs = (tier === undefined ? undefined : config.tiers[tier]?.rpo) ?? null;
  const proofs = holding.flatMap((each) =>
    each.in.flatMap(({ view }) =>
      view.proofs.filter(({ how, components }) => how !== 'copy' && components.includes(name)).map(({ at }) => at),
    ),
  );
  return {
    name,
    point: newest?.point.id ?? null,
    lossMs: loss,
    ageMs,
    log,
    rpoMs,
    provedAt: proofs.sort().at(-1) ?? null,
    stores: newest?.in.map(({ store }) => store) ?? [],
    state: loss === null ? 'unprotected' : rpoMs !== null && loss > rpoMs ? 'late' : 'protected',
  };
}

function toJson({ name, point, lossMs: loss, ageMs, log, rpoMs, provedAt, stores, state }: ComponentStatus): object {
  const stored = log && { state: log.state, behind_ms: log.behindMs, detail: log.detail };
  return { name, state, point, loss_ms: loss, age_ms: ageMs, log: stored, rpo_ms: rpoMs, proved_at: provedAt, stores };
}

/** Where the store and the service do not agree. That what came last is on its way is nothing to tell. */
function logLines(components: readonly ComponentStatus[]): string[] {
  const told = components.flatMap(({ name, log, state }) => {
    const isOnItsWay = log?.state === 'behind' && (log.behindMs ?? 0) < ON_ITS_WAY_MS && state === 'protected';
    if (!log || log.state === 'stored' || isOnItsWay) return [];
    return [`${name}: ${LOGS[log.state]}: ${setIn(log.detail)}`];
  });
  return told.length === 0 ? [] : ['', ...told];
}
const ON_ITS_WAY_MS = 60_000;
const LOGS = {
  behind: 'THE STORE IS BEHIND ITS LOG',
  'set-back': 'IT HAS LESS THAN THE STORE',
  other: 'ITS LOG IS NOT STORED',
  unknown: 'its log in the store was not compared with the service',
};

function componentText(components: readonly ComponentStatus[]): string {
  return table(
    ['component', 'state', 'newest point', 'would lose', 'may lose', 'last proved', 'in'].map((title) => ({ title })),
    components.map((each) => [
      each.name,
      each.state,
      each.point ?? 'none',
      each.lossMs === null ? 'everything' : durationText(each.lossMs),
      each.rpoMs === null ? '' : durationText(each.rpoMs),
      each.provedAt?.slice(0, 16).replace('T', ' ') ?? 'never',
      each.stores.join(', '),
    ]),
  );
}
